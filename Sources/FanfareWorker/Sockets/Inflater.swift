import CZlib

/// Inflates the messages of clients that agreed to compression: RFC 7692, section 7.2.2, without context takeover.
///
/// One per event loop, shared by its sockets, because no message needs what another left behind.
final class Inflater {
    /// On the heap, because zlib keeps a pointer to it.
    private let stream: UnsafeMutablePointer<z_stream>
    private let chunk: UnsafeMutableBufferPointer<UInt8>

    /// What the sender took from the end of the stream.
    private static let tail: [UInt8] = [0x00, 0x00, 0xff, 0xff]
    private static let chunkBytes = 16_384
    /// What zlib reports when it stands between two blocks and has used all bits of the last byte.
    private static let isAtBlockBoundary: Int32 = 128

    init() {
        chunk = .allocate(capacity: Self.chunkBytes)
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // The largest window, so no client needs to be told to use a smaller one.
        let status = inflateInit2_(stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        precondition(status == Z_OK, "zlib gave no decompressor: status \(status)")
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
        chunk.deallocate()
    }

    /// Inflates one message.
    ///
    /// The memory taken follows what comes out and never exceeds `limit` and one chunk of 16 KiB, besides the copy
    /// while an array of at most half the limit grows. An empty payload is an empty message: some senders leave out
    /// the one byte they should send. So is the end right after a final block.
    ///
    /// - Parameters:
    ///   - payload: The payloads of all frames of the message.
    ///   - limit: Bytes of the message.
    /// - Throws: 1009 when the message is longer; 1007 when the payload is not DEFLATE, is cut off, or goes on after
    ///   its end. RFC 7692 names no code; the frames were right and their content was not, which is what 1007 is for.
    func inflate(_ payload: consuming [UInt8], limit: Int) throws(WebSocketViolation) -> [UInt8] {
        guard !payload.isEmpty else { return [] }
        payload.append(contentsOf: Self.tail)
        guard let count = UInt32(exactly: payload.count) else { throw Self.tooBig(limit) }
        inflateReset(stream)
        return try payload.withUnsafeMutableBufferPointer { input throws(WebSocketViolation) in
            stream.pointee.next_in = input.baseAddress
            stream.pointee.avail_in = count
            var message: [UInt8] = []
            while try !inflateChunk(into: &message, limit: limit) {}
            return message
        }
    }

    /// Inflates up to one chunk and appends it to `message`.
    ///
    /// - Returns: Whether that was the last.
    private func inflateChunk(into message: inout [UInt8], limit: Int) throws(WebSocketViolation) -> Bool {
        // One byte more than allowed, so that a message of exactly the limit ends before its room does.
        let room = min(chunk.count - 1, limit - message.count) + 1
        stream.pointee.next_out = chunk.baseAddress
        stream.pointee.avail_out = UInt32(room)
        let status = CZlib.inflate(stream, Z_SYNC_FLUSH)
        let inflated = room - Int(stream.pointee.avail_out)
        guard inflated <= limit - message.count else { throw Self.tooBig(limit) }
        append(inflated, to: &message, limit: limit)

        let inputLeft = Int(stream.pointee.avail_in)
        switch status {
        case Z_OK:
            if inputLeft == 0, stream.pointee.data_type == Self.isAtBlockBoundary { return true }
            guard stream.pointee.avail_out == 0 || inputLeft > 0 else { throw Self.damaged("is cut off") }
            return false
        case Z_STREAM_END:
            // A final block. Another stream may follow (section 7.2.3.4); the tail alone is none.
            guard inputLeft > 0, inputLeft != Self.tail.count else { return true }
            inflateReset(stream)
            return false
        case Z_BUF_ERROR:
            throw Self.damaged("is cut off")
        default:
            throw Self.damaged("is not DEFLATE")
        }
    }

    private func append(_ count: Int, to message: inout [UInt8], limit: Int) {
        let needed = message.count + count
        if needed > message.capacity {
            message.reserveCapacity(max(needed, min(limit, message.capacity * 2)))
        }
        message.append(contentsOf: UnsafeBufferPointer(rebasing: chunk[..<count]))
    }

    private static func tooBig(_ limit: Int) -> WebSocketViolation {
        WebSocketViolation(.messageTooBig, "a message of more than \(limit) bytes")
    }

    private static func damaged(_ what: String) -> WebSocketViolation {
        WebSocketViolation(.invalidPayload, "a compressed message that \(what)")
    }
}
