public import FanfareModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

// Written by hand because Foundation's coders do not keep the two kinds of numbers apart: its decoder reads `1.0` as
// the integer 1 and its encoder writes the double 1.0 as `1`. A message has to come back as it was.

extension MessageValue {
    /// Why a JSON text is no message, or a message has no JSON text.
    public struct JSONFailure: Error, Sendable, Equatable, CustomStringConvertible {
        /// Where, from the outermost value `$`: `$.user.tags[3]`.
        public internal(set) var path = "$"
        /// What is wrong there.
        public let problem: String

        init(_ problem: String) {
            self.problem = problem
        }

        /// Path and problem in one line.
        public var description: String { "\(path): \(problem)" }

        func under(_ key: String) -> JSONFailure {
            under(step: "." + (key.utf8.count <= Self.keyBytes ? key : String(key.prefix(Self.keyBytes)) + "…"))
        }

        func under(_ index: Int) -> JSONFailure {
            under(step: "[\(index)]")
        }

        private func under(step: String) -> JSONFailure {
            var outer = self
            outer.path = "$" + step + path.dropFirst()
            return outer
        }

        /// Longer keys are cut: a path is for people.
        private static let keyBytes = 64
    }

    /// Reads one JSON value (RFC 8259).
    ///
    /// A number without fraction and exponent is an ``int(_:)``, every other a ``double(_:)``: `1` and `1.0` stay
    /// what they are. A map whose only entry is `"$bytes": "<base64>"` is a ``binary(_:)``. Of equal
    /// keys the last wins.
    ///
    /// - Parameter json: UTF-8, exactly one value. At most 16 containers deep and 1 048 576 elements, like any message.
    /// - Throws: ``JSONFailure``: not JSON, an integer beyond 64 bits, a number beyond a double, text with half a
    ///   surrogate pair or broken UTF-8, bytes that are not base64, nesting or elements beyond the bound.
    public init(json: [UInt8]) throws {
        var reader = JSONReader(bytes: json)
        self = try reader.wholeText()
    }

    /// This value as JSON (RFC 8259), without white space.
    ///
    /// Bytes become `{"$bytes":"<base64>"}`, doubles keep a fraction or an exponent. Control characters are written
    /// as `\u00xx`, so that a message cannot steer the terminal it is shown on.
    ///
    /// - Parameter sortedKeys: Whether the entries of every map are ordered by key; otherwise in no order.
    /// - Throws: ``JSONFailure`` for a double that JSON cannot say (NaN, infinity), or more than 16 containers deep.
    public func json(sortedKeys: Bool = false) throws -> [UInt8] {
        var writer = JSONWriter(sortedKeys: sortedKeys)
        try writer.write(self, depth: 0)
        return writer.bytes
    }
}

typealias JSONFailure = MessageValue.JSONFailure

/// The key of the map that stands for bytes.
let bytesKey = "$bytes"
/// Containers inside containers, as everywhere.
let nestingMaximum = Limits().nesting
private let elementsMaximum = Limits().elements

private struct JSONReader {
    let bytes: [UInt8]
    private var index = 0
    private var elements = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func wholeText() throws(JSONFailure) -> MessageValue {
        let value = try value(depth: 0)
        skipSpace()
        guard index == bytes.count else { throw unexpected("the end of the text") }
        return value
    }

    private mutating func value(depth: Int) throws(JSONFailure) -> MessageValue {
        elements += 1
        guard elements <= elementsMaximum else {
            throw JSONFailure("more than \(elementsMaximum) elements in a message")
        }
        skipSpace()
        guard let byte = peek else { throw unexpected("a value") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try list(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try text())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw unexpected("a value")
        }
    }

    private mutating func object(depth: Int) throws(JSONFailure) -> MessageValue {
        // One level more than the bound may begin: it is only a fault if it turns out not to stand for bytes.
        guard depth <= nestingMaximum + 1 else { throw Self.tooDeep }
        index += 1
        var map: [String: MessageValue] = [:]
        skipSpace()
        if !take("}") {
            repeat {
                skipSpace()
                guard peek == UInt8(ascii: "\"") else { throw unexpected("a key in quotes") }
                let key = try text()
                skipSpace()
                guard take(":") else { throw unexpected("`:`").under(key) }
                do {
                    map[key] = try value(depth: depth)
                } catch {
                    throw error.under(key)
                }
                skipSpace()
            } while take(",")
            guard take("}") else { throw unexpected("`,` or `}`") }
        }
        if map.count == 1, case .string(let base64)? = map[bytesKey] {
            guard let data = Data(base64Encoded: base64) else {
                throw JSONFailure("not base64; a map with the one key \(bytesKey) stands for bytes").under(bytesKey)
            }
            return .binary([UInt8](data))
        }
        guard depth <= nestingMaximum else { throw Self.tooDeep }
        return .map(map)
    }

