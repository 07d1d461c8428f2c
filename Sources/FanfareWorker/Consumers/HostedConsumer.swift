import FanfareClient
import FanfareModel
import HTTPTypes
import NIOCore

/// Serves the sockets of one route by consumers: passes on what happens to handlers that run elsewhere.
final class HostedConsumer<C: Consumer>: SocketService {
    let name: String
    let handlers: Handlers<C>
    let options: ConsumerOptions

    init(name: String) {
        self.name = name
        handlers = C.handlers
        options = C.options
    }

    func opened(_ socket: Socket) {
        session(socket)?.start()
    }

    func received(text: String, from socket: Socket) {
        session(socket)?.received(bytes: text.utf8.count) { try await $0.receive(text: text, from: $1) }
    }

    func received(binary: [UInt8], from socket: Socket) {
        session(socket)?.received(bytes: binary.count) { try await $0.receive(binary: binary, from: $1) }
    }

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering {
        switch handlers.kind(of: message) {
        case nil: return .unknown
        case .each(let prepare):
            prepared = try? prepare(message)
            return prepared == nil ? .unknown : .each
        case .broadcast(let render):
            do {
                try render(message)?.append(to: &frames)
                return .frames
            } catch {
                return .unknown
            }
        }
    }

    func handle(
        _ message: MessageValue,
        for socket: Socket,
        from arrival: MessageTracing.Arrival?,
        taken: (() -> Void)?
    ) -> Bool {
        guard let prepared, let session = session(socket) else { return false }
        guard let arrival else { return session.handle(prepared, taken: taken) }
        return session.handle(
            { consumer, socket in try await arrival.handling { try await prepared(consumer, socket) } },
            taken: taken
        )
    }

    func missed(_ missed: Missed, _ socket: Socket) {
        session(socket)?.missed(missed)
    }

    func closed(_ socket: Socket, _ code: CloseCode, reason: String, done: @escaping () -> Void) {
        guard let session = session(socket) else { return done() }
        session.end(code, reason, done)
    }

    func isBusy(_ socket: Socket) -> Bool {
        session(socket)?.isBusy ?? false
    }

    func cancel(_ socket: Socket) {
        session(socket)?.cancel()
    }

    /// The message last rendered, decoded once for all its sockets.
    private var prepared: Handlers<C>.Task?

    private func session(_ socket: Socket) -> ConsumerSession<C>? {
        socket.attachment as? ConsumerSession<C>
    }
}

extension SocketRoute {
    /// A route whose connections are served by consumers.
    static func hosting<C: Consumer>(
        _ name: String,
        _ make: @escaping @Sendable (Request, Context) async throws -> C
    ) -> SocketRoute {
        SocketRoute(service: { HostedConsumer<C>(name: name) }) { request, context in
            let consumer = try await make(request, context)
            var plan = Plan(groups: consumer.groups)
            plan.attach = { socket, webSocket in
                guard let service = socket.service as? HostedConsumer<C> else { return }
                socket.attachment = ConsumerSession(consumer, webSocket, socket, service)
            }
            plan.connect = { try await consumer.connect($0) }
            return plan
        }
    }
}

/// One connection's consumer and the events that wait for it. On the worker's loop; handlers run elsewhere.
final class ConsumerSession<C: Consumer> {
    typealias Handler = @Sendable (C, WebSocket) async throws -> Void

    private struct Event {
        let handler: Handler
        /// A message of the client; otherwise one of the channel layer.
        let isFrame: Bool
        /// Of a message of the client.
        let bytes: Int
        let taken: (() -> Void)?
        /// A hole in the order, which is no message.
        var missed: Missed?

        /// Whether it is a message of the channel layer.
        var isMessage: Bool { !isFrame && missed == nil }
    }

    private let service: HostedConsumer<C>
    private let consumer: C
    private let webSocket: WebSocket
    private unowned let socket: Socket
    private var waiting: [Event] = []
    private var framesWaiting = 0
    private var bytesWaiting = 0
    private var running = 0
    private var isStarted = false
    private var isReading = true
    private var ending: (handler: Handler, done: () -> Void)?
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var lastTask = 0
    private var rate: TokenBucket?

    /// Small messages that may come after reading was told to stop: what one read brings, and more only when the client
    /// leaves and the kernel hands over all it holds.
    private static var framesMaximum: Int { 16_384 }

    init(_ consumer: C, _ webSocket: WebSocket, _ socket: Socket, _ service: HostedConsumer<C>) {
        self.service = service
        self.consumer = consumer
        self.webSocket = webSocket
        self.socket = socket
        rate = service.options.messageRate.map { TokenBucket($0) }
    }

    /// Whether handlers run or wait.
    var isBusy: Bool { running > 0 || !waiting.isEmpty }

    /// `connect` has returned, and the connection was accepted; it may have ended since.
    func start() {
        isStarted = true
        run()
    }

    /// A message of the client.
    func received(bytes: Int, _ handler: @escaping Handler) {
        guard ending == nil else { return }
        if rate?.take(nowNanoseconds: socket.worker.now.nanoseconds).isAdmitted == false {
            socket.worker.refused("message_rate", peer: socket.remote)
            return socket.close(.policyViolation, reason: "too many messages")
        }
        guard framesWaiting < service.options.waitingFrames + Self.framesMaximum,
            bytesWaiting <= socket.worker.limits.waitingBytes
        else {
            socket.worker.refused("waiting_frames")
            return socket.close(.tryAgainLater, reason: "messages come faster than they are handled")
        }
        waiting.append(Event(handler: handler, isFrame: true, bytes: bytes, taken: nil))
        framesWaiting += 1
        bytesWaiting += bytes
        run()
        if framesWaiting > service.options.waitingFrames || bytesWaiting > socket.worker.limits.messageBytes {
            setReading(false)
        }
    }

