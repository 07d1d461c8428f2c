/// One value inside a message: what the channel layer specification allows, and nothing else.
///
/// Text and bytes stay distinct, integers are 64-bit signed, map keys are text. Public because it is what
/// programs send and receive; every other type of this module is the house's own.
public enum MessageValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case binary([UInt8])
    case array([MessageValue])
    case map([String: MessageValue])
}

extension MessageValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral, ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// `nil` as a value of a message.
    public init(nilLiteral: ()) { self = .null }
    /// `true` or `false`.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// A 64-bit signed integer.
    public init(integerLiteral value: Int64) { self = .int(value) }
    /// A double.
    public init(floatLiteral value: Double) { self = .double(value) }
    /// Text.
    public init(stringLiteral value: String) { self = .string(value) }
    /// A list.
    public init(arrayLiteral elements: MessageValue...) { self = .array(elements) }
    /// A map; of equal keys the last wins.
    public init(dictionaryLiteral elements: (String, MessageValue)...) {
        self = .map(Dictionary(elements, uniquingKeysWith: { $1 }))
    }
}

extension MessageValue {
    /// The value for `key` when this is a map that has it.
    public subscript(key: String) -> MessageValue? {
        if case .map(let map) = self { map[key] } else { nil }
    }

    /// The text, when this is text.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The integer, when this is one.
    public var int: Int64? { if case .int(let value) = self { value } else { nil } }
    /// The number as a double, when this is an integer or a double.
    public var double: Double? {
        switch self {
        case .double(let value): value
        case .int(let value): Double(value)
        default: nil
        }
    }
    /// The truth value, when this is one.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The bytes, when these are bytes.
    public var binary: [UInt8]? { if case .binary(let value) = self { value } else { nil } }
    /// The elements, when this is a list.
    public var array: [MessageValue]? { if case .array(let value) = self { value } else { nil } }
    /// The entries, when this is a map.
    public var map: [String: MessageValue]? { if case .map(let value) = self { value } else { nil } }
    /// Whether this is nil.
    public var isNull: Bool { self == .null }

    /// An integer of any width; the nearest representable one when it does not fit. Inlined: generic, it would cost
    /// hundreds of instructions, for each value of each row that is looked at.
    @inlinable
    package static func count(_ value: some BinaryInteger) -> MessageValue {
        .int(Int64(clamping: value))
    }
}
