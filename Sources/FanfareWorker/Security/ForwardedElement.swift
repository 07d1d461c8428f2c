/// Reads the `Forwarded` header (RFC 7239, section 4): `for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`.
enum ForwardedElement {
    /// The elements of one header in order, each its parameters by lower-case name.
    ///
    /// - Returns: `nil` when any of it breaks the grammar. Nothing is recovered: a quote that a client left open would
    ///   swallow what a proxy appended, and what is left would be the client's words.
    static func list(_ text: String) -> [[String: String]]? {
        var reader = Reader(bytes: Array(text.utf8))
        var elements: [[String: String]] = []
        repeat {
            guard let element = reader.element() else { return nil }
            elements.append(element)
        } while reader.take(UInt8(ascii: ","))
        return reader.isAtEnd ? elements : nil
    }

    private struct Reader {
        let bytes: [UInt8]
        private var index = 0

        init(bytes: [UInt8]) {
            self.bytes = bytes
        }

        var isAtEnd: Bool { index == bytes.count }

        mutating func take(_ byte: UInt8) -> Bool {
            guard index < bytes.count, bytes[index] == byte else { return false }
            index += 1
            return true
        }

        mutating func element() -> [String: String]? {
            var parameters: [String: String] = [:]
            skipSpace()
            repeat {
                guard let name = token()?.lowercased(), take(UInt8(ascii: "=")),
                    let value = take(UInt8(ascii: "\"")) ? restOfQuoted() : token(), parameters[name] == nil
                else { return nil }
                parameters[name] = value
            } while take(UInt8(ascii: ";"))
            skipSpace()
            return parameters
        }

        private mutating func skipSpace() {
            while index < bytes.count, bytes[index] == 0x20 || bytes[index] == 0x09 { index += 1 }
        }

        private mutating func token() -> String? {
            let start = index
            while index < bytes.count, Self.belongsInToken(bytes[index]) { index += 1 }
            return index > start ? String(decoding: bytes[start..<index], as: UTF8.self) : nil
        }

        private mutating func restOfQuoted() -> String? {
            var value: [UInt8] = []
            while index < bytes.count {
                if take(UInt8(ascii: "\"")) { return String(decoding: value, as: UTF8.self) }
                if take(UInt8(ascii: "\\")), index == bytes.count { return nil }
                value.append(bytes[index])
                index += 1
            }
            return nil
        }

        /// RFC 9110, section 5.6.2.
        private static func belongsInToken(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
    }
}
