/// The masking of RFC 6455, section 5.3: every byte a client sends is XORed with one of the four bytes of a key.
///
/// Its own inverse.
struct MaskingKey: Equatable {
    /// The key twice, in the order of the bytes in memory.
    private let pattern: (UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8, UInt8)

    init(_ first: UInt8, _ second: UInt8, _ third: UInt8, _ fourth: UInt8) {
        pattern = (first, second, third, fourth, first, second, third, fourth)
    }

    static func == (left: MaskingKey, right: MaskingKey) -> Bool {
        left.word(from: 0) == right.word(from: 0)
    }

    /// Masks or unmasks `bytes` in place, eight at a time.
    ///
    /// - Parameters:
    ///   - bytes: A piece of a payload, at any address.
    ///   - offset: How many bytes of the payload came before the piece.
    func apply(to bytes: UnsafeMutableRawBufferPointer, offset: Int) {
        guard let start = bytes.baseAddress else { return }
        let word = word(from: offset)
        let wholeWords = bytes.count & ~7
        var position = 0
        while position < wholeWords {
            let masked = start.loadUnaligned(fromByteOffset: position, as: UInt64.self) ^ word
            start.storeBytes(of: masked, toByteOffset: position, as: UInt64.self)
            position += 8
        }
        withUnsafeBytes(of: word) { word in
            while position < bytes.count {
                bytes[position] ^= word[position & 7]
                position += 1
            }
        }
    }

    /// Eight bytes of the repeated key, from its byte `offset` on, as they lie in memory.
    private func word(from offset: Int) -> UInt64 {
        withUnsafeBytes(of: pattern) { pattern in
            var word: UInt64 = 0
            withUnsafeMutableBytes(of: &word) { word in
                for index in 0..<8 { word[index] = pattern[(offset + index) & 3] }
            }
            return word
        }
    }
}
