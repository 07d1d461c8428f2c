import CZlib

/// Makes the frames of compressed messages: RFC 7692, section 7.2.1, without context takeover.
///
/// One per event loop, shared by its sockets. Keeps one zlib stream per window in use, at most 144 KiB each.
final class Compressor {
    /// Sending shorter messages as they are costs less than it saves: at 110 bytes of JSON a tenth of them.
    private let leastBytes: Int
    private let level: Int32
    /// By the base-2 logarithm of the window.
    private var deflaters = [Deflater?](repeating: nil, count: 16)

    /// - Parameters:
    ///   - leastBytes: Shorter messages are sent uncompressed.
    ///   - level: zlib's, 1 (fast) to 9. For chat-sized JSON, 6 takes a quarter more time for 2 % of the bytes.
    init(leastBytes: Int = 128, level: Int = 1) {
        precondition((1...9).contains(level), "zlib has no level \(level); give 1 to 9")
        self.leastBytes = leastBytes
        self.level = Int32(level)
    }

    /// Appends one frame with the whole message: compressed when that makes it shorter, or else as it is.
    ///
    /// - Parameters:
    ///   - opcode: Text or binary.
    ///   - payload: Any length.
    ///   - windowBits: Of the agreement with all who get the frame, 8 to 15. Who agreed to more may get it too.
    func append(_ opcode: Opcode, _ payload: [UInt8], windowBits: Int, to frames: inout [UInt8]) {
        precondition(!opcode.isControl, "control frames are never compressed")
        guard payload.count >= leastBytes, let compressed = deflater(windowBits).compress(payload) else {
            return ServerFrame.append(opcode, payload, to: &frames)
        }
        ServerFrame.append(opcode, compressed, isCompressed: true, to: &frames)
    }

    /// Appends frames of the server, each compressed when that makes it shorter.
    ///
    /// - Parameter plain: Whole uncompressed frames of text and binary messages, as ``ServerFrame`` makes them.
    func append(frames plain: [UInt8], windowBits: Int, to frames: inout [UInt8]) {
        var rest = plain[...]
        while let (opcode, payload) = ServerFrame.takeFirst(of: &rest) {
            append(opcode, Array(payload), windowBits: windowBits, to: &frames)
        }
    }

    private func deflater(_ windowBits: Int) -> Deflater {
        precondition((8...15).contains(windowBits), "there is no window of \(windowBits) bits; give 8 to 15")
        // zlib makes no raw streams with a window of 256 bytes. With one of 512 it looks back 512 - 262 = 250 bytes
        // at most (MAX_DIST in deflate.h), so it keeps to 256.
        let bits = max(windowBits, 9)
        if let deflater = deflaters[bits] { return deflater }
        let deflater = Deflater(windowBits: bits, level: level)
        deflaters[bits] = deflater
        return deflater
    }
}

/// A zlib stream that compresses one message after another.
private final class Deflater {
    /// On the heap, because zlib keeps a pointer to it.
    private let stream: UnsafeMutablePointer<z_stream>

    /// The hash table that every reset clears has 8 KiB then, not zlib's usual 64: small messages gain, and those of
    /// 64 KiB lose a fifth.
    private static let memoryLevel: Int32 = 5

    /// - Parameters:
    ///   - windowBits: 9 to 15.
    ///   - level: 1 to 9.
    init(windowBits: Int, level: Int32) {
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        let status = deflateInit2_(
            stream,
            level,
            Z_DEFLATED,
            -Int32(windowBits),
            Self.memoryLevel,
            Z_DEFAULT_STRATEGY,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        precondition(status == Z_OK, "zlib gave no compressor for \(windowBits) bits: status \(status)")
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Compresses one message.
    ///
    /// - Returns: The payload of the frame, without the four bytes the receiver adds; `nil` when it is not shorter.
    func compress(_ payload: [UInt8]) -> ArraySlice<UInt8>? {
        let tailBytes = 4
        guard let count = UInt32(exactly: payload.count), let capacity = UInt32(exactly: payload.count + tailBytes)
        else { return nil }
        deflateReset(stream)
        let compressed = payload.withUnsafeBufferPointer { input in
            [UInt8](unsafeUninitializedCapacity: Int(capacity)) { output, written in
                // zlib only reads from its input, though its type does not say so.
                stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                stream.pointee.avail_in = count
                stream.pointee.next_out = output.baseAddress
                stream.pointee.avail_out = capacity
                deflate(stream, Z_SYNC_FLUSH)
                written = Int(capacity - stream.pointee.avail_out)
            }
        }
        // With no room left there may be more to come, and what there is already is no shorter than the message.
        guard stream.pointee.avail_out > 0 else { return nil }
        return compressed.dropLast(tailBytes)
    }
}
