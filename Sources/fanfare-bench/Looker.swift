import FanfareModel
import FanfareProtocol
import Foundation
import Synchronization

/// Asks a broker for the first page of one listing after the other, on a thread and a link of its own.
final class Looker: Sendable {
    private struct State {
        var pages: [String: LookingPage] = [:]
        var failure: (any Error)?
        var isStopping = false
    }

    private let state = Mutex(State())
    private let descriptor: Int32
    private let intervalNanoseconds: UInt64
    private let hasEnded = DispatchSemaphore(value: 0)

    private static let bufferBytes = 1_048_576

    /// Every listing the command line has, as it asks first.
    private static let queries: [(name: String, query: InspectionQuery)] = {
        func query(_ subject: InspectionQuery.Subject, _ change: (inout InspectionQuery) -> Void = { _ in })
            -> InspectionQuery
        {
            var query = InspectionQuery(subject)
            change(&query)
            return query
        }
        return [
            ("status", query(.status)), ("groups", query(.groups)), ("channels", query(.channels)),
            ("groups by members", query(.groups) { ($0.sort, $0.descending) = ("members", true) }),
            (
                "groups by rate, 1000 rows",
                query(.groups) { ($0.sort, $0.descending, $0.limit) = ("rate", true, 1_000) }
            ),
            ("channels by depth", query(.channels) { ($0.sort, $0.descending) = ("depth", true) }),
            ("channels that match", query(.channels) { $0.match = Glob("*!9*") }),
            ("group", query(.group) { $0.name = BrokerMemberships.group(0) }),
            ("sessions", query(.sessions)), ("drops", query(.drops)), ("closed", query(.closed)),
        ]
    }()

    init(_ command: LookingCommand, _ endpoint: Endpoint) throws {
        intervalNanoseconds = UInt64(1e9 / command.looks)
        descriptor = try BrokerSocket.connect(to: endpoint)
    }

    deinit {
        close(descriptor)
    }

    func start() {
        Thread.detachNewThread { [self] in
            do {
                try look()
            } catch {
                state.withLock { $0.failure = error }
            }
            hasEnded.signal()
        }
    }

    /// Waits for the look that is under way.
    ///
    /// - Throws: What ended the looking before.
    func stop(into pages: inout [String: LookingPage]) throws {
        state.withLock { $0.isStopping = true }
        hasEnded.wait()
        let (own, failure) = state.withLock { ($0.pages, $0.failure) }
        if let failure { throw failure }
        for (name, page) in own {
            pages[name, default: LookingPage()].latencies.add(page.latencies)
            pages[name]?.partial += page.partial
            pages[name]?.total = page.total
        }
    }

    private func look() throws {
        let dialect = BrokerFanfareDialect()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferBytes, alignment: 16)
        defer { buffer.deallocate() }
        var hello = Hello(client: "fanfare-bench/1", name: "looker", role: .inspect, policy: Policy(Limits()))
        hello.attributes = ["pid": "\(getpid())"]
        try write(dialect.encode(.hello(hello)))
        guard case .welcome = try read(through: buffer).reply else {
            throw LoadFailure("the broker does not welcome an inspector")
        }
        var due = MonotonicClock.now()
        var number: RequestID = 0
        while !state.withLock(\.isStopping) {
            let (name, query) = Self.queries[Int(number) % Self.queries.count]
            number += 1
            let begun = MonotonicClock.now()
            try write(dialect.encode(.inspect(number, query)))
            let answer = try self.answer(to: number, through: buffer, dialect)
            state.withLock { state in
                state.pages[name, default: LookingPage()].latencies.record(nanoseconds: Int64(answer.time - begun))
                if answer.value["partial"] == true { state.pages[name]?.partial += 1 }
                state.pages[name]?.total = answer.value["total"]?.int ?? 1
            }
            due = max(due + intervalNanoseconds, MonotonicClock.now())
            usleep(UInt32(clamping: (due - min(due, MonotonicClock.now())) / 1_000))
        }
    }

    private func answer(
        to id: RequestID,
        through buffer: UnsafeMutableRawBufferPointer,
        _ dialect: BrokerFanfareDialect
    ) throws -> (value: MessageValue, time: UInt64) {
        while true {
            let (reply, time) = try read(through: buffer)
            switch reply {
            case .result(id, let value): return (value, time)
            case .error(_, let failure): throw failure
            case .ping(let id): try write(dialect.pong(id))
            default: continue
            }
        }
    }

    private func write(_ bytes: [UInt8]) throws {
        let sent = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard sent == bytes.count else { throw LoadFailure("the broker does not take an inspector's questions") }
    }

    /// The next frame, and when it was there.
    private func read(through buffer: UnsafeMutableRawBufferPointer) throws -> (reply: Reply, time: UInt64) {
        try take(4, into: buffer)
        let length = Int(UInt32(bigEndian: buffer.loadUnaligned(as: UInt32.self)))
        guard length <= buffer.count else { throw LoadFailure("a frame of \(length) bytes is larger than expected") }
        try take(length, into: buffer)
        let time = MonotonicClock.now()
        let payload = UnsafeRawBufferPointer(rebasing: buffer[..<length])
        guard let reply = try FrameReader(limits: Limits()).reply(payload).first else {
            throw LoadFailure("a frame of the broker says nothing")
        }
        return (reply, time)
    }

    private func take(_ count: Int, into buffer: UnsafeMutableRawBufferPointer) throws {
        var taken = 0
        while taken < count {
            let read = recv(descriptor, buffer.baseAddress! + taken, count - taken, 0)
            guard read > 0 else { throw LoadFailure("the broker has closed the inspector's link") }
            taken += read
        }
    }
}
