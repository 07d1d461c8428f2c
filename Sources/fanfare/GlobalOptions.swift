import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareOps
import Logging

extension Role: ExpressibleByArgument {}

/// What every command takes, and the way to the broker.
struct GlobalOptions: ParsableArguments {
    @Option(
        name: .customLong("broker"),
        help: ArgumentHelp(
            "The broker: unix:/path, tcp://host:port or tls://host:port. Repeatable, tried in order.",
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

    @Option(
        help: ArgumentHelp(
            "File with the token to show the broker: one line, not readable by everybody.",
            discussion: "Default: $FANFARE_TOKEN_FILE, else the token in $FANFARE_TOKEN.",
            valueName: "file"
        )
    )
    var tokenFile: String?

    @Option(
        help: ArgumentHelp(
            "Certificates of the CAs that may sign a tls:// broker's certificate, in PEM.",
            discussion: "Default: $FANFARE_CA_FILE, else those the system trusts.",
            valueName: "file"
        )
    )
    var caFile: String?

    @Option(
        help: ArgumentHelp(
            "This user's certificate in PEM, for a tls:// broker that asks for one.",
            discussion: "Default, with its key: $FANFARE_CERTIFICATE_FILE and $FANFARE_KEY_FILE.",
            valueName: "file"
        )
    )
    var certificateFile: String?

    @Option(help: ArgumentHelp("The certificate's private key in PEM.", valueName: "file"))
    var keyFile: String?

    @Option(
        help: ArgumentHelp(
            "The name a tls:// broker's certificate must hold, instead of the host that is dialled.",
            valueName: "name"
        )
    )
    var serverName: String?

    @Option(
        help: ArgumentHelp(
            "What to be, where the token is not for everything: publish, worker, inspect, admin.",
            valueName: "role"
        )
    )
    var role = Role.admin

    @Flag(help: "Send the token over tcp:// to another machine all the same, where everybody on the way can read it.")
    var tokenInTheClear = false

    @Flag(name: .customLong("json"), help: "Print one JSON document instead of tables.")
    var wantsJSON = false

    @Flag(name: .customLong("jsonl"), help: "Print JSON, one object a row and line; listings go on to their end.")
    var wantsJSONLines = false

    @Flag(name: .customLong("no-color"), help: "No colours on a terminal; so does $NO_COLOR.")
    var isColorless = false

    /// Whether programs read the output. Only listings tell `--json` from `--jsonl`.
    var isJSON: Bool { wantsJSON || wantsJSONLines }

    /// What standard output can show and should.
    var surface: Surface {
        var surface = System.surface
        if isColorless { surface.isStyled = false }
        return surface
    }

    private static let optionNames = [
        "--broker", "--namespace", "--token-file", "--ca-file", "--certificate-file", "--key-file", "--server-name",
        "--role",
    ]
    private static let flagNames = ["--json", "--jsonl", "--no-color", "--token-in-the-clear"]

    /// `arguments` with these options moved behind the command they stand before: `fanfare --json groups` means
    /// `fanfare groups --json`.
    static func behindCommand(_ arguments: [String]) -> [String] {
        var rest = arguments[...]
        var leading: [String] = []
        while let option = rest.first, option.hasPrefix("--") {
            let name = String(option.prefix { $0 != "=" })
            guard optionNames.contains(name) || flagNames.contains(name) else { return arguments }
            let takesNext = optionNames.contains(name) && !option.contains("=")
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

    /// What brokers are shown, and how they are checked.
    func security() throws -> BrokerSecurity {
        var security = BrokerSecurity()
        security.tokenFile = tokenFile
        security.caFile = caFile
        security.certificateFile = certificateFile
        security.keyFile = keyFile
        security.serverName = serverName
        security.allowsTokenInTheClear = tokenInTheClear
        security = security.completed(by: ProcessFacts.environment(BrokerSecurity.environmentNames))
        try security.check()
        return security
    }

    /// What this program tells the broker about itself.
    ///
    /// - Parameter node: Of process channels to read; `nil` to own none.
    func hello(node: String? = nil) -> Hello {
        // One role for all commands unless told: most look, some send, and `drain` needs everything.
        var hello = Hello(
            client: "fanfare/\(Version.current)",
            name: "fanfare-\(System.processID)",
            role: role,
            policy: Policy(Limits())
        )
        hello.namespace = namespace ?? Protocol.namespaceDefault
        hello.attributes = ["pid": "\(System.processID)"]
        hello.node = node
        // What waits for this program is what it measures.
        if node != nil { hello.policy.capacity = LatencyRun.underWayMaximum }
        return hello
    }

    /// Connects, does `work`, and says goodbye whatever came of it.
    ///
    /// - Throws: ``ProgramFailure`` for an endpoint that cannot be used or a broker that does not answer; what `work`
    ///   throws.
    func withLayer<R: Sendable>(
        node: String? = nil,
        _ work: @Sendable (ChannelLayer) async throws -> R
    ) async throws -> R {
        let layer = try await ChannelLayer.connect(
            endpoints: try endpoints(),
            hello: hello(node: node),
            limits: Limits(),
            security: try security(),
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
