/// Whether a page may open a socket here: only one that came from the same host and port (RFC 6454, RFC 6455, section 10.2).
///
/// A program that sends no `Origin` is no browser and is let in; an origin that cannot be read is refused.
enum OriginRule {
    /// - Parameters:
    ///   - origin: The `Origin` header, `nil` when there is none.
    ///   - host: The `Host` header.
    static func admits(origin: String?, host: String) -> Bool {
        guard let origin else { return true }
        let lowercased = origin.lowercased()
        for (scheme, portDefault) in [("http://", 80), ("https://", 443)] where lowercased.hasPrefix(scheme) {
            guard let from = Authority(lowercased.dropFirst(scheme.count), portDefault: portDefault),
                let here = Authority(host.lowercased()[...], portDefault: portDefault)
            else { return false }
            return from == here
        }
        return false
    }

    /// `host[:port]`, with brackets around an IPv6 host.
    private struct Authority: Equatable {
        let host: Substring
        let port: Int

        init?(_ text: Substring, portDefault: Int) {
            let end: Substring.Index
            if text.first == "[" {
                guard let bracket = text.firstIndex(of: "]") else { return nil }
                end = text.index(after: bracket)
            } else {
                end = text.firstIndex(of: ":") ?? text.endIndex
            }
            host = text[..<end]
            let rest = text[end...]
            guard !host.isEmpty, host.utf8.allSatisfy(Self.belongsInHost) else { return nil }
            if rest.isEmpty {
                port = portDefault
            } else {
                let digits = rest.dropFirst()
                guard rest.first == ":", digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                    let number = UInt16(digits)
                else { return nil }
                port = Int(number)
            }
        }

        private static func belongsInHost(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."),
                UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ":"):
                true
            default:
                false
            }
        }
    }
}
