public import FanfareClient
import FanfareModel
public import FanfareWorker
public import Logging
import NIOCore

/// An application in a test: its router on one or more workers, a broker, and clients, all in this process and without
/// sockets.
///
/// ```swift
/// let app = try await TestApplication(router)
/// let socket = try await app.connect("/ws/chat/lobby/")
/// try await socket.send("hello")
/// #expect(try await socket.expectText() == "hello")
/// await app.stop()
/// ```
///
/// Requests go the whole way: router, middleware, origin policy, consumer, the frames of RFC 6455, groups over the
/// broker. What only the wire has is not there: the checks of a handshake's own headers and the limits on headers,
/// bodies and slow readers. What is thrown is for people: a ``TestFailure`` says where something was expected and what
/// came instead, and which handlers threw. Works with Swift Testing and XCTest alike.
///
/// *Under way* is, in all of this: a handler of a consumer or page that has not returned, a message that waits for one,
/// a message or answer between workers and broker, and a message that a background worker of ``start(_:fileID:line:)`` has in hand.
/// Tasks that code starts and does not wait for are not seen.
///
/// The clock of the workers stands still but for ``advance(seconds:)``: nobody is pinged, and no connection gets too
/// old. Messages in the broker expire in real time.
public final class TestApplication: Sendable {
    /// The channel layer of another process: sends to groups and channels of this application, and receives.
    public var layer: ChannelLayer { bench.layer }
    /// The broker, for more layers: `try await ChannelLayer.embedded(.init(name: "other"), with: app.broker)`.
    public var broker: EmbeddedLayers { bench.layers }

    /// How long everything here waits at most before it throws or gives up.
    public var timeout: Duration {
        get { bench.timeout }
        set { bench.timeout = newValue }
    }

    let bench: TestBench

    /// Starts workers over a broker of their own.
    ///
    /// - Parameters:
    ///   - router: What each of them serves.
    ///   - workers: How many, at least 1; ``connect(_:headers:subprotocols:origin:host:address:worker:fileID:line:)``
    ///     says which one it means by its number.
    ///   - configuration: Its name, origins and limits count; there is nothing to listen on and nothing to dial.
    ///   - timeout: See ``timeout``.
    ///   - logger: Gets what workers and handlers log; nobody by default.
    public init(
        _ router: Router,
        workers: Int = 1,
        configuration: Worker.Configuration = Worker.Configuration(),
        timeout: Duration = .seconds(30),
        logger: Logger = Logger(label: "fanfare.testing") { _ in SwiftLogNoOpLogHandler() }
    ) async throws {
        precondition(workers >= 1, "a test application has at least one worker, not \(workers)")
        bench = try await TestBench(EmbeddedLayers(), timeout: timeout)
        var plan = WorkerServer.Configuration()
        plan.workerLimits = configuration.limits
        plan.origins = configuration.origins
        for number in 0..<workers {
            plan.name = workers == 1 ? configuration.name : "\(configuration.name)-\(number)"
            try await bench.onLoop { [plan] in $0.addWorker(plan, router, logger) }
        }
        _ = try await bench.wait { $0.isLinked ? true : nil }
    }

    deinit {
        Task { [bench] in await bench.stop() }
    }

    /// Stops background workers and closes every connection with 1001; consumers hear of it. Handlers that have not
    /// returned within the timeout are cancelled. An application nobody holds any more stops by itself.
    public func stop() async {
        await bench.stop()
    }

    // MARK: What happens

    /// Waits until nothing is under way.
    ///
    /// - Throws: ``TestFailure`` that names what still is, when the timeout is over.
    public func settle(fileID: String = #fileID, line: Int = #line) async throws {
        let busy = try await bench.settle()
        guard busy.isEmpty else {
            let what = Set(busy).sorted().joined(separator: ", ")
            throw TestFailure(CodePlace(fileID: fileID, line: line), "still under way after \(bench.timeout): \(what)")
        }
    }

    /// The channels that are in a group, sorted, once nothing is under way.
    ///
    /// - Throws: `ChannelLayerError` for a bad name; ``TestFailure`` as ``settle(fileID:line:)``.
    public func members(of group: String, fileID: String = #fileID, line: Int = #line) async throws -> [String] {
        try await settle(fileID: fileID, line: line)
        var query = InspectionQuery(.group)
        query.name = group
        var members: [String] = []
        do {
            repeat {
                let answer = try await bench.inspector.inspect(query)
                members += (answer["rows"]?.array ?? []).compactMap { $0["channel"]?.string }
                query.cursor = answer["cursor"]?.string
            } while query.cursor != nil
        } catch let failure as Failure where failure.code == .notFound {
            return []
        } catch let failure as Failure {
            throw TestFailure(CodePlace(fileID: fileID, line: line), "the broker refused: \(failure.text)")
        }
        return members.sorted()
    }

