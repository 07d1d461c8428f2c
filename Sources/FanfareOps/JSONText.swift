package import FanfareModel
import FoundationEssentials

/// Writes JSON (RFC 8259) for log lines and the answers of the operations port.
///
/// Keys of a map come out sorted, so that equal values are equal texts. Doubles JSON has no number for become
/// `null`; bytes become `{"$bytes": "<base64>"}`, as everywhere in this house.
package struct JSONText {
    /// What has been written so far, UTF-8.
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// `value` as one line of JSON.
    package static func render(_ value: MessageValue) -> String {
        var text = JSONText()
        text.append(value)
        return String(decoding: text.bytes, as: UTF8.self)
    }

    /// Writes punctuation or any other text that is JSON already.
    package mutating func append(verbatim text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    /// Writes `text` in quotes, with everything escaped that RFC 8259 section 7 asks for.
    ///
    /// DEL and the C1 controls are escaped too: JSON allows them, but a terminal acts on them.
    package mutating func append(text: String) {
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": append(verbatim: "\\\"")
            case "\\": append(verbatim: "\\\\")
            case "\n": append(verbatim: "\\n")
            case "\r": append(verbatim: "\\r")
            case "\t": append(verbatim: "\\t")
            case "\u{00}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}": append(escaped: scalar.value)
            default: bytes.append(contentsOf: UTF8.encode(scalar)!)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Writes any value.
    package mutating func append(_ value: MessageValue) {
        switch value {
        case .null: append(verbatim: "null")
        case .bool(let value): append(verbatim: value ? "true" : "false")
        case .int(let value): append(verbatim: String(value))
        case .double(let value): append(verbatim: value.isFinite ? String(value) : "null")
        case .string(let value): append(text: value)
        case .binary(let value): append(.map(["$bytes": .string(Data(value).base64EncodedString())]))
        case .array(let values):
            append(verbatim: "[")
            for (index, value) in values.enumerated() {
                if index > 0 { append(verbatim: ",") }
                append(value)
            }
            append(verbatim: "]")
        case .map(let entries):
            append(verbatim: "{")
            for (index, entry) in entries.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { append(verbatim: ",") }
                append(text: entry.key)
                append(verbatim: ":")
                append(entry.value)
            }
            append(verbatim: "}")
        }
    }

    /// `\uXXXX` for a scalar of the basic plane.
    private mutating func append(escaped scalar: UInt32) {
        let digits = String(scalar, radix: 16)
        append(verbatim: "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits)
    }
}
