public import FanfareModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Turns any `Encodable` into what the channel layer carries.
///
/// Nothing changes its kind on the way: integers stay 64-bit integers, floating point stays a double, `[UInt8]` and
/// `Data` become bytes; other collections of bytes are lists of numbers. A `Date` becomes seconds since 1970 as a
/// double, a `URL` its text, and what a `MessageValue` holds is taken as it is. Dictionaries with `String` or `Int`
/// keys become maps.
///
/// ```swift
/// let message = try MessageEncoder().encode(message: Mail(to: "ada@example.org"), type: "mail.send")
/// try await layer.send(message, to: "mail")
/// ```
public struct MessageEncoder: Sendable {
    /// What the `encode(to:)` of the values finds in `Encoder.userInfo`.
    public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

    /// An encoder; it may be used any number of times, by several tasks at once.
    public init() {}

    /// The value as a message value.
    ///
    /// - Throws: `EncodingError` with the coding path, for an integer beyond 64 bits signed or more than 16 containers
    ///   inside each other; whatever the value's own `encode(to:)` throws.
    public func encode(_ value: some Encodable) throws -> MessageValue {
        try EncodingPlace(userInfo: userInfo).encoded(value, at: nil)
    }

    /// The value as a message.
    ///
    /// - Parameters:
    ///   - value: A type that encodes itself as a map: a struct, a class, a dictionary with text for keys.
    ///   - type: What the message has under `type`, the word its receiver chooses a handler by; `nil` leaves that to
    ///     the value.
    /// - Throws: As ``encode(_:)``; `EncodingError` when the value is no map.
    public func encode(message value: some Encodable, type: String? = nil) throws -> [String: MessageValue] {
        guard case .map(var message) = try encode(value) else {
            throw EncodingError.invalidValue(
                value,
                .init(codingPath: [], debugDescription: "a message is a map; \(Swift.type(of: value)) encodes as none")
            )
        }
        if let type { message["type"] = .string(type) }
        return message
    }
}

/// Where one value is being encoded: the `Encoder` its `encode(to:)` gets.
///
/// It becomes what the value asks for first: a map, a list, or a single value. Containers that were handed out write
/// here; what they nest keeps a place of its own, which is read when this one is ``finished()``.
private final class EncodingPlace: Encoder {
    private enum Kind {
        case undecided
        case single
        case list
        case map
    }

    private let parent: EncodingPlace?
    private let key: (any CodingKey)?
    /// Containers around this place.
    private let depth: Int
    private let sharedInfo: [CodingUserInfoKey: any Sendable]
    private var kind = Kind.undecided
    private var single = MessageValue.null
    fileprivate var list: [MessageValue] = []
    fileprivate var map: [String: MessageValue] = [:]
    /// Nested places, which may be written to as long as this one is.
    private var nested: [EncodingPlace] = []

    init(userInfo: [CodingUserInfoKey: any Sendable]) {
        parent = nil
        key = nil
        depth = 0
        sharedInfo = userInfo
    }

    private init(parent: EncodingPlace, key: any CodingKey) {
        self.parent = parent
        self.key = key
        depth = parent.depth + 1
        sharedInfo = parent.sharedInfo
    }

    var codingPath: [any CodingKey] { (parent?.codingPath ?? []) + (key.map { [$0] } ?? []) }
    var userInfo: [CodingUserInfoKey: Any] { sharedInfo }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        decide(.map)
        if map.isEmpty { map.reserveCapacity(Self.entriesExpected) }
        return KeyedEncodingContainer(KeyedEncoding<Key>(place: self))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        decide(.list)
        return UnkeyedEncoding(place: self)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer {
        SingleEncoding(place: self)
    }

    /// Most messages have a handful of entries; room for them at once saves growing in steps.
    private static let entriesExpected = 6

    private func decide(_ kind: Kind) {
        precondition(self.kind == .undecided || self.kind == kind, "a value encodes itself as one kind of container")
        self.kind = kind
    }

    fileprivate func set(_ value: MessageValue) {
        decide(.single)
        single = value
    }

