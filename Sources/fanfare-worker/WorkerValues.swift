import FanfareModel
import FanfareOps
import FanfareTransport
import FanfareWorker
import Logging

/// Everything a person can set about a worker.
struct WorkerValues: Sendable {
    /// Endpoints as written; empty means the standard one.
    var brokers: [String] = []
    var brokerSecurity = BrokerSecurity()
    var listen: String? = "127.0.0.1:8000"
    var ops: String?
    var name: String?
    var drainFor = Milliseconds(10_000)
    var drainDelay = Milliseconds(0)
    var stopWithin = Milliseconds(10_000)
    var logFormat: String?
    var logLevel: String? = Logger.Level.info.rawValue
    var hasChat: Bool?
    var hasEcho = false
    var origins: [String] = []
    var originMissing: String?
    var tlsCertificateFile: String?
    var tlsKeyFile: String?
    var trustedProxies: [String] = []
    var rootPath: String?
    var serverName: String?
    var requestRate: Rate?
    var connectionsPerAddress: Int?
    var routes: [Record<RouteValues>] = []
    var tokens = TokenValues()
    var jwt = JWTValues()
    var limits = Limits()
    var sockets = WorkerLimits()

    /// Endpoints one worker tries at most.
    private static let brokersMaximum = 16

    /// Every setting of the worker.
    static let table: [Setting<WorkerValues>] =
        [
            .list(
                "brokers",
                \.brokers,
                example: "unix:/run/fanfare/broker.sock",
                most: brokersMaximum,
                flag: "--broker",
                "The broker, as unix:/path, tcp://host:port or tls://host:port; several are tried in order. Without "
                    + "any: the socket of $FANFARE_BROKER, else $XDG_RUNTIME_DIR/fanfare/broker.sock, else "
                    + "/run/fanfare/broker.sock for root, else a folder under /tmp."
            ),
            .text(
                "listen",
                \.listen,
                example: "127.0.0.1:8000",
                flag: "--listen",
                "HOST:PORT for browsers, which several workers may share, unix:/path for a proxy on this machine, or fd:N "
                    + "for a bound socket that this process was given. A socket of the service manager (LISTEN_FDS) "
                    + "takes its place."
            ),
            .text(
                "tls_certificate_file",
                \.tlsCertificateFile,
                example: "/etc/fanfare/fullchain.pem",
                flag: "--tls-certificate",
                "Certificate with its chain in PEM: browsers are served TLS 1.2 and 1.3 then. Read again on SIGHUP."
            ),
            .text(
                "tls_key_file",
                \.tlsKeyFile,
                example: "/etc/fanfare/key.pem",
                flag: "--tls-key",
                "The certificate's private key in PEM. Read again on SIGHUP."
            ),
            .text(
                "ops",
                \.ops,
                example: "127.0.0.1:8001",
                flag: "--ops",
                "HOST:PORT of the operations port: /healthz, /readyz and /metrics over HTTP. Without it there is none."
            ),
            .text(
                "name",
                \.name,
                example: "worker-1",
                flag: "--name",
                "What listings call this worker. Without it: the host's name and the process id."
            ),
            .seconds(
                "drain_seconds",
                \.drainFor,
                0...3_600_000,
                flag: "--drain-seconds",
                "Over how long sockets are closed after SIGTERM, each with 1012 and the time after which to come back; "
                    + "few sockets take less, 20 ms each. A second signal ends the worker at once."
            ),
            .seconds(
                "drain_delay_seconds",
                \.drainDelay,
                0...600_000,
                "How long connections are still accepted after SIGTERM, while /readyz says 503: time for load balancers."
            ),
            .seconds(
                "stop_within_seconds",
                \.stopWithin,
                100...300_000,
                "How long after drain_seconds close frames may be answered, handlers may end and pages may be sent."
            ),
            .choice(
                "log_format",
                \.logFormat,
                LogFormat.allCases.map(\.rawValue),
                flag: "--log-format",
                "Shape of the log on standard error. Without it: text on a terminal, json otherwise."
            ),
            .choice(
                "log_level",
                \.logLevel,
                Logger.Level.allCases.map(\.rawValue),
                flag: "--log-level",
                "The least severe level that is logged."
            ),
        ] + broker + site + Setting.section("tokens", \.tokens, TokenValues.table)
        + Setting.section("jwt", \.jwt, JWTValues.table) + Setting.section("sockets", \.sockets, WorkerLimits.settings)
        + Setting.section("limits", \.limits, Limits.settings)

