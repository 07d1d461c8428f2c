public import FanfareClient
import FanfareModel
public import Logging
import NIOCore
public import ServiceLifecycle
import Synchronization

/// Does work that others leave on normal channels: what Django Channels calls `runworker`.
///
/// Any number of processes may work on the same channels; each message goes to one of them.
///
/// ```swift
/// let worker = BackgroundWorker(layer: layer) {
///     $0.channel("thumbnails", concurrency: 4) { (message: Thumbnail.Make, context) in
///         try await render(message)
///     }
///     $0.channel("mail") {
///         $0.on("mail.send", Mail.self) { mail, context in try await post(mail) }
///     }
///     $0.onError { context, error in try? await context.layer.send(context.message, to: "dead-letters") }
/// }
/// try await worker.run()
/// ```
///
/// Delivery: at most once. A message is gone when it has been handed out: a handler that throws, or a process that
/// dies, loses it. After a handler has thrown, its place among the `concurrency` of the channel waits before it takes
/// the next message, 100 to 200 ms at first and 15 to 30 s in the end, until one succeeds. A handler must not block its
/// thread.
///
/// A service of ServiceLifecycle: put it into the same `ServiceGroup` as a ``Worker``, or run it alone.
public final class BackgroundWorker: Service {
    /// What a worker needs of the world.
    struct Timing: Sendable {
        var now: @Sendable () -> Instant = { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) }
        var sleep: @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    }

    private enum Phase {
        case new
        case running(Task<Void, any Error>)
        case stopped
    }

    private let layer: ChannelLayer
    private let channels: [BackgroundChannel]
    private let stopWithin: Duration
    private let timing: Timing
    private let handling = HandlerTasks()
    private let phase = Mutex(Phase.new)
    private let deadlines = Mutex<[Task<Void, Never>]>([])

    /// A worker that does nothing yet.
    ///
    /// - Parameters:
    ///   - layer: Where the channels are. It must stay open until ``run()`` has returned.
    ///   - logger: Hears of handlers that throw, of messages that cannot be read and of a broker that refuses: each at
    ///     most once in ten seconds and channel.
    ///   - stopWithin: How long handlers may go on when the task of ``run()`` is cancelled.
    ///   - declare: Names the channels and their handlers.
    public convenience init(
        layer: ChannelLayer,
        logger: Logger = Logger(label: "fanfare.background"),
        stopWithin: Duration = .seconds(10),
        _ declare: (inout BackgroundChannels) -> Void
    ) {
        self.init(layer: layer, logger: logger, stopWithin: stopWithin, timing: Timing(), declare)
    }

    init(
        layer: ChannelLayer,
        logger: Logger,
        stopWithin: Duration,
        timing: Timing,
        _ declare: (inout BackgroundChannels) -> Void
    ) {
        var declared = BackgroundChannels()
        declare(&declared)
        self.layer = layer
        self.stopWithin = stopWithin
        self.timing = timing
        channels = declared.plans.map { plan in
            BackgroundChannel(plan, onError: declared.onError, layer: layer, logger: logger, timing: timing)
        }
    }

    /// What has become of the messages so far, by channel.
    public var health: [String: BackgroundHealth] {
        Dictionary(uniqueKeysWithValues: channels.map { ($0.name, $0.health) })
    }

    /// What it takes its messages from.
    package var source: ChannelLayer { layer }

    /// The channels that are being worked on: a place of theirs is not waiting for a message. On the loop of
    /// `EmbeddedLayers`, where what this says holds until the turn is over.
    package var busyChannels: [String] {
        channels.filter { layer.waits(on: $0.name) < $0.concurrency }.map(\.name)
    }

    /// Works until it is stopped. A worker runs once.
    ///
    /// Returns after ``stop(within:)``, and when its task is cancelled, which stops it in the same good order. Waits
    /// while there is no broker.
    ///
    /// - Throws: `ChannelLayerError`: `badName` or `notOwner` for a channel nobody here can read, before anything is
    ///   taken; `closed` when the layer is closed while it runs.
    public func run() async throws {
        try await cancelWhenGracefulShutdown { try await self.runUntilCancelled() }
    }

    private func runUntilCancelled() async throws {
        for channel in channels { try channel.check() }
        let work: Task<Void, any Error>? = phase.withLock { phase in
            switch phase {
            case .new:
                let work = Task { try await self.work() }
                phase = .running(work)
                return work
            case .running: preconditionFailure("this background worker runs already")
            case .stopped: return nil
            }
        }
        guard let work else { return }
        defer { ended() }
        try await withTaskCancellationHandler {
            try await work.value
        } onCancel: {
            beginStop(within: stopWithin)
        }
    }

    /// Takes no more messages, lets handlers finish what is in hand, and returns when ``run()`` is at its end.
    ///
    /// Nothing is lost: messages that were on their way go back to their queues. Not for handlers to call: it waits for
    /// them.
    ///
    /// - Parameter limit: Handlers that are at work after this are cancelled. One that does not mind being cancelled is
    ///   waited for all the same.
    public func stop(within limit: Duration = .seconds(10)) async {
        _ = await beginStop(within: limit)?.result
    }

    @discardableResult
    private func beginStop(within limit: Duration) -> Task<Void, any Error>? {
        let work: Task<Void, any Error>? = phase.withLock { phase in
            if case .running(let work) = phase { return work }
            phase = .stopped
            return nil
        }
        guard let work else { return nil }
        work.cancel()
        let deadline = Task { [timing, handling] in
            do { try await timing.sleep(limit) } catch { return }
            handling.cancelAll()
        }
        deadlines.withLock { $0.append(deadline) }
        return work
    }

    private func ended() {
        phase.withLock { $0 = .stopped }
        let deadlines = deadlines.withLock { $0 }
        for deadline in deadlines { deadline.cancel() }
    }

    private func work() async throws {
        try await withThrowingDiscardingTaskGroup { group in
            for channel in channels {
                for _ in 0..<channel.concurrency { group.addTask { try await self.consume(channel) } }
            }
        }
        // The program may end after this: what was on its way must be back by then.
        await layer.giveBackCancelled()
    }

    private func consume(_ channel: BackgroundChannel) async throws {
        do {
            try await channel.consume(handling)
        } catch {
            // The others end too, with the same time for what they have in hand.
            beginStop(within: stopWithin)
            throw error
        }
    }
}

