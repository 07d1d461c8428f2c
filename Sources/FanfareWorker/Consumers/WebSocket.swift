import FanfareClient
public import FanfareModel
import FanfareProtocol
public import HTTPTypes
import NIOCore
import Synchronization

/// The connection has ended; nothing can be sent. Thrown out of a handler it is no failure.
public struct SocketClosed: Error, Sendable {}

/// One WebSocket connection, as its consumer sees it.
///
/// Safe to use from any task, also to hand to others. What one task sends arrives in that order.
public final class WebSocket: Sendable {
    /// The process channel that is this connection's address: `layer.send(_:to:)` from anywhere reaches it.
    public let channelName: String
    /// Who asked, what the address named, the way to the channel layer.
    public let context: Context
    /// The path of the handshake.
    public let path: String
    /// The client's address without port.
    public let address: String

    let socket: NIOLoopBound<Socket>
    /// Bytes handed over by other threads that the loop has not taken yet.
    private let inFlight = Atomic(0)
    private let isClosed = Atomic(false)

    /// Beyond this many bytes in flight a sender waits until the loop has caught up.
    private static let inFlightBytes = 262_144

    init(_ socket: Socket, context: Context, loop: any EventLoop) {
        self.socket = NIOLoopBound(socket, eventLoop: loop)
        self.context = context
        channelName = socket.channelName
        path = socket.path
        address = socket.address
    }

    /// Sends to channels and groups over this worker's link.
    public var layer: WorkerLayer { context.layer }

    /// Sends one text message; the empty one is a message too.
    ///
    /// Returns when the message is in the connection's queue, which is bounded: a client that does not read is treated
    /// as the worker's limits say, and delays nobody.
    ///
    /// - Throws: ``SocketClosed``.
    public func send(_ text: String) async throws {
        try await send(.text(text))
    }

    /// Sends one binary message.
    ///
    /// - Throws: ``SocketClosed``.
    public func send(_ binary: [UInt8]) async throws {
        try await send(.binary(binary))
    }

    /// Sends one message.
    ///
    /// - Throws: ``SocketClosed``.
    public func send(_ frame: Frame) async throws {
        guard !isClosed.load(ordering: .relaxed) else { throw SocketClosed() }
        var frames: [UInt8] = []
        frame.append(to: &frames)
        let count = frames.count
        let waits = inFlight.add(count, ordering: .relaxed).newValue > Self.inFlightBytes
        let bytes = frames
        onLoop { socket in
            self.inFlight.subtract(count, ordering: .relaxed)
            socket.send(message: bytes)
        }
        if waits { try? await socket.eventLoop.submit {}.get() }
    }

    /// Accepts the connection before `connect` returns, or with a subprotocol and headers. The second call does nothing.
    ///
    /// - Parameters:
    ///   - subprotocol: One of ``Request/subprotocols``.
    ///   - headers: Added to the answer. It leaves at once, so that middleware adds none.
    public func accept(subprotocol: String? = nil, headers: HTTPFields = [:]) {
        var headers = headers
        if let subprotocol = subprotocol ?? context.subprotocol, headers[.secWebSocketProtocol] == nil {
            headers[.secWebSocketProtocol] = subprotocol
        }
        let accepted = headers
        guard let ticket = context.ticket else { return }
        ticket.exchange.eventLoop.execute { ticket.exchange.value.accept(accepted) }
    }

    /// Ends the connection: messages sent before still arrive, then the client reads why. Nothing can be sent any more.
    ///
    /// In `connect`, before the acceptance, the client is let in only to read that; `disconnect` does not run then.
    ///
    /// - Parameters:
    ///   - code: 1000, 3000 to 3999 if registered, 4000 to 4999 for the application's own.
    ///   - reason: For people; cut to what a close frame holds, 123 bytes.
    public func close(_ code: CloseCode = .normal, reason: String = "") {
        markClosed()
        onLoop { $0.close(code, reason: reason) }
    }

    /// Adds the connection to a group. Messages sent to it from then on arrive.
    ///
    /// - Throws: `ChannelLayerError` for a bad name or without a broker, ``SocketClosed``.
    public func groupAdd(_ group: String) async throws {
        try await change { socket, done in socket.worker.link.join(socket, group, done) }
    }

