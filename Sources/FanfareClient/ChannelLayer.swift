public import FanfareModel
import FanfareProtocol
package import NIOCore
import NIOPosix
import Synchronization

/// A channel layer: lets every process of an application talk to every other.
///
/// A *channel* is a named FIFO mailbox whose messages each go to one reader, at most once. A *group* is many channels
/// behind one name. One layer per process is enough: it is safe to use from any thread and any task, requests are
/// pipelined over one connection, and it connects again by itself when the connection breaks or the broker restarts.
///
/// ```swift
/// let layer = try await ChannelLayer.connect(.init(name: "shop"))
/// let channel = layer.newChannel()
/// try await layer.groupAdd(channel, to: "visitors")
/// try await layer.groupSend(["type": "shop.opened"], to: "visitors")
/// let message = try await layer.receive(from: channel)
/// ```
///
/// Delivery: at most once. Messages of one channel arrive in the order the broker accepted them; all members of a
/// group see its messages in the same order. Source: Django Channels, channel layer specification.
public final class ChannelLayer: Sendable {
    private let loop: any EventLoop
    private let engine: NIOLoopBound<LayerEngine>
    private let namePart: String
    /// Where there is a tracer.
    private let tracing: MessageTracing?
    private let lastChannel = Atomic<UInt64>(0)
    /// Channels a group send may leave out, by the protocol.
    private static let excludedMaximum = 256

    init(loop: any EventLoop, engine: NIOLoopBound<LayerEngine>, node: String, tracing: MessageTracing?) {
        self.loop = loop
        self.tracing = tracing
        self.engine = engine
        namePart = node + "!"
    }

    /// A layer nobody holds any more leaves the broker.
    deinit {
        loop.execute { [engine] in engine.value.close() }
    }

    /// A name for a new process channel of this process, such as `specific.k3x9qd71ma!1`.
    ///
    /// - Parameter prefix: What the name starts with; a valid normal channel name.
    public func newChannel(prefix: String = "specific") -> String {
        let number = lastChannel.add(1, ordering: .relaxed).newValue
        return prefix + "." + namePart + String(number, radix: 36)
    }

    /// Gives up a channel of ``newChannel(prefix:)``: it leaves all its groups, and what waits in it is dropped.
    ///
    /// Channels that are left alone cost a little memory until the layer closes. Waits in progress end with
    /// ``ChannelLayerError/closed``.
    ///
    /// - Throws: ``ChannelLayerError``: `badName`, `notConnected`, `outcomeUnknown`, `refused` for a channel of
    ///   another process.
    public func closeChannel(_ channel: String) async throws {
        _ = try await ask { engine, done in engine.closeChannel(channel, done) }
    }

    /// Sends a message to a channel. Returns when the broker has accepted it.
    ///
    /// While there is no broker it waits or fails as ``Configuration/sendsWhileAway`` says. Cancelling the task ends that
    /// wait; a message on its way is not called back.
    ///
    /// - Parameters:
    ///   - message: At most 2 MiB when encoded, unless the broker is configured otherwise.
    ///   - channel: A normal channel, or a process channel of any process.
    ///   - expirySeconds: The life of this message unread, instead of the layer's expiry.
    /// - Throws: ``ChannelLayerError``: `channelFull`, `messageTooLarge`, `badName`, `notConnected`, `outcomeUnknown`;
    ///   `CancellationError` when it was cancelled and not sent.
    public func send(_ message: [String: MessageValue], to channel: String, expirySeconds: Double? = nil) async throws {
        let body = MessagePack.encode(.map(message))
        let expiry = expirySeconds.map(Milliseconds.init(seconds:))
        try await tracing.producing(.send, to: channel) { trace in
            let options = SendOptions(expiry: expiry, trace: trace)
            try await send { .send(id: $0, channel: channel, body: body, options) }
        }
    }

    /// Waits for the next message of a channel.
    ///
    /// Cancelling the task ends the wait and loses nothing: a message already on its way goes back to the head of its
    /// queue. So that it gets there, end with ``close()``. A wait survives a broker restart.
    ///
    /// - Parameter channel: A normal channel, read in competition with every other reader, or a channel of
    ///   ``newChannel(prefix:)`` of this layer.
    /// - Throws: ``ChannelLayerError``: `badName`, `notOwner`, `closed`; `CancellationError`.
    public func receive(from channel: String) async throws -> [String: MessageValue] {
        while true {
            if case .message(let message) = try await next(from: channel, hearsGaps: false).item { return message }
        }
    }

