import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareOps
import Logging

extension Role: ExpressibleByArgument {}

/// A command that goes to a broker.
protocol BrokerCommand: AsyncParsableCommand {
    /// Whether the namespace of a context is good enough for it, or has to be said.
    static var takesNamespaceOfContext: Bool { get }
    var global: GlobalOptions { get set }
}

extension BrokerCommand {
    static var takesNamespaceOfContext: Bool { true }
}

/// What every command takes, and the way to the broker.
struct GlobalOptions: ParsableArguments {
    @Option(
        name: .customLong("broker"),
        help: ArgumentHelp(
            "The broker: unix:/path, tcp://host:port or tls://host:port. Repeatable, tried in order.",
            discussion: "Default: the context in use, else $FANFARE_BROKER, else the standard socket of this user.",
            valueName: "endpoint"
        )
    )
    var brokers: [String] = []

    @Option(
        name: .customLong("context"),
        help: ArgumentHelp(
            "The broker, namespace, role and credentials that `fanfare context add` keeps under this name.",
            discussion: "Default: $FANFARE_CONTEXT, else the one `fanfare context select` put in use.",
            valueName: "name"
        ),
        completion: .contexts
    )
    var contextName: String?

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
        ),
        completion: .file()
    )
    var tokenFile: String?

    @Option(
        help: ArgumentHelp(
            "Certificates of the CAs that may sign a tls:// broker's certificate, in PEM.",
            discussion: "Default: $FANFARE_CA_FILE, else those the system trusts.",
            valueName: "file"
        ),
        completion: .file()
    )
    var caFile: String?

    @Option(
        help: ArgumentHelp(
            "This user's certificate in PEM, for a tls:// broker that asks for one.",
            discussion: "Default, with its key: $FANFARE_CERTIFICATE_FILE and $FANFARE_KEY_FILE.",
            valueName: "file"
        ),
        completion: .file()
    )
    var certificateFile: String?

    @Option(help: ArgumentHelp("The certificate's private key in PEM.", valueName: "file"), completion: .file())
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
            "What to be, where the token is not for everything: publish, worker, inspect, admin. Default: admin.",
            valueName: "role"
        )
    )
    var role: Role?

    @Flag(help: "Send the token over tcp:// to another machine all the same, where everybody on the way can read it.")
    var tokenInTheClear = false

    @Flag(name: .customLong("json"), help: "Print one JSON document instead of tables.")
    var wantsJSON = false

    @Flag(name: .customLong("jsonl"), help: "Print JSON, one object a row and line; listings go on to their end.")
    var wantsJSONLines = false

    @Flag(name: .customLong("no-color"), help: "No colours on a terminal; so does $NO_COLOR.")
    var isColorless = false

    func validate() throws {
        guard !wantsJSON || !wantsJSONLines else {
            throw ValidationError("--json is one document, --jsonl one object a line; leave one of them out")
        }
    }

    /// Whether programs read the output. Only listings tell `--json` from `--jsonl`.
    var isJSON: Bool { wantsJSON || wantsJSONLines }

    /// What standard output can show and should.
    var surface: Surface {
        var surface = System.surface
        if isColorless { surface.isStyled = false }
        return surface
    }

    /// What no flag holds: it comes from a context.
    private struct Kept: Codable {
        var token: String?
        /// Whether a context is in use; it is whole, the environment adds nothing.
        var isInUse = false
    }
    private var kept = Kept()

    /// Which broker is meant, and with which credentials; for `--help` and the documentation.
    static let precedence = """
        Where the broker is and what it is shown comes from the first of these that is there: --context, --broker, \
        $FANFARE_CONTEXT, $FANFARE_BROKER, the context in use, the standard socket of this user. A context is whole: \
        flags change single values of it, but $FANFARE_TOKEN and its like count only where no context does, and a \
        context that is only in use counts for nothing beside --broker, so that no token goes where it is not meant to.
        """

    static let optionNames = [
        "--broker", "--context", "--namespace", "--token-file", "--ca-file", "--certificate-file", "--key-file",
        "--server-name",
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
        let words = max(Fanfare.commandWords(rest), 1)
        guard !rest.isEmpty else { return arguments }
        return Array(rest.prefix(words)) + leading + rest.dropFirst(words)
    }

    /// Takes what the context in use says, where the command line does not: ``precedence``.
    ///
    /// - Parameters:
    ///   - environment: The variables of ``contextVariables``.
    ///   - takesNamespace: Whether the namespace of the context is good enough for the command.
    mutating func complete(
        environment: [String: String],
        takesNamespace: Bool = true
    ) throws(ProgramFailure) {
        guard let context = try context(environment) else { return }
        if brokers.isEmpty { brokers = context.brokers }
        if takesNamespace { namespace = namespace ?? context.namespace }
        role = role ?? context.role.flatMap(Role.init(rawValue:))
        if tokenFile == nil { (tokenFile, kept.token) = (context.tokenFile, context.token) }
        caFile = caFile ?? context.caFile
        if certificateFile == nil, keyFile == nil {
            (certificateFile, keyFile) = (context.certificateFile, context.keyFile)
        }
        serverName = serverName ?? context.serverName
        tokenInTheClear = tokenInTheClear || context.allowsTokenInTheClear == true
        kept.isInUse = true
    }

    /// The environment variables ``complete(environment:takesNamespace:)`` looks at.
    static let contextVariables = ["FANFARE_CONTEXT", "FANFARE_BROKER", "XDG_CONFIG_HOME", "HOME"]

    private func context(_ environment: [String: String]) throws(ProgramFailure) -> Context? {
        let file = ContextsFile(environment: environment)
        if let contextName { return try (file?.read() ?? Contexts()).named(contextName, from: "--context") }
        guard brokers.isEmpty else { return nil }
        if let name = environment["FANFARE_CONTEXT"], !name.isEmpty {
            return try (file?.read() ?? Contexts()).named(name, from: "$FANFARE_CONTEXT")
        }
        guard environment["FANFARE_BROKER", default: ""].isEmpty, let contexts = try file?.read() else { return nil }
        return try contexts.selected.map { name throws(ProgramFailure) in
            try contexts.named(name, from: "the selected context")
        }
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
        security.token = kept.token
        security.caFile = caFile
        security.certificateFile = certificateFile
        security.keyFile = keyFile
        security.serverName = serverName
        security.allowsTokenInTheClear = tokenInTheClear
        if !kept.isInUse { security = security.completed(by: System.environment(BrokerSecurity.environmentNames)) }
        try security.check()
        return security
    }

    /// The endpoints to try, and what their brokers are shown.
    ///
    /// - Throws: ``ProgramFailure`` for what cannot be used, so that it is not taken for a broker that is away.
    func route() throws -> (endpoints: [Endpoint], security: BrokerSecurity) {
        let route = (endpoints: try endpoints(), security: try security())
        try ChannelLayer.check(route.security, for: route.endpoints)
        return route
    }

    /// What this process is called in listings.
    static var processName: String { "fanfare-\(System.processID)" }

    /// What this program tells the broker about itself.
    ///
    /// - Parameter node: Of process channels to read; `nil` to own none.
    func hello(node: String? = nil) -> Hello {
        // One role for all commands unless told: most look, some send, and `drain` needs everything.
        var hello = Hello(
            client: "fanfare/\(Version.current)",
            name: Self.processName,
            role: role ?? .admin,
            policy: Policy(Limits())
        )
        hello.namespace = namespace ?? Protocol.namespaceDefault
        hello.attributes = ["pid": "\(System.processID)"]
        hello.node = node
        // What waits for this program is what it measures.
        if node != nil { hello.policy.capacity = LatencyRun.underWayMaximum }
        return hello
    }

    /// A refusal of the broker, with what to write where it is that this program is `admin` unless told otherwise.
    func hinting(at failure: ProgramFailure) -> ProgramFailure {
        let known = "has no role \"\(Role.admin.rawValue)\", only: "
        guard role == nil, let found = failure.text.firstRange(of: known) else { return failure }
        let names = failure.text[found.upperBound...].split { $0 == "," || $0 == " " }
        let roles = names.compactMap { Role(rawValue: String($0)) }
        guard let best = roles.contains(.inspect) ? .inspect : roles.first else { return failure }
        return ProgramFailure(failure.exit, failure.text + "; write --role \(best.rawValue)")
    }

    /// Connects, does `work`, and says goodbye whatever came of it.
    ///
    /// - Throws: ``ProgramFailure`` for an endpoint that cannot be used or a broker that does not answer; what `work`
    ///   throws.
    func withLayer<R: Sendable>(
        node: String? = nil,
        _ work: @Sendable (ChannelLayer) async throws -> R
    ) async throws -> R {
        let route = try route()
        let layer: ChannelLayer
        do {
            layer = try await ChannelLayer.connect(
                endpoints: route.endpoints,
                hello: hello(node: node),
                limits: Limits(),
                security: route.security,
                retries: false,
                // What goes wrong is said once, in the line that ends the program.
                logger: Logger(label: "fanfare") { _ in SwiftLogNoOpLogHandler() }
            )
        } catch let failure as ProgramFailure {
            throw hinting(at: failure)
        }
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