    /// Takes the connection out of a group; no error when it was not in it.
    ///
    /// - Throws: As ``groupAdd(_:)``.
    public func groupDiscard(_ group: String) async throws {
        try await change { socket, done in socket.worker.link.leave(socket, group, done) }
    }

    // MARK: On the loop

    /// A message of the client that was not what it should be.
    func countInvalid() {
        onLoop { $0.worker.counters.invalidMessages += 1 }
    }

    /// Nothing can be sent any more.
    func markClosed() {
        isClosed.store(true, ordering: .relaxed)
    }

    private func onLoop(_ body: @escaping @Sendable (Socket) -> Void) {
        if socket.eventLoop.inEventLoop { return body(socket.value) }
        socket.eventLoop.execute { [socket] in body(socket.value) }
    }

    private func change(
        _ body: @escaping @Sendable (Socket, @escaping (Result<Void, any Error>) -> Void) -> Void
    ) async throws {
        guard !isClosed.load(ordering: .relaxed) else { throw SocketClosed() }
        try await withCheckedThrowingContinuation { continuation in
            onLoop { body($0) { continuation.resume(with: $0) } }
        }
    }
}

/// The channel layer as consumers and handlers of a worker see it: over the worker's own link, behind everything the
/// worker has asked the broker before.
public struct WorkerLayer: Sendable {
    let worker: NIOLoopBound<WorkerLoop>
    /// Where there is a tracer.
    let tracing: MessageTracing?

    /// Sends a message to every member of a group. Returns when it is on its way to the broker. While there is none it
    /// waits for one, at most ``WorkerLimits/sendsWaitSeconds``.
    ///
    /// - Throws: `ChannelLayerError`: `messageTooLarge`, `badName`, `notConnected`.
    public func groupSend(_ message: [String: MessageValue], to group: String) async throws {
        let body = MessagePack.encode(.map(message))
        try await tracing.producing(.groupSend, to: group) { try await publish(body, to: group, $0) }
    }

    private func publish(_ body: Body, to group: String, _ trace: TraceContext?) async throws {
        let result: Result<WorkerLoop.Published, Failure> = await withCheckedContinuation { continuation in
            worker.eventLoop.execute { [worker] in
                let published = worker.value.publish(body, to: group, trace: trace) { failure in
                    continuation.resume(returning: failure.map { .failure($0) } ?? .success(.sent))
                }
                if published != .waits { continuation.resume(returning: .success(published)) }
            }
        }
        switch try result.mapError({ ChannelLayerError($0) }).get() {
        case .sent, .waits: return
        case .noBroker: throw ChannelLayerError.notConnected("the broker is not reachable; the message was not sent")
        case .tooLarge(let limit):
            throw ChannelLayerError.messageTooLarge(
                "the message has \(body.count) bytes, the broker's limit \"body_bytes\" is \(limit)"
            )
        case .badName:
            throw ChannelLayerError.badName("\"\(group.prefix(120))\" is no name of a group; see Names in the protocol")
        }
    }

    /// Sends a value to every member of a group as a message of `type`.
    ///
    /// - Throws: As ``groupSend(_:to:)``; `EncodingError` for a value that is no map.
    public func groupSend(_ value: some Encodable, type: String, to group: String) async throws {
        try await groupSend(try MessageEncoder().encode(message: value, type: type), to: group)
    }

    /// Sends a message to a channel. Returns when the broker has accepted it.
    ///
    /// - Throws: `ChannelLayerError`: `channelFull`, `messageTooLarge`, `badName`, `notConnected`.
    public func send(_ message: [String: MessageValue], to channel: String) async throws {
        let body = MessagePack.encode(.map(message))
        try await tracing.producing(.send, to: channel) { trace in
            let result: Result<MessageValue, Failure> = await withCheckedContinuation { continuation in
                worker.eventLoop.execute { [worker] in
                    worker.value.link.send(body, to: channel, trace: trace) { continuation.resume(returning: $0) }
                }
            }
            if case .failure(let failure) = result { throw ChannelLayerError(failure) }
        }
    }

    /// Sends a value to a channel as a message of `type`.
    ///
    /// - Throws: As ``send(_:to:)``; `EncodingError` for a value that is no map.
    public func send(_ value: some Encodable, type: String, to channel: String) async throws {
        try await send(try MessageEncoder().encode(message: value, type: type), to: channel)
    }
}
