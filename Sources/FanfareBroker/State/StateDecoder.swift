import Crypto
import FanfareCore
import FanfareModel
import FanfareProtocol

/// Reads the bytes of a state file. Whatever they are, it answers with a state or says why not.
struct StateDecoder {
    private let reader = FrameReader(limits: Limits())
    private var state = BrokerState(
        program: "",
        takenAt: 0,
        clock: Instant(nanoseconds: 0),
        core: CoreState(epoch: 0, lastSession: 0, lastOrder: 0, lastToken: 0),
        kept: []
    )
    private var records: UInt64 = 0
    private var hasEnded = false

    /// Decodes a whole file.
    ///
    /// - Throws: That it is damaged, or of another version.
    static func decode(_ bytes: UnsafeRawBufferPointer) throws(StateFailure) -> BrokerState {
        let body = try checked(bytes)
        var decoder = StateDecoder()
        try decoder.decode(body)
        return decoder.state
    }

    /// The records, when magic, version and digest are right.
    private static func checked(_ bytes: UnsafeRawBufferPointer) throws(StateFailure) -> UnsafeRawBufferPointer {
        guard bytes.count >= StateFormat.headBytes + StateFormat.digestBytes else {
            throw StateFailure("it is damaged: it has \(bytes.count) bytes")
        }
        guard bytes.prefix(StateFormat.magic.count).elementsEqual(StateFormat.magic) else {
            throw StateFailure("it is no state of a broker")
        }
        let number = bytes.loadUnaligned(fromByteOffset: StateFormat.magic.count, as: UInt32.self)
        let version = UInt32(bigEndian: number)
        guard version == StateFormat.version else {
            throw StateFailure("it has version \(version), this program reads \(StateFormat.version)")
        }
        let end = bytes.count - StateFormat.digestBytes
        var digest = SHA256()
        digest.update(bufferPointer: UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        guard digest.finalize().elementsEqual(bytes[end...]) else {
            throw StateFailure("it is damaged: its digest is another")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[StateFormat.headBytes..<end])
    }

    private mutating func decode(_ bytes: UnsafeRawBufferPointer) throws(StateFailure) {
        var place = 0
        while place < bytes.count {
            guard !hasEnded, bytes.count - place >= 4 else { throw damaged("it goes on after its end") }
            let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
            place += 4
            guard length <= bytes.count - place else { throw damaged("a record is cut") }
            try decode(record: Body(bytes[place..<place + length]))
            place += length
            records += 1
        }
        guard hasEnded else { throw damaged("it has no end") }
        guard state.kept.count == state.core.sessions.count else { throw damaged("sessions without what is kept") }
    }

    private mutating func decode(record: Body) throws(StateFailure) {
        let value: MessageValue
        do throws(Refusal) {
            value = try reader.value(record)
        } catch {
            throw damaged(error.failure.text)
        }
        var fields = StateFields(value.array ?? [])
        guard let kind = StateFormat.Kind(rawValue: try fields.int()) else { throw damaged("an unknown record") }
        guard (kind == .head) == (records == 0) else { throw damaged("its head is not at its head") }
        switch kind {
        case .head: try head(&fields)
        case .namespaces: while fields.hasMore { state.core.namespaces.append(try fields.string()) }
        case .session: try session(&fields)
        case .kept: try kept(&fields)
        case .channel: try channel(&fields)
        case .queue, .readers, .pushed: try append(kind, &fields)
        case .group: try group(&fields)
        case .members: try members(&fields)
        case .collection: try collection(&fields)
        case .end:
            guard try fields.bits() == records else { throw damaged("records are missing") }
            hasEnded = true
        }
        guard !fields.hasMore else { throw damaged("a record is too long") }
    }

    private func damaged(_ why: String) -> StateFailure {
        StateFailure("it is damaged: \(why), at record \(records)")
    }

    // MARK: Records

    private mutating func head(_ fields: inout StateFields) throws(StateFailure) {
        state.program = try fields.string()
        state.takenAt = try fields.bits()
        state.clock = Instant(nanoseconds: try fields.bits())
        state.core.epoch = try fields.bits()
        state.core.lastSession = try fields.bits()
        state.core.lastOrder = try fields.bits()
        state.core.lastToken = try fields.bits()
    }

    private mutating func session(_ fields: inout StateFields) throws(StateFailure) {
        let number = try fields.bits()
        let frame = try fields.binary()
        let request = frame.withUnsafeBytes { bytes in
            try? reader.request(UnsafeRawBufferPointer(rebasing: bytes[min(4, bytes.count)...]))
        }
        guard case .hello(let hello) = request else { throw damaged("a session without a hello") }
        var session = CoreState.Session(number: number, hello: hello, age: try fields.bits())
        session.flushing = try fields.optional()
        session.isCongested = try fields.bool()
        session.missed = try missed(&fields)
        session.handedOut = try fields.bits()
        session.handedOutLife = try fields.bits()
        state.core.sessions.append(session)
    }

    private mutating func kept(_ fields: inout StateFields) throws(StateFailure) {
        var kept = BrokerState.Kept(
            token: try fields.binary(),
            base: try fields.bits(),
            count: try fields.bits(),
            requestsTaken: try fields.bits(),
            kept: try fields.binary()
        )
        kept.credential = try fields.optionalString()
        state.kept.append(kept)
    }

    private mutating func channel(_ fields: inout StateFields) throws(StateFailure) {
        var channel = CoreState.Channel(namespace: try fields.index(), name: try fields.string())
        channel.attributes = try fields.attributes()
        channel.held = try fields.bits()
        channel.messages = try fields.bits()
        channel.drops = try fields.bits()
        channel.missed = try missed(&fields)
        state.core.channels.append(channel)
    }

    private func missed(_ fields: inout StateFields) throws(StateFailure) -> [CoreState.Missed] {
        var list = StateFields(try fields.list())
        var missed: [CoreState.Missed] = []
        while list.hasMore {
            guard let reason = UInt8(exactly: try list.int()).flatMap(DropReason.init(rawValue:)) else {
                throw damaged("an unknown reason")
            }
            missed.append(CoreState.Missed(reason: reason, count: try list.bits()))
        }
        return missed
    }

    /// Reads what belongs to the last channel.
    private mutating func append(_ kind: StateFormat.Kind, _ fields: inout StateFields) throws(StateFailure) {
        let last = state.core.channels.count - 1
        guard last >= 0 else { throw damaged("messages of no channel") }
        while fields.hasMore {
            switch kind {
            case .queue:
                var message = CoreState.Message(
                    body: try fields.binary(),
                    order: try fields.bits(),
                    life: try fields.bits(),
                    age: try fields.bits()
                )
                message.trace = try fields.optionalList().map(trace)
                state.core.channels[last].queue.append(message)
            case .readers:
                state.core.channels[last].readers.append(
                    CoreState.Reader(session: try fields.index(), id: try fields.bits(), count: try fields.index())
                )
            default:
                state.core.channels[last].pushed.append(
                    CoreState.Pushed(bytes: try fields.index(), age: try fields.bits())
                )
            }
        }
    }

    private func trace(_ texts: [MessageValue]) throws(StateFailure) -> TraceContext {
        var list = StateFields(texts)
        var entries: [TraceContext.Entry] = []
        while list.hasMore { entries.append(TraceContext.Entry(try list.string(), try list.string())) }
        guard let trace = TraceContext(entries) else { throw damaged("a trace context without bounds") }
        return trace
    }

    private mutating func group(_ fields: inout StateFields) throws(StateFailure) {
        state.core.groups.append(
            CoreState.Group(
                namespace: try fields.index(),
                name: try fields.string(),
                age: try fields.bits(),
                messages: try fields.bits()
            )
        )
    }

    private mutating func members(_ fields: inout StateFields) throws(StateFailure) {
        let last = state.core.groups.count - 1
        guard last >= 0 else { throw damaged("members of no group") }
        while fields.hasMore {
            state.core.groups[last].members.append(
                CoreState.Member(
                    channel: try fields.index(),
                    rank: try fields.index(),
                    age: try fields.bits(),
                    life: try fields.optional(),
                    isLiteral: try fields.bool()
                )
            )
        }
    }

    private mutating func collection(_ fields: inout StateFields) throws(StateFailure) {
        var collection = CoreState.Collection(
            token: try fields.bits(),
            session: try fields.index(),
            id: try fields.bits(),
            life: try fields.bits()
        )
        if var outcome = try fields.optionalList().map({ StateFields($0) }) {
            collection.outcome = CoreState.Outcome(
                members: try outcome.bits(),
                accepted: try outcome.bits(),
                dropped: try outcome.bits()
            )
        }
        var awaited = StateFields(try fields.list())
        while awaited.hasMore {
            collection.awaited.append(
                CoreState.Awaited(session: try awaited.index(), members: try awaited.bits())
            )
        }
        state.core.collections.append(collection)
    }
}

/// The fields of one record, taken one after the other.
private struct StateFields {
    private let values: [MessageValue]
    private var place = 0

