/// Whole WebSocket messages of a server in one row of bytes, counted and cut where one ends (RFC 6455, section 5.2).
///
/// Shares the bytes it was made of, whatever is cut off. Control frames are not expected between data frames.
package struct WebSocketMessages {
    /// The frames, unmasked.
    package private(set) var bytes: ArraySlice<UInt8>
    /// Messages in ``bytes``; a message may have several frames.
    package private(set) var count = 0

    /// Counts the messages of `frames`. Bytes at the end that are no whole message count as one.
    package init(_ frames: [UInt8]) {
        bytes = frames[...]
        var position = bytes.startIndex
        while position < bytes.endIndex {
            position = endOfMessage(from: position)
            count += 1
        }
    }

    /// Bytes that are no messages.
    package init(opaque bytes: UnsafeRawBufferPointer) {
        self.bytes = Array(bytes)[...]
    }

    /// Appends bytes to others that are no messages, unless that makes more than `limit` of them.
    mutating func append(opaque more: UnsafeRawBufferPointer, upTo limit: Int) -> Bool {
        guard count == 0, bytes.count + more.count <= limit else { return false }
        bytes.append(contentsOf: more)
        return true
    }

    /// Cuts bytes off the front.
    ///
    /// - Parameter byteCount: At least 0.
    /// - Returns: The first `byteCount` bytes, fewer if there are not as many, and the rest of the message in whose
    ///   middle that cut falls. Both are gone from here.
    package mutating func take(_ byteCount: Int) -> (taken: ArraySlice<UInt8>, begun: ArraySlice<UInt8>) {
        let cut = bytes.startIndex + min(byteCount, bytes.count)
        var end = bytes.startIndex
        while end < cut {
            // The end of the last message is known, and that of bytes that are none.
            end = count <= 1 ? bytes.endIndex : endOfMessage(from: end)
            count = max(0, count - 1)
        }
        defer { bytes = bytes[end...] }
        return (bytes[..<cut], bytes[cut..<end])
    }

    /// Drops the first message.
    ///
    /// - Returns: Its bytes.
    package mutating func dropFirst() -> Int {
        let (first, rest) = take(1)
        return first.count + rest.count
    }

    /// Keeps as many messages from the front as `fits` wants and drops the others.
    ///
    /// - Parameter fits: Given the number of messages and of their bytes; true for fewer when true for more.
    /// - Returns: The messages dropped.
    package mutating func keepFirst(while fits: (_ messages: Int, _ bytes: Int) -> Bool) -> Int {
        var kept = 0
        var end = bytes.startIndex
        while kept < count {
            let next = kept == count - 1 ? bytes.endIndex : endOfMessage(from: end)
            guard fits(kept + 1, next - bytes.startIndex) else { break }
            kept += 1
            end = next
        }
        let dropped = count - kept
        guard dropped > 0 else { return 0 }
        // A small part must not keep all the bytes in memory.
        let isSmall = end - bytes.startIndex < bytes.count / 2
        bytes = isSmall ? Array(bytes[..<end])[...] : bytes[..<end]
        count = kept
        return dropped
    }

    /// Where the message that begins at `start` ends; the end of all bytes when it is not whole.
    private func endOfMessage(from start: Int) -> Int {
        var position = start
        while bytes.endIndex - position >= 2 {
            let isFinal = bytes[position] & 0x80 != 0
            var length = UInt64(bytes[position + 1] & 0x7f)
            let lengthBytes = length == 126 ? 2 : length == 127 ? 8 : 0
            let header = 2 + lengthBytes
            guard bytes.endIndex - position >= header else { break }
            if lengthBytes > 0 {
                length = bytes[(position + 2)..<(position + header)].reduce(0) { $0 << 8 | UInt64($1) }
            }
            guard length <= UInt64(bytes.endIndex - position - header) else { break }
            position += header + Int(length)
            if isFinal { return position }
        }
        return bytes.endIndex
    }
}

/// Frames lent to many connections at once: the first that cannot send all of them copies them, the others share that
/// copy.
package struct LentFrames {
    /// Whole frames: data messages, or one control frame. Valid as long as the memory this was made of.
    package let bytes: UnsafeRawBufferPointer
    private var kept: WebSocketMessages?

    package init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The frames, to be kept.
    mutating func keep() -> WebSocketMessages {
        if let kept { return kept }
        let messages = WebSocketMessages(Array(bytes))
        kept = messages
        return messages
    }
}
