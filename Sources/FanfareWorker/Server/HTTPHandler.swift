import HTTPTypes
import NIOCore
import NIOHTTP1

/// A connection before it is a WebSocket, or instead of one: answers its first request and closes.
final class HTTPHandler: ChannelInboundHandler, RemovableChannelHandler, Stranger {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    let worker: WorkerLoop
    private let deadline: Int
    private var context: ChannelHandlerContext?
    /// The request whose body is read, and what will answer it.
    private var reading: (request: Request, found: Router.Found)?
    private var isHead = false
    private var exchange: Exchange?
    /// What the handshake waits for.
    private var upgrade: EventLoopPromise<HTTPFields>?
    /// What the handshake was refused with, until its request arrives here.
    private var refusal: Response?
    private var hasAnswered = false

    /// - Parameter deadline: The tick at which the connection is given up if it is no WebSocket by then.
    init(worker: WorkerLoop, until deadline: Int) {
        self.worker = worker
        self.deadline = deadline
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        worker.strangers.insert(self, until: deadline)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        worker.strangers.remove(self)
    }

    /// Whether the answer is still being made.
    var isBusy: Bool { exchange?.isBusy ?? false }

    /// Whether the connection is TLS.
    var isEncrypted: Bool { worker.isEncrypted }

    // MARK: Handshakes

    /// Sends the request of a handshake on its way.
    ///
    /// - Parameter upgrade: Succeeds with the headers of the answer; fails when it is refused, and the refusal follows
    ///   when the request itself arrives.
    func begin(_ request: Request, _ upgrade: EventLoopPromise<HTTPFields>) {
        // A request may name the protocol many times, and NIO would try each time.
        guard exchange == nil, let context else { return upgrade.fail(SocketUpgrader.Refused()) }
        let exchange = Exchange(
            worker: worker,
            peer: request.peer,
            answer: { [weak self] response in
                self?.refusal = response
                self?.finishUpgrade(.failure(SocketUpgrader.Refused()))
            },
            upgrade: { [weak self] in self?.finishUpgrade(.success($0)) }
        )
        self.exchange = exchange
        self.upgrade = upgrade
        // Nobody looks at what follows before the handshake is decided: it waits in the kernel, not here.
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        exchange.begin(request)
    }

    private func finishUpgrade(_ result: Result<HTTPFields, any Error>) {
        guard let upgrade else { return }
        self.upgrade = nil
        if let context, context.channel.isActive { try? context.channel.syncOptions?.setOption(.autoRead, value: true) }
        upgrade.completeWith(result)
    }

