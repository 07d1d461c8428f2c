/// Payloads of many kinds, reproducible from a seed.
enum SamplePayload {
    /// Text that compresses as chats do, with characters of all lengths.
    static func text(_ bytes: Int, _ random: inout SplitMix64) -> [UInt8] {
        let words = ["hello ", "room ", "{\"type\":", "\"message\"", "Grüße ", "👋", "λόγος ", "0", ",", "}"]
        var text: [UInt8] = []
        while text.count < bytes {
            let word = Array(words[Int(random.next() % UInt64(words.count))].utf8)
            text += text.count + word.count <= bytes ? word : [UInt8](repeating: 0x78, count: bytes - text.count)
        }
        return text
    }

    static func noise(_ bytes: Int, _ random: inout SplitMix64) -> [UInt8] {
        (0..<bytes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// Blocks of noise that come again at all distances.
    static func echoes(_ bytes: Int, _ random: inout SplitMix64) -> [UInt8] {
        var payload = noise(min(bytes, 40), &random)
        while payload.count < bytes {
            let start = Int(random.next() % UInt64(payload.count))
            let count = min(bytes - payload.count, payload.count - start, Int(random.next() % 300) + 1)
            payload += payload[start..<(start + count)]
            payload += noise(min(bytes - payload.count, Int(random.next() % 8)), &random)
        }
        return payload
    }
}

/// DEFLATE written by hand, block by block.
enum DeflateBlock {
    /// A stored block; it must begin at a byte.
    static func stored(_ bytes: [UInt8], isFinal: Bool = false) -> [UInt8] {
        let count = UInt16(bytes.count)
        return [isFinal ? 1 : 0, UInt8(count & 0xff), UInt8(count >> 8), UInt8(~count & 0xff), UInt8(~count >> 8)]
            + bytes
    }
}