    /// Who the worker is to its broker; all read again at each dial.
    private static let broker: [Setting<WorkerValues>] = [
        .text(
            "broker_token_file",
            \.brokerSecurity.tokenFile,
            example: "/etc/fanfare/worker.token",
            flag: "--broker-token-file",
            "File with the token to show the broker: one line, not readable by everybody. Without it: "
                + "$FANFARE_TOKEN_FILE, else the token in $FANFARE_TOKEN. Read at each dial, as the files below are."
        ),
        .text(
            "broker_ca_file",
            \.brokerSecurity.caFile,
            example: "/etc/fanfare/ca.pem",
            flag: "--broker-ca-file",
            "Certificates of the CAs that may sign a tls:// broker's certificate, in PEM. Without it: "
                + "$FANFARE_CA_FILE, else those the system trusts."
        ),
        .text(
            "broker_certificate_file",
            \.brokerSecurity.certificateFile,
            example: "/etc/fanfare/worker.pem",
            flag: "--broker-certificate-file",
            "Certificate with its chain in PEM to show a tls:// broker that asks for one. Without it and its key: "
                + "$FANFARE_CERTIFICATE_FILE and $FANFARE_KEY_FILE."
        ),
        .text(
            "broker_key_file",
            \.brokerSecurity.keyFile,
            example: "/etc/fanfare/worker.key",
            flag: "--broker-key-file",
            "The private key of broker_certificate_file in PEM."
        ),
        .text(
            "broker_server_name",
            \.brokerSecurity.serverName,
            example: "broker.example.org",
            "The name a tls:// broker's certificate must hold. Without it: the host that is dialled."
        ),
        .flag(
            "broker_token_in_the_clear",
            \.brokerSecurity.allowsTokenInTheClear,
            "Whether the token may go over tcp:// to another machine, where everybody on the way can read it."
        ),
    ]

    /// What `--help` says about the flag of a setting.
    static func help(_ path: String) -> String {
        table.first { $0.path == path }!.help(defaults: WorkerValues())
    }
}

/// The worker's settings, understood: what ``WorkerServer`` and the operations port are started with.
struct WorkerPlan: Sendable {
    var server = WorkerServer.Configuration()
    var site: SitePlan
    var ops: (host: String, port: Int)?
    var drain: DrainPlan
    var logFormat: LogFormat?
    var logLevel: Logger.Level

    /// - Parameters:
    ///   - settings: Settled settings.
    ///   - environment: Where the standard endpoint is looked up.
    ///   - userID: The effective user, likewise.
    ///   - standardName: What a worker without a name is called.
    ///   - inherited: Sockets that the service manager listens on for it; one at most, in the place of `listen`.
    /// - Throws: `ProgramFailure(.configuration)` for addresses and names that cannot be used.
    init(
        _ settings: Settings<WorkerValues>,
        environment: [String: String],
        userID: UInt32,
        standardName: String,
        inherited: [ServiceManager.Socket] = []
    ) throws(ProgramFailure) {
        let values = settings.values
        site = try SitePlan(settings, environment: environment)
        drain = DrainPlan(delay: values.drainDelay, spread: values.drainFor, rest: values.stopWithin)
        server.drainDelay = values.drainDelay
        logFormat = values.logFormat.flatMap(LogFormat.init(rawValue:))
        logLevel = values.logLevel.flatMap(Logger.Level.init(rawValue:)) ?? .info
        server.limits = values.limits
        server.workerLimits = values.sockets
        server.version = Version.current
        server.origins = site.origins
        server.serverName = values.serverName
        server.name = values.name ?? standardName
        guard (1...values.limits.textBytes).contains(server.name.utf8.count) else {
            throw ProgramFailure(
                .configuration,
                "\(settings.origins["name"].map { $0 + ": " } ?? "")name \"\(server.name)\" must have 1 to "
                    + "\(values.limits.textBytes) bytes"
            )
        }
        if values.brokers.isEmpty {
            server.brokers = [try Endpoint.standard(environment: environment, userID: userID)]
        }
        for text in values.brokers {
            server.brokers.append(
                try settings.locating("brokers") { () throws(ProgramFailure) in try Endpoint(text) }
            )
        }
        server.brokerSecurity = values.brokerSecurity.completed(by: environment)
        let security = server.brokerSecurity
        try settings.locating("broker_certificate_file") { () throws(ProgramFailure) in try security.check() }
        try Self.checkServerName(settings)
        server.tls = try Self.tls(settings)
        let listen = values.listen ?? ""
        if let socket = inherited.first {
            try server.listen(on: socket, of: inherited.count)
        } else if listen.hasPrefix("fd:") {
            guard let descriptor = CInt(listen.dropFirst(3)), descriptor >= 0 else {
                throw settings.failure("listen", "listen \"\(listen)\" must name a descriptor, such as fd:3")
            }
            server.listenDescriptor = descriptor
        } else if listen.hasPrefix("unix:") {
            server.listenPath = try settings.locating("listen") { () throws(ProgramFailure) in
                guard case .unix(let path) = try Endpoint(listen) else { return nil }
                return path
            }
        } else {
            let address = listen.hasPrefix("tcp://") ? String(listen.dropFirst(6)) : listen
            (server.listenHost, server.listenPort) = try Self.address("listen", address, settings)
        }
        if let text = values.ops { ops = try Self.address("ops", text, settings) }
    }

