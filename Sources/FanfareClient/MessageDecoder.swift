public import FanfareModel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Makes any `Decodable` out of what the channel layer carried: the counterpart of ``MessageEncoder``.
///
/// Numbers keep their value or the decoding fails: an integer is read as a `Double` when it fits one exactly, a double
/// as an integer when it has no fraction and is in range. Only a `Float` is rounded, as a double rarely fits it. Map
/// entries no key asks for are ignored.
public struct MessageDecoder: Sendable {
    /// What the `init(from:)` of the values finds in `Decoder.userInfo`.
    public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

    /// A decoder; it may be used any number of times, by several tasks at once.
    public init() {}

    /// Reads a value of a message.
    ///
    /// - Throws: `DecodingError` with the coding path: `typeMismatch`, `valueNotFound` for nil, `keyNotFound`, and
    ///   `dataCorrupted` for a number that does not fit or more than 16 containers inside each other.
    public func decode<Value: Decodable>(_ type: Value.Type, from value: MessageValue) throws -> Value {
        let place = DecodingPlace(value, userInfo: userInfo)
        return try place.decodedWhole(type)
    }

    /// Reads a message, as ``ChannelLayer/receive(from:)`` returns it.
    ///
    /// - Throws: As ``decode(_:from:)``.
    public func decode<Value: Decodable>(
        _ type: Value.Type,
        fromMessage message: [String: MessageValue]
    ) throws -> Value {
        try decode(type, from: .map(message))
    }
}

/// The place of one value that is being decoded: the `Decoder` its `init(from:)` gets.
final class DecodingPlace: Decoder {
    let value: MessageValue
    private let parent: DecodingPlace?
    private let key: (any CodingKey)?
    /// Containers around this place.
    private let depth: Int
    private let sharedInfo: [CodingUserInfoKey: any Sendable]

    fileprivate init(_ value: MessageValue, userInfo: [CodingUserInfoKey: any Sendable]) {
        self.value = value
        parent = nil
        key = nil
        depth = 0
        sharedInfo = userInfo
    }

    fileprivate init(_ value: MessageValue, in parent: DecodingPlace, at key: any CodingKey) {
        self.value = value
        self.parent = parent
        self.key = key
        depth = parent.depth + 1
        sharedInfo = parent.sharedInfo
    }

    var codingPath: [any CodingKey] { (parent?.codingPath ?? []) + (key.map { [$0] } ?? []) }
    var userInfo: [CodingUserInfoKey: Any] { sharedInfo }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        guard case .map(let map) = value else { throw mismatch(value, [String: MessageValue].self, at: nil) }
        try checkDepth()
        return KeyedDecodingContainer(KeyedDecoding<Key>(place: self, map: map))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard case .array(let list) = value else { throw mismatch(value, [MessageValue].self, at: nil) }
        try checkDepth()
        return UnkeyedDecoding(place: self, list: list)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer {
        SingleDecoding(place: self)
    }

    private func checkDepth() throws {
        guard depth < nestingMaximum else {
            throw DecodingError.dataCorrupted(context("more than \(nestingMaximum) containers deep", at: nil))
        }
    }

    // MARK: Values

    /// Reads a value inside this place.
    @inline(__always)
    fileprivate func decoded<Value: Decodable>(
        _ value: MessageValue,
        as type: Value.Type,
        at key: some CodingKey
    ) throws -> Value {
        if let scalar = value.scalar(type) { return scalar }
        return try decodedSlowly(value, as: type, at: key)
    }

    private func decodedSlowly<Value: Decodable>(
        _ value: MessageValue,
        as type: Value.Type,
        at key: any CodingKey
    ) throws -> Value {
        if let known = try known(value, as: type, at: key) { return known }
        return try Value(from: DecodingPlace(value, in: self, at: key))
    }

    /// Reads the whole of this place.
    fileprivate func decodedWhole<Value: Decodable>(_ type: Value.Type) throws -> Value {
        if let known = try value.scalar(type) ?? known(value, as: type, at: nil) { return known }
        return try Value(from: self)
    }