    /// The exchange whose handshake is through: it belongs to the socket from here on.
    func takeExchange() -> Exchange? {
        defer { exchange = nil }
        return exchange
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): began(head, context)
        case .body(let bytes): received(bytes)
        case .end: ended(context)
        }
    }

    private func began(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
        guard !hasAnswered else { return }
        isHead = head.method == .HEAD
        if let refusal { return write(refusal) }
        // One request a connection; what is sent behind it is not looked at.
        guard reading == nil, exchange == nil else { return }
        switch Handshake.request(of: head, peer: Peer.text(context.channel)) {
        case .failure(let denial): refuse(denial)
        case .success(let request) where request.isWebSocket:
            // In order, and yet not carried out: something in it only NIO's upgrader saw.
            _ = request
            refuse(Denial(.badRequest, "The WebSocket handshake is not in order.", reason: "bad_handshake"))
        case .success(let request): expectBody(head, request, context)
        }
    }

    private func expectBody(_ head: HTTPRequestHead, _ request: Request, _ context: ChannelHandlerContext) {
        // Strangers would have it kept for nothing.
        let found = worker.router.find(request)
        if case .refused(let denial) = found { return refuse(denial) }
        let declared = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        guard declared <= worker.limits.bodyBytes else { return refuseBody() }
        reading = (request, found)
        // RFC 9110, section 10.1.1: the client waits for this before it sends its body.
        guard head.version == .http1_1, head.headers["expect"].contains(where: { $0.lowercased() == "100-continue" })
        else { return }
        let goOn = HTTPResponseHead(version: .http1_1, status: .continue)
        context.writeAndFlush(wrapOutboundOut(.head(goOn)), promise: nil)
    }

    private func received(_ bytes: ByteBuffer) {
        guard !hasAnswered, let count = reading?.request.body.count else { return }
        guard count + bytes.readableBytes <= worker.limits.bodyBytes else { return refuseBody() }
        reading?.request.body.append(contentsOf: bytes.readableBytesView)
    }

    private func refuseBody() {
        reading = nil
        refuse(
            Denial(
                .contentTooLarge,
                "The body of a request may have \(worker.limits.bodyBytes) bytes here.",
                reason: "body_too_large"
            )
        )
    }

    private func ended(_ context: ChannelHandlerContext) {
        guard !hasAnswered, let (request, found) = reading else { return }
        reading = nil
        let exchange = Exchange(
            worker: worker,
            peer: request.peer,
            answer: { [weak self] in self?.write($0) },
            upgrade: { _ in }
        )
        self.exchange = exchange
        exchange.begin(request, found)
    }

    // MARK: The end

    func channelInactive(context: ChannelHandlerContext) {
        exchange?.abandon()
        exchange = nil
        // Nobody reads an answer any more, to what NIO may still pass on either.
        hasAnswered = true
        finishUpgrade(.failure(SocketUpgrader.Refused()))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The refusal itself follows as a request that is answered.
        guard !(error is SocketUpgrader.Refused) else { return }
        // A client that leaves in the middle of its request sent nothing wrong.
        if let error = error as? HTTPParserError, error != .invalidEOFState, !hasAnswered {
            worker.countResponse(.badRequest)
            worker.refused("bad_request", peer: Peer.text(context.channel), detail: "this is not HTTP")
            hasAnswered = true
            // The error handler before this one has written the answer; see ``write(_:)``.
            return context.close(mode: .output, promise: nil)
        }
        // What comes behind a request that is answered may be anything.
        guard !hasAnswered else { return }
        context.close(promise: nil)
    }

    /// Whether it has a whole request whose answer is not on its way yet, whole.
    var owesAnswer: Bool {
        !hasAnswered && exchange != nil || context?.channel.isWritable == false
    }

    /// Closes whatever is going on.
    func abandon() {
        context?.close(promise: nil)
    }

    private func refuse(_ denial: Denial) {
        worker.refused(denial.reason, peer: context.map { Peer.text($0.channel) } ?? "")
        write(denial.response)
    }

    private func write(_ response: Response) {
        guard !hasAnswered, let context else { return }
        hasAnswered = true
        worker.countResponse(response.status)
        var headers = HTTPHeaders(response.headers.map { ($0.name.rawName, $0.value) })
        headers.replaceOrAdd(name: "content-length", value: String(response.body.count))
        headers.replaceOrAdd(name: "x-content-type-options", value: "nosniff")
        headers.replaceOrAdd(name: "connection", value: "close")
        if let name = worker.serverName { headers.replaceOrAdd(name: "server", value: name) }
        let status = HTTPResponseStatus(
            statusCode: response.status.code,
            reasonPhrase: response.status.reasonPhrase
        )
        let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !isHead, !response.body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: response.body)))), promise: nil)
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.assumeIsolated().whenComplete { _ in
            // Only our half: bytes of the request that are still coming must not reset the connection before the
            // answer is read. The peer closes the rest, or the deadline does.
            self.context?.close(mode: .output, promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: written)
    }
}

/// Where a connection comes from.
enum Peer {
    /// `127.0.0.1:4711`, `[::1]:4711`, or `unix`.
    static func text(_ channel: any Channel) -> String {
        guard let address = channel.remoteAddress, let host = address.ipAddress, let port = address.port else {
            return "unix"
        }
        return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
