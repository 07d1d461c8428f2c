import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareOps
import Logging

/// What every command takes, and the way to the broker.
struct GlobalOptions: ParsableArguments {
    @Option(
        name: .customLong("broker"),
        help: ArgumentHelp(
            "The broker: unix:/path or tcp://host:port. Repeatable, tried in order.",
            discussion: "Default: $FANFARE_BROKER, else the standard socket of this user.",
            valueName: "endpoint"
        )
    )
    var brokers: [String] = []

    @Option(
        help: ArgumentHelp(
            "The namespace: where sends go (default \"\(Protocol.namespaceDefault)\"), what listings are limited to.",
            valueName: "namespace"
        )
    )
    var namespace: String?

    @Flag(name: .customLong("json"), help: "Print JSON instead of tables.")
    var isJSON = false

    /// `arguments` with these options moved behind the command they stand before: `fanfare --json groups` means
    /// `fanfare groups --json`.
    static func behindCommand(_ arguments: [String]) -> [String] {
        var rest = arguments[...]
        var leading: [String] = []
        while let option = rest.first, option.hasPrefix("--") {
            let name = option.prefix { $0 != "=" }
            guard ["--broker", "--namespace", "--json"].contains(name) else { return arguments }
            let takesNext = name != "--json" && !option.contains("=")
            leading += rest.prefix(takesNext ? 2 : 1)
            rest = rest.dropFirst(takesNext ? 2 : 1)
        }
        guard let command = rest.first else { return arguments }
        return [command] + leading + rest.dropFirst()
    }

    /// The endpoints to try, in order.
    func endpoints() throws -> [Endpoint] {
        guard brokers.isEmpty else { return try brokers.map { try Endpoint($0) } }
        return [try System.standardEndpoint()]
    }

    /// What this program tells the broker about itself.
    func hello() -> Hello {
        // One role for all commands: most look, some send, and `flush` needs more than a worker's.
        var hello = Hello(
            client: "fanfare/\(Version.current)",
            name: "fanfare-\(System.processID)",
            role: .admin,
            policy: Policy(Limits())
        )
        hello.namespace = namespace ?? Protocol.namespaceDefault
        hello.attributes = ["pid": "\(System.processID)"]
        return hello
    }

    /// Connects, does `work`, and says goodbye whatever came of it.
    ///
    /// - Throws: ``ProgramFailure`` for an endpoint that cannot be used or a broker that does not answer; what `work`
    ///   throws.
    func withLayer<R: Sendable>(_ work: @Sendable (ChannelLayer) async throws -> R) async throws -> R {
        let layer = try await ChannelLayer.connect(
            endpoints: try endpoints(),
            hello: hello(),
            limits: Limits(),
            retries: false,
            // What goes wrong is said once, in the line that ends the program.
            logger: Logger(label: "fanfare") { _ in SwiftLogNoOpLogHandler() }
        )
        let result: Result<R, any Error>
        do {
            result = .success(try await work(layer))
        } catch {
            result = .failure(error)
        }
        await layer.close()
        return try result.get()
    }
}
