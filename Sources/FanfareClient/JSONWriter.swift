import FanfareModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Writes one message value as JSON; see `MessageValue/json(sortedKeys:)`.
struct JSONWriter {
    let sortedKeys: Bool
    private(set) var bytes: [UInt8] = []

    init(sortedKeys: Bool) {
        self.sortedKeys = sortedKeys
    }

    mutating func write(_ value: MessageValue, depth: Int) throws(JSONFailure) {
        switch value {
        case .null: append("null")
        case .bool(let bool): append(bool ? "true" : "false")
        case .int(let int): append(String(int))
        case .double(let double):
            guard double.isFinite else { throw JSONFailure("\(double) is no number JSON can say") }
            // The shortest digits that read back as the same double, always with a fraction or an exponent.
            append(double.description)
        case .string(let string): quote(string)
        case .binary(let binary):
            append("{\"\(bytesKey)\":\"")
            append(Data(binary).base64EncodedString())
            append("\"}")
        case .array(let list): try write(list, depth: depth + 1)
        case .map(let map): try write(map, depth: depth + 1)
        }
    }

    private mutating func write(_ list: [MessageValue], depth: Int) throws(JSONFailure) {
        try checkDepth(depth)
        append("[")
        for (index, element) in list.enumerated() {
            if index > 0 { append(",") }
            do {
                try write(element, depth: depth)
            } catch {
                throw error.under(index)
            }
        }
        append("]")
    }

    private mutating func write(_ map: [String: MessageValue], depth: Int) throws(JSONFailure) {
        try checkDepth(depth)
        append("{")
        let entries = sortedKeys ? map.sorted { $0.key < $1.key } : Array(map)
        for (index, (key, value)) in entries.enumerated() {
            if index > 0 { append(",") }
            quote(key)
            append(":")
            do {
                try write(value, depth: depth)
            } catch {
                throw error.under(key)
            }
        }
        append("}")
    }

    private func checkDepth(_ depth: Int) throws(JSONFailure) {
        guard depth <= nestingMaximum else { throw JSONFailure("more than \(nestingMaximum) containers deep") }
    }

    private mutating func append(_ text: String) {
        bytes.append(contentsOf: text.utf8)
    }

    private mutating func quote(_ text: String) {
        append("\"")
        var text = text
        text.withUTF8 { utf8 in
            var index = 0
            while index < utf8.count {
                let start = index
                while index < utf8.count, !Self.needsEscape(utf8, index) { index += 1 }
                bytes.append(contentsOf: utf8[start..<index])
                guard index < utf8.count else { return }
                // The second byte of a C1 control is its code point.
                if utf8[index] == 0xc2 { index += 1 }
                escape(utf8[index])
                index += 1
            }
        }
        append("\"")
    }

    /// Quote, backslash and the control characters: C0, DEL, and C1, which UTF-8 writes as `c2 80` to `c2 9f`.
    private static func needsEscape(_ utf8: UnsafeBufferPointer<UInt8>, _ index: Int) -> Bool {
        switch utf8[index] {
        case 0..<0x20, 0x7f, UInt8(ascii: "\""), UInt8(ascii: "\\"): true
        case 0xc2: utf8[index + 1] < 0xa0
        default: false
        }
    }

    private mutating func escape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): append("\\" + String(Unicode.Scalar(byte)))
        case 0x08: append("\\b")
        case 0x09: append("\\t")
        case 0x0a: append("\\n")
        case 0x0c: append("\\f")
        case 0x0d: append("\\r")
        default: append("\\u00" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16))
        }
    }
}
