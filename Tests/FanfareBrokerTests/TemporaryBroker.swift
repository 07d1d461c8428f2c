import FanfareBroker
import FanfareModel
import FanfareProtocol
import Glibc
import Logging
import Testing

/// A folder that is gone when the test is.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/fanfare-test-XXXXXX".utf8CString)
        path = try template.withUnsafeMutableBufferPointer { buffer in
            String(cString: try #require(buffer.baseAddress.flatMap { mkdtemp($0) }))
        }
    }

    deinit {
        for name in ["broker.sock", "other.sock", "file"] { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}

/// A broker on a Unix socket and a TCP port of its own.
struct TemporaryBroker {
    let server: BrokerServer
    let folder: TemporaryFolder

    var unix: Endpoint { server.endpoints[0] }
    var tcp: Endpoint { server.endpoints[1] }

    static func quiet() -> Logger {
        Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    }

    /// Runs `body` with a broker and stops it whatever happens.
    static func run(
        _ limits: Limits = Limits(),
        resilience: Resilience.Settings? = nil,
        _ body: (TemporaryBroker) async throws -> Void
    ) async throws {
        let folder = try TemporaryFolder()
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: folder.path + "/broker.sock"), .tcp(host: "127.0.0.1", port: 0)]
        configuration.limits = limits
        // Raw connections answer no pings: they come between the replies a test waits for only where it asks for them.
        if limits.roundTripEvery == Limits().roundTripEvery {
            configuration.limits.roundTripEvery = Milliseconds(3_600_000)
        }
        configuration.resilience = resilience
        configuration.version = "fanfare-broker/test"
        let server = try await BrokerServer.start(configuration, logger: quiet())
        do {
            try await body(TemporaryBroker(server: server, folder: folder))
        } catch {
            await server.stop(within: Milliseconds(2_000))
            throw error
        }
        await server.stop(within: Milliseconds(2_000))
    }

    func hello(
        _ role: Role = .worker,
        name: String = "raw",
        node: String? = nil,
        namespace: String = "default",
        _ change: (inout Hello) -> Void = { _ in }
    ) -> Hello {
        var hello = Hello(client: "test/1", name: name, role: role, policy: Policy(Limits()))
        hello.node = node
        hello.namespace = namespace
        change(&hello)
        return hello
    }

    /// A connection that has said hello and been welcomed.
    func session(
        _ role: Role = .worker,
        node: String? = nil,
        namespace: String = "default",
        over endpoint: Endpoint? = nil,
        _ change: (inout Hello) -> Void = { _ in }
    ) async throws -> RawConnection {
        let connection = try RawConnection(endpoint ?? unix)
        try await connection.write(.hello(hello(role, node: node, namespace: namespace, change)))
        let reply = try await connection.reply()
        guard case .welcome? = reply else {
            throw RawConnection.Ending.system("no welcome but \(String(describing: reply))")
        }
        return connection
    }

    func count(_ name: String) async throws -> Int64 {
        try #require(try await server.status()[name]?.int)
    }

    /// Messages dropped so far for one reason.
    func drops(_ reason: String) async throws -> Int64 {
        try #require(try await server.status()["drops"]?[reason]?.int)
    }

    /// Asks the status until it says so.
    func eventually(_ name: String, is expected: Int64) async throws {
        try await poll("\(name) is \(expected)") { try await count(name) == expected }
    }
}

/// Waits for something that must come true, however long the machine takes.
func poll(_ what: String, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + RawConnection.patience
    while try await !condition() {
        guard ContinuousClock.now < end else { throw RawConnection.Ending.tooLate(what) }
        try await Task.sleep(for: .milliseconds(5))
    }
}

extension Reply {
    /// The code, when this is an error without an id.
    var refusal: ErrorCode? { if case .error(nil, let failure) = self { failure.code } else { nil } }

    func isError(_ code: ErrorCode, id: RequestID?) -> Bool {
        if case .error(id, let failure) = self { failure.code == code } else { false }
    }
}
