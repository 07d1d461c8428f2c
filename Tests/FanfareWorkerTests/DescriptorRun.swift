import FanfareModel
import FanfareTransport
import Glibc
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import FanfareWorker

/// A worker on a real loop, its clock moved by the test: its sockets on socket pairs, its broker a script, and a thread
/// that reads for each peer.
final class DescriptorRun: Sendable {
    private let loop: EpollLoop
    /// The readers block in `recv`.
    private let threads: NIOThreadPool
    private let worker: NIOLoopBound<WorkerLoop>
    private let sockets: NIOLoopBoundBox<[Socket]>
    private let readers: NIOLoopBoundBox<[Int: EventLoopFuture<[UInt8]>]>
    private let peers: [CInt]

    /// - Parameters:
    ///   - groups: The groups of each socket.
    ///   - sendBufferBytes: What the kernel keeps of what a peer has not read; its own choice for `nil`.
    init(_ limits: WorkerLimits, groups: [[String]], sendBufferBytes: CInt? = nil) async throws {
        threads = NIOThreadPool(numberOfThreads: groups.count)
        threads.start()
        let loop = try EpollLoop(name: "fanfare-test")
        self.loop = loop
        sockets = NIOLoopBoundBox.makeBoxSendingValue([], eventLoop: loop)
        readers = NIOLoopBoundBox.makeBoxSendingValue([:], eventLoop: loop)
        let route = SocketRoute(service: { EchoService() }) { _, _ in SocketRoute.Plan() }
        worker = try await loop.submit {
            NIOLoopBound(Self.makeWorker(on: loop, limits, route), eventLoop: loop)
        }.get()
        let pairs = try groups.map { _ in try Self.pair(sendBufferBytes) }
        peers = pairs.map { $0.peer }
        try await loop.submit { [worker, sockets] in
            for (pair, groups) in zip(pairs, groups) {
                let socket = worker.value.makeSocket(route, path: "/", address: "", remote: "")
                let connection = DescriptorConnection(pair.ours, on: loop, receiver: socket)
                socket.onJoined = { [unowned socket] _ in
                    socket.accepted()
                    socket.attach(connection.writer)
                }
                _ = worker.value.open(socket, groups: groups, identity: nil)
                sockets.value.append(socket)
            }
        }.get()
        // The turn in which the memberships are declared and acknowledged.
        try await loop.submit {}.get()
    }

    private static func makeWorker(on loop: EpollLoop, _ limits: WorkerLimits, _ route: SocketRoute) -> WorkerLoop {
        var router = Router()
        router.socket("/", route)
        var configuration = WorkerServer.Configuration()
        configuration.workerLimits = limits
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
        return worker
    }

    /// Only our end does not block.
    private static func pair(_ sendBufferBytes: CInt?) throws -> (ours: CInt, peer: CInt) {
        var pair: [CInt] = [-1, -1]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
        try #require(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0)
        if var bytes = sendBufferBytes {
            setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
        }
        return (pair[0], pair[1])
    }

    func onLoop<Value: Sendable>(_ body: @escaping @Sendable (WorkerLoop) -> Value) async throws -> Value {
        try await loop.submit { [worker] in body(worker.value) }.get()
    }

    /// One read burst from the broker.
    func push(_ replies: [Reply]) async throws {
        try await onLoop { worker in
            for reply in replies { worker.link.layerDidReceive(reply) }
            worker.link.layerDidFinishBurst()
        }
    }

    func health() async throws -> WorkerHealth { try await onLoop { $0.health } }

    /// The sockets whose peers do not read as fast as they are written to.
    func waitingCount() async throws -> Int { try await onLoop { $0.slowReaders.count } }

    /// The peer of socket `index` goes away.
    func hangUp(_ index: Int) { shutdown(peers[index], CInt(SHUT_RDWR)) }

    /// Socket `index` is closed from here.
    func leave(_ index: Int) async throws {
        try await loop.submit { [sockets] in sockets.value[index].close(.normal, reason: "") }.get()
    }

    /// The peers of these sockets, or all, read from here on.
    func startReading(_ indices: [Int]? = nil) {
        loop.execute { [peers, readers, loop, threads] in
            for index in indices ?? Array(peers.indices) {
                let peer = peers[index]
                readers.value[index] = threads.runIfActive(eventLoop: loop) {
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

    /// Lets everything drain, ends the sockets as if the clients had, and returns what each peer got.
    func finish() async throws -> [[ReceivedFrame]] {
        while try await !onLoop({ $0.fanOut.isIdle }) {}
        let reading = try await loop.submit { [sockets, readers] in
            for socket in sockets.value { ClientFrame.close(1_000).withUnsafeBytes { socket.received($0) } }
            return readers.value
        }.get()
        var heard = [[ReceivedFrame]](repeating: [], count: peers.count)
        for (index, reader) in reading {
            var bytes = try await reader.get()
            while let frame = ReceivedFrame(consuming: &bytes) { heard[index].append(frame) }
            #expect(bytes.isEmpty)
        }
        try await threads.shutdownGracefully()
        try await loop.shutdownGracefully()
        for peer in peers { close(peer) }
        return heard
    }
}