    /// What a worker holds and has counted, such as refusals by reason, once nothing is under way.
    ///
    /// - Throws: ``TestFailure`` as ``settle(fileID:line:)``, or when there is no such worker.
    public func health(worker: Int = 0, fileID: String = #fileID, line: Int = #line) async throws -> WorkerHealth {
        let place = CodePlace(fileID: fileID, line: line)
        try await settle(fileID: fileID, line: line)
        return try await bench.onLoop { try $0.worker(worker, place).health }
    }

    /// The handlers that threw so far, in order, at most 1 000; once nothing is under way.
    ///
    /// - Throws: ``TestFailure`` as ``settle(fileID:line:)``.
    public func handlerFailures(fileID: String = #fileID, line: Int = #line) async throws -> [HandlerFailure] {
        try await settle(fileID: fileID, line: line)
        return try await bench.onLoop(\.failures)
    }

    // MARK: What else there is

    /// Runs a background worker until the application stops; what it does counts as under way.
    ///
    /// - Parameters:
    ///   - worker: Over ``layer``, or another layer of ``broker``.
    ///   - fileID: The test's file, for failures.
    ///   - line: The test's line, for failures.
    /// - Throws: ``TestFailure`` when it is over a layer of another broker.
    public func start(_ worker: BackgroundWorker, fileID: String = #fileID, line: Int = #line) async throws {
        guard worker.source.isOn(broker.loop) else {
            let text = "this background worker's layer is none of this application: make it over app.layer"
            throw TestFailure(CodePlace(fileID: fileID, line: line), text)
        }
        try await bench.background(worker)
    }

    /// Lets the workers' clock go on, a second at a time: pings, idle and lifetime limits, credentials that expire.
    /// Clients answer pings meanwhile.
    ///
    /// - Parameter seconds: At least 1, at most a day.
    public func advance(seconds: Int) async throws {
        precondition((1...86_400).contains(seconds), "the clock can go on by 1 to 86 400 seconds, not \(seconds)")
        for _ in 0..<seconds {
            try await bench.onLoop { state in
                for parts in state.workers { parts.worker.timePassed() }
            }
        }
        _ = try await bench.settle()
    }

    /// Stops the broker and starts it again: it has forgotten every message and membership. Returns when workers and
    /// ``layer`` have connected and registered again.
    ///
    /// - Throws: ``TestFailure`` when they have not within the timeout.
    public func restartBroker(fileID: String = #fileID, line: Int = #line) async throws {
        try await reconnect("the restarted broker", CodePlace(fileID: fileID, line: line)) { $0.layers.restartBroker() }
        try await settle(fileID: fileID, line: line)
    }

    /// Breaks the links of workers and ``layer`` to the broker, which goes on. Returns when they are connected again: no
    /// message is lost, no membership, and nobody is told of a gap.
    ///
    /// - Throws: ``TestFailure`` when they are not within the timeout.
    public func breakLinks(fileID: String = #fileID, line: Int = #line) async throws {
        try await reconnect("the broker", CodePlace(fileID: fileID, line: line)) { $0.layers.breakLinks() }
        try await settle(fileID: fileID, line: line)
    }

    private func reconnect(
        _ what: String,
        _ place: CodePlace,
        after breaking: @escaping @Sendable (BenchState) -> Void
    ) async throws {
        try await bench.onLoop(breaking)
        // Links end in the turn after.
        try await bench.onLoop { _ in }
        let isBack: Bool? = try await bench.wait {
            let isLinked = try await self.bench.onLoop(\.isLinked)
            guard isLinked, (try? await self.layer.ping()) != nil else { return nil }
            return (try? await self.bench.inspector.ping()) != nil ? true : nil
        }
        guard isBack == true else {
            throw TestFailure(place, "no connection to \(what) within \(bench.timeout)")
        }
    }
}

extension BenchState {
    func worker(_ number: Int, _ place: CodePlace) throws -> WorkerLoop {
        guard workers.indices.contains(number) else {
            throw TestFailure(place, "there is no worker \(number); this application has 0 to \(workers.count - 1)")
        }
        return workers[number].worker
    }
}
