/// Where a message comes from, for tracing: the headers `traceparent`, `tracestate` and `baggage` of W3C Trace Context
/// and W3C Baggage, as its sender wrote them. Opaque to the broker, which carries them unchanged from sender to reader.
///
/// Bounded however it comes to be. Nothing is allocated for a message without one: the optional is one pointer.
package struct TraceContext: Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
        package var key: String
        package var value: String

        package init(_ key: String, _ value: String) {
            self.key = key
            self.value = value
        }
    }

    /// In the order of the sender. Of equal keys the last counts.
    package let entries: [Entry]

    /// Entries one context may have.
    package static let entriesMaximum = 4
    /// Bytes all keys and values together may have.
    package static let bytesMaximum = 512

    /// - Returns: `nil` for no entries at all, and for more than ``entriesMaximum`` or ``bytesMaximum``.
    package init?(_ entries: [Entry]) {
        guard (1...Self.entriesMaximum).contains(entries.count) else { return nil }
        self.entries = entries
        guard payloadBytes <= Self.bytesMaximum else { return nil }
    }

    /// Bytes of all keys and values.
    package var payloadBytes: Int { entries.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count } }

    /// About what it takes in memory while a message waits: more than its bytes.
    package var heldBytes: Int { 64 + entries.count * 64 + payloadBytes }

    /// The value of a header, if there is one.
    package subscript(_ key: String) -> String? {
        entries.last { $0.key == key }?.value
    }
}

extension TraceContext? {
    /// What the context of a message takes in memory, if it has one.
    @inline(__always)
    package var heldBytes: Int {
        guard let self else { return 0 }
        return self.heldBytes
    }
}
