import FanfareClient
import FanfareModel
import Logging
import Synchronization

/// One channel a ``BackgroundWorker`` works on: takes its messages, one at a time in each of its places.
final class BackgroundChannel: Sendable {
    private struct State {
        var health = BackgroundHealth()
        var windows: [Event: LogWindow] = [:]
    }

    private enum Event {
        case refused
        case failed
        case dropped
    }

    private enum Outcome {
        case succeeded
        case failed
        case dropped
    }

    private let plan: BackgroundPlan
    private let onError: BackgroundContext.ErrorHook?
    private let layer: ChannelLayer
    private let logger: Logger
    private let timing: BackgroundWorker.Timing
    private let state = Mutex(State())

    var name: String { plan.name }
    var concurrency: Int { plan.concurrency }
    var health: BackgroundHealth { state.withLock { $0.health } }

    init(
        _ plan: BackgroundPlan,
        onError: BackgroundContext.ErrorHook?,
        layer: ChannelLayer,
        logger: Logger,
        timing: BackgroundWorker.Timing
    ) {
        self.plan = plan
        self.onError = onError
        self.layer = layer
        self.timing = timing
        var logger = logger
        logger[metadataKey: "channel"] = "\(plan.name)"
        self.logger = logger
    }

    /// - Throws: `ChannelLayerError`: the name is none of a normal channel.
    func check() throws {
        guard Names.isChannel(name, Limits()) else {
            throw ChannelLayerError.badName("\"\(name)\" is no channel name: 1 to 99 of A-Z a-z 0-9 . - _")
        }
        guard Names.node(of: name) == nil else { throw ChannelLayerError.notOwner(name) }
    }

    /// Takes and handles messages until the task is cancelled.
    ///
    /// - Throws: `ChannelLayerError` that no waiting mends.
    func consume(_ handling: HandlerTasks) async throws {
        var (failures, refusals) = (HandlerBackoff(), HandlerBackoff())
        while !Task.isCancelled {
            let (message, arrival): ([String: MessageValue], MessageTracing.Arrival?)
            do {
                (message, arrival) = try await layer.traced(from: name)
            } catch is CancellationError {
                return
            } catch {
                guard !Task.isCancelled else { return }
                guard Self.passes(error) else { throw error }
                log(.refused, "the broker hands out no messages; trying again", error)
                await pause(refusals.next())
                continue
            }
            refusals = HandlerBackoff()
            // Whatever has been handed over is handled, also when the stop came in the meantime.
            switch await handle(message, arrival, handling) {
            case .succeeded: failures = HandlerBackoff()
            case .failed: await pause(failures.next())
            case .dropped: break
            }
        }
    }

    /// Whether an error may be gone at the next attempt.
    private static func passes(_ error: any Error) -> Bool {
        switch error as? ChannelLayerError {
        case .notConnected, .refused: true
        default: false
        }
    }

    /// A pause that the end of the task ends too.
    private func pause(_ duration: Duration) async {
        guard !Task.isCancelled else { return }
        try? await timing.sleep(duration)
    }

    private func handle(
        _ message: [String: MessageValue],
        _ arrival: MessageTracing.Arrival?,
        _ handling: HandlerTasks
    ) async -> Outcome {
        state.withLock { state in
            state.health.taken += 1
            state.health.running += 1
        }
        let context = BackgroundContext(channel: name, message: message, layer: layer, logger: logger)
        let outcome = await handling.run { await self.attempt(context, arrival) }
        count(outcome)
        return outcome
    }

    private func attempt(_ context: BackgroundContext, _ arrival: MessageTracing.Arrival?) async -> Outcome {
        do {
            try await arrival.handling { try await plan.handle(context) }
            return .succeeded
        } catch let unreadable as BackgroundPlan.Unreadable {
            log(.dropped, "a message was dropped: no handler can read it", unreadable.reason)
            await onError?(context, unreadable.reason)
            return .dropped
        } catch {
            log(.failed, "a handler threw; its message is gone", error)
            await onError?(context, error)
            return .failed
        }
    }

    private func count(_ outcome: Outcome) {
        state.withLock { state in
            state.health.running -= 1
            switch outcome {
            case .succeeded: state.health.succeeded += 1
            case .failed: state.health.failed += 1
            case .dropped: state.health.dropped += 1
            }
        }
    }

    private func log(_ event: Event, _ text: Logger.Message, _ error: any Error) {
        let now = timing.now()
        let admitted = state.withLock { $0.windows[event, default: LogWindow()].admit(at: now) }
        guard let suppressed = admitted else { return }
        logger.warning(
            text,
            metadata: [
                "reason": "\(String(describing: error).prefix(1_024))", "suppressed": .stringConvertible(suppressed),
            ]
        )
    }
}

/// How long a place waits after a failure: doubled from 200 ms to 30 s, times a random half to whole.
struct HandlerBackoff {
    private var step = Duration.milliseconds(200)
    private static let longest = Duration.seconds(30)

    /// The next wait: 100 ms to 30 s.
    mutating func next() -> Duration {
        var random = SystemRandomNumberGenerator()
        return next(using: &random)
    }

    mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        defer { step = min(step * 2, Self.longest) }
        return step * Double.random(in: 0.5...1, using: &random)
    }
}