    private func setReading(_ reads: Bool) {
        guard reads != isReading else { return }
        isReading = reads
        socket.setReading(reads)
    }

    /// A message of the channel layer.
    func handle(_ handler: @escaping Handler, taken: (() -> Void)?) -> Bool {
        guard ending == nil, waiting.count - framesWaiting < service.options.waitingMessages else { return false }
        waiting.append(Event(handler: handler, isFrame: false, bytes: 0, taken: taken))
        run()
        return true
    }

    /// Messages of the channel layer did not come. A hole that nobody has been told of takes in the next one.
    func missed(_ missed: Missed) {
        guard ending == nil else { return }
        let index = waiting.firstIndex { $0.missed != nil }
        let whole = index.flatMap { waiting[$0].missed?.adding(missed) } ?? missed
        var event = Event(
            handler: { try await $0.missed(whole, from: $1) },
            isFrame: false,
            bytes: 0,
            taken: nil
        )
        event.missed = whole
        if let index { waiting[index] = event } else { waiting.append(event) }
        run()
    }

    /// The connection has ended: what runs may finish, what waits of the channel layer is given up, then `disconnect`.
    func end(_ code: CloseCode, _ reason: String, _ done: @escaping () -> Void) {
        guard ending == nil else { return }
        ending = ({ try await $0.disconnect(code, reason: reason, from: $1) }, done)
        giveUpMessages()
        // The client's answer to a close frame is to be read.
        setReading(true)
        run()
    }

    private func giveUpMessages() {
        let missed = waiting.filter { !$0.isFrame }
        guard !missed.isEmpty else { return }
        waiting.removeAll { !$0.isFrame }
        for event in missed { event.taken?() }
        let messages = missed.count { $0.isMessage }
        if messages > 0 { socket.worker.link.gaveUp(messages, of: socket) }
    }

    /// Tells what runs to give up, and does not wait for it.
    func cancel() {
        isCancelled = true
        webSocket.context.ticket?.exchange.value.cancel()
        for task in tasks.values { task.cancel() }
        finish()
    }

    private func finish() {
        let done = ending?.done
        ending?.done = {}
        done?()
    }

    // MARK: Running

    private func run() {
        guard isStarted else { return }
        let most = max(1, service.options.concurrentHandlers)
        while running < most, !waiting.isEmpty {
            // One at a time: everything that waits is one task's work, in order.
            let count = most == 1 ? waiting.count : 1
            let batch = Array(waiting.prefix(count))
            waiting.removeFirst(count)
            framesWaiting -= batch.count { $0.isFrame }
            bytesWaiting -= batch.reduce(0) { $0 + $1.bytes }
            for event in batch { event.taken?() }
            start(batch)
        }
        if framesWaiting == 0 { setReading(true) }
        if let ending, running == 0, waiting.isEmpty, !hasEnded {
            hasEnded = true
            start([Event(handler: ending.handler, isFrame: true, bytes: 0, taken: nil)])
        }
    }

    private var hasEnded = false
    private var isCancelled = false

    private func start(_ batch: [Event]) {
        running += 1
        lastTask += 1
        let (id, consumer, webSocket) = (lastTask, consumer, webSocket)
        let session = NIOLoopBound(self, eventLoop: socket.worker.eventLoop)
        let (handlers, areMessages) = (batch.map(\.handler), batch.map(\.isMessage))
        tasks[id] = Task {
            var failure: (any Error)?
            var begun = 0
            let begunAt = NIODeadline.now()
            for handler in handlers where failure == nil {
                begun += 1
                do { try await handler(consumer, webSocket) } catch { failure = error }
            }
            let thrown = failure
            let took = NIODeadline.now() - begunAt
            let (ran, left) = (begun, areMessages.dropFirst(begun).count { $0 })
            session.eventLoop.execute { session.value.finished(id, ran, took, thrown, leaving: left) }
        }
        // `disconnect` still runs, for what it can do without waiting.
        if isCancelled { tasks[id]?.cancel() }
    }

    /// - Parameters:
    ///   - handlers: How many the task ran.
    ///   - took: The time of all of them.
    ///   - failure: What the last one threw.
    ///   - messages: Of the channel layer, behind the one that failed: nobody handles them any more.
    private func finished(
        _ id: Int,
        _ handlers: Int,
        _ took: TimeAmount,
        _ failure: (any Error)?,
        leaving messages: Int
    ) {
        let seconds = Double(took.nanoseconds) / 1e9 / Double(handlers)
        socket.worker.tally.handlerSeconds.record(seconds, times: UInt64(handlers))
        tasks[id] = nil
        running -= 1
        if messages > 0 { socket.worker.link.gaveUp(messages, of: socket) }
        if let failure, !(failure is SocketClosed), !isCancelled { failed(failure) }
        guard hasEnded, running == 0 else { return run() }
        finish()
        // The socket, this and the consumer hold each other until here.
        socket.attachment = nil
    }

    private func failed(_ error: any Error) {
        socket.worker.handlerFailed(error, consumer: socket.service.name)
        giveUpMessages()
        waiting.removeAll()
        framesWaiting = 0
        bytesWaiting = 0
        socket.close(.internalError, reason: "the server failed")
    }
}

extension Missed {
    /// Two holes as one: as many as both, if both are known, for the later reason.
    fileprivate func adding(_ other: Missed) -> Missed {
        let sum = count.flatMap { count in other.count.map { count.addingClamped($0) } }
        return Missed(count: sum, reason: other.reason, isClosed: isClosed || other.isClosed)
    }
}
