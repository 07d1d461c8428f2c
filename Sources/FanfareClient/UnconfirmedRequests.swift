import DequeModule
import FanfareModel

/// The requests of one session which the broker has not yet shown to have taken: they are repeated when the session goes
/// on over another link. `proto/PROTOCOL.md`, section 8.2.
///
/// Pure. Requests are numbered in the order they are written, from 1.
struct UnconfirmedRequests {
    private struct Kept {
        let request: Request
        let bytes: Int
    }

    private let most: Int
    private let mostBytes: Int
    private var kept: Deque<Kept> = []
    private(set) var bytes = 0
    /// Counted requests of the session so far.
    private(set) var written: UInt64 = 0
    /// Those the broker is known to have taken.
    private(set) var confirmed: UInt64 = 0
    /// Up to here they were too many to keep.
    private var forgotten: UInt64 = 0
    private var sinceQuestion = 0
    private var bytesSinceQuestion = 0

    /// So many requests without one that will be answered are enough: a `PING` is due.
    static let questionAfter = 1_024
    /// So many bytes of them.
    static let questionAfterBytes = 1_048_576
    /// What a request takes beyond its names and its body: an upper bound of the usual.
    private static let overheadBytes = 64

    init(_ limits: Limits) {
        most = limits.unconfirmedRequests
        // All of it leaves at once over a new link, which must have room for it.
        mostBytes = min(limits.unconfirmedBytes, limits.linkBytes / 2)
    }

    /// Those to repeat, in order.
    var requests: [Request] { kept.map(\.request) }

    var count: Int { kept.count }

    /// Whether everything that would have to be repeated is here.
    var isComplete: Bool { confirmed >= forgotten }

    /// Whether too much is open of which no answer will tell that it arrived.
    var wantsQuestion: Bool {
        sinceQuestion >= Self.questionAfter || bytesSinceQuestion >= Self.questionAfterBytes
    }

    /// Keeps a request that is written now. Beyond the bounds all are forgotten, and ``isComplete`` is false until the
    /// broker has shown that it took them.
    ///
    /// - Parameter isQuestion: Whether its answer comes in its turn and is heard.
    mutating func append(_ request: Request, isQuestion: Bool) {
        written += 1
        let size = Self.bytes(of: request)
        sinceQuestion = isQuestion ? 0 : sinceQuestion + 1
        bytesSinceQuestion = isQuestion ? 0 : bytesSinceQuestion + size
        guard kept.count < most, bytes + size <= mostBytes else {
            kept.removeAll()
            bytes = 0
            forgotten = written
            return
        }
        kept.append(Kept(request: request, bytes: size))
        bytes += size
    }

    /// The broker has taken this request and all before it.
    ///
    /// - Returns: Whether that can be: false for requests nobody has written.
    @discardableResult
    mutating func confirm(through number: UInt64) -> Bool {
        guard number <= written else { return false }
        guard number > confirmed else { return true }
        confirmed = number
        while written - UInt64(kept.count) < number, let first = kept.popFirst() { bytes -= first.bytes }
        return true
    }

    /// About what a request takes in memory.
    static func bytes(of request: Request) -> Int {
        let payload =
            switch request {
            case .send(_, _, let body, let options): body.count + options.trace.heldBytes
            case .groupSend(_, _, let body, let options):
                body.count + bytes(of: options.exclude) + options.trace.heldBytes
            case .giveBack(_, _, let back): back.body.count + back.trace.heldBytes
            case .closeChannels(_, let names), .groupAdd(_, _, let names, _), .groupDiscard(_, _, let names):
                bytes(of: names)
            case .openChannels(_, let channels): channels.count * openedChannelBytes
            case .report(let report): (report.taken.count + report.dropped.count) * reportedNameBytes
            default: 0
            }
        return payload + overheadBytes
    }

    private static let openedChannelBytes = 512
    private static let reportedNameBytes = 128

    private static func bytes(of names: [String]) -> Int {
        names.reduce(0) { $0 + $1.utf8.count + 16 }
    }
}
