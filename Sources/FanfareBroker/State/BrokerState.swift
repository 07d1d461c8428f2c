package import FanfareCore
package import FanfareModel

/// All that one start of the broker hands to the next one.
package struct BrokerState: Sendable, Equatable {
    /// Program and version that wrote it.
    package var program: String
    /// Milliseconds since 1970 when it was taken: how old it is.
    package var takenAt: UInt64
    /// The broker's clock at the same time, from which deadlines in clients' hands are counted.
    package var clock: Instant
    package var core: CoreState
    /// What is kept for each session of ``core``, in the same order.
    package var kept: [Kept]

    /// What one session was told and may have to be told again; see `Retained`.
    package struct Kept: Sendable, Equatable {
        /// Names the session. Secret.
        package var token: Body
        /// Counted replies before the first one kept.
        package var base: UInt64
        /// Counted replies so far, those kept included.
        package var count: UInt64
        /// Counted requests of the session that were taken.
        package var requestsTaken: UInt64
        /// The kept replies as whole frames, `CLOCK`s between and before them.
        package var kept: [UInt8]
        /// The seal of the credential the session belongs to; `nil` when the broker asked for none.
        package var credential: String?

        package init(token: Body, base: UInt64, count: UInt64, requestsTaken: UInt64, kept: [UInt8]) {
            self.token = token
            self.base = base
            self.count = count
            self.requestsTaken = requestsTaken
            self.kept = kept
        }
    }

    package init(program: String, takenAt: UInt64, clock: Instant, core: CoreState, kept: [Kept]) {
        self.program = program
        self.takenAt = takenAt
        self.clock = clock
        self.core = core
        self.kept = kept
    }

    /// The bytes of its file.
    ///
    /// - Throws: That there are more than `bytesMaximum`.
    package func encoded(bytesMaximum: Int) throws(StateFailure) -> [UInt8] {
        var bytes: [UInt8] = []
        try StateEncoder.encode(self, bytesMaximum: bytesMaximum) { bytes.append(contentsOf: $0) }
        return bytes
    }

    /// Reads the bytes of a file, whatever they are.
    ///
    /// - Throws: That they are damaged, or of another version.
    package init(decoding bytes: [UInt8]) throws(StateFailure) {
        self = try bytes.withUnsafeBufferPointer { (bytes) throws(StateFailure) in
            try StateDecoder.decode(UnsafeRawBufferPointer(bytes))
        }
    }
}

/// Why a state is of no use, for the log.
package struct StateFailure: Error, Sendable, Equatable {
    package var text: String

    package init(_ text: String) {
        self.text = text
    }
}

/// The format of the state file. Not a part of the protocol: only the same program reads it.
///
/// ```
/// magic    8 bytes
/// version  u32, big-endian
/// records  each: u32, big-endian, bytes that follow; one MessagePack array [kind, field, ...]
/// digest   32 bytes, SHA-256 of all before
/// ```
///
/// No record holds more than a batch of small things or one large one, so that neither side needs all of it twice.
/// What an element refers to comes before it.
enum StateFormat {
    static let magic = Array("FANFSTAT".utf8)
    /// Another one is refused: a broker that does not know what it reads begins anew.
    static let version: UInt32 = 3
    static let digestBytes = 32
    static let headBytes = magic.count + 4
    /// Elements in one batch.
    static let batch = 1_024
    /// Bytes of bodies after which a batch is full.
    static let batchBytes = 1_048_576

    enum Kind: Int64 {
        /// program, takenAt, clock, epoch, last session, last order, last token. The first one.
        case head = 1
        /// name, ...
        case namespaces
        /// number, HELLO frame, age, flushing, is congested, [reason, count, ...], messages it may give back, life of the last
        case session
        /// token, base, count, requests taken, frames, credential. In the order of the sessions.
        case kept
        /// namespace, name, attributes, held, messages, drops, [reason, count, ...]
        case channel
        /// [body, order, life, age, [key, value, ...] of the trace context or nil, ...] of the last channel
        case queue
        /// [session, id, count, ...] of the last channel
        case readers
        /// [bytes, age, ...] of the last channel
        case pushed
        /// namespace, name, age, messages
        case group
        /// [channel, rank, age, life, is literal, ...] of the last group
        case members
        /// token, session, id, life, [members, accepted, dropped] or nil, [session, members, ...]
        case collection
        /// How many records there are before. The last one.
        case end
    }
}
