import FanfareModel
import FanfareTransport
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import FanfareWorker

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The direct way to real descriptors: every socket must see its groups and its own messages in the broker's order,
/// whatever was merged, however full the kernel's buffers are.
@Suite(.timeLimit(.minutes(1))) struct FanOutTests {
    @Test("Members of several groups see one order, readers that stall included", arguments: UInt64(0)..<6)
    func order(seed: UInt64) async throws {
        let run = try await DescriptorRun(rooms: ["a", "a", "b", "a.b", "b.c", "a.b.c", "c"])
        var random = SplitMix64(seed: seed)
        var expected: [[String]] = Array(repeating: [], count: run.rooms.count)
        var count = 0
        // Nobody reads during the first half.
        for burst in 0..<120 {
            if burst == 60 { run.startReading() }
            var replies: [Reply] = []
            for _ in 0..<(random.next() % 12 + 1) {
                let text = "\(count)" + String(repeating: "x", count: Int(random.next() % 2_000))
                count += 1
                if random.next() % 8 == 0 {
                    let index = Int(random.next() % UInt64(run.rooms.count))
                    let channel = "ws.node!\(index + 1)"
                    replies.append(.deliver(channel: channel, body: chatBody(text), remaining: Milliseconds(9)))
                    expected[index].append(text)
                } else {
                    let room = ["a", "b", "c"][Int(random.next() % 3)]
                    replies.append(groupMessage("chat_" + room, text))
                    for index in run.rooms.indices where run.rooms[index].contains(room) {
                        expected[index].append(text)
                    }
                }
            }
            try await run.push(replies)
        }
        #expect(try await run.sawPending)
        let heard = try await run.finish()
        for index in heard.indices { #expect(heard[index] == expected[index], "socket \(index)") }
    }

    @Test func `a burst of one group is one send a member`() async throws {
        let run = try await DescriptorRun(rooms: ["a", "a", "a"])
        run.startReading()
        let before = try await run.health().sends
        try await run.push((0..<50).map { groupMessage("chat_a", "\($0)") })
        let after = try await run.health()
        #expect(after.sends - before == 3)
        #expect(after.messagesOut == 150)
        #expect(try await run.finish() == Array(repeating: (0..<50).map { "\($0)" }, count: 3))
    }

    @Test func `a peer that is gone in the middle of a fan-out costs the others nothing`() async throws {
        let run = try await DescriptorRun(rooms: ["a", "a", "a", "a"])
        run.hangUp(1)
        try await run.push([groupMessage("chat_a", "1"), groupMessage("chat_a", "2")])
        run.startReading()
        try await run.push([groupMessage("chat_a", "3")])
        let health = try await run.health()
        #expect(health.sockets == 3)
        #expect(health.counters.closes == [1_006: 1])
        let heard = try await run.finish()
        #expect([heard[0], heard[2], heard[3]] == Array(repeating: ["1", "2", "3"], count: 3))
    }
}

/// A worker on a real loop, its sockets on socket pairs, its broker a script.
private final class DescriptorRun: Sendable {
    let rooms: [String]
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// A thread for each peer: they block in `recv`.
    private let threads: NIOThreadPool
    private let loop: any EventLoop
    private let worker: NIOLoopBound<WorkerLoop>
    private let sockets: NIOLoopBoundBox<[Socket]>
    private let peers: [CInt]
    private let readers: NIOLoopBoundBox<[EventLoopFuture<[UInt8]>]>
    private let pending: NIOLoopBoundBox<Bool>

    init(rooms: [String]) async throws {
        self.rooms = rooms
        threads = NIOThreadPool(numberOfThreads: rooms.count)
        threads.start()
        let loop = group.next()
        self.loop = loop
        readers = NIOLoopBoundBox.makeBoxSendingValue([], eventLoop: loop)
        pending = NIOLoopBoundBox.makeBoxSendingValue(false, eventLoop: loop)
        sockets = NIOLoopBoundBox.makeBoxSendingValue([], eventLoop: loop)
        let route = SocketRoute(service: { EchoService() }) { _, _ in SocketRoute.Plan() }
        worker = try await loop.submit {
            var router = Router()
            router.socket("/", route)
            var configuration = WorkerServer.Configuration()
            configuration.workerLimits.outgoingBytes = 64 * 1_048_576
            let worker = WorkerLoop(
                loop: loop,
                configuration: configuration,
                node: "node",
                processID: 7,
                router: router,
                port: ScriptedBroker().port,
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
            )
            worker.link.layerDidConnect(ScriptedBroker.welcome)
            return NIOLoopBound(worker, eventLoop: loop)
        }.get()
        var peers: [CInt] = []
        for room in rooms {
            var pair: [CInt] = [-1, -1]
            try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
            var bytes: CInt = 8_192
            setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
            peers.append(pair[1])
            let channel = try await ClientBootstrap(group: loop).withConnectedSocket(pair[0]).get()
            try await loop.submit { [worker, sockets] in
                let socket = worker.value.makeSocket(route, path: "/", address: "", remote: "")
                socket.onJoined = { [unowned socket] _ in
                    socket.accepted()
                    socket.attach(SocketWriter(channel: channel))
                }
                let groups = room.split(separator: ".").map { "chat_" + $0 }
                _ = worker.value.open(socket, groups: groups, identity: nil)
                try channel.pipeline.syncOperations.addHandler(SocketHandler(socket: socket))
                sockets.value.append(socket)
            }.get()
        }
        self.peers = peers
        // The turn in which the memberships are declared and acknowledged.
        try await loop.submit {}.get()
    }

    /// One read burst from the broker.
    func push(_ replies: [Reply]) async throws {
        try await loop.submit { [worker, sockets, pending] in
            for reply in replies { worker.value.link.layerDidReceive(reply) }
            worker.value.link.layerDidFinishBurst()
            if sockets.value.contains(where: { $0.directDescriptor < 0 }) { pending.value = true }
        }.get()
    }

    /// Whether a socket ever had to wait for its reader.
    var sawPending: Bool { get async throws { try await loop.submit { [pending] in pending.value }.get() } }

    func health() async throws -> WorkerHealth { try await loop.submit { [worker] in worker.value.health }.get() }

    /// The peer of socket `index` goes away.
    func hangUp(_ index: Int) { shutdown(peers[index], CInt(SHUT_RDWR)) }

    func startReading() {
        loop.execute { [peers, readers, loop, threads] in
            readers.value = peers.map { peer in
                threads.runIfActive(eventLoop: loop) {
                    var bytes: [UInt8] = []
                    var part = [UInt8](repeating: 0, count: 3_000)
                    while true {
                        let got = recv(peer, &part, part.count, 0)
                        guard got > 0 else { return bytes }
                        bytes += part[..<got]
                    }
                }
            }
        }
    }

    /// Lets everything drain, ends the sockets and returns the messages each peer read.
    func finish() async throws -> [[String]] {
        try await loop.submit { [sockets] in
            for socket in sockets.value { socket.finish() }
        }.get()
        let read = try await loop.submit { [readers] in readers.value }.get()
        var heard: [[String]] = []
        for reader in read {
            var bytes = try await reader.get()
            var messages: [String] = []
            while let frame = ReceivedFrame(consuming: &bytes) {
                if let message = frame.message { messages.append(message) }
            }
            #expect(bytes.isEmpty)
            heard.append(messages)
        }
        try await threads.shutdownGracefully()
        try await group.shutdownGracefully()
        for peer in peers { close(peer) }
        return heard
    }
}

extension Socket {
    /// Answers a close frame as if the client had sent one: closed when everything before it has left.
    fileprivate func finish() {
        ClientFrame.close(1_000).withUnsafeBytes { received($0) }
    }
}
