import CMsgpack
package import FanfareModel

/// Writes values with msgpack-c's packer straight into a ``ByteRegion``: shortest forms, no buffer in between.
struct MessagePackWriter {
    private var packer = msgpack_packer()

    /// - Parameter region: Must stay where it is while the writer is used.
    init(_ region: UnsafeMutablePointer<ByteRegion>) {
        msgpack_packer_init(&packer, region) { context, bytes, count in
            // The context is the region of the line above; a null source comes only with a count of 0.
            guard let context, let bytes else { return 0 }
            context.assumingMemoryBound(to: ByteRegion.self).pointee.append(bytes, count)
            return 0
        }
    }

    mutating func array(_ count: Int) {
        msgpack_pack_array(&packer, count)
    }

    mutating func map(_ count: Int) {
        msgpack_pack_map(&packer, count)
    }

    /// Writes at most 2^63-1: a larger value is cut, because the peer must refuse it.
    mutating func int(_ value: UInt64) {
        msgpack_pack_uint64(&packer, min(value, Bounds.integer.upperBound))
    }

    mutating func int(_ value: Int64) {
        msgpack_pack_int64(&packer, value)
    }

    mutating func int(_ value: Int) {
        msgpack_pack_int64(&packer, Int64(value))
    }

    mutating func milliseconds(_ value: Milliseconds) {
        int(value.value)
    }

    mutating func double(_ value: Double) {
        msgpack_pack_double(&packer, value)
    }

    mutating func bool(_ value: Bool) {
        _ = value ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer)
    }

    mutating func null() {
        msgpack_pack_nil(&packer)
    }

    mutating func binary(_ value: Body) {
        value.withUnsafeBytes { _ = msgpack_pack_bin_with_body(&packer, $0.baseAddress, $0.count) }
    }

    mutating func string(_ value: String) {
        var value = value
        value.withUTF8 { _ = msgpack_pack_str_with_body(&packer, $0.baseAddress, $0.count) }
    }

    /// Writes a text for people, cut to its bound on a character boundary.
    mutating func text(_ value: String) {
        string(value.utf8.count <= Bounds.textBytes ? value : Self.cut(value, to: Bounds.textBytes))
    }

    mutating func strings(_ values: [String]) {
        array(values.count)
        for value in values { string(value) }
    }

    /// Writes a map of texts, keys in order, so that equal attributes are equal bytes.
    mutating func attributes(_ values: [String: String]) {
        map(values.count)
        for (key, value) in Self.ordered(values) {
            string(key)
            text(value)
        }
    }

    mutating func value(_ value: MessageValue) {
        switch value {
        case .null: null()
        case .bool(let value): bool(value)
        case .int(let value): int(value)
        case .double(let value): double(value)
        case .string(let value): string(value)
        case .binary(let value): binary(value)
        case .array(let values):
            array(values.count)
            for element in values { self.value(element) }
        case .map(let entries):
            map(entries.count)
            for (key, element) in Self.ordered(entries) {
                string(key)
                self.value(element)
            }
        }
    }

    /// Entries in the order of their keys' UTF-8 bytes, which is the same in every language.
    private static func ordered<Value>(_ map: [String: Value]) -> [(key: String, value: Value)] {
        map.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    }

    /// The longest run of whole characters of `text` that fits in `bytes`.
    private static func cut(_ text: String, to bytes: Int) -> String {
        var end = text.startIndex
        var used = 0
        while end < text.endIndex {
            let next = text.index(after: end)
            used += text[end..<next].utf8.count
            guard used <= bytes else { break }
            end = next
        }
        return String(text[..<end])
    }
}

/// Message bodies: the one MessagePack value that applications see (section 1, types).
package enum MessagePack {
    /// Encodes one value as a body of its exact size; map keys in sorted order, so equal values are equal bytes.
    ///
    /// - Parameter value: Nested at most ``Limits/nesting`` deep, or readers refuse it.
    package static func encode(_ value: MessageValue) -> Body {
        var region = ByteRegion()
        defer { region.deallocate() }
        withUnsafeMutablePointer(to: &region) {
            var writer = MessagePackWriter($0)
            writer.value(value)
        }
        return Body(region.bytes)
    }
}
