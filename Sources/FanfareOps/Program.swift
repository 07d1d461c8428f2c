@preconcurrency import Dispatch
package import FanfareModel
import Glibc
package import Logging
import ServiceLifecycle
import Synchronization

/// Something of a program that runs until it is asked to stop.
package struct RunningPart: Sendable {
    /// For the log.
    package var name: String
    /// Stops it in good order; returns when it has stopped.
    package var stop: @Sendable () async -> Void
    /// Returns when it has ended by itself, or when its task is cancelled; the program stops then. `nil` for what never
    /// does.
    package var ended: (@Sendable () async -> Void)?
    /// Reads its files again, on SIGHUP. What cannot be used is logged, and what was in force stays.
    package var reload: (@Sendable () async -> Void)?
    /// Returns true when the loop that does its work has turned, false when it has ended: for the service manager's
    /// watchdog. `nil` for what has none.
    package var turn: (@Sendable () async -> Bool)?

    package init(
        name: String,
        ended: (@Sendable () async -> Void)? = nil,
        reload: (@Sendable () async -> Void)? = nil,
        turn: (@Sendable () async -> Bool)? = nil,
        stop: @escaping @Sendable () async -> Void
    ) {
        self.name = name
        self.ended = ended
        self.reload = reload
        self.turn = turn
        self.stop = stop
    }
}