    init(_ values: [MessageValue]) {
        self.values = values
    }

    var hasMore: Bool { place < values.count }

    private mutating func next<Value>(_ read: (MessageValue) -> Value?) throws(StateFailure) -> Value {
        guard hasMore, let value = read(values[place]) else {
            throw StateFailure("it is damaged: field \(place) of a record is missing or of another kind")
        }
        place += 1
        return value
    }

    mutating func int() throws(StateFailure) -> Int64 { try next(\.int) }
    mutating func bits() throws(StateFailure) -> UInt64 { try next { $0.int.map { UInt64(bitPattern: $0) } } }
    mutating func index() throws(StateFailure) -> Int {
        try next { $0.int.flatMap { $0 < 0 ? nil : Int(exactly: $0) } }
    }
    mutating func bool() throws(StateFailure) -> Bool { try next(\.bool) }
    mutating func string() throws(StateFailure) -> String { try next(\.string) }
    mutating func binary() throws(StateFailure) -> [UInt8] { try next(\.binary) }
    mutating func list() throws(StateFailure) -> [MessageValue] { try next(\.array) }

    mutating func optional() throws(StateFailure) -> UInt64? {
        try next { $0.isNull ? .some(nil) : $0.int.map { .some(UInt64(bitPattern: $0)) } }
    }

    mutating func optionalString() throws(StateFailure) -> String? {
        try next { $0.isNull ? .some(nil) : $0.string.map { .some($0) } }
    }

    mutating func optionalList() throws(StateFailure) -> [MessageValue]? {
        try next { $0.isNull ? .some(nil) : $0.array.map { .some($0) } }
    }

    /// A map of text to text, or nil.
    mutating func attributes() throws(StateFailure) -> [String: String]? {
        try next { value in
            if value.isNull { return .some(nil) }
            guard let map = value.map else { return nil }
            let texts = map.compactMapValues(\.string)
            return texts.count == map.count ? .some(texts) : nil
        }
    }
}
