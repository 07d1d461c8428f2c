import FanfareBroker
import FanfareModel
import FanfareOps
import FanfareTransport
import Logging

/// Everything a person can set about the broker.
struct BrokerValues: Sendable {
    /// Endpoints as written; empty means the standard one.
    var listen: [String] = []
    var ops: String?
    var allowsRemoteTCP = false
    var security = SecurityValues()
    var state: String?
    var stopWithin = Milliseconds(10_000)
    var logFormat: String?
    var logLevel: String? = Logger.Level.info.rawValue
    var limits = Limits()
    var testsResilience = false
    var resilience = Resilience.Settings()

    /// Endpoints one broker listens on at most.
    private static let endpointsMaximum = 16

    /// Every setting of the broker.
    static let table: [Setting<BrokerValues>] =
        [
            .list(
                "listen",
                \.listen,
                example: "unix:/run/fanfare/broker.sock",
                most: endpointsMaximum,
                flag: "--listen",
                "Where to listen, as unix:/path, tcp://host:port or tls://host:port. Without any: the socket of $FANFARE_BROKER, else "
                    + "$XDG_RUNTIME_DIR/fanfare/broker.sock, else /run/fanfare/broker.sock for root, else a folder "
                    + "under /tmp. Sockets of the service manager (LISTEN_FDS) come in the place of that one, and "
                    + "of those named here with the same address; others are served as well."
            ),
            .text(
                "ops",
                \.ops,
                example: "127.0.0.1:7412",
                flag: "--ops",
                "HOST:PORT of the operations port: the dashboard, /healthz, /readyz and /metrics over HTTP. Without it: none."
            ),
            .flag(
                "allow_remote_tcp",
                \.allowsRemoteTCP,
                flag: "--allow-remote-tcp",
                "Whether other machines may reach a tcp:// endpoint, whose bytes everybody on the way can read and change, "
                    + "or a tls:// endpoint without credentials and tls_client_ca, where everybody may do everything."
            ),
        ] + SecurityValues.table + [
            .flag(
                "resilience_testing",
                \.testsResilience,
                flag: "--resilience-testing",
                "Whether this broker loses, delays and disconnects on purpose, as \"resilience\" says, so that "
                    + "applications can test themselves. Never in production."
            ),
            .text(
                "state",
                \.state,
                example: "/var/lib/fanfare/broker.state",
                flag: "--state",
                "File in which a planned stop leaves queues, memberships and resumable sessions for the next start, "
                    + "which removes it. Without it every start begins anew."
            ),
            .seconds(
                "stop_within_seconds",
                \.stopWithin,
                100...300_000,
                flag: "--drain-seconds",
                "How long connections get to take what is waiting for them after SIGTERM."
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
        ] + Setting.section("limits", \.limits, Limits.settings)
        + Setting.section("resilience", \.resilience, faults)

    /// The faults of the resilience mode.
    private static let faults: [Setting<Resilience.Settings>] = [
        .integer(
            "drops_per_million",
            \.dropsPerMillion,
            0...1_000_000,
            "Messages in a million that are acknowledged and then lost, counted as \"injected\"."
        ),
        .integer(
            "delays_per_million",
            \.delaysPerMillion,
            0...1_000_000,
            "Messages in a million that wait, with everything their connection sends behind them."
        ),
        .integer("delay_milliseconds", \.delayMilliseconds, 0...600_000, "How long a delayed message waits."),
        .integer(
            "disconnects_per_million",
            \.disconnectsPerMillion,
            0...1_000_000,
            "Messages in a million that cost their sender its connection."
        ),
        .integer("seed", \.seed, 0...Int.max, "The same seed and the same requests give the same faults."),
    ]

    /// What `--help` says about the flag of a setting.
    static func help(_ path: String) -> String {
        table.first { $0.path == path }!.help(defaults: BrokerValues())
    }
}

/// The broker's settings, understood: what ``BrokerServer`` and the operations port are started with.
struct BrokerPlan: Sendable {
    var server = BrokerServer.Configuration()
    var security: SecurityPlan
    /// Whether nobody named an endpoint, so that the folder of the standard one is the broker's to make.
    var ownsFolder = false
    var ops: (host: String, port: Int)?
    var stopWithin: Milliseconds
    var logFormat: LogFormat?
    var logLevel: Logger.Level

    /// - Parameters:
    ///   - settings: Settled settings.
    ///   - environment: Where the standard endpoint is looked up.
    ///   - userID: The effective user, likewise.
    ///   - inherited: Sockets that the service manager listens on for the broker.
    /// - Throws: `ProgramFailure(.configuration)` for endpoints that cannot be used.
    init(
        _ settings: Settings<BrokerValues>,
        environment: [String: String],
        userID: UInt32,
        inherited: [ServiceManager.Socket] = []
    ) throws(ProgramFailure) {
        let values = settings.values
        stopWithin = values.stopWithin
        logFormat = values.logFormat.flatMap(LogFormat.init(rawValue:))
        logLevel = values.logLevel.flatMap(Logger.Level.init(rawValue:)) ?? .info
        server.limits = values.limits
        server.version = "fanfare-broker/\(Version.current)"
        server.statePath = values.state
        if values.listen.isEmpty, inherited.isEmpty {
            ownsFolder = environment["FANFARE_BROKER", default: ""].isEmpty
            server.endpoints = [try Endpoint.standard(environment: environment, userID: userID)]
        }
        for text in values.listen {
            let endpoint = try settings.locating("listen") { () throws(ProgramFailure) in try Endpoint(text) }
            guard !server.endpoints.contains(endpoint) else {
                throw ProgramFailure(.configuration, "endpoint \(endpoint) is given twice; keep one of them")
            }
            server.endpoints.append(endpoint)
        }
        try server.take(inherited)
        try security = SecurityPlan(values.security, settings, for: server.endpoints)
        try security.apply(to: &server)
        try security.checkInherited(server)
        if !values.allowsRemoteTCP { try security.checkRemote(server) }
        if values.testsResilience {
            server.resilience = values.resilience
        } else if values.resilience != Resilience.Settings() {
            throw ProgramFailure(
                .configuration,
                "faults are set under \"resilience\", but this broker would make none; add --resilience-testing if it "
                    + "really is to lose messages on purpose"
            )
        }
        if let text = values.ops {
            ops = try settings.locating("ops") { () throws(ProgramFailure) in
                try Endpoint.hostAndPort(text, portDefault: nil)
            }
        }
    }

    /// What `--check-config` says about a valid configuration.
    var summary: String {
        """
        configuration is valid
        listen: \(server.endpoints.map(\.description).joined(separator: " "))
        security: \(security.summary(server))
        ops: \(ops.map { "http://\($0.host):\($0.port)" } ?? "none")
        state: \(server.statePath ?? "none")
        limits: \(Setting.changed(server.limits, Limits(), Limits.settings))
        """
    }
}

extension BrokerServer.Configuration {
    /// Serves sockets of the service manager: as the endpoint with their address, or as one more.
    mutating func take(_ sockets: [ServiceManager.Socket]) throws(ProgramFailure) {
        for socket in sockets {
            var endpoint = try BoundSocket.endpoint(of: socket.descriptor)
            // Only the settings know which bytes are to pass there.
            if case .tcp(let host, let port) = endpoint, endpoints.contains(.tls(host: host, port: port)) {
                endpoint = .tls(host: host, port: port)
            }
            guard inherited.updateValue(socket.descriptor, forKey: endpoint) == nil else {
                throw ProgramFailure(.configuration, "two sockets for \(endpoint) were handed over; keep one of them")
            }
            if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
        }
    }
}