    /// Waits for the next message of a channel as ``receive(from:)``, and handles it in a span that continues the trace
    /// of its sender, if the program has bootstrapped a tracer.
    ///
    /// - Parameter handle: What to do with the message; its result is the call's.
    /// - Throws: As ``receive(from:)``, and what `handle` throws. The message is gone then.
    public func receive<Result>(
        from channel: String,
        isolation: isolated (any Actor)? = #isolation,
        _ handle: ([String: MessageValue]) async throws -> Result
    ) async throws -> Result {
        let (message, arrival) = try await traced(from: channel)
        return try await arrival.handling { try await handle(message) }
    }

    /// The next message of a channel, and where it came from when there is a tracer.
    package func traced(from channel: String) async throws -> ([String: MessageValue], MessageTracing.Arrival?) {
        while true {
            let (item, trace) = try await next(from: channel, hearsGaps: false)
            if case .message(let message) = item { return (message, tracing?.arrival(trace, at: channel)) }
        }
    }

    /// Waits for what stands next in a channel: a message, or the news that messages are missing at this place.
    ///
    /// As ``receive(from:)``, for readers that must not go on as if nothing had been lost. Only process channels of
    /// this layer have such news.
    public func next(from channel: String) async throws -> Received {
        try await next(from: channel, hearsGaps: true).item
    }

    private func next(
        from channel: String,
        hearsGaps: Bool
    ) async throws -> (item: Received, trace: TraceContext?) {
        while true {
            switch try await arrival(from: channel, hearsGaps: hearsGaps) {
            case .gap(let gap): return (.missed(Missed(gap)), nil)
            case .body(let body, let trace):
                if case .map(let message)? = try await decode(body) { return (.message(message), trace) }
                // Somebody sent what is no message; it is counted, and never the reader's problem.
                loop.execute { [engine] in engine.value.dropUndecodable(channel) }
            }
        }
    }

    /// Adds a channel to a group. Messages sent to the group from now on reach it.
    ///
    /// - Throws: ``ChannelLayerError``: `badName`, `notConnected`, `outcomeUnknown`, `refused` at a limit.
    public func groupAdd(_ channel: String, to group: String) async throws {
        _ = try await ask { engine, done in engine.groupAdd(channel, to: group, done) }
    }

    /// Takes a channel out of a group. No error when it was no member.
    ///
    /// - Throws: ``ChannelLayerError``: `badName`, `notConnected`, `outcomeUnknown`.
    public func groupDiscard(_ channel: String, from group: String) async throws {
        _ = try await ask { engine, done in engine.groupDiscard(channel, from: group, done) }
    }

    /// Sends a message to every member of a group. Members at capacity are skipped and counted, never an error. Waits
    /// for a broker as ``send(_:to:expirySeconds:)``.
    ///
    /// - Parameters:
    ///   - message: As in ``send(_:to:expirySeconds:)``.
    ///   - group: A group; nothing happens when nobody is in it.
    ///   - excluding: Members that do not get it, at most 256 or the send is `refused`.
    ///   - expirySeconds: The life of this message unread, instead of the layer's expiry.
    /// - Throws: ``ChannelLayerError``: `messageTooLarge`, `badName`, `notConnected`, `outcomeUnknown`;
    ///   `CancellationError` when it was cancelled and not sent.
    public func groupSend(
        _ message: [String: MessageValue],
        to group: String,
        excluding: [String] = [],
        expirySeconds: Double? = nil
    ) async throws {
        guard excluding.count <= Self.excludedMaximum else {
            throw ChannelLayerError.refused("\(excluding.count) members to exclude; at most \(Self.excludedMaximum)")
        }
        let body = MessagePack.encode(.map(message))
        let expiry = expirySeconds.map(Milliseconds.init(seconds:))
        try await tracing.producing(.groupSend, to: group) { trace in
            let options = GroupSendOptions(expiry: expiry, exclude: excluding, trace: trace)
            try await send { .groupSend(id: $0, group: group, body: body, options) }
        }
    }

    /// Removes every message and every membership of the layer's namespace, for all clients.
    ///
    /// - Throws: ``ChannelLayerError``: `notConnected`, `outcomeUnknown`.
    public func flush() async throws {
        _ = try await call { .flush($0) }
    }

    /// Leaves the broker. Waits in progress end with ``ChannelLayerError/closed``, and a message of a normal channel
    /// that is on its way to one of them, or to one that was cancelled, goes back to its queue.
    ///
    /// Returns after a round trip or two, or one second when the broker does not answer.
    public func close() async {
        await withCheckedContinuation { continuation in
            loop.execute { [engine] in engine.value.close { continuation.resume() } }
        }
    }

