import FanfareClient
import FanfareModel
import FanfareProtocol
import FanfareTransport
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@testable import FanfareWorker

/// The broker as a test plays it: remembers what it is asked and answers when told. On the loop.
final class ScriptedBroker {
    var isReachable = true
    /// Whether a GROUP_ADD is acknowledged at once.
    var acknowledges = true
    private(set) var requests: [FanfareModel.Request] = []
    private var waiting: [(Result<MessageValue, Failure>) -> Void] = []
    private var lastID: RequestID = 0

    var port: LayerPort {
        LayerPort(
            post: { request in
                guard self.isReachable else { return false }
                self.requests.append(request)
                return true
            },
            call: { make, then in
                guard self.isReachable else { return then(.failure(Failure(.silence, "gone"))) }
                self.lastID += 1
                self.requests.append(make(self.lastID))
                if self.acknowledges { then(.success(.null)) } else { self.waiting.append(then) }
            }
        )
    }

    /// Answers what waits, oldest first.
    func answerAll(_ result: Result<MessageValue, Failure> = .success(.null)) {
        let answered = waiting
        waiting = []
        for then in answered { then(result) }
    }

    func forgetRequests() { requests = [] }

    static var welcome: Welcome {
        var welcome = Welcome(
            session: SessionID(1),
            epoch: 1,
            broker: "scripted",
            policy: Policy(Limits()),
            limits: Limits()
        )
        welcome.namesPerFrame = 4
        return welcome
    }
}

/// A chat message as a group or channel gets it.
func chatBody(_ text: String) -> Body {
    MessagePack.encode(["type": "chat.message", "message": .string(text)])
}

func groupMessage(_ group: String, _ text: String, remaining: UInt64 = 1_000) -> Reply {
    .groupDeliver(GroupDelivery(group: group, body: chatBody(text), remaining: Milliseconds(remaining)))
}

/// A service whose sockets join the groups named in their room, separated by dots, and that sends back what it gets.
final class EchoService: SocketService {
    let name = "echo"
    private(set) var opened = 0
    private let chat = ChatConsumer()

    func opened(_ socket: Socket) { opened += 1 }

    func received(text: String, from socket: Socket) { socket.send(.text, Array(text.utf8)) }

    func received(binary: [UInt8], from socket: Socket) { socket.send(.binary, binary) }

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering {
        chat.render(message, into: &frames)
    }
}

/// A worker on an embedded loop, its sockets on embedded channels, its broker a script.
final class EmbeddedWorker {
    let loop = EmbeddedEventLoop()
    let broker = ScriptedBroker()
    let worker: WorkerLoop
    let echo = EchoService()
    private let chat = ChatConsumer()
    private let echoRoute: SocketRoute
    private let chatRoute: SocketRoute

    init(_ limits: WorkerLimits = WorkerLimits()) {
        var configuration = WorkerServer.Configuration()
        configuration.name = "embedded"
        configuration.workerLimits = limits
        let (echo, chat) = (NIOLoopBound(echo, eventLoop: loop), NIOLoopBound(chat, eventLoop: loop))
        echoRoute = SocketRoute(service: { echo.value }) { _, _ in SocketRoute.Plan() }
        chatRoute = SocketRoute(service: { chat.value }) { _, _ in SocketRoute.Plan() }
        var router = Router()
        router.socket("/ws/echo/", echoRoute)
        router.socket("/ws/x/", chatRoute)
        worker = WorkerLoop(
            loop: loop,
            configuration: configuration,
            node: "node",
            processID: 7,
            router: router,
            port: broker.port,
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
        )
    }

    // A socket and its worker hold each other until the socket is closed.
    deinit {
        for socket in worker.openSockets { socket.abandon(.abnormal) }
        for _ in 0..<10 { worker.timePassed() }
        loop.run()
    }

    /// Ends the loop's turn.
    func turn() { loop.run() }

    func connect() { worker.link.layerDidConnect(ScriptedBroker.welcome) }

