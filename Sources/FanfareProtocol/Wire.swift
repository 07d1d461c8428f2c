import CMsgpack
import FanfareModel

/// A value that is not what its place asks for. Who knows the place turns it into a ``Refusal``.
struct Mismatch: Error {
    /// `nil` for the code of a badly shaped field in that frame.
    var code: ErrorCode?
    /// Continues "SEND: field 2 (channel) ...".
    var text: String

    init(_ text: String, code: ErrorCode? = nil) {
        self.text = text
        self.code = code
    }

    /// The same mismatch, found inside something.
    func inside(_ place: String) -> Mismatch {
        Mismatch("\(place) \(text)", code: code)
    }
}

/// Checked conversions from msgpack-c's objects to plain values. Everything is copied out of the payload.
///
/// The objects have passed ``MessagePackGuard``: complete, bounded in depth, UTF-8.
enum Wire {
    /// What `object` is, for people.
    static func describe(_ object: msgpack_object) -> String {
        switch object.type.rawValue {
        case MSGPACK_OBJECT_NIL.rawValue: "nil"
        case MSGPACK_OBJECT_BOOLEAN.rawValue: object.via.boolean ? "true" : "false"
        case MSGPACK_OBJECT_POSITIVE_INTEGER.rawValue: "\(object.via.u64)"
        case MSGPACK_OBJECT_NEGATIVE_INTEGER.rawValue: "\(object.via.i64)"
        case MSGPACK_OBJECT_FLOAT32.rawValue, MSGPACK_OBJECT_FLOAT64.rawValue: "a float"
        case MSGPACK_OBJECT_STR.rawValue: "text"
        case MSGPACK_OBJECT_BIN.rawValue: "bytes"
        case MSGPACK_OBJECT_ARRAY.rawValue: "a list"
        case MSGPACK_OBJECT_MAP.rawValue: "a map"
        default: "an extension type"
        }
    }

    static func isNil(_ object: msgpack_object) -> Bool {
        object.type.rawValue == MSGPACK_OBJECT_NIL.rawValue
    }

    /// An integer of the ordinary range, 0 to 2^63-1.
    static func integer(_ object: msgpack_object) throws(Mismatch) -> UInt64 {
        try integer(object, in: Bounds.integer)
    }

    static func integer(_ object: msgpack_object, in range: ClosedRange<UInt64>) throws(Mismatch) -> UInt64 {
        guard object.type.rawValue == MSGPACK_OBJECT_POSITIVE_INTEGER.rawValue, range.contains(object.via.u64) else {
            throw Mismatch(
                "must be an integer from \(range.lowerBound) to \(range.upperBound), got \(describe(object))"
            )
        }
        return object.via.u64
    }

    static func milliseconds(_ object: msgpack_object) throws(Mismatch) -> Milliseconds {
        Milliseconds(try integer(object))
    }

    static func requestID(_ object: msgpack_object) throws(Mismatch) -> RequestID {
        try integer(object, in: Bounds.requestID)
    }

    static func bool(_ object: msgpack_object) throws(Mismatch) -> Bool {
        guard object.type.rawValue == MSGPACK_OBJECT_BOOLEAN.rawValue else {
            throw Mismatch("must be true or false, got \(describe(object))")
        }
        return object.via.boolean
    }

    static func string(_ object: msgpack_object) throws(Mismatch) -> String {
        guard object.type.rawValue == MSGPACK_OBJECT_STR.rawValue else {
            throw Mismatch("must be text, got \(describe(object))")
        }
        return String(decoding: bytes(of: object.via.str.ptr, object.via.str.size), as: UTF8.self)
    }

    static func stringOrNil(_ object: msgpack_object) throws(Mismatch) -> String? {
        isNil(object) ? nil : try string(object)
    }

    /// Bytes, copied once into an array of their exact size.
    static func binary(_ object: msgpack_object) throws(Mismatch) -> Body {
        guard object.type.rawValue == MSGPACK_OBJECT_BIN.rawValue else {
            throw Mismatch("must be bytes (bin), got \(describe(object))")
        }
        return Body(bytes(of: object.via.bin.ptr, object.via.bin.size))
    }

    static func glob(_ object: msgpack_object) throws(Mismatch) -> Glob {
        let pattern = try string(object)
        guard pattern.utf8.count <= Bounds.patternBytes else {
            throw Mismatch("must be a pattern of at most \(Bounds.patternBytes) bytes, got \(pattern.utf8.count)")
        }
        return Glob(pattern)
    }

    static func dropReason(_ object: msgpack_object) throws(Mismatch) -> DropReason {
        let number = try integer(object)
        guard let reason = UInt8(exactly: number).flatMap(DropReason.init(rawValue:)) else {
            throw Mismatch("must be a drop reason of section 7, got \(number)")
        }
        return reason
    }

    /// The elements of a list; the pointer is valid until the reader's zone is cleared.
    static func list(_ object: msgpack_object) throws(Mismatch) -> UnsafeBufferPointer<msgpack_object> {
        guard object.type.rawValue == MSGPACK_OBJECT_ARRAY.rawValue else {
            throw Mismatch("must be a list, got \(describe(object))")
        }
        return UnsafeBufferPointer(start: object.via.array.ptr, count: Int(object.via.array.size))
    }

