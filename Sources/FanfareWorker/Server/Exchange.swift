import FanfareTransport
package import HTTPTypes
import NIOCore

/// One request on its way through middleware to its answer, and to its socket if it becomes one. On the worker's loop.
package final class Exchange {
    private let worker: WorkerLoop
    private let peer: String
    /// Writes an answer; nothing becomes a WebSocket then.
    private let answer: (Response) -> Void
    /// Lets the handshake go on with these headers.
    private let upgrade: (HTTPFields) -> Void

    package private(set) var socket: Socket?
    private var route: SocketRoute?
    private var task: Task<Void, Never>?
    /// The extensions that were agreed, for the answer.
    private var extensions: String?
    private var isAccepted = false
    private var isFinished = false
    private var isAttached = false
    private var isOver = false
    private var isCancelled = false

    /// Only the end of a WebSocket's route lets a client in.
    private struct NoSocket: Error, CustomStringConvertible {
        var description: String { "a 101 was answered that no WebSocket's route made" }
    }

    package init(
        worker: WorkerLoop,
        peer: String,
        answer: @escaping (Response) -> Void,
        upgrade: @escaping (HTTPFields) -> Void
    ) {
        self.worker = worker
        self.peer = peer
        self.answer = answer
        self.upgrade = upgrade
    }

    /// Sends a request on its way.
    package func begin(_ request: Request) {
        begin(request, worker.router.find(request))
    }

    /// Sends a request on its way to what the router has found for it.
    func begin(_ request: Request, _ found: Router.Found) {
        var request = request
        if worker.isEncrypted { request.scheme = "https" }
        switch found {
        case .refused(let denial): refuse(denial)
        case .http(let handler, let captures, let middleware):
            run(request, captures, MiddlewareChain(middleware: middleware[...], end: handler))
        case .socket(let route, let captures, let middleware):
            self.route = route
            let ticket = Ticket(exchange: NIOLoopBound(self, eventLoop: worker.eventLoop), route: route)
            run(
                request,
                captures,
                MiddlewareChain(middleware: middleware[...]) { try await ticket.admit($0, $1) },
                ticket
            )
        }
    }

    private func run(
        _ request: Request,
        _ captures: Captures,
        _ chain: MiddlewareChain,
        _ ticket: Ticket? = nil
    ) {
        var context = Context(
            layer: worker.layer,
            logger: worker.logger,
            origins: worker.origins,
            ticket: ticket
        )
        context.captures = captures
        let (start, exchange) = (context, NIOLoopBound(self, eventLoop: worker.eventLoop))
        task = Task {
            let result: Result<Response, any Error>
            do { result = .success(try await chain(request, start)) } catch { result = .failure(error) }
            exchange.eventLoop.execute { exchange.value.finish(result) }
        }
    }

    /// Whether its handler, or the consumer's `connect`, still runs.
    package var isBusy: Bool { task != nil }

    // MARK: The socket

    /// Makes the socket and joins its groups.
    ///
    /// - Parameter joined: Called once: with the socket's public face, `nil` when it will be closed at once because
    ///   there is no broker, or with the reason why there is none.
    func open(
        _ plan: SocketRoute.Plan,
        _ request: Request,
        _ context: Context,
        joined: @escaping (Result<WebSocket?, any Error>) -> Void
    ) {
        guard !isOver, let route, socket == nil else { return joined(.failure(CancellationError())) }
        guard worker.hasRoom else {
            return joined(
                .failure(
                    Denial(
                        .text(
                            .serviceUnavailable,
                            worker.isDraining
                                ? "This worker is about to stop." : "This worker holds as many sockets as it may.",
                            headers: [.retryAfter: worker.isDraining ? "1" : "10"]
                        ),
                        reason: worker.isDraining ? "draining" : "full"
                    )
                )
            )
        }
        if let group = plan.groups.first(where: { !worker.isGroup($0) }) {
            // Most likely out of the address: not worth a question to the broker, nor a line in the log.
            return joined(
                .failure(
                    Denial(
                        .badRequest,
                        "No group can be named \"\(group.prefix(120))\": 1 to 99 of A-Z a-z 0-9 . - _",
                        reason: "bad_group"
                    )
                )
            )
        }
        let compression = worker.limits.compression ? request.headers[values: .secWebSocketExtensions] : []
        let agreed = Compression.negotiate(offers: compression)
        extensions = agreed?.responseHeader
        let socket = worker.makeSocket(
            route,
            path: request.path,
            address: request.address,
            remote: peer,
            windowBits: agreed?.agreement.serverWindowBits ?? 0
        )
        self.socket = socket
        // The socket's alone: who keeps the WebSocket longer does not keep the place of the connection.
        socket.leases = context.leases
        var context = context
        context.leases = []
        let webSocket = WebSocket(socket, context: context, loop: worker.eventLoop)
        socket.face = webSocket
        plan.attach?(socket, webSocket)
        socket.onJoined = { failure in
            joined(failure.map { .failure($0) } ?? .success(webSocket))
        }
        guard worker.open(socket, groups: plan.groups, identity: context.identity) else {
            socket.onJoined = nil
            return joined(.success(nil))
        }
    }

    /// Lets the client in. The second call does nothing.
    func accept(_ headers: HTTPFields) {
        guard let socket, !isAccepted, !isOver else { return }
        isAccepted = true
        worker.counters.socketsOpened += 1
        socket.accepted()
        var headers = headers
        headers[.secWebSocketExtensions] = extensions
        upgrade(headers)
    }

    /// The handshake's answer has been written; from here on the connection is the socket's.
    package func attach(_ outlet: any SocketOutlet) -> Socket? {
        guard let socket, isAccepted, !isOver else { return nil }
        isAttached = true
        socket.attach(outlet)
        openWhenReady()
        return socket
    }

    private func finish(_ result: Result<Response, any Error>) {
        task = nil
        isFinished = true
        guard !isOver else { return }
        switch result {
        case .success(let response) where response.status == .switchingProtocols:
            guard socket != nil else { return failed(NoSocket()) }
            accept(response.headers)
            openWhenReady()
        case .success(let response):
            isAccepted ? openWhenReady() : close(answering: response)
        case .failure(let error): failed(error)
        }
    }

    private func failed(_ error: any Error) {
        switch error {
        case let denial as Denial where !isAccepted: refuse(denial)
        case is CancellationError where !isAccepted:
            refuse(Denial(.serviceUnavailable, "The request was given up.", reason: "cancelled"))
        default:
            if !(error is SocketClosed), !(error is Denial), !isCancelled {
                worker.handlerFailed(error, consumer: socket?.service.name ?? "http")
            }
            guard isAccepted else {
                return refuse(Denial(.internalServerError, "Something failed on this side.", reason: "failed"))
            }
            socket?.close(.internalError, reason: "the server failed")
            openWhenReady()
        }
    }

    /// Opens the socket once its handshake is written and `connect` has returned; also one that has ended meanwhile, so
    /// that its consumer hears of both.
    private func openWhenReady() {
        guard isFinished, isAttached, !isOver, let socket else { return }
        isOver = true
        socket.opened()
    }

    private func refuse(_ denial: Denial) {
        worker.refused(denial.reason, peer: peer)
        close(answering: denial.response)
    }

    private func close(answering response: Response) {
        isOver = true
        socket?.discard()
        answer(response)
    }

    /// Tells middleware and `connect` to give up, and does not wait for them.
    func cancel() {
        isCancelled = true
        task?.cancel()
    }

    /// The client has left, or has taken too long, before it had its answer.
    package func abandon() {
        guard !isOver, !isAttached else { return }
        cancel()
        guard isAccepted, let socket else {
            isOver = true
            socket?.discard()
            return
        }
        isAttached = true
        socket.disconnected()
        openWhenReady()
    }
}

/// The right to make the WebSocket of one request, carried through middleware.
struct Ticket: Sendable {
    let exchange: NIOLoopBound<Exchange>
    let route: SocketRoute

    /// The end of every WebSocket's way: origin, consumer, groups, `connect`.
    func admit(_ request: Request, _ context: Context) async throws -> Response {
        let origins = request.headers[values: .origin]
        guard origins.count <= 1, context.origins.admits(origin: origins.first, host: request.host) else {
            throw Denial(.forbidden, "Pages of another origin may not open sockets here.", reason: "origin")
        }
        let plan = try await route.plan(request, context)
        let webSocket = try await withCheckedThrowingContinuation { continuation in
            exchange.eventLoop.execute { [exchange] in
                exchange.value.open(plan, request, context) { continuation.resume(with: $0) }
            }
        }
        if let webSocket { try await plan.connect?(webSocket) }
        return .accepted(context.subprotocol.map { [.secWebSocketProtocol: $0] } ?? [:])
    }
}
