import FanfareClient
import FanfareModel
import FanfareWorker
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// What a test application has on its one event loop: the broker's core, the workers, the clients.
final class BenchState {
    let layers: EmbeddedLayers
    private(set) var workers: [WorkerParts] = []
    private(set) var failures: [HandlerFailure] = []
    private var exchanges: [Exchange] = []
    private var background: [ObjectIdentifier: BackgroundWorker] = [:]
    private var scheduled = 0
    private var lastPort = 40_000

    /// More failures than anybody reads are not kept.
    private static let failuresMaximum = 1_000

    init(_ layers: EmbeddedLayers) {
        self.layers = layers
    }

    func addWorker(_ configuration: WorkerServer.Configuration, _ router: Router, _ logger: Logger) {
        let parts = WorkerParts(configuration, router, on: layers.loop, listen: "memory", logger: logger) {
            layers.session($0, logger: logger)
        }
        parts.worker.onHandlerFailure = { [weak self] error, consumer in
            guard let self, failures.count < Self.failuresMaximum else { return }
            failures.append(HandlerFailure(consumer: consumer, error: error))
        }
        workers.append(parts)
        parts.session.start()
    }

    func add(_ exchange: Exchange) {
        exchanges.append(exchange)
    }

    func add(_ worker: BackgroundWorker) {
        background[ObjectIdentifier(worker)] = worker
    }

    func remove(_ worker: BackgroundWorker) {
        background[ObjectIdentifier(worker)] = nil
    }

    var backgroundWorkers: [BackgroundWorker] { Array(background.values) }

    /// The port the next client comes from.
    func nextPort() -> Int {
        lastPort = lastPort < 65_535 ? lastPort + 1 : 40_001
        return lastPort
    }

    /// Runs `body` in a later turn.
    func later(_ body: @escaping () -> Void) {
        scheduled += 1
        layers.loop.assumeIsolated().execute {
            self.scheduled -= 1
            body()
        }
    }

    /// What is under way, for people; empty when nothing happens before a test or the time does something.
    func busy() -> [String] {
        exchanges.removeAll { !$0.isBusy }
        var busy = workers.flatMap { parts in
            parts.worker.busy + (parts.session.welcome == nil ? ["the link to the broker"] : [])
        }
        busy += exchanges.map { $0.socket == nil ? "a request" : "connect of a consumer" }
        busy += background.values.flatMap(\.busyChannels).map { "background channel \($0)" }
        if !layers.isQuiet || scheduled > 0 { busy.append("messages") }
        return busy
    }

    var isLinked: Bool { workers.allSatisfy { $0.session.welcome != nil } }

    /// Gives up requests that have no answer yet.
    func abandonExchanges() {
        for exchange in exchanges { exchange.abandon() }
    }
}

/// The door to a ``BenchState``, and the waiting for what happens there.
final class TestBench: Sendable {
    let state: NIOLoopBound<BenchState>
    /// What other processes would have.
    let layer: ChannelLayer
    /// One that may look.
    let inspector: ChannelLayer
    let layers: EmbeddedLayers
    private let bound: Mutex<Duration>
    private let isStopped = Atomic(false)

    init(_ layers: EmbeddedLayers, timeout: Duration) async throws {
        self.layers = layers
        bound = Mutex(timeout)
        layer = try await ChannelLayer.embedded(ChannelLayer.Configuration(name: "test"), with: layers)
        let limits = Limits()
        let hello = Hello(client: "fanfare-testing", name: "inspector", role: .admin, policy: Policy(limits))
        inspector = try await layers.layer(LayerSession.Configuration(endpoints: [], hello: hello, limits: limits))
        state = try await layers.loop.submit {
            NIOLoopBound(BenchState(layers), eventLoop: layers.loop)
        }.get()
    }

    var timeout: Duration {
        get { bound.withLock { $0 } }
        set { bound.withLock { $0 = newValue } }
    }

    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (BenchState) throws -> Value) async throws -> Value {
        try await layers.loop.submit { [state] in try body(state.value) }.get()
    }

    /// Looks, between turns of the loop, until `find` finds something.
    ///
    /// - Returns: `nil` when it has found nothing within ``timeout``.
    /// - Throws: `CancellationError`.
    func wait<Value: Sendable>(until find: @escaping @Sendable (BenchState) -> Value?) async throws -> Value? {
        try await wait { try await self.onLoop(find) }
    }

    /// Waits until nothing is under way.
    ///
    /// One look is enough: workers, broker and clients share one loop, and a handler counts as running until the loop
    /// has done all it asked for.
    ///
    /// - Returns: What is still under way after ``timeout``; empty when nothing is.
    func settle() async throws -> [String] {
        let isSettled = try await wait { $0.busy().isEmpty ? true : nil }
        return isSettled == true ? [] : try await onLoop { $0.busy() }
    }

    /// Looks with growing pauses, of 5 ms in the end.
    func wait<Value>(_ find: () async throws -> Value?) async throws -> Value? {
        let deadline = ContinuousClock.now + timeout
        var pause = Duration.microseconds(50)
        while true {
            // Read before: what happens while this looks must not be missed because the time is over.
            let isLast = ContinuousClock.now >= deadline
            if let found = try await find() { return found }
            guard !isLast else { return nil }
            try await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(5))
        }
    }

    func background(_ worker: BackgroundWorker) async throws {
        try await onLoop { $0.add(worker) }
        Task {
            // What it throws comes out of its stop, and out of what it then does not do.
            try? await worker.run()
            try? await onLoop { $0.remove(worker) }
        }
    }

    func stop() async {
        guard !isStopped.exchange(true, ordering: .sequentiallyConsistent) else { return }
        for worker in (try? await onLoop(\.backgroundWorkers)) ?? [] { await worker.stop(within: timeout) }
        await stopWorkers()
        await layer.close()
        await inspector.close()
    }

    private func stopWorkers() async {
        let loop = layers.loop
        let emptied = loop.makePromise(of: Void.self)
        loop.execute { [state] in
            state.value.abandonExchanges()
            let ends = state.value.workers.map { parts in
                let ended = loop.makePromise(of: Void.self)
                parts.worker.stop { ended.succeed() }
                return ended.futureResult
            }
            EventLoopFuture.andAllSucceed(ends, on: loop).cascade(to: emptied)
        }
        let deadline = loop.scheduleTask(in: .nanoseconds(timeout.nanoseconds)) { [state] in
            for parts in state.value.workers { parts.worker.cancelEnding() }
            emptied.succeed()
        }
        try? await emptied.futureResult.get()
        deadline.cancel()
        try? await onLoop { state in
            for parts in state.workers { parts.session.stop() }
        }
    }
}

extension Duration {
    /// In nanoseconds, the nearest that can be said.
    fileprivate var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflows) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflows ? (seconds < 0 ? .min : .max) : product + attoseconds / 1_000_000_000
    }
}
