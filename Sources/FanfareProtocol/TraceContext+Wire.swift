import CMsgpack
import FanfareModel

// The option `trace`: a map of text to text (`proto/PROTOCOL.md`, section 5.16).
extension Wire {
    /// Counts entries and bytes before it copies any. A map without entries is no context.
    static func trace(_ object: msgpack_object) throws(Mismatch) -> TraceContext? {
        let entries = try OptionMap(object).entries
        guard entries.count <= TraceContext.entriesMaximum else {
            throw Mismatch("may have at most \(TraceContext.entriesMaximum) entries, got \(entries.count)")
        }
        var bytes = 0
        for entry in entries {
            guard entry.val.type.rawValue == MSGPACK_OBJECT_STR.rawValue else {
                throw Mismatch("must have text as values, got \(describe(entry.val))")
            }
            bytes += Int(entry.key.via.str.size) + Int(entry.val.via.str.size)
        }
        guard bytes <= TraceContext.bytesMaximum else {
            throw Mismatch("may have at most \(TraceContext.bytesMaximum) bytes of keys and values, got \(bytes)")
        }
        var texts: [TraceContext.Entry] = []
        texts.reserveCapacity(entries.count)
        for entry in entries { texts.append(TraceContext.Entry(try string(entry.key), try string(entry.val))) }
        return TraceContext(texts)
    }
}

extension OptionMap {
    /// The trace context among options that have others too.
    func trace() throws(Mismatch) -> TraceContext? {
        try optional("trace", Wire.trace) ?? nil
    }
}

extension Fields {
    /// The trace context in an options field that has no other option.
    func trace(_ index: Int) throws(Refusal) -> TraceContext? {
        try optional(index, "options") { (object) throws(Mismatch) in try OptionMap(object).trace() } ?? nil
    }
}

extension MessagePackWriter {
    /// Writes the entry `trace` of an option map.
    mutating func trace(_ trace: TraceContext) {
        string("trace")
        map(trace.entries.count)
        for entry in trace.entries {
            string(entry.key)
            string(entry.value)
        }
    }

    /// Writes an options field that holds nothing else, if there is anything to hold.
    mutating func options(_ trace: TraceContext?) {
        guard let trace else { return }
        map(1)
        self.trace(trace)
    }
}