    /// What has been encoded here; a value that encoded nothing is an empty map.
    private func finished() throws -> MessageValue {
        if kind == .single { return single }
        guard depth < nestingMaximum else { throw tooDeep(self) }
        for place in nested {
            guard let key = place.key else { continue }
            if kind == .list, let index = key.intValue {
                list[index] = try place.finished()
            } else {
                map[key.stringValue] = try place.finished()
            }
        }
        return kind == .list ? .array(list) : .map(map)
    }

    // MARK: Values

    /// The value of something inside this place, or of the place itself when there is no key.
    ///
    /// Only for what `MessageValue/init(scalar:)` does not know.
    fileprivate func encoded<Value: Encodable>(_ value: Value, at key: (any CodingKey)?) throws -> MessageValue {
        if let known = try scalarOrKnown(value, at: key) { return known }
        guard let key else {
            try value.encode(to: self)
            return try finished()
        }
        guard depth < nestingMaximum else { throw tooDeep(value) }
        let place = EncodingPlace(parent: self, key: key)
        try value.encode(to: place)
        return try place.finished()
    }

    /// Encodes the value as the whole of this place.
    fileprivate func encodeWhole<Value: Encodable>(_ value: Value) throws {
        if let known = try scalarOrKnown(value, at: nil) { set(known) } else { try value.encode(to: self) }
    }

    private func scalarOrKnown<Value: Encodable>(_ value: Value, at key: (any CodingKey)?) throws -> MessageValue? {
        if let scalar = MessageValue(scalar: value) { return scalar }
        if Value.self == [UInt8].self { return .binary(value as! [UInt8]) }
        if Value.self == Data.self { return .binary([UInt8](value as! Data)) }
        if Value.self == Date.self { return .double((value as! Date).timeIntervalSince1970) }
        if Value.self == URL.self { return .string((value as! URL).absoluteString) }
        if Value.self == MessageValue.self { return try checked(value as! MessageValue, at: key) }
        if Value.self == [String: MessageValue].self {
            return try checked(.map(value as! [String: MessageValue]), at: key)
        }
        guard Value.self == UInt64.self || Value.self == UInt.self else { return nil }
        throw failure(value, at: key, "\(value) does not fit a 64-bit signed integer; send it as text or bytes")
    }

    private func checked(_ value: MessageValue, at key: (any CodingKey)?) throws -> MessageValue {
        guard value.nests(atMost: nestingMaximum - depth - (key == nil ? 0 : 1)) else {
            throw failure(value, at: key, Self.tooDeepText)
        }
        return value
    }

    // MARK: Nesting

    fileprivate func nestedPlace(at key: any CodingKey) -> EncodingPlace {
        let place = EncodingPlace(parent: self, key: key)
        nested.append(place)
        return place
    }

    fileprivate func nextPlace() -> EncodingPlace {
        list.append(.null)
        return nestedPlace(at: PathStep.index(list.count - 1))
    }

    private func tooDeep(_ value: Any) -> EncodingError {
        failure(value, at: nil, Self.tooDeepText)
    }

    private func failure(_ value: Any, at key: (any CodingKey)?, _ text: String) -> EncodingError {
        .invalidValue(value, .init(codingPath: codingPath + (key.map { [$0] } ?? []), debugDescription: text))
    }

    private static let tooDeepText = "more than \(nestingMaximum) containers deep"
}

// Each container has one generic `encode`, the witness for every type its protocol lists. It is inlined into those
// witnesses, where the comparisons of types in `init(scalar:)` are decided: measured, a third of the time of a message.

