/// What a server said, as far as the load counts it. Plain numbers, because one is filled in for every delivery.
struct BrokerFrame {
    enum Kind {
        /// The link is open: Fanfare's `WELCOME`.
        case opened
        /// ``count`` requests have succeeded; ``number`` is the id of the first, 0 where the protocol has none.
        case acknowledged
        /// A message of the load; ``number`` is the sequence number in its first bytes.
        case delivery
        /// The server asks whether this side lives; ``number`` goes back.
        case ping
        /// Nothing the load counts.
        case other
    }

    var kind = Kind.other
    var number: UInt64 = 0
    var count = 1
}

/// A request encoded once, whose numbers are written over for each use: sending costs one copy.
struct BrokerTemplate {
    private(set) var bytes: [UInt8]
    /// Where the eight bytes of the sequence number stand, at the beginning of the message.
    var sequenceOffset: Int?
    /// Where the four bytes of the request id stand.
    var idOffset: Int?

    /// Ids from here on have the same length on the wire, shortest form, as far as anything counts.
    static let idBase: UInt64 = 0x1_0000
    static let idCount: UInt64 = 0x7fff_0000

    init(_ bytes: [UInt8], sequenceOffset: Int? = nil, idOffset: Int? = nil) {
        self.bytes = bytes
        self.sequenceOffset = sequenceOffset
        self.idOffset = idOffset
    }

    /// The id of the request `number` of a link, from 0.
    static func id(_ number: UInt64) -> UInt64 {
        idBase + number % idCount
    }

    mutating func stamp(sequence: UInt64, request: UInt64 = 0) {
        let (sequenceOffset, idOffset) = (sequenceOffset, idOffset)
        bytes.withUnsafeMutableBytes {
            if let sequenceOffset { $0.storeBytes(of: sequence, toByteOffset: sequenceOffset, as: UInt64.self) }
            if let idOffset {
                $0.storeBytes(of: UInt32(Self.id(request)).bigEndian, toByteOffset: idOffset, as: UInt32.self)
            }
        }
    }
}

/// One protocol of the broker load: the same generator speaks all of them.
protocol BrokerDialect: AnyObject {
    /// The name in reports.
    var name: String { get }

    /// What opens a link before anything else; empty where nothing does.
    ///
    /// - Parameter node: The process channels the link owns, for those that have such a thing.
    func opening(node: String) -> [UInt8]

    /// Makes the link get what is published to `group`. Answered by one `acknowledged`, or not at all.
    func join(_ group: String, node: String) -> [UInt8]

    /// Whether ``join(_:node:)`` is answered.
    var answersJoin: Bool { get }

    /// What a link says before it publishes to `group`, or sends to a channel of that name; empty where nothing.
    func openingPublisher(to group: String) -> [UInt8]

    /// Publishes a message of `payload` bytes to `group`.
    ///
    /// - Parameter acknowledged: Whether the server is asked to answer, where it has a choice.
    func publish(to group: String, payload: Int, acknowledged: Bool) throws -> BrokerTemplate

    /// Whether ``send(to:payload:)`` is answered by an `acknowledged`.
    var answersSend: Bool { get }

    /// Puts a message of `payload` bytes into `channel`.
    func send(to channel: String, payload: Int) throws -> BrokerTemplate

    /// Asks for one message of `channel`; `nil` where messages come without asking.
    func receive(from channel: String) -> BrokerTemplate?

    /// The answer to a ping.
    func pong(_ number: UInt64) -> [UInt8]

    /// Reads the frame at the beginning of `bytes`.
    ///
    /// - Returns: The bytes it takes, or 0 when its end has not come yet.
    /// - Throws: ``LoadFailure`` when the server refused something or the bytes make no sense.
    func read(_ bytes: UnsafeRawBufferPointer, into frame: inout BrokerFrame) throws -> Int
}

extension BrokerDialect {
    var answersSend: Bool { true }

    func openingPublisher(to group: String) -> [UInt8] { [] }
}

/// Reads numbers and texts out of received bytes; nothing is read past their end.
struct BrokerCursor {
    let bytes: UnsafeRawBufferPointer
    private(set) var offset: Int

    init(_ bytes: UnsafeRawBufferPointer, at offset: Int = 0) {
        self.bytes = bytes
        self.offset = offset
    }

    mutating func byte() throws -> UInt8 {
        guard offset < bytes.count else { throw Self.short }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func bigEndian<Number: FixedWidthInteger>(_: Number.Type) throws -> Number {
        let width = MemoryLayout<Number>.size
        guard bytes.count - offset >= width else { throw Self.short }
        defer { offset += width }
        return Number(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Number.self))
    }

    mutating func skip(_ count: Int) throws {
        guard count >= 0, bytes.count - offset >= count else { throw Self.short }
        offset += count
    }

    /// The sequence number at the beginning of a message of `count` bytes, of which it skips the rest.
    mutating func sequence(ofMessage count: Int) throws -> UInt64 {
        guard count >= MemoryLayout<UInt64>.size, bytes.count - offset >= count else { throw Self.short }
        defer { offset += count }
        return bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    private static let short = LoadFailure("the server sent a frame that ends too early, or a message not of this load")
}
