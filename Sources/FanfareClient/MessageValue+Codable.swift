public import FanfareModel

// With this a message type may have a field that holds anything. Our own coders take and give such a value as it is;
// what follows is for others, such as `JSONEncoder`, which know no bytes.
extension MessageValue: Codable {
    /// Reads whatever stands there. A decoder that does not tell `1.0` from `1` gives an integer for both.
    ///
    /// - Throws: `DecodingError` when it is nothing a message may hold.
    public init(from decoder: any Decoder) throws {
        if let place = decoder as? DecodingPlace {
            self = place.value
            return
        }
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .int(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([MessageValue].self) {
            self = .array(value)
        } else {
            self = .map(try container.decode([String: MessageValue].self))
        }
    }

    /// Writes what this holds. Bytes become what the encoder makes of `[UInt8]`.
    ///
    /// - Throws: What the encoder throws.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .int(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .binary(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .map(let value): try container.encode(value)
        }
    }
}