    private static func address(
        _ path: String,
        _ text: String,
        _ settings: Settings<WorkerValues>
    ) throws(ProgramFailure) -> (host: String, port: Int) {
        try settings.locating(path) { () throws(ProgramFailure) in
            try Endpoint.hostAndPort(text, portDefault: nil)
        }
    }

    private static func tls(_ settings: Settings<WorkerValues>) throws(ProgramFailure) -> WorkerServer.TLSFiles? {
        switch (settings.values.tlsCertificateFile, settings.values.tlsKeyFile) {
        case (nil, nil): return nil
        case (let certificate?, let key?): return .init(certificateFile: certificate, keyFile: key)
        default:
            throw settings.failure(
                settings.values.tlsKeyFile == nil ? "tls_certificate_file" : "tls_key_file",
                "TLS needs both tls_certificate_file and tls_key_file"
            )
        }
    }

    private static func checkServerName(_ settings: Settings<WorkerValues>) throws(ProgramFailure) {
        guard let name = settings.values.serverName else { return }
        guard (1...128).contains(name.utf8.count), name.utf8.allSatisfy({ (0x21...0x7e).contains($0) || $0 == 0x20 })
        else { throw settings.failure("server_name", "server_name must have 1 to 128 printable ASCII characters") }
    }

    /// Where browsers or a proxy reach the worker.
    ///
    /// - Parameter port: As bound.
    func address(port: Int) -> String {
        if let path = server.listenPath { return "unix:\(path)" }
        let scheme = server.tls == nil ? "http" : "https"
        return Self.url(server.listenHost, port, scheme: scheme)
    }

    /// `host` and `port` as part of a URL.
    static func url(_ host: String, _ port: Int, scheme: String = "http") -> String {
        host.contains(":") ? "\(scheme)://[\(host)]:\(port)" : "\(scheme)://\(host):\(port)"
    }

    /// What `--check-config` says about a valid configuration.
    var summary: String {
        """
        configuration is valid
        brokers: \(server.brokers.map(\.description).joined(separator: " "))
        listen: \(address(port: server.listenPort))
        \(site.summary.joined(separator: "\n"))
        ops: \(ops.map { Self.url($0.host, $0.port) } ?? "none")
        name: \(server.name)
        sockets: \(Setting.changed(server.workerLimits, WorkerLimits(), WorkerLimits.settings))
        limits: \(Setting.changed(server.limits, Limits(), Limits.settings))
        """
    }
}

extension WorkerServer.Configuration {
    /// Listens on a socket of the service manager.
    fileprivate mutating func listen(on socket: ServiceManager.Socket, of count: Int) throws(ProgramFailure) {
        guard count == 1 else {
            throw ProgramFailure(.configuration, "a worker listens on one socket, and it was given \(count)")
        }
        switch try BoundSocket.endpoint(of: socket.descriptor) {
        case .unix(let path): listenPath = path
        case .tcp(let host, let port), .tls(let host, let port): (listenHost, listenPort) = (host, port)
        }
        listenDescriptor = socket.descriptor
        keepsListenDescriptor = true
    }
}
