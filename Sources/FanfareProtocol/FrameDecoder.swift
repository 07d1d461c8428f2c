import FanfareModel

/// Splits a byte stream into frame payloads (section 1). Holds only bytes that have been received.
///
/// A class because its callback may raise ``limit`` between two frames of one read. One per connection, on its loop.
package final class FrameDecoder {
    /// The largest payload accepted, in bytes: the hello's limit until `WELCOME`, `frame_bytes` afterwards.
    package var limit: Int
    /// The start of a frame whose end has not come yet, its length included.
    private var partial: [UInt8] = []

    private static let prefixBytes = 4
    /// What the decoder keeps allocated between frames; most frames come whole and need none of it.
    private static let capacityKept = 4_096

    package init(limit: Int) {
        self.limit = limit
    }

    /// Bytes of an incomplete frame received so far.
    package var bufferedBytes: Int { partial.count }

    /// Takes what one read brought, or the first frames of it, and calls `frame` with each payload that is complete, in
    /// order.
    ///
    /// A payload that lies wholly inside `bytes` is not copied. After an error the stream cannot go on.
    ///
    /// - Parameters:
    ///   - bytes: Any cut of the stream, even empty.
    ///   - frames: The most payloads to pass on, at least 1.
    ///   - frame: Gets a pointer that is valid only during the call. Must not feed this decoder.
    /// - Returns: The bytes taken: all, or those of so many frames. The others are to be fed again.
    /// - Throws: `Failure(.frameTooLarge)` for a length of 0 or over ``limit``, as soon as its four bytes are there;
    ///   and whatever `frame` throws.
    package func feed(
        _ bytes: UnsafeRawBufferPointer,
        atMost frames: Int,
        _ frame: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Int {
        let hasPartial = !partial.isEmpty
        var rest = try completePartial(bytes[...], frame)
        var left = hasPartial && partial.isEmpty ? frames - 1 : frames
        while rest.count >= Self.prefixBytes {
            guard left > 0 else { return rest.startIndex }
            let length = try checkedLength(UnsafeRawBufferPointer(rebasing: rest))
            guard rest.count - Self.prefixBytes >= length else { break }
            let payload = rest.dropFirst(Self.prefixBytes).prefix(length)
            try frame(UnsafeRawBufferPointer(rebasing: payload))
            rest = rest[payload.endIndex...]
            left -= 1
        }
        partial.append(contentsOf: rest)
        return bytes.count
    }

    /// Takes what one read brought, all of it.
    package func feed(_ bytes: UnsafeRawBufferPointer, _ frame: (UnsafeRawBufferPointer) throws -> Void) throws {
        _ = try feed(bytes, atMost: .max, frame)
    }

    /// Whether a connection's first bytes are a plain HTTP request that came to the wrong port (section 1).
    ///
    /// - Parameter firstBytes: The first read; fewer than four bytes say no.
    package static func looksLikeHTTP(_ firstBytes: UnsafeRawBufferPointer) -> Bool {
        guard firstBytes.count >= prefixBytes else { return false }
        let start = firstBytes.prefix(prefixBytes)
        return ["GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "PATC", "CONN"].contains {
            start.elementsEqual($0.utf8)
        }
    }

    /// Moves bytes to the frame begun earlier until it is complete or they run out; returns what is left of them.
    private func completePartial(
        _ bytes: Slice<UnsafeRawBufferPointer>,
        _ frame: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Slice<UnsafeRawBufferPointer> {
        guard !partial.isEmpty else { return bytes }
        var rest = take(Self.prefixBytes - partial.count, bytes)
        guard partial.count >= Self.prefixBytes else { return rest }
        let length = try partial.withUnsafeBytes { try checkedLength($0) }
        rest = take(Self.prefixBytes + length - partial.count, rest)
        guard partial.count == Self.prefixBytes + length else { return rest }

        var complete: [UInt8] = []
        swap(&complete, &partial)
        try complete.withUnsafeBytes {
            try frame(UnsafeRawBufferPointer(rebasing: $0.dropFirst(Self.prefixBytes)))
        }
        if complete.capacity <= Self.capacityKept {
            complete.removeAll(keepingCapacity: true)
            partial = complete
        }
        return rest
    }

    private func take(_ wanted: Int, _ bytes: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
        let taken = bytes.prefix(max(0, wanted))
        partial.append(contentsOf: taken)
        return bytes[taken.endIndex...]
    }

    private func checkedLength(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard length >= 1 else {
            throw Failure(.frameTooLarge, "a frame of 0 bytes; a frame holds at least its operation")
        }
        guard length <= limit else {
            throw Failure(.frameTooLarge, "a frame of \(length) bytes; at most \(limit) are accepted here")
        }
        return length
    }
}