    // MARK: For the programs of this house

    /// Sends a request and returns its answer, `.null` for an acknowledgement.
    ///
    /// - Throws: `Failure` with the broker's reason.
    package func request(_ make: @escaping @Sendable (RequestID) -> Request) async throws -> MessageValue {
        try await withFailure { engine, done in engine.call(make, done) }.get()
    }

    /// Asks the broker what it knows.
    ///
    /// - Throws: `Failure` with the broker's reason.
    package func inspect(_ query: InspectionQuery) async throws -> MessageValue {
        try await withFailure { engine, done in engine.call({ .inspect($0, query) }, done) }.get()
    }

    /// Copies of messages as they pass; ends with the link. At most 1 024 wait, the oldest go first.
    package func tail(_ query: TailQuery) async throws -> AsyncStream<Tailed> {
        try await loop.submit { self.engine.value.tail(query) }.get()
    }

    /// Returns when the broker has back what was on its way to cancelled receives, or after a second without an answer.
    package func giveBackCancelled() async {
        await withCheckedContinuation { continuation in
            loop.execute { [engine] in engine.value.whenGivenBack { continuation.resume() } }
        }
    }

    /// How many wait for the next message of a channel. On the loop of ``EmbeddedLayers``.
    package func waits(on channel: String) -> Int {
        engine.value.waits(on: channel)
    }

    /// Whether this layer lives on `other`.
    package func isOn(_ other: any EventLoop) -> Bool {
        loop === other
    }

    /// The time of one round trip to the broker.
    package func ping() async throws -> Duration {
        let start = ContinuousClock.now
        _ = try await withFailure { engine, done in engine.call({ .ping($0) }, done) }.get()
        return ContinuousClock.now - start
    }

    /// Returns once there is a session; closes the layer when the first attempt fails, and throws why.
    func connectedOrClosed() async throws {
        let result = await withFailure { engine, done in
            engine.whenConnected { done($0.map { MessageValue.null }) }
        }
        if case .failure(let failure) = result {
            await close()
            throw failure
        }
    }

    // MARK: Crossing to the loop

    private func call(_ make: @escaping @Sendable (RequestID) -> Request) async throws -> MessageValue {
        try await ask { engine, done in engine.call(make, done) }
    }

    /// A send: cancelled, it does not wait for a broker any more.
    private func send(_ make: @escaping @Sendable (RequestID) -> Request) async throws {
        let ticket = SendTicket()
        do {
            _ = try await withTaskCancellationHandler {
                try await ask { engine, done in engine.call(make, ticket: ticket, done) }
            } onCancel: {
                ticket.cancel()
                loop.execute { [engine] in engine.value.session.withdrawCancelled() }
            }
        } catch ChannelLayerError.notConnected where ticket.isCancelled {
            throw CancellationError()
        }
    }

    private typealias Completion = (Result<MessageValue, Failure>) -> Void

    private func ask(
        _ start: @escaping @Sendable (LayerEngine, @escaping Completion) -> Void
    ) async throws -> MessageValue {
        let result: Result<MessageValue, ChannelLayerError> = await withCheckedContinuation { continuation in
            loop.execute { [engine] in
                start(engine.value) { result in
                    let isClosed = engine.value.isClosed
                    continuation.resume(returning: result.mapError { isClosed ? .closed : ChannelLayerError($0) })
                }
            }
        }
        return try result.get()
    }

    private func withFailure(
        _ start: @escaping @Sendable (LayerEngine, @escaping Completion) -> Void
    ) async -> Result<MessageValue, Failure> {
        await withCheckedContinuation { continuation in
            loop.execute { [engine] in start(engine.value) { continuation.resume(returning: $0) } }
        }
    }

    private func decode(_ body: Body) async throws -> MessageValue? {
        try await loop.submit { try? self.engine.value.reader.value(body) }.get()
    }

    private func arrival(from channel: String, hearsGaps: Bool) async throws -> LayerEngine.Arrival {
        let token = try await loop.submit { self.engine.value.newToken() }.get()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                loop.execute { [engine] in
                    engine.value.receive(token, from: channel, hearsGaps: hearsGaps) { continuation.resume(with: $0) }
                }
            }
        } onCancel: {
            loop.execute { [engine] in engine.value.cancel(token) }
        }
    }
}