/// What has become of the messages of one channel. All that were taken have succeeded, failed, been dropped, or run.
public struct BackgroundHealth: Sendable, Equatable {
    /// Messages handed to this worker.
    public internal(set) var taken: UInt64 = 0
    /// Messages whose handler returned.
    public internal(set) var succeeded: UInt64 = 0
    /// Messages whose handler threw.
    public internal(set) var failed: UInt64 = 0
    /// Messages of a type no handler was declared for, or that could not be read as that type.
    public internal(set) var dropped: UInt64 = 0
    /// Handlers at work now.
    public internal(set) var running = 0
}

/// The handlers at work. They are tasks of their own: a stop ends the waits for messages, not the work on them.
final class HandlerTasks: Sendable {
    private struct State {
        var cancellations: [UInt64: @Sendable () -> Void] = [:]
        var lastNumber: UInt64 = 0
        var isCancelled = false
    }

    private let state = Mutex(State())

    /// Runs `body` whether or not the calling task is cancelled, and returns when it has ended.
    func run<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) async -> Result {
        let task = Task { await body() }
        let (number, isCancelled) = state.withLock { state in
            state.lastNumber += 1
            state.cancellations[state.lastNumber] = { task.cancel() }
            return (state.lastNumber, state.isCancelled)
        }
        if isCancelled { task.cancel() }
        let result = await task.value
        state.withLock { _ = $0.cancellations.removeValue(forKey: number) }
        return result
    }

    /// Cancels what runs and what will.
    func cancelAll() {
        let cancellations = state.withLock { state in
            state.isCancelled = true
            return Array(state.cancellations.values)
        }
        for cancel in cancellations { cancel() }
    }
}
