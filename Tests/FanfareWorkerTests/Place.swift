import FanfareBroker
import FanfareClient
import FanfareModel
import Logging
import NIOCore
import Testing

@testable import FanfareWorker

/// A broker on a port of its own, the workers a test starts with it, and a look into it.
final class Place {
    private(set) var broker: BrokerServer
    let endpoint: Endpoint
    private var workers: [WorkerServer] = []
    private static let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

    private init(_ broker: BrokerServer) throws {
        self.broker = broker
        endpoint = try #require(broker.endpoints.first)
    }

    static func start() async throws -> Place {
        try Place(try await startBroker(.tcp(host: "127.0.0.1", port: 0)))
    }

    private static func startBroker(_ endpoint: Endpoint) async throws -> BrokerServer {
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [endpoint]
        return try await BrokerServer.start(configuration, logger: logger)
    }

    func restartBroker() async throws {
        broker = try await Self.startBroker(endpoint)
    }

    func worker(
        _ name: String,
        _ limits: WorkerLimits = WorkerLimits(),
        router: Router = .chat,
        tracing: MessageTracing? = nil
    ) async throws -> WorkerServer {
        let worker = try await Self.worker(name, limits, brokers: [endpoint], port: 0, router: router, tracing)
        workers.append(worker)
        return worker
    }

    /// A worker that has no broker.
    static func lonelyWorker(
        _ limits: WorkerLimits = WorkerLimits(),
        port: Int = 0,
        router: Router = .chat
    ) async throws -> WorkerServer {
        let nowhere = Endpoint.unix(path: "/nonexistent/broker.sock")
        return try await worker("lonely", limits, brokers: [nowhere], port: port, router: router)
    }

    private static func worker(
        _ name: String,
        _ limits: WorkerLimits,
        brokers: [Endpoint],
        port: Int,
        router: Router,
        _ tracing: MessageTracing? = nil
    ) async throws -> WorkerServer {
        var configuration = WorkerServer.Configuration()
        configuration.name = name
        configuration.brokers = brokers
        configuration.listenPort = port
        configuration.workerLimits = limits
        configuration.tracing = tracing
        return try await WorkerServer.start(configuration, router: router, logger: logger)
    }

    /// A look into the broker.
    private func admin() async throws -> ChannelLayer {
        let limits = Limits()
        let hello = Hello(client: "test", name: "test", role: .admin, policy: Policy(limits))
        return try await ChannelLayer.connect(
            endpoints: [endpoint],
            hello: hello,
            limits: limits,
            retries: false,
            logger: Self.logger
        )
    }

    /// Messages that were dropped for a reason, as the broker was told.
    func drops(_ reason: String) async throws -> Int64 {
        let layer = try await admin()
        let rows = try await layer.inspect(InspectionQuery(.drops))["rows"]?.array ?? []
        await layer.close()
        return rows.reduce(0) { $1["reason"]?.string == reason ? $0 + ($1["count"]?.int ?? 0) : $0 }
    }

    /// The members of a group, when there are `count` of them.
    func members(of group: String, count: Int) async throws -> [MessageValue] {
        let layer = try await admin()
        var query = InspectionQuery(.group)
        query.name = group
        var rows: [MessageValue] = []
        repeat {
            rows = []
            do {
                rows = try await layer.inspect(query)["rows"]?.array ?? []
            } catch let failure as Failure where failure.code == .notFound {}
        } while rows.count != count
        await layer.close()
        return rows
    }

    func stop() async throws {
        for worker in workers { await worker.stop(within: Milliseconds(200)) }
        await broker.stop(within: Milliseconds(200))
    }
}

/// A client whose membership is known to count.
struct Speaker {
    let client: TestClient

    static func enter(_ port: Int, _ worker: String) async throws -> Speaker {
        let client = try await TestClient.open(port, "/ws/chat/a/?hello=1")
        let hello = try #require(try await client.frame()?.json)
        #expect(hello["type"] == "hello")
        #expect(hello["worker"]?.string == worker)
        return Speaker(client: client)
    }

    /// Says `count` messages and hears twice as many.
    func exchange(_ count: Int, name: String) async throws -> [String] {
        for index in 0..<count { try await client.say("\(name)\(index)") }
        return try await client.messages(2 * count)
    }
}
