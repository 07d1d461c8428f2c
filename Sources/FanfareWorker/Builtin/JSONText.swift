/// JSON that a worker writes: objects of text and integers, straight into bytes.
struct JSONText {
    private(set) var bytes: [UInt8] = []

    /// - Parameter byteCount: Makes room for as many at once; there may be more.
    init(reserving byteCount: Int = 96) {
        bytes.reserveCapacity(byteCount)
        bytes.append(UInt8(ascii: "{"))
    }

    /// Adds a member whose value is text.
    mutating func add(_ key: StaticString, _ value: String) {
        addKey(key)
        Self.append(quoted: value, to: &bytes)
    }

    /// Adds a member whose value is an integer.
    mutating func add(_ key: StaticString, _ value: Int) {
        addKey(key)
        bytes.append(contentsOf: String(value).utf8)
    }

    /// Adds a member whose value is true or false.
    mutating func add(_ key: StaticString, _ value: Bool) {
        addKey(key)
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    /// Adds a member whose value is JSON already.
    mutating func add(_ key: StaticString, json value: [UInt8]) {
        addKey(key)
        bytes.append(contentsOf: value)
    }

    /// The finished object.
    consuming func object() -> [UInt8] {
        bytes.append(UInt8(ascii: "}"))
        return bytes
    }

    private mutating func addKey(_ key: StaticString) {
        if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
        bytes.append(UInt8(ascii: "\""))
        key.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    /// Appends `text` as a JSON string (RFC 8259, section 7); what need not be escaped stays as it is.
    private static func append(quoted text: String, to bytes: inout [UInt8]) {
        var text = text
        bytes.append(UInt8(ascii: "\""))
        text.withUTF8 { utf8 in
            var start = 0
            for (index, byte) in utf8.enumerated() where mustEscape(byte) {
                bytes.append(contentsOf: utf8[start..<index])
                append(escape: byte, to: &bytes)
                start = index + 1
            }
            bytes.append(contentsOf: utf8[start...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func mustEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private static func append(escape byte: UInt8, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        case UInt8(ascii: "\n"): bytes.append(UInt8(ascii: "n"))
        case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "r"))
        case UInt8(ascii: "\t"): bytes.append(UInt8(ascii: "t"))
        default:
            let digits = Array("0123456789abcdef".utf8)
            bytes.append(contentsOf: "u00".utf8)
            bytes.append(digits[Int(byte >> 4)])
            bytes.append(digits[Int(byte & 0xf)])
        }
    }
}