    /// A socket of `room`: chat, or echo whose room names several groups. It is let in at once.
    func socket(
        _ room: String,
        isEcho: Bool = false,
        wantsHello: Bool = false,
        identity: Identity? = nil
    ) throws -> EmbeddedSocket {
        let channel = EmbeddedChannel(loop: loop)
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/nowhere")).wait()
        let socket = worker.makeSocket(
            isEcho ? echoRoute : chatRoute,
            path: "/ws/x/\(room)/",
            address: "127.0.0.1",
            remote: "127.0.0.1:9"
        )
        let groups = isEcho ? room.split(separator: ".").map { "chat_" + $0 } : ["chat_" + room]
        if !isEcho { socket.attachment = ChatConsumer.Seat(room: room, wantsHello: wantsHello) }
        // What `Exchange` does, without a request.
        let admit = { [unowned socket] in
            socket.accepted()
            socket.attach(SocketWriter(channel: channel))
            socket.opened()
        }
        socket.onJoined = { failure in if failure == nil { admit() } }
        if !worker.open(socket, groups: groups, identity: identity) { admit() }
        try channel.pipeline.syncOperations.addHandler(SocketHandler(socket: socket, staysInPipeline: true))
        return EmbeddedSocket(channel: channel, socket: socket)
    }

    /// One read burst from the broker.
    func push(_ replies: Reply...) {
        for reply in replies { worker.link.layerDidReceive(reply) }
        worker.link.layerDidFinishBurst()
        loop.run()
    }

    /// The groups that have members here.
    func members(of group: String) -> Set<UInt64> {
        Set(worker.fanOut.audiences(of: group).flatMap { $0.sockets.map(\.number) })
    }
}

/// One embedded socket and what its client would see.
struct EmbeddedSocket {
    let channel: EmbeddedChannel
    let socket: Socket

    var isConnected: Bool { channel.isActive }

    /// Bytes of the client, without a turn of the loop in between.
    func receiveInSameTurn(_ bytes: [UInt8]) throws {
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    /// Bytes of the client, and the turn of the loop they come in.
    func receive(_ bytes: [UInt8]) throws {
        try receiveInSameTurn(bytes)
        channel.embeddedEventLoop.run()
    }

    /// Frames sent since the last call.
    func frames() throws -> [ReceivedFrame] {
        var bytes: [UInt8] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) { bytes += Array(buffer.readableBytesView) }
        var frames: [ReceivedFrame] = []
        while let frame = ReceivedFrame(consuming: &bytes) { frames.append(frame) }
        #expect(bytes.isEmpty)
        return frames
    }

    /// The chat messages among them.
    func messages() throws -> [String] { try frames().compactMap(\.message) }
}

/// A frame as a client reads it.
struct ReceivedFrame: Equatable, Sendable {
    let opcode: UInt8
    let payload: [UInt8]

    /// Takes the first frame off `bytes`, if it is whole.
    init?(consuming bytes: inout [UInt8]) {
        guard bytes.count >= 2 else { return nil }
        var header = 2
        var length = Int(bytes[1])
        if length >= 126 {
            let width = length == 126 ? 2 : 8
            header += width
            guard bytes.count >= header else { return nil }
            length = bytes[2..<header].reduce(0) { $0 << 8 | Int($1) }
        }
        guard bytes.count >= header + length else { return nil }
        opcode = bytes[0] & 0x0f
        payload = Array(bytes[header..<(header + length)])
        bytes.removeFirst(header + length)
    }

    var text: String { String(decoding: payload, as: UTF8.self) }
    var json: MessageValue? { opcode == 1 ? try? MessageValue(json: payload) : nil }
    var message: String? { json?["message"]?.string }
    /// The code of a close frame; 1005 when it has none.
    var closeCode: Int? {
        guard opcode == 8 else { return nil }
        return payload.count >= 2 ? Int(payload[0]) << 8 | Int(payload[1]) : 1_005
    }
    var closeReason: String { String(decoding: payload.dropFirst(2), as: UTF8.self) }
}
