import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareTransport
import Logging
import NIOCore
import NIOPosix

/// `fanfare-bench broker`: group sends to links of their own, without any worker.
struct BrokerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "broker",
        abstract: "Group sends to links of their own, closed loop."
    )

    @Option(help: "Broker: unix:/path or tcp://host:port.") var broker: String
    @Option(help: "Links that own a member of the group.") var links = 100
    @Option(help: "Messages under way.") var window = 16
    @Option(help: "Seconds to measure.") var seconds = 5.0
    @Option(help: "Bytes of a message.") var payload = 128
    @Option(help: "Process to charge CPU time to; repeatable.") var pid: [Int32] = []
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let endpoint = try Endpoint(broker)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let load = try await loop.submit {
            NIOLoopBound(BrokerLoad(self, endpoint, loop: loop), eventLoop: loop)
        }.get()
        try await loop.flatSubmit { load.value.connect() }.get()
        let measurement = try await Measurement.of(
            pid,
            seconds: seconds,
            start: { try await loop.submit { load.value.start() }.get() },
            finish: { try await loop.flatSubmit { load.value.finish() }.get() }
        )
        let (sent, delivered) = try await loop.submit { (load.value.sent, load.value.delivered) }.get()
        let report = Report(
            sent: sent,
            expected: sent * UInt64(links),
            delivered: delivered,
            outOfOrder: 0,
            measurement
        )
        try report.show(asJSON: json)
        if !report.isWhole { throw ExitCode(1) }
    }
}

/// The links of one run, on one loop: each owns one channel of the group; the first one publishes.
final class BrokerLoad {
    private let command: BrokerCommand
    private let endpoint: Endpoint
    private let loop: any EventLoop
    private var links: [LoadLink] = []
    private var joined = 0
    private var isRunning = false
    private var allJoined: EventLoopPromise<Void>?
    private var allDone: EventLoopPromise<Void>?
    private var arrivals = 0
    private(set) var sent: UInt64 = 0
    private(set) var delivered: UInt64 = 0
    private let body: Body

    init(_ command: BrokerCommand, _ endpoint: Endpoint, loop: any EventLoop) {
        self.command = command
        self.endpoint = endpoint
        self.loop = loop
        body = Body(repeating: 120, count: command.payload)
    }

    func connect() -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        allJoined = promise
        for number in 0..<command.links { links.append(LoadLink(number, endpoint, load: self, loop: loop)) }
        return promise.futureResult
    }

    func linkJoined() {
        joined += 1
        if joined == command.links { allJoined?.succeed() }
    }

    func start() {
        isRunning = true
        for _ in 0..<command.window { sendNext() }
    }

    private func sendNext() {
        guard isRunning else { return }
        sent += 1
        links[0].session.post(.groupSend(id: nil, group: "bench", body: body, GroupSendOptions()))
    }

    func arrived() {
        delivered += 1
        arrivals += 1
        if arrivals == command.links {
            arrivals = 0
            sendNext()
        }
        if allDone != nil, delivered == sent * UInt64(command.links) { done() }
    }

    func finish() -> EventLoopFuture<Void> {
        isRunning = false
        let promise = loop.makePromise(of: Void.self)
        allDone = promise
        loop.assumeIsolated().scheduleTask(in: .seconds(10)) { self.done() }
        if delivered == sent * UInt64(command.links) { done() }
        return promise.futureResult
    }

    private func done() {
        allDone?.succeed()
        allDone = nil
    }
}

/// One link that owns one member.
final class LoadLink: LayerDelegate {
    let session: LayerSession
    private let channel: String
    private let load: BrokerLoad

    init(_ number: Int, _ endpoint: Endpoint, load: BrokerLoad, loop: any EventLoop) {
        self.load = load
        let limits = Limits()
        let node = ChannelLayer.randomNode()
        channel = "bench.\(node)!1"
        var hello = Hello(client: "fanfare-bench/1", name: "bench-\(number)", role: .worker, policy: Policy(limits))
        hello.node = node
        session = LayerSession(
            loop: loop,
            configuration: LayerSession.Configuration(endpoints: [endpoint], hello: hello, limits: limits),
            logger: Logger(label: "fanfare-bench") { _ in SwiftLogNoOpLogHandler() }
        )
        session.delegate = self
        session.start()
    }

    func layerDidConnect(_ welcome: Welcome) {
        session.call({ [channel] in .groupAdd(id: $0, group: "bench", channels: [channel], groupExpiry: nil) }) { _ in
            self.load.linkJoined()
        }
    }

    func layerDidDisconnect(_ failure: Failure) {}

    func layerDidReceive(_ push: Reply) {
        if case .groupDeliver = push { load.arrived() }
    }

    func layerDidFinishBurst() {}
}
