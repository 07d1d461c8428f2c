import FanfareModel

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// How typed values become JSON text and come back: what a typed consumer reads from its clients and writes to them.
///
/// ``FanfareJSONCoding`` is what is used when nothing else is said. For `JSONEncoder` with snake_case keys:
///
/// ```swift
/// let (encoder, decoder) = (JSONEncoder(), JSONDecoder())
/// encoder.keyEncodingStrategy = .convertToSnakeCase
/// decoder.keyDecodingStrategy = .convertFromSnakeCase
/// let coding: any JSONCoding = .foundation(encoder, decoder)
/// ```
public protocol JSONCoding: Sendable {
    /// The value as JSON.
    ///
    /// - Returns: UTF-8.
    /// - Throws: `EncodingError`, or why the value has no JSON text.
    func encode(_ value: some Encodable) throws -> [UInt8]

    /// Reads a value from JSON.
    ///
    /// - Parameters:
    ///   - type: What to read.
    ///   - json: One JSON text in UTF-8, from anybody.
    /// - Throws: `DecodingError`, or why it is no JSON text.
    func decode<Value: Decodable>(_ type: Value.Type, from json: [UInt8]) throws -> Value
}

extension JSONCoding {
    /// The value as JSON text.
    ///
    /// - Throws: As ``encode(_:)``.
    public func text(_ value: some Encodable) throws -> String {
        String(decoding: try encode(value), as: UTF8.self)
    }

    /// Reads a value from JSON text.
    ///
    /// - Throws: As ``decode(_:from:)-(_,[UInt8])``.
    public func decode<Value: Decodable>(_ type: Value.Type, from text: String) throws -> Value {
        try decode(type, from: Array(text.utf8))
    }
}

/// JSON as messages have it: ``MessageEncoder`` and ``MessageDecoder`` behind `MessageValue/json(sortedKeys:)`.
///
/// Numbers keep their kind, bytes are `{"$bytes": "<base64>"}`, dates are seconds since 1970, keys come in no order, and
/// what no key asks for is ignored. Nesting and elements are bounded as in any message.
public struct FanfareJSONCoding: JSONCoding {
    private let encoder = MessageEncoder()
    private let decoder = MessageDecoder()

    /// There is nothing to set.
    public init() {}

    /// The value as JSON.
    ///
    /// - Throws: `EncodingError`, `MessageValue/JSONFailure` for a double that JSON cannot say.
    public func encode(_ value: some Encodable) throws -> [UInt8] {
        try encoder.encode(value).json()
    }

    /// Reads a value from JSON.
    ///
    /// - Throws: `MessageValue/JSONFailure` for what is no JSON, `DecodingError` for what does not fit.
    public func decode<Value: Decodable>(_ type: Value.Type, from json: [UInt8]) throws -> Value {
        try decoder.decode(type, from: try MessageValue(json: json))
    }
}

/// JSON as Foundation's coders write and read it, with their strategies for keys, dates and bytes.
public struct FoundationJSONCoding: JSONCoding {
    private let encoder: JSONEncoder
    private let decoder: JSONDecoder

    /// Uses these coders; their settings must not be changed afterwards.
    public init(_ encoder: JSONEncoder = JSONEncoder(), _ decoder: JSONDecoder = JSONDecoder()) {
        self.encoder = encoder
        self.decoder = decoder
    }

    /// The value as JSON.
    ///
    /// - Throws: `EncodingError`.
    public func encode(_ value: some Encodable) throws -> [UInt8] {
        Array(try encoder.encode(value))
    }

    /// Reads a value from JSON.
    ///
    /// - Throws: `DecodingError`, also for what is no JSON.
    public func decode<Value: Decodable>(_ type: Value.Type, from json: [UInt8]) throws -> Value {
        try decoder.decode(type, from: Data(json))
    }
}

extension JSONCoding where Self == FoundationJSONCoding {
    /// Foundation's coders as they are set; their settings must not be changed afterwards.
    public static func foundation(_ encoder: JSONEncoder, _ decoder: JSONDecoder) -> FoundationJSONCoding {
        FoundationJSONCoding(encoder, decoder)
    }
}

extension JSONCoding where Self == FanfareJSONCoding {
    /// The default.
    public static var fanfare: FanfareJSONCoding { FanfareJSONCoding() }
}