    private mutating func list(depth: Int) throws(JSONFailure) -> MessageValue {
        guard depth <= nestingMaximum else { throw Self.tooDeep }
        index += 1
        var list: [MessageValue] = []
        skipSpace()
        if take("]") { return .array(list) }
        repeat {
            do {
                list.append(try value(depth: depth))
            } catch {
                throw error.under(list.count)
            }
            skipSpace()
        } while take(",")
        guard take("]") else { throw unexpected("`,` or `]`") }
        return .array(list)
    }

    private mutating func number() throws(JSONFailure) -> MessageValue {
        let start = index
        var isInteger = true
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") {
            isInteger = false
            try digits()
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if isInteger {
            guard let value = Int64(text) else {
                throw JSONFailure(
                    "\(text.prefix(40)) does not fit a 64-bit integer; write it as text, or as a double with e0"
                )
            }
            return .int(value)
        }
        guard let value = Double(text), value.isFinite else {
            throw JSONFailure("\(text.prefix(40)) is beyond a double; write it as text")
        }
        return .double(value)
    }

    private mutating func digits() throws(JSONFailure) {
        let start = index
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { index += 1 }
        guard index > start else { throw unexpected("a digit") }
    }

    private mutating func text() throws(JSONFailure) -> String {
        index += 1
        let start = index
        skipPlainText()
        guard peek == UInt8(ascii: "\\") else {
            let end = index
            try closeText()
            return try Self.string(bytes[start..<end])
        }
        var unescaped = Array(bytes[start..<index])
        while take("\\") {
            try appendEscaped(to: &unescaped)
            let start = index
            skipPlainText()
            unescaped.append(contentsOf: bytes[start..<index])
        }
        try closeText()
        return try Self.string(unescaped[...])
    }

    private mutating func skipPlainText() {
        while let byte = peek, byte >= 0x20, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\") { index += 1 }
    }

    private mutating func closeText() throws(JSONFailure) {
        guard take("\"") else { throw unexpected("the closing quote of a text") }
    }

    private static func string(_ bytes: ArraySlice<UInt8>) throws(JSONFailure) -> String {
        guard let string = String(validating: bytes, as: UTF8.self) else {
            throw JSONFailure("a text that is not UTF-8")
        }
        return string
    }

    private mutating func appendEscaped(to text: inout [UInt8]) throws(JSONFailure) {
        guard let byte = peek else { throw unexpected("an escape") }
        let plain: UInt8
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): plain = byte
        case UInt8(ascii: "b"): plain = 0x08
        case UInt8(ascii: "f"): plain = 0x0c
        case UInt8(ascii: "n"): plain = 0x0a
        case UInt8(ascii: "r"): plain = 0x0d
        case UInt8(ascii: "t"): plain = 0x09
        case UInt8(ascii: "u"):
            index += 1
            text.append(contentsOf: String(Character(try escapedScalar())).utf8)
            return
        default: throw unexpected("an escape")
        }
        index += 1
        text.append(plain)
    }

    /// Reads what follows `\u`: four digits, or a surrogate pair.
    private mutating func escapedScalar() throws(JSONFailure) -> Unicode.Scalar {
        let first = try fourHexDigits()
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard (0xd800..<0xdc00).contains(first), take("\\"), take("u") else {
            throw JSONFailure("half a surrogate pair before byte \(index)")
        }
        let second = try fourHexDigits()
        guard (0xdc00..<0xe000).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
        else {
            throw JSONFailure("half a surrogate pair before byte \(index)")
        }
        return scalar
    }

    private mutating func fourHexDigits() throws(JSONFailure) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = peek.flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }) else {
                throw unexpected("a hexadecimal digit")
            }
            value = value << 4 | UInt32(digit)
            index += 1
        }
        return value
    }

    private mutating func word(_ word: String, _ value: MessageValue) throws(JSONFailure) -> MessageValue {
        guard bytes[index...].starts(with: word.utf8) else { throw unexpected("`\(word)`") }
        index += word.utf8.count
        return value
    }

    private var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func take(_ expected: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: expected) else { return false }
        index += 1
        return true
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { index += 1 }
    }

    private func unexpected(_ expected: String) -> JSONFailure {
        guard let byte = peek else { return JSONFailure("the text ends where \(expected) should stand") }
        let found = (0x21..<0x7f).contains(byte) ? "`\(Unicode.Scalar(byte))`" : "0x" + String(byte, radix: 16)
        return JSONFailure("\(found) at byte \(index) where \(expected) should stand")
    }

    private static let tooDeep = JSONFailure("more than \(nestingMaximum) containers deep")
}