    /// A list whose elements all pass `element`. The first that does not is named by its number, from 0.
    static func list<T>(
        _ object: msgpack_object,
        of element: (msgpack_object) throws(Mismatch) -> T
    ) throws(Mismatch) -> [T] {
        let elements = try list(object)
        var values: [T] = []
        values.reserveCapacity(elements.count)
        for index in elements.indices {
            do {
                values.append(try element(elements[index]))
            } catch {
                throw error.inside("entry \(index)")
            }
        }
        return values
    }

    /// A list of at most `maximum` elements, refused by its count before any is read.
    static func list<T>(
        _ object: msgpack_object,
        atMost maximum: Int,
        code: ErrorCode?,
        of element: (msgpack_object) throws(Mismatch) -> T
    ) throws(Mismatch) -> [T] {
        let count = try list(object).count
        guard count <= maximum else {
            throw Mismatch("may have at most \(maximum) entries, got \(count); split the request", code: code)
        }
        return try list(object, of: element)
    }

    /// A tuple written as a list of exactly `count` elements or more; further ones are skipped.
    static func tuple(_ object: msgpack_object, _ count: Int) throws(Mismatch) -> UnsafeBufferPointer<msgpack_object> {
        let elements = try list(object)
        guard elements.count >= count else {
            throw Mismatch("must have \(count) elements, got \(elements.count)")
        }
        return elements
    }

    /// A map of text to text, at most `Limits.attributes` entries of at most `Limits.textBytes` each.
    static func attributes(_ object: msgpack_object, _ limits: Limits) throws(Mismatch) -> [String: String] {
        let options = try OptionMap(object)
        guard options.count <= limits.attributes else {
            throw Mismatch("may have at most \(limits.attributes) entries, got \(options.count)")
        }
        var attributes: [String: String] = [:]
        for entry in options.entries {
            let key = try string(entry.key)
            let value: String
            do { value = try string(entry.val) } catch { throw error.inside("entry \(key)") }
            guard key.utf8.count <= limits.textBytes, value.utf8.count <= limits.textBytes else {
                throw Mismatch("may have keys and values of at most \(limits.textBytes) bytes")
            }
            attributes[key] = value
        }
        return attributes
    }

    /// One value of a message. Recursion is bounded by the guard's nesting.
    static func value(_ object: msgpack_object) throws(Mismatch) -> MessageValue {
        switch object.type.rawValue {
        case MSGPACK_OBJECT_NIL.rawValue: return .null
        case MSGPACK_OBJECT_BOOLEAN.rawValue: return .bool(object.via.boolean)
        case MSGPACK_OBJECT_NEGATIVE_INTEGER.rawValue: return .int(object.via.i64)
        case MSGPACK_OBJECT_POSITIVE_INTEGER.rawValue:
            guard let value = Int64(exactly: object.via.u64) else {
                throw Mismatch("has the integer \(object.via.u64); messages hold at most 2^63-1")
            }
            return .int(value)
        case MSGPACK_OBJECT_FLOAT32.rawValue, MSGPACK_OBJECT_FLOAT64.rawValue: return .double(object.via.f64)
        case MSGPACK_OBJECT_STR.rawValue: return .string(try string(object))
        case MSGPACK_OBJECT_BIN.rawValue: return .binary(try binary(object))
        case MSGPACK_OBJECT_ARRAY.rawValue: return .array(try list(object, of: value))
        case MSGPACK_OBJECT_MAP.rawValue:
            let options = try OptionMap(object)
            var map = [String: MessageValue](minimumCapacity: options.count)
            for entry in options.entries { map[try string(entry.key)] = try value(entry.val) }
            return .map(map)
        default: throw Mismatch("has an extension type")
        }
    }

    static func bytes(of start: UnsafePointer<CChar>?, _ count: UInt32) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : Int(count))
    }
}

/// A map with text keys, read by key. Unknown keys are never looked at; of equal keys the last wins.
struct OptionMap {
    let entries: UnsafeBufferPointer<msgpack_object_kv>

    init(_ object: msgpack_object) throws(Mismatch) {
        guard object.type.rawValue == MSGPACK_OBJECT_MAP.rawValue else {
            throw Mismatch("must be a map, got \(Wire.describe(object))")
        }
        entries = UnsafeBufferPointer(start: object.via.map.ptr, count: Int(object.via.map.size))
        for entry in entries where entry.key.type.rawValue != MSGPACK_OBJECT_STR.rawValue {
            throw Mismatch("must have text as keys, got \(Wire.describe(entry.key))")
        }
    }

    var count: Int { entries.count }

    /// The value of `key`, converted; `nil` when the map has no such key.
    func optional<T>(
        _ key: String,
        _ convert: (msgpack_object) throws(Mismatch) -> T
    ) throws(Mismatch) -> T? {
        guard let object = find(key) else { return nil }
        do { return try convert(object) } catch { throw error.inside("key \(key)") }
    }

    func required<T>(
        _ key: String,
        _ convert: (msgpack_object) throws(Mismatch) -> T
    ) throws(Mismatch) -> T {
        guard let value = try optional(key, convert) else { throw Mismatch("must have the key \(key)") }
        return value
    }

    private func find(_ key: String) -> msgpack_object? {
        entries.last { entry in
            let text = entry.key.via.str
            return Int(text.size) == key.utf8.count && Wire.bytes(of: text.ptr, text.size).elementsEqual(key.utf8)
        }?.val
    }
}
