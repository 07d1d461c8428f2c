import FanfareClient
import FanfareModel
import FanfareProtocol
import FanfareTransport
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import FanfareWorker

/// A worker on an embedded loop whose sockets are all served by one service, its broker a script.
final class ServiceWorker {
    let loop = EmbeddedEventLoop()
    let broker = ScriptedBroker()
    let worker: WorkerLoop
    private let route: SocketRoute

    init(_ service: any SocketService, isConnected: Bool = true) {
        let bound = NIOLoopBound(service, eventLoop: loop)
        route = SocketRoute(service: { bound.value }) { _, _ in SocketRoute.Plan() }
        var router = Router()
        router.socket("/", route)
        worker = WorkerLoop(
            loop: loop,
            configuration: WorkerServer.Configuration(),
            node: "node",
            processID: 7,
            router: router,
            port: broker.port,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        if isConnected { worker.link.layerDidConnect(ScriptedBroker.welcome) }
    }

    // A socket and its worker hold each other until the socket is closed.
    deinit {
        for socket in worker.openSockets { socket.abandon(.abnormal) }
        for _ in 0..<10 { worker.timePassed() }
        loop.run()
    }

    /// An open socket.
    func socket(in groups: [String] = [], _ attachment: AnyObject? = nil) throws -> EmbeddedSocket {
        let channel = EmbeddedChannel(loop: loop)
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/nowhere")).wait()
        let socket = worker.makeSocket(route, path: "/", address: "127.0.0.1", remote: "127.0.0.1:9")
        socket.attachment = attachment
        var failure: (any Error)?
        socket.onJoined = { failure = $0 }
        #expect(worker.open(socket, groups: groups, identity: nil))
        loop.run()
        #expect(failure == nil)
        socket.accepted()
        socket.attach(SocketWriter(channel: channel))
        socket.opened()
        try channel.pipeline.syncOperations.addHandler(SocketHandler(socket: socket, staysInPipeline: true))
        loop.run()
        return EmbeddedSocket(channel: channel, socket: socket)
    }

    /// The groups the broker was asked to send to since the last call, with the messages and who is left out.
    func published() throws -> [(group: String, message: MessageValue, exclude: [String])] {
        loop.run()
        defer { broker.forgetRequests() }
        return try broker.requests.compactMap { request in
            guard case .groupSend(_, let group, let body, let options) = request else { return nil }
            return (group, try worker.link.reader.value(body), options.exclude)
        }
    }

    /// Lets the broker deliver in one burst what was published since the last call.
    func deliver() throws {
        for (group, message, exclude) in try published() { receive(message, in: group, exclude: exclude) }
        endBurst()
    }

    /// A message of a group, without the end of its burst.
    func receive(_ message: MessageValue, in group: String, exclude: [String] = []) {
        var delivery = GroupDelivery(group: group, body: MessagePack.encode(message), remaining: Milliseconds(1_000))
        delivery.exclude = exclude
        worker.link.layerDidReceive(.groupDeliver(delivery))
    }

    func endBurst() {
        worker.link.layerDidFinishBurst()
        loop.run()
    }
}

extension EmbeddedSocket {
    /// What the client reads next, as text.
    func texts() throws -> [String] { try frames().filter { $0.opcode == 1 }.map(\.text) }

    /// The code of the close frame among what the client reads next.
    func closeCode() throws -> Int? { try frames().lazy.compactMap(\.closeCode).first }
}
