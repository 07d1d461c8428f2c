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

/// Members of one group over real descriptors, some of which do not read: what the policy says happens to them, and
/// nothing happens to the others.
@Suite(.timeLimit(.minutes(1))) struct SlowReaderTests {
    @Test func `a byte that waits longer than its age closes the socket, whoever has read stays`() async throws {
        var limits = WorkerLimits()
        limits.outgoingAge = Milliseconds(5_000)
        limits.closeWithin = Milliseconds(1_000_000)
        let run = try await SlowReaderRun(limits, members: 3)
        var sent = 0
        while try await run.waitingCount() < 3 {
            try await run.publish(sent..<(sent + 1))
            sent += 1
        }
        run.startReading([0])
        try await run.untilWaiting(atMost: 2)
        try await run.timePassed(ticks: 5)
        #expect(try await run.health().counters.closes == [:])
        run.startReading([1])
        try await run.untilWaiting(atMost: 1)
        try await run.timePassed(ticks: 1)
        let health = try await run.health()
        #expect(health.counters.closes == [1_013: 1])
        #expect(health.counters.slowReadersClosed == 1)
        #expect(health.slowReaders == 0)
        #expect(health.sockets == 2)
        try await run.publish(sent..<(sent + 10))
        // It wakes up too late.
        run.startReading([2])
        let heard = try await run.finish()
        for index in 0..<2 {
            #expect(heard[index].numbers == Array(0..<(sent + 10)))
            #expect(heard[index].closeCode == 1_000)
        }
        #expect(heard[2].numbers == Array(0..<(sent - Int(health.counters.outgoingOverflow))))
        #expect(heard[2].closeCode == 1_013)
    }

    @Test("What too much does to a member that does not read", arguments: OutgoingQueue.Policy.allCases)
    func policy(policy: OutgoingQueue.Policy) async throws {
        var limits = WorkerLimits()
        limits.outgoingPolicy = policy
        limits.outgoingMessages = 40
        limits.closeWithin = Milliseconds(1_000_000)
        let run = try await SlowReaderRun(limits, members: 4)
        run.startReading([0, 1])
        let count = 1_200
        for burst in 0..<(count / 4) {
            try await run.publish((burst * 4)..<(burst * 4 + 4))
            // The readers keep up: what they lack is not the policy's doing.
            try await run.untilWaiting(atMost: 2)
        }
        let health = try await run.health()
        run.startReading([2, 3])
        let heard = try await run.finish()
        for index in 0..<2 { #expect(heard[index].numbers == Array(0..<count)) }
        let lost = heard[2...].reduce(0) { $0 + count - $1.numbers.count }
        #expect(lost > 0)
        for slow in heard[2...] {
            switch policy {
            case .disconnect:
                #expect(slow.closeCode == 1_013)
                #expect(slow.numbers == Array(0..<slow.numbers.count))
            case .dropNewest:
                #expect(slow.closeCode == 1_000)
                #expect(slow.numbers == Array(0..<slow.numbers.count))
            case .dropOldest:
                #expect(slow.closeCode == 1_000)
                #expect(slow.numbers == slow.numbers.sorted())
                #expect(Array(slow.numbers.suffix(40)) == Array((count - 40)..<count))
            }
        }
        #expect(health.counters.closes == (policy == .disconnect ? [1_013: 2] : [:]))
        // Those disconnected also miss what was sent when they were gone.
        #expect(policy == .disconnect || health.counters.outgoingFull == UInt64(lost))
        #expect((health.counters.outgoingOverflow > 0) == (policy == .disconnect))
    }

    @Test func `a message to one socket is bounded like one to its group`() async throws {
        var limits = WorkerLimits()
        limits.outgoingPolicy = .dropNewest
        limits.outgoingBytes = 20_000
        let run = try await SlowReaderRun(limits, members: 1)
        for index in 0..<400 { try await run.publish(index..<(index + 1), toChannel: index % 2 == 0) }
        let health = try await run.health()
        #expect(health.slowReaders == 1)
        run.startReading([0])
        let heard = try await run.finish()
        #expect(heard[0].numbers == Array(0..<(400 - Int(health.counters.outgoingFull))))
        #expect(health.counters.outgoingFull > 0)
    }
}

/// A worker whose clock the test moves, the members of one group on socket pairs, and threads that read for the peers.
private final class SlowReaderRun: Sendable {
    /// What a peer got.
    struct Heard {
        var numbers: [Int] = []
        var closeCode: Int?
    }

    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let threads: NIOThreadPool
    private let loop: any EventLoop
    private let worker: NIOLoopBound<WorkerLoop>
    private let sockets: NIOLoopBoundBox<[Socket]>
    private let readers: NIOLoopBoundBox<[Int: EventLoopFuture<[UInt8]>]>
    private let peers: [CInt]

    init(_ limits: WorkerLimits, members: Int) async throws {
        threads = NIOThreadPool(numberOfThreads: members)
        threads.start()
        let loop = group.next()
        self.loop = loop
        sockets = NIOLoopBoundBox.makeBoxSendingValue([], eventLoop: loop)
        readers = NIOLoopBoundBox.makeBoxSendingValue([:], eventLoop: loop)
        let route = SocketRoute(service: { EchoService() }) { _, _ in SocketRoute.Plan() }
        worker = try await loop.submit {
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
            return NIOLoopBound(worker, eventLoop: loop)
        }.get()
        var peers: [CInt] = []
        for _ in 0..<members {
            var pair: [CInt] = [-1, -1]
            try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0)
            peers.append(pair[1])
            let channel = try await ClientBootstrap(group: loop).withConnectedSocket(pair[0]).get()
            try await loop.submit { [worker, sockets] in
                let socket = worker.value.makeSocket(route, path: "/", address: "", remote: "")
                socket.onJoined = { [unowned socket] _ in
                    socket.accepted()
                    socket.attach(SocketWriter(channel: channel))
                }
                _ = worker.value.open(socket, groups: ["chat_a"], identity: nil)
                try channel.pipeline.syncOperations.addHandler(SocketHandler(socket: socket))
                sockets.value.append(socket)
            }.get()
        }
        self.peers = peers
        // The turn in which the memberships are declared and acknowledged.
        try await loop.submit {}.get()
    }

    private func onLoop<Value: Sendable>(_ body: @escaping @Sendable (WorkerLoop) -> Value) async throws -> Value {
        try await loop.submit { [worker] in body(worker.value) }.get()
    }

    /// One read burst from the broker: numbered messages of a kilobyte.
    func publish(_ numbers: Range<Int>, toChannel: Bool = false) async throws {
        try await onLoop { worker in
            for number in numbers {
                let text = "\(number) " + String(repeating: "x", count: 1_000)
                worker.link.layerDidReceive(
                    toChannel
                        ? .deliver(channel: "ws.node!1", body: chatBody(text), remaining: Milliseconds(9))
                        : groupMessage("chat_a", text)
                )
            }
            worker.link.layerDidFinishBurst()
        }
    }

    func timePassed(ticks: Int) async throws {
        try await onLoop { worker in
            for _ in 0..<ticks { worker.timePassed() }
        }
    }

    func health() async throws -> WorkerHealth { try await onLoop { $0.health } }

    func waitingCount() async throws -> Int { try await onLoop { $0.slowReaders.count } }

    func untilWaiting(atMost count: Int) async throws {
        while try await waitingCount() > count {
            // The time limit ends it.
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    func startReading(_ indices: [Int]) {
        loop.execute { [peers, readers, loop, threads] in
            for index in indices {
                let peer = peers[index]
                readers.value[index] = threads.runIfActive(eventLoop: loop) {
                    var bytes: [UInt8] = []
                    var part = [UInt8](repeating: 0, count: 30_000)
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
    func finish() async throws -> [Heard] {
        let reading = try await loop.submit { [sockets, readers] in
            for socket in sockets.value {
                ClientFrame.close(1_000).withUnsafeBytes { socket.received($0) }
            }
            return readers.value
        }.get()
        var heard = [Heard](repeating: Heard(), count: peers.count)
        for (index, reader) in reading {
            var bytes = try await reader.get()
            while let frame = ReceivedFrame(consuming: &bytes) {
                if let message = frame.message { heard[index].numbers.append(Int(message.prefix { $0 != " " }) ?? -1) }
                heard[index].closeCode = heard[index].closeCode ?? frame.closeCode
            }
            #expect(bytes.isEmpty)
        }
        try await threads.shutdownGracefully()
        try await group.shutdownGracefully()
        for peer in peers { close(peer) }
        return heard
    }
}
