/// What somebody asks the operations port.
package struct OpsRequest: Sendable {
    /// The path, as it stands in the request.
    package var path: String
    /// The query string, decoded; `nil` when it cannot be, or names something twice.
    package var query: [String: String]?
    /// The values of each header field, by its name in lower case.
    package var fields: [String: [String]]
    /// The address of who asks, without its port; empty when it is unknown.
    package var peer: String
    /// Whether the port listens on a loopback address, so that only this machine reaches it.
    package var isLoopbackListener: Bool

    package init(
        target: String,
        fields: [(name: String, value: String)] = [],
        peer: String = "",
        isLoopbackListener: Bool = false
    ) {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        path = String(parts.first ?? "")
        query = Self.query(parts.count > 1 ? parts[1] : "")
        self.fields = Dictionary(grouping: fields) { $0.name.lowercased() }.mapValues { $0.map(\.value) }
        self.peer = peer
        self.isLoopbackListener = isLoopbackListener
    }

    /// The value of a header field that came once; `nil` when it is missing or repeated.
    package func field(_ name: String) -> String? {
        fields[name].flatMap { $0.count == 1 ? $0[0] : nil }
    }

    // MARK: The query string

    /// Reads `a=1&b=2` (URL Living Standard, section 5.1).
    private static func query(_ text: Substring) -> [String: String]? {
        var query: [String: String] = [:]
        for part in text.split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decoded(pair[0]), let value = decoded(pair.count > 1 ? pair[1] : ""),
                query.updateValue(value, forKey: name) == nil
            else { return nil }
        }
        return query
    }

    /// `+` is a space, `%41` a byte; `nil` for other uses of `%` and for what is not UTF-8.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "+"): bytes.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst().flatMap(value(ofDigit:)),
                    let low = rest.popFirst().flatMap(value(ofDigit:))
                else { return nil }
                bytes.append(high << 4 | low)
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        Character(UnicodeScalar(digit)).hexDigitValue.flatMap(UInt8.init(exactly:))
    }
}

/// What names this machine itself, and cannot be anybody else's.
package enum Loopback {
    /// Whether `text` is an address of the loopback interface (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.3).
    package static func isAddress(_ text: some StringProtocol) -> Bool {
        if text == "::1" { return true }
        let quads = text.hasPrefix("::ffff:") ? text.dropFirst(7)[...] : text[...]
        let numbers = quads.split(separator: ".", omittingEmptySubsequences: false)
        return numbers.count == 4 && numbers[0] == "127"
            && numbers.allSatisfy { $0.utf8.allSatisfy { (0x30...0x39).contains($0) } && UInt8($0) != nil }
    }

    /// Whether the value of a `Host` field names the loopback interface: a page of another name that its owner has
    /// pointed to 127.0.0.1 (DNS rebinding) sends that name.
    package static func isHost(_ field: String) -> Bool {
        let name: Substring
        let port: Substring
        if field.hasPrefix("["), let end = field.firstIndex(of: "]") {
            name = field[field.index(after: field.startIndex)..<end]
            port = field[field.index(after: end)...]
            guard name.contains(":") else { return false }
        } else {
            name = field.prefix { $0 != ":" }
            port = field[name.endIndex...]
            guard !name.contains(":") else { return false }
        }
        let isPort =
            port.isEmpty
            || (port.first == ":" && (2...6).contains(port.utf8.count)
                && port.utf8.dropFirst().allSatisfy { (0x30...0x39).contains($0) })
        return isPort && (name.lowercased() == "localhost" || isAddress(name))
    }
}
