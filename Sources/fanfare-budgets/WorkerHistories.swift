import FanfareModel
import FanfareProtocol
import FanfareWorker

/// A whole worker on its loop with the chat, its clients on Unix sockets, its broker a script: what is counted is all
/// the worker does for an operation.
struct WorkerHistories {
    private let path: String
    private let broker: PeerSocket
    private let reader = FrameReader(limits: Limits())

    /// A client, and the channel its worker gave it.
    private struct Client {
        let socket: PeerSocket
        let channel: String
    }

    /// - Parameter folder: For its sockets.
    static func run(in folder: String, into measurements: inout Measurements) throws {
        try with("messages", in: folder, pingAfter: Milliseconds(3_600_000)) { try $0.messages(into: &measurements) }
        try with("pings", in: folder, pingAfter: Milliseconds(6_000)) { try $0.pings(into: &measurements) }
    }

    /// Runs `body` with a worker of its own.
    private static func with(
        _ name: String,
        in folder: String,
        pingAfter: Milliseconds,
        _ body: (WorkerHistories) throws -> Void
    ) throws {
        let (path, brokerPath) = ("\(folder)/\(name).sock", "\(folder)/\(name)-broker.sock")
        let listener = try PeerSocket.listen(on: brokerPath)
        // Returns without a link in the end, because nobody welcomes the worker yet.
        let server = try wait {
            var configuration = WorkerServer.Configuration()
            configuration.brokers = [.unix(path: brokerPath)]
            configuration.listenPath = path
            configuration.workerLimits.pingAfter = pingAfter
            return try await WorkerServer.start(configuration, router: .chat, logger: .quiet)
        }
        let broker = try listener.accept()
        try broker.frame(.hello)
        var policy = Policy(Limits())
        policy.capacity = 100_000
        let welcome = Welcome(session: SessionID(1), epoch: 1, broker: "script", policy: policy, limits: Limits())
        try broker.write(Array(Reply.welcome(welcome)))
        try body(WorkerHistories(path: path, broker: broker))
        try wait { await server.stop(within: Milliseconds(200)) }
    }

    private func client() throws -> Client {
        let socket = try PeerSocket.connect(to: path)
        let request = """
            GET /ws/chat/lobby/ HTTP/1.1\r\nHost: budgets\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n
            """
        try socket.write(Array(request.utf8))
        let added = try broker.frame(.groupAdd).withUnsafeBytes { try reader.request($0) }
        guard case .groupAdd(let id?, "chat_lobby", let channels, _) = added, let channel = channels.first else {
            throw ProgramFailure(.unavailable, "the worker asked its broker for \(added) and not for a membership")
        }
        try broker.write(Array(Reply.ack(id)))
        let status = try socket.status()
        guard status == "101" else { throw ProgramFailure(.unavailable, "the worker answered \(status)") }
        return Client(socket: socket, channel: channel)
    }

    private func messages(into measurements: inout Measurements) throws {
        let clients = try (0..<100).map { _ in try client() }
        let text = String(repeating: "a", count: 100)
        let said = Array(webSocket: 1, #"{"message":"\#(text)"}"#)
        try measurements.recordOthers(.workerTextIn) { index in
            try clients[index % clients.count].socket.write(said)
            try broker.frame(.groupSend)
        }
        let body = MessagePack.encode(["type": "chat.message", "message": .string(text)])
        let delivery = GroupDelivery(group: "chat_lobby", body: body, remaining: Milliseconds(60_000))
        let toAll = Array(Reply.groupDeliver(delivery))
        try measurements.recordOthers(.workerFanOut, operations: 300, units: clients.count) { _ in
            try broker.write(toAll)
            for client in clients.reversed() { try client.socket.webSocketFrame() }
        }
        let deliveries = clients.map {
            Array(Reply.deliver(channel: $0.channel, body: body, remaining: Milliseconds(60_000)))
        }
        try measurements.recordOthers(.workerDeliver) { index in
            try broker.write(deliveries[index % clients.count])
            try clients[index % clients.count].socket.webSocketFrame()
            try broker.frame(.report)
        }
    }

    private func pings(into measurements: inout Measurements) throws {
        // Each must answer before its next ping, so all must be open before the first.
        let clients = try (0..<400).map { _ in try client() }
        let pong = Array(webSocket: 10, "")
        try measurements.recordOthers(.workerPing, operations: clients.count, warmUp: clients.count) { index in
            let socket = clients[index % clients.count].socket
            let opcode = try socket.webSocketFrame()
            precondition(opcode == 9, "a ping was expected, not opcode \(opcode)")
            try socket.write(pong)
        }
    }
}
