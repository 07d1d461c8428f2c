import Crypto
import FanfareCore
import FanfareModel
import FanfareProtocol

/// Turns a state into the bytes of a file, a piece at a time.
struct StateEncoder {
    private let bytesMaximum: Int
    private let sink: (UnsafeRawBufferPointer) throws(StateFailure) -> Void
    private var digest = SHA256()
    private var piece: [UInt8] = []
    private var bytes = 0
    private var records: UInt64 = 0
    /// What goes to the sink at once.
    private static let pieceBytes = 1_048_576

    /// Encodes all of `state`.
    ///
    /// - Parameters:
    ///   - bytesMaximum: More than that is refused.
    ///   - sink: Gets the bytes in order.
    /// - Throws: What the sink throws, or that there is too much.
    static func encode(
        _ state: BrokerState,
        bytesMaximum: Int,
        to sink: (UnsafeRawBufferPointer) throws(StateFailure) -> Void
    ) throws(StateFailure) {
        try withoutActuallyEscaping(sink) { (sink) throws(StateFailure) in
            var encoder = StateEncoder(bytesMaximum: bytesMaximum, sink: sink)
            try encoder.encode(state)
        }
    }

    private init(bytesMaximum: Int, sink: @escaping (UnsafeRawBufferPointer) throws(StateFailure) -> Void) {
        self.bytesMaximum = bytesMaximum
        self.sink = sink
    }

    private mutating func encode(_ state: BrokerState) throws(StateFailure) {
        piece = StateFormat.magic
        withUnsafeBytes(of: StateFormat.version.bigEndian) { piece.append(contentsOf: $0) }
        let core = state.core
        try record(
            .head,
            [
                .string(state.program), .bits(state.takenAt), .bits(state.clock.nanoseconds), .bits(core.epoch),
                .bits(core.lastSession), .bits(core.lastOrder), .bits(core.lastToken),
            ]
        )
        try batches(.namespaces, core.namespaces) { [.string($0)] }
        for session in core.sessions { try encode(session) }
        for kept in state.kept {
            try record(
                .kept,
                [
                    .binary(kept.token), .bits(kept.base), .bits(kept.count), .bits(kept.requestsTaken),
                    .binary(kept.kept), kept.credential.map { .string($0) } ?? .null,
                ]
            )
        }
        for channel in core.channels { try encode(channel) }
        for group in core.groups { try encode(group) }
        for collection in core.collections { try encode(collection) }
        try record(.end, [.bits(records)])
        try pass()
        let digest = digest.finalize()
        try Array(digest).withUnsafeBufferPointer { (bytes) throws(StateFailure) in
            try sink(UnsafeRawBufferPointer(bytes))
        }
    }

    private mutating func encode(_ session: CoreState.Session) throws(StateFailure) {
        let frame = FrameBuffer()
        frame.append(Request.hello(session.hello))
        try record(
            .session,
            [
                .bits(session.number), .binary(frame.withUnsafeBytes { Array($0) }), .bits(session.age),
                .optional(session.flushing), .bool(session.isCongested), encode(session.missed),
                .bits(session.handedOut), .bits(session.handedOutLife),
            ]
        )
    }

    private func encode(_ missed: [CoreState.Missed]) -> MessageValue {
        .array(missed.flatMap { [.index(Int($0.reason.rawValue)), .bits($0.count)] })
    }

    private mutating func encode(_ channel: CoreState.Channel) throws(StateFailure) {
        try record(
            .channel,
            [
                .index(channel.namespace), .string(channel.name),
                channel.attributes.map { .map($0.mapValues { .string($0) }) } ?? .null, .bits(channel.held),
                .bits(channel.messages), .bits(channel.drops),
                encode(channel.missed),
            ]
        )
        try encode(queue: channel.queue)
        try batches(.readers, channel.readers) { [.index($0.session), .bits($0.id), .index($0.count)] }
        try batches(.pushed, channel.pushed) { [.index($0.bytes), .bits($0.age)] }
    }

    private mutating func encode(queue: [CoreState.Message]) throws(StateFailure) {
        var batch: [MessageValue] = []
        var bytes = 0
        for message in queue {
            let trace = message.trace.map { trace in
                MessageValue.array(trace.entries.flatMap { [.string($0.key), .string($0.value)] })
            }
            batch += [
                .binary(message.body), .bits(message.order), .bits(message.life), .bits(message.age), trace ?? .null,
            ]
            bytes += message.body.count + (message.trace?.payloadBytes ?? 0)
            guard batch.count >= StateFormat.batch || bytes >= StateFormat.batchBytes else { continue }
            try record(.queue, batch)
            batch.removeAll(keepingCapacity: true)
            bytes = 0
        }
        if !batch.isEmpty { try record(.queue, batch) }
    }

    private mutating func encode(_ group: CoreState.Group) throws(StateFailure) {
        try record(
            .group,
            [.index(group.namespace), .string(group.name), .bits(group.age), .bits(group.messages)]
        )
        try batches(.members, group.members) {
            [.index($0.channel), .index($0.rank), .bits($0.age), .optional($0.life), .bool($0.isLiteral)]
        }
    }

    private mutating func encode(_ collection: CoreState.Collection) throws(StateFailure) {
        let outcome = collection.outcome.map { [$0.members, $0.accepted, $0.dropped].map(MessageValue.bits) }
        try record(
            .collection,
            [
                .bits(collection.token), .index(collection.session), .bits(collection.id), .bits(collection.life),
                outcome.map { .array($0) } ?? .null,
                .array(collection.awaited.flatMap { [.index($0.session), .bits($0.members)] }),
            ]
        )
    }

    /// Writes elements as records of bounded size, the fields of each behind those of the one before.
    private mutating func batches<Element>(
        _ kind: StateFormat.Kind,
        _ elements: [Element],
        _ fields: (Element) -> [MessageValue]
    ) throws(StateFailure) {
        var start = 0
        while start < elements.count {
            let end = min(start + StateFormat.batch, elements.count)
            try record(kind, elements[start..<end].flatMap(fields))
            start = end
        }
    }

    private mutating func record(_ kind: StateFormat.Kind, _ fields: [MessageValue]) throws(StateFailure) {
        let payload = MessagePack.encode(.array([.int(kind.rawValue)] + fields))
        guard let length = UInt32(exactly: payload.count) else {
            throw StateFailure("a part of the state has \(payload.count) bytes, more than the file can say")
        }
        withUnsafeBytes(of: length.bigEndian) { piece.append(contentsOf: $0) }
        piece += payload
        records += 1
        if piece.count >= Self.pieceBytes { try pass() }
    }

    private mutating func pass() throws(StateFailure) {
        bytes += piece.count
        guard bytes + StateFormat.digestBytes <= bytesMaximum else {
            throw StateFailure("the state has more than \(bytesMaximum) bytes, the limit \"state_bytes\"")
        }
        let piece = piece
        self.piece.removeAll(keepingCapacity: true)
        try piece.withUnsafeBufferPointer { (bytes) throws(StateFailure) in
            digest.update(bufferPointer: UnsafeRawBufferPointer(bytes))
            try sink(UnsafeRawBufferPointer(bytes))
        }
    }
}

extension MessageValue {
    /// All 64 bits of a number, whatever they say.
    static func bits(_ value: UInt64) -> MessageValue { .int(Int64(bitPattern: value)) }
    /// A place in a list, or a count of what is in memory.
    static func index(_ value: Int) -> MessageValue { .int(Int64(value)) }
    static func optional(_ value: UInt64?) -> MessageValue { value.map { .bits($0) } ?? .null }
}