    /// The types that do not read themselves; what is a scalar here has the wrong kind or does not fit.
    private func known<Value: Decodable>(
        _ value: MessageValue,
        as type: Value.Type,
        at key: (any CodingKey)?
    ) throws -> Value? {
        if Value.self == MessageValue.self { return (value as! Value) }
        if Value.self == [String: MessageValue].self, case .map(let map) = value { return (map as! Value) }
        // A list of numbers is read as one.
        if Value.self == [UInt8].self, case .binary(let bytes) = value { return (bytes as! Value) }
        if Value.self == Data.self, case .binary(let bytes) = value { return (Data(bytes) as! Value) }
        if Value.self == Date.self, let seconds = value.scalar(Double.self) {
            return (Date(timeIntervalSince1970: seconds) as! Value)
        }
        if Value.self == URL.self, case .string(let text) = value {
            guard let url = URL(string: text) else {
                throw DecodingError.dataCorrupted(context("\"\(text.prefix(256))\" is no URL", at: key))
            }
            return (url as! Value)
        }
        if Self.readsItself(type) { return nil }
        throw mismatch(value, type, at: key)
    }

    /// Whether a type reads itself from a container. The others are all of `MessageValue/scalar(_:)`.
    private static func readsItself(_ type: Any.Type) -> Bool {
        !knownTypes.contains(ObjectIdentifier(type))
    }

    private static let knownTypes: Set<ObjectIdentifier> = Set(
        [
            String.self, Bool.self, Double.self, Float.self, Int.self, Int64.self, Int32.self, Int16.self, Int8.self,
            UInt.self, UInt64.self, UInt32.self, UInt16.self, UInt8.self, Data.self, Date.self, URL.self,
        ].map { (type: any Any.Type) in ObjectIdentifier(type) }
    )

    // MARK: Errors

    fileprivate func context(_ text: String, at key: (any CodingKey)?) -> DecodingError.Context {
        .init(codingPath: codingPath + (key.map { [$0] } ?? []), debugDescription: text)
    }

    fileprivate func mismatch(_ value: MessageValue, _ type: Any.Type, at key: (any CodingKey)?) -> DecodingError {
        switch value {
        case .null: .valueNotFound(type, context("\(type) expected, there is nil", at: key))
        case .int(let number) where type is any Numeric.Type:
            .dataCorrupted(context("\(number) does not fit \(type)", at: key))
        case .double(let number) where type is any Numeric.Type:
            .dataCorrupted(context("\(number) does not fit \(type)", at: key))
        default: .typeMismatch(type, context("\(type) expected, there is \(value.kindName)", at: key))
        }
    }
}

// One generic `decode` for each container, as in `MessageEncoder`.

private struct KeyedDecoding<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let place: DecodingPlace
    let map: [String: MessageValue]

    var codingPath: [any CodingKey] { place.codingPath }
    var allKeys: [Key] { map.keys.compactMap(Key.init(stringValue:)) }

    func contains(_ key: Key) -> Bool {
        map[key.stringValue] != nil
    }

    func decodeNil(forKey key: Key) throws -> Bool {
        try value(key).isNull
    }

    @inline(__always)
    func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
        try place.decoded(try value(key), as: type, at: key)
    }

    func decodeIfPresent<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value? {
        guard let value = map[key.stringValue], !value.isNil else { return nil }
        return try place.decoded(value, as: type, at: key)
    }

    func nestedContainer<Inner: CodingKey>(
        keyedBy type: Inner.Type,
        forKey key: Key
    ) throws -> KeyedDecodingContainer<Inner> {
        try DecodingPlace(try value(key), in: place, at: key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        try DecodingPlace(try value(key), in: place, at: key).unkeyedContainer()
    }

    func superDecoder() -> any Decoder {
        DecodingPlace(map[PathStep.super.stringValue] ?? .null, in: place, at: PathStep.super)
    }

    func superDecoder(forKey key: Key) -> any Decoder {
        DecodingPlace(map[key.stringValue] ?? .null, in: place, at: key)
    }

    private func value(_ key: Key) throws -> MessageValue {
        guard let value = map[key.stringValue] else {
            throw DecodingError.keyNotFound(key, place.context("no entry \"\(key.stringValue)\"", at: nil))
        }
        return value
    }
}

private struct UnkeyedDecoding: UnkeyedDecodingContainer {
    let place: DecodingPlace
    let list: [MessageValue]
    private(set) var currentIndex = 0

    init(place: DecodingPlace, list: [MessageValue]) {
        self.place = place
        self.list = list
    }

