/// `host[:port]`, as in a `Host` header and behind the `://` of an origin (RFC 3986, section 3.2), in lower case.
struct Authority: Equatable, Sendable {
    /// A name of letters, digits, `-` and `_`, or an address; IPv6 in brackets in its usual text.
    let host: String
    /// `nil` when none was written.
    let port: UInt16?

    /// A host name has at most 253 bytes (RFC 1035, section 2.3.4).
    private static let hostBytes = 253

    /// - Parameter text: Of any content. Only ASCII is taken to lower case; no other character belongs in a host.
    init?(_ text: some StringProtocol) {
        guard text.utf8.count <= Self.hostBytes + ":65535".utf8.count else { return nil }
        let end: String.Index
        if text.utf8.first == UInt8(ascii: "[") {
            guard let bracket = text.firstIndex(of: "]") else { return nil }
            end = text.index(after: bracket)
            let inside = text[..<bracket].dropFirst()
            guard inside.contains(":"), let address = IPAddress(inside) else { return nil }
            host = address.isIPv4 ? "[::ffff:\(address)]" : "[\(address)]"
        } else {
            end = text.firstIndex(of: ":") ?? text.endIndex
            guard let name = Self.lowercased(text[..<end]), Self.isName(name) else { return nil }
            host = name
        }
        guard let colon = text[end...].utf8.first else {
            port = nil
            return
        }
        guard colon == UInt8(ascii: ":"), let number = Self.port(text[end...].dropFirst()) else { return nil }
        port = number
    }

    /// The authority in one text, for a `Host` header.
    var text: String {
        port.map { "\(host):\($0)" } ?? host
    }

    /// `text` with `A` to `Z` in lower case; `nil` when it is not ASCII: other letters also have lower case in ASCII.
    static func lowercased(_ text: some StringProtocol) -> String? {
        text.utf8.allSatisfy { $0 < 0x80 } ? text.lowercased() : nil
    }

    /// 1 to 65535 in decimal, without leading zeros.
    static func port(_ digits: some StringProtocol) -> UInt16? {
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), digits.utf8.first != UInt8(ascii: "0") else {
            return nil
        }
        return UInt16(digits)
    }

    /// Whether every label has 1 to 63 bytes that may stand in a host. One dot may end it, for the root.
    private static func isName(_ name: String) -> Bool {
        guard name.utf8.count <= hostBytes else { return false }
        let rooted = name.utf8.last == UInt8(ascii: ".") ? name.dropLast() : name[...]
        return rooted.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.utf8.allSatisfy(belongsInLabel)
        }
    }

    private static func belongsInLabel(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }
}