private struct KeyedEncoding<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let place: EncodingPlace

    var codingPath: [any CodingKey] { place.codingPath }

    func encodeNil(forKey key: Key) {
        place.map[key.stringValue] = .null
    }

    @inline(__always)
    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
        place.map[key.stringValue] = try MessageValue(scalar: value) ?? place.encoded(value, at: key)
    }

    func nestedContainer<Inner: CodingKey>(keyedBy: Inner.Type, forKey key: Key) -> KeyedEncodingContainer<Inner> {
        place.nestedPlace(at: key).container(keyedBy: Inner.self)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        place.nestedPlace(at: key).unkeyedContainer()
    }

    func superEncoder() -> any Encoder {
        place.nestedPlace(at: PathStep.super)
    }

    func superEncoder(forKey key: Key) -> any Encoder {
        place.nestedPlace(at: key)
    }
}

private struct UnkeyedEncoding: UnkeyedEncodingContainer {
    let place: EncodingPlace

    var codingPath: [any CodingKey] { place.codingPath }
    var count: Int { place.list.count }

    func encodeNil() {
        place.list.append(.null)
    }

    @inline(__always)
    func encode<Value: Encodable>(_ value: Value) throws {
        place.list.append(try MessageValue(scalar: value) ?? place.encoded(value, at: PathStep.index(count)))
    }

    func nestedContainer<Key: CodingKey>(keyedBy: Key.Type) -> KeyedEncodingContainer<Key> {
        place.nextPlace().container(keyedBy: Key.self)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        place.nextPlace().unkeyedContainer()
    }

    func superEncoder() -> any Encoder {
        place.nextPlace()
    }
}

private struct SingleEncoding: SingleValueEncodingContainer {
    let place: EncodingPlace

    var codingPath: [any CodingKey] { place.codingPath }

    func encodeNil() {
        place.set(.null)
    }

    @inline(__always)
    func encode<Value: Encodable>(_ value: Value) throws {
        if let scalar = MessageValue(scalar: value) { place.set(scalar) } else { try place.encodeWhole(value) }
    }
}

extension MessageValue {
    /// The value of a truth value, text or number; `nil` for any other type, or an integer that does not fit.
    @inline(__always)
    fileprivate init?<Value>(scalar value: Value) {
        if Value.self == String.self {
            self = .string(value as! String)
        } else if Value.self == Bool.self {
            self = .bool(value as! Bool)
        } else if Value.self == Double.self {
            self = .double(value as! Double)
        } else if Value.self == Float.self {
            self = .double(Double(value as! Float))
        } else if let int = Self.integer(value) {
            self = .int(int)
        } else {
            return nil
        }
    }

    @inline(__always)
    private static func integer<Value>(_ value: Value) -> Int64? {
        if Value.self == Int.self { return Int64(value as! Int) }
        if Value.self == Int64.self { return (value as! Int64) }
        if Value.self == UInt64.self { return Int64(exactly: value as! UInt64) }
        if Value.self == UInt.self { return Int64(exactly: value as! UInt) }
        if Value.self == Int32.self { return Int64(value as! Int32) }
        if Value.self == UInt32.self { return Int64(value as! UInt32) }
        if Value.self == Int16.self { return Int64(value as! Int16) }
        if Value.self == UInt16.self { return Int64(value as! UInt16) }
        if Value.self == Int8.self { return Int64(value as! Int8) }
        if Value.self == UInt8.self { return Int64(value as! UInt8) }
        return nil
    }

    /// Whether there are at most `depth` containers inside each other; looks no deeper than that.
    fileprivate func nests(atMost depth: Int) -> Bool {
        switch self {
        case .array(let list): depth > 0 && list.allSatisfy { $0.nests(atMost: depth - 1) }
        case .map(let map): depth > 0 && map.values.allSatisfy { $0.nests(atMost: depth - 1) }
        default: true
        }
    }
}

/// A place in a list, or a name no type has a key for.
enum PathStep: CodingKey {
    case index(Int)
    case named(String)

    /// Where a class without a key for it keeps what its superclass encodes.
    static let `super` = PathStep.named("super")

    init(intValue: Int) { self = .index(intValue) }
    init(stringValue: String) { self = .named(stringValue) }

    var intValue: Int? { if case .index(let index) = self { index } else { nil } }
    var stringValue: String {
        switch self {
        case .index(let index): "Index \(index)"
        case .named(let name): name
        }
    }
}