    var codingPath: [any CodingKey] { place.codingPath }
    var count: Int? { list.count }
    var isAtEnd: Bool { currentIndex == list.count }

    mutating func decodeNil() throws -> Bool {
        guard try next(MessageValue.self).isNil else { return false }
        currentIndex += 1
        return true
    }

    // An element that cannot be read is not passed over, so that another type can be tried.
    @inline(__always)
    mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        let value = try place.decoded(try next(type), as: type, at: PathStep.index(currentIndex))
        currentIndex += 1
        return value
    }

    mutating func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        let container = try nextPlace(KeyedDecodingContainer<Key>.self).container(keyedBy: type)
        currentIndex += 1
        return container
    }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        let container = try nextPlace((any UnkeyedDecodingContainer).self).unkeyedContainer()
        currentIndex += 1
        return container
    }

    mutating func superDecoder() throws -> any Decoder {
        let place = try nextPlace((any Decoder).self)
        currentIndex += 1
        return place
    }

    private func next(_ type: Any.Type) throws -> MessageValue {
        guard !isAtEnd else {
            let text = "the list has \(list.count) elements"
            throw DecodingError.valueNotFound(type, place.context(text, at: PathStep.index(currentIndex)))
        }
        return list[currentIndex]
    }

    private func nextPlace(_ type: Any.Type) throws -> DecodingPlace {
        DecodingPlace(try next(type), in: place, at: PathStep.index(currentIndex))
    }
}

private struct SingleDecoding: SingleValueDecodingContainer {
    let place: DecodingPlace

    var codingPath: [any CodingKey] { place.codingPath }

    func decodeNil() -> Bool {
        place.value.isNil
    }

    @inline(__always)
    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        if let scalar = place.value.scalar(type) { return scalar }
        return try place.decodedWhole(type)
    }
}

extension MessageValue {
    /// The truth value, text or number, when this is one that fits; `nil` for every other type.
    @inline(__always)
    fileprivate func scalar<Value>(_ type: Value.Type) -> Value? {
        if Value.self == String.self {
            if case .string(let text) = self { return (text as! Value) }
        } else if Value.self == Bool.self {
            if case .bool(let bool) = self { return (bool as! Value) }
        } else if Value.self == Double.self {
            if case .double(let double) = self { return (double as! Value) }
            if case .int(let int) = self { return Double(exactly: int).map { $0 as! Value } }
        } else if Value.self == Float.self {
            return float.map { $0 as! Value }
        } else if Value.self == Int.self {
            return integer(Int.self).map { $0 as! Value }
        } else if Value.self == Int64.self {
            return integer(Int64.self).map { $0 as! Value }
        } else if Value.self == UInt64.self {
            return integer(UInt64.self).map { $0 as! Value }
        } else if Value.self == UInt.self {
            return integer(UInt.self).map { $0 as! Value }
        } else if Value.self == Int32.self {
            return integer(Int32.self).map { $0 as! Value }
        } else if Value.self == UInt32.self {
            return integer(UInt32.self).map { $0 as! Value }
        } else if Value.self == Int16.self {
            return integer(Int16.self).map { $0 as! Value }
        } else if Value.self == UInt16.self {
            return integer(UInt16.self).map { $0 as! Value }
        } else if Value.self == Int8.self {
            return integer(Int8.self).map { $0 as! Value }
        } else if Value.self == UInt8.self {
            return integer(UInt8.self).map { $0 as! Value }
        }
        return nil
    }

    @inline(__always)
    private func integer<Integer: FixedWidthInteger>(_ type: Integer.Type) -> Integer? {
        switch self {
        case .int(let int): Integer(exactly: int)
        case .double(let double): Integer(exactly: double)
        default: nil
        }
    }

    /// The nearest float; none for a number beyond its range.
    private var float: Float? {
        switch self {
        case .int(let int): Float(exactly: int)
        case .double(let double):
            Float(double).isFinite || !double.isFinite ? Float(double) : nil
        default: nil
        }
    }

    /// As `isNull`, without comparing.
    fileprivate var isNil: Bool { if case .null = self { true } else { false } }

    fileprivate var kindName: String {
        switch self {
        case .null: "nil"
        case .bool: "a truth value"
        case .int: "an integer"
        case .double: "a double"
        case .string: "text"
        case .binary: "bytes"
        case .array: "a list"
        case .map: "a map"
        }
    }
}