/// The one place that runs a program of this house: exit codes, the ready line, signals, the order of stopping.
package enum Program {
    /// An error nobody foresaw: `EX_SOFTWARE`.
    private static let exitSoftware: Int32 = 70
    /// On top of the time a program gives itself to stop, before it is ended.
    private static let patienceMilliseconds: UInt64 = 5_000

    /// The paragraph of `--help` about how a daemon ends.
    package static let exitCodes = """
        EXIT CODES:
          0   stopped by SIGTERM or SIGINT, or did what it was asked
          64  the command line is wrong
          69  something it needs is unavailable
          70  an error inside the program; please report it
          78  a setting, a file or an address cannot be used
          128+N  a second signal N ended it at once
        """

    /// Runs `body` and ends the process with one line on standard error and the right code when it fails.
    ///
    /// - Parameters:
    ///   - name: The program's name, in front of the line.
    ///   - body: Everything the program does. Returning means success.
    package static func run(_ name: String, _ body: () async throws -> Void) async {
        do {
            try await body()
        } catch let failure as ProgramFailure {
            end(name, failure.text, failure.exit.rawValue)
        } catch {
            end(name, "\(error)", exitSoftware)
        }
    }

    /// Starts a daemon, says that it is ready, waits for SIGTERM or SIGINT, and stops it in good order.
    ///
    /// The first signal stops the parts, last started first; a second one ends the process at once, and so does
    /// taking longer than `stopWithin` and five seconds. SIGHUP makes those parts that can read their files again; one
    /// that comes before the ready line does so after it.
    /// The service manager is told of all of it, and as long as the parts' loops turn that they do.
    ///
    /// - Parameters:
    ///   - name: The program's name.
    ///   - logger: Told about ready and stop.
    ///   - stopWithin: What the parts together may take to stop.
    ///   - manager: What the environment says about a service manager.
    ///   - start: Starts everything; returns the ready line for standard output and the parts in the order they
    ///     were started.
    package static func serve(
        _ name: String,
        logger: Logger,
        stopWithin: Milliseconds,
        manager: ServiceManager = ServiceManager(),
        start: () async throws -> (ready: String, parts: [RunningPart])
    ) async throws {
        signal(SIGPIPE, SIG_IGN)
        // Until it is trapped.
        signal(SIGHUP, SIG_IGN)
        raiseOpenFiles(logger)
        let (signals, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingOldest(1))
        let ends = await trapEnds(name, stopWithin: stopWithin, first: continuation)
        // Before the start: what that has taken up would be lost with the process.
        let (hangups, hangupContinuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let hangup = await trap(SIGHUP, on: DispatchQueue(label: "fanfare.reload")) { hangupContinuation.yield() }
        let (ready, parts) = try await start()
        logger.notice(
            "ready",
            metadata: ["on": "\(ready)", "version": "\(Version.current)", "pid": .stringConvertible(getpid())]
        )
        StandardStream.output.writeLine("\(name) ready on \(ready)")
        let notices = ServiceNotices(manager, logger: logger)
        let status = "serves on \(ready)"
        notices.ready(status)

        let services = parts.map {
            ServiceGroupConfiguration.ServiceConfiguration(
                service: PartService(part: $0, notices: notices),
                successTerminationBehavior: .gracefullyShutdownGroup
            )
        }
        let group = ServiceGroup(configuration: .init(services: services, logger: logger))
        let waiting = Task {
            for await number in signals {
                logger.notice("stopping", metadata: ["signal": "\(number == SIGINT ? "SIGINT" : "SIGTERM")"])
                await group.triggerGracefulShutdown()
            }
        }
        let reloading = Task { await reload(parts, on: hangups, notices, status) }
        let watching = Task { await notices.watch(parts.compactMap(\.turn)) }
        defer { for task in [waiting, reloading, watching] { task.cancel() } }
        try await group.run()
        withExtendedLifetime((ends, hangup)) {
            Logs.flush()
            logger.notice("stopped")
        }
    }

    /// Each SIGHUP, one after the other; those that come meanwhile are one.
    private static func reload(
        _ parts: [RunningPart],
        on hangups: AsyncStream<Void>,
        _ notices: ServiceNotices,
        _ status: String
    ) async {
        for await _ in hangups {
            notices.reloading()
            for part in parts { await part.reload?() }
            notices.ready(status)
        }
    }

    /// Handles a signal from the return on. Dispatch takes its time to begin: until then the signal does what it did.
    private static func trap(
        _ number: Int32,
        on queue: DispatchQueue,
        _ handle: @escaping @Sendable () -> Void
    ) async -> any DispatchSourceSignal {
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        source.setEventHandler(handler: handle)
        await withCheckedContinuation { registered in
            source.setRegistrationHandler { registered.resume() }
            source.resume()
        }
        return source
    }

    /// Hands the first SIGTERM or SIGINT to `first` and ends the process on the second.
    ///
    /// On Dispatch and not in a task: a second signal must work even when nothing else does.
    private static func trapEnds(
        _ name: String,
        stopWithin: Milliseconds,
        first: AsyncStream<Int32>.Continuation
    ) async -> [any DispatchSourceSignal] {
        let queue = DispatchQueue(label: "fanfare.signals")
        let count = SignalCount()
        var sources: [any DispatchSourceSignal] = []
        for number in [SIGTERM, SIGINT] {
            let source = await trap(number, on: queue) {
                guard count.next() == 1 else { end(name, "stopped at once by a second signal", 128 + number) }
                let patience = stopWithin.value + patienceMilliseconds
                queue.asyncAfter(deadline: .now() + .milliseconds(Int(clamping: patience))) {
                    end(name, "did not stop within \(patience) ms and was ended", exitSoftware)
                }
                first.yield(number)
            }
            sources.append(source)
        }
        return sources
    }

    /// Each socket is a descriptor: take as many as the system lets this user have.
    private static func raiseOpenFiles(_ logger: Logger) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        guard limit.rlim_cur < limit.rlim_max else { return }
        let before = limit.rlim_cur
        limit.rlim_cur = limit.rlim_max
        guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return logger.warning("the limit of open files could not be raised", metadata: ["limit": "\(before)"])
        }
    }

    private static func end(_ name: String, _ text: String, _ code: Int32) -> Never {
        StandardStream.error.writeLine("\(name): \(text)")
        _exit(code)
    }
}

/// How many signals have come.
private final class SignalCount: Sendable {
    private let count = Atomic<Int>(0)

    func next() -> Int {
        count.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

/// A part as swift-service-lifecycle wants it: it waits for its turn to stop.
private struct PartService: Service {
    let part: RunningPart
    let notices: ServiceNotices

    func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { [part] tasks in
            tasks.addTask { try await gracefulShutdown() }
            if let ended = part.ended { tasks.addTask { await ended() } }
            defer { tasks.cancelAll() }
            try await tasks.next()
        }
        notices.stopping()
        await part.stop()
    }
}
