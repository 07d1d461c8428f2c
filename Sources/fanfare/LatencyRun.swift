import Dispatch
import FanfareClient
import FanfareModel
import Synchronization

/// One open loop: sends what is due whatever became of those before, and measures what comes.
struct LatencyRun: Sendable {
    let plan: LatencyPlan
    /// How long the last messages may take to come.
    var patience = Duration.seconds(5)
    /// Sends the message of that number; throws when it was refused.
    let send: @Sendable (Int) async throws -> Void

    /// Sends under way at most. More are due than are taken: the rest goes out later, and counts from when it was due.
    static let underWayMaximum = 10_000

    /// Runs to the end, or until it is cancelled: then it tells of what there is.
    ///
    /// - Parameters:
    ///   - route: Its name in the report.
    ///   - arrivals: What has come: a number and ``System/nanoseconds()``.
    func run(_ route: String, _ arrivals: AsyncStream<Arrival>) async -> LatencyResult {
        let tally = Tally(route)
        let begin = System.nanoseconds() + 10_000_000
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await arrival in arrivals where (0..<plan.count).contains(arrival.index) {
                    let due = begin + plan.due(arrival.index)
                    tally.result.withLock {
                        $0.delays.record(nanoseconds: arrival.time > due ? arrival.time - due : 0)
                    }
                }
            }
            await sendAll(begin, tally)
            let deadline = ContinuousClock.now + patience
            while !Task.isCancelled, tally.result.withLock({ $0.lost }) > 0, ContinuousClock.now < deadline {
                try? await Task.sleep(for: .milliseconds(10))
            }
            group.cancelAll()
        }
        return tally.result.withLock { $0 }
    }

    private func sendAll(_ begin: UInt64, _ tally: Tally) async {
        let outcomes = await withTaskGroup(of: Bool.self, returning: (sent: Int, refused: Int).self) { group in
            var (sent, refused, underWay) = (0, 0, 0)
            for await index in dueMessages(begin) {
                if underWay == Self.underWayMaximum, let isTaken = await group.next() {
                    underWay -= 1
                    refused += isTaken ? 0 : 1
                }
                group.addTask { (try? await send(index)) != nil }
                sent += 1
                underWay += 1
            }
            for await isTaken in group { refused += isTaken ? 0 : 1 }
            return (sent, refused)
        }
        tally.result.withLock { ($0.sent, $0.refused) = outcomes }
    }

    /// What sender and receiver both write.
    private final class Tally: Sendable {
        let result: Mutex<LatencyResult>

        init(_ route: String) {
            result = Mutex(LatencyResult(route: route))
        }
    }

    /// The numbers of messages as they become due: a thread sleeps more precisely than a task.
    private func dueMessages(_ begin: UInt64) -> AsyncStream<Int> {
        let (stream, continuation) = AsyncStream.makeStream(of: Int.self)
        DispatchQueue(label: "fanfare.latency").async {
            for index in 0..<plan.count {
                System.sleep(until: begin + plan.due(index))
                if case .terminated = continuation.yield(index) { return }
            }
            continuation.finish()
        }
        return stream
    }
}

/// A message that came: its number, and when.
struct Arrival: Sendable {
    let index: Int
    let time: UInt64
}

/// From this program to a process channel of its own.
struct BrokerRoute {
    private let layer: ChannelLayer
    private let channel: String
    private static let waiting = 32

    init(_ layer: ChannelLayer) {
        self.layer = layer
        channel = layer.newChannel(prefix: "latency")
    }

    func measure(_ plan: LatencyPlan) async throws -> LatencyResult {
        let (arrivals, continuation) = AsyncStream.makeStream(of: Arrival.self)
        let (layer, channel) = (layer, channel)
        return await withTaskGroup(of: Void.self) { group in
            // A message that comes finds somebody waiting: how long this program takes to ask again does not count.
            for _ in 0..<Self.waiting {
                group.addTask {
                    while let message = try? await layer.receive(from: channel) {
                        let time = System.nanoseconds()
                        guard let text = message["text"]?.string, let index = LatencyPlan.index(text) else { continue }
                        continuation.yield(Arrival(index: index, time: time))
                    }
                }
            }
            let run = LatencyRun(plan: plan) { index in
                try await layer.send(["type": "fanfare.latency", "text": .string(plan.text(index))], to: channel)
            }
            let result = await run.run("broker", arrivals)
            group.cancelAll()
            return result
        }
    }
}

/// From this program through the broker and a worker to a WebSocket of this program.
struct SocketRoute {
    private let layer: ChannelLayer
    private let address: SocketAddress
    private let route: WorkerRoute
    /// How long a socket may take to be in its group.
    private static let joiningAttempts = 200
    private static let probe = -1

    init(_ layer: ChannelLayer, _ address: SocketAddress, _ route: WorkerRoute) {
        (self.layer, self.address, self.route) = (layer, address, route)
    }

    /// - Throws: ``ProgramFailure`` when the worker does not open the socket, or nothing comes to it.
    func measure(_ plan: LatencyPlan) async throws -> LatencyResult {
        let (layer, group, route) = (layer, address.group, route)
        let hasJoined = Atomic(false)
        let (arrivals, continuation) = AsyncStream.makeStream(of: Arrival.self)
        let socket = try await MeasuringSocket.open(address) { text, time in
            guard let index = route.text(text).flatMap(LatencyPlan.index) else { return }
            if index == Self.probe { return hasJoined.store(true, ordering: .relaxed) }
            continuation.yield(Arrival(index: index, time: time))
        }
        let send = { @Sendable (index: Int) in
            try await layer.groupSend(route.message(plan.text(index)), to: group)
        }
        for _ in 0..<Self.joiningAttempts where !hasJoined.load(ordering: .relaxed) {
            try await send(Self.probe)
            try await Task.sleep(for: .milliseconds(50))
        }
        guard hasJoined.load(ordering: .relaxed) else {
            throw ProgramFailure(
                .unavailable,
                "the socket at \(address.text) is open, but messages to group \(group) do not come to it; is it the "
                    + "group of that address, in this namespace, and --route right?"
            )
        }
        let result = await LatencyRun(plan: plan, send: send).run("worker", arrivals)
        socket.close()
        return result
    }
}
