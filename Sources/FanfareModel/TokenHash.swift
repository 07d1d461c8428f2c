/// What a broker keeps of a secret token: its SHA-256. Who reads it cannot make the token of it, because tokens are
/// random (``tokenBytes``), not chosen by people.
package struct TokenHash: Sendable, Equatable, CustomStringConvertible {
    /// Random bytes in a token that `fanfare token` makes: 256 bits.
    package static let tokenBytes = 32
    /// What a token begins with, so that one in the wrong place is found.
    package static let tokenPrefix = "fanfare_"

    private static let byteCount = 32
    private static let textPrefix = "sha256:"
    private let bytes: [UInt8]

    /// - Parameter bytes: The digest, 32 bytes; `nil` for any other number of them.
    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// Reads `sha256:` and 64 hexadecimal digits, as ``description`` writes them.
    package init?(_ text: String) {
        let digits = Array(text.utf8.dropFirst(Self.textPrefix.utf8.count))
        guard text.hasPrefix(Self.textPrefix), digits.count == 2 * Self.byteCount else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(ofDigit: digits[index]), let low = Self.value(ofDigit: digits[index + 1]) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    /// Compares in a time that does not depend on where the two differ (as `CRYPTO_memcmp`).
    package static func == (left: TokenHash, right: TokenHash) -> Bool {
        var difference: UInt8 = 0
        for index in 0..<byteCount { difference |= left.bytes[index] ^ right.bytes[index] }
        return difference == 0
    }

    package var description: String { Self.textPrefix + Self.hexadecimal(bytes) }

    /// Two digits for each byte.
    package static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
