import ArgumentParser
import FanfareBroker
import FanfareModel
import FanfareOps
import FoundationEssentials
import Glibc
import Logging

/// `fanfare-broker`: reads what the person wants and runs the broker.
@main
struct BrokerCommand: AsyncParsableCommand {
    private static let program = "fanfare-broker"

    static let configuration = CommandConfiguration(
        commandName: program,
        abstract: "Holds the channels and groups of Fanfare and carries their messages.",
        discussion: """
            Without flags it listens on a Unix socket of its own and needs no configuration. Settings come from the \
            defaults, then --config FILE, then the flags; the last one wins. --print-config shows all of them.

            SIGHUP makes it read its credentials and certificates again: SECURITY.md.

            When it is ready it prints one line on standard output: fanfare-broker ready on ENDPOINT … A \
            service manager such as systemd is told as well (Type=notify, WatchdogSec=), and may listen for it.

            \(Program.exitCodes)
            """,
        version: "\(program) \(Version.current)"
    )

    @Option(help: ArgumentHelp(BrokerValues.help("listen") + " Repeatable.", valueName: "endpoint"))
    var listen: [String] = []

    @Option(help: ArgumentHelp(BrokerValues.help("ops"), valueName: "host:port"))
    var ops: String?

    @OptionGroup var file: ConfigurationOptions

    @Flag(help: ArgumentHelp(BrokerValues.help("allow_remote_tcp")))
    var allowRemoteTcp = false

    @Option(help: ArgumentHelp(BrokerValues.help("credentials"), valueName: "file"))
    var credentials: String?

    @Option(help: ArgumentHelp(BrokerValues.help("tls_certificate"), valueName: "file"))
    var tlsCertificate: String?

    @Option(help: ArgumentHelp(BrokerValues.help("tls_key"), valueName: "file"))
    var tlsKey: String?

    @Option(help: ArgumentHelp(BrokerValues.help("tls_client_ca"), valueName: "file"))
    var tlsClientCa: String?

    @Option(help: ArgumentHelp(BrokerValues.help("socket_mode"), valueName: "mode"))
    var socketMode: String?

    @Option(help: ArgumentHelp(BrokerValues.help("socket_group"), valueName: "group"))
    var socketGroup: String?

    @Option(help: ArgumentHelp(BrokerValues.help("limits.capacity_default"), valueName: "messages"))
    var capacity: String?

    @Option(help: ArgumentHelp(BrokerValues.help("limits.expiry_default_seconds"), valueName: "seconds"))
    var expiry: String?

    @Option(help: ArgumentHelp(BrokerValues.help("limits.group_expiry_default_seconds"), valueName: "seconds"))
    var groupExpiry: String?

    @Option(help: ArgumentHelp(BrokerValues.help("limits.body_bytes"), valueName: "bytes"))
    var bodyBytes: String?

    @Option(help: ArgumentHelp(BrokerValues.help("limits.memory_bytes"), valueName: "bytes"))
    var memoryBytes: String?

    @Option(
        help: ArgumentHelp(
            "Any other limit by its name in the configuration file, such as sessions=1000; --print-config lists them. "
                + "Repeatable.",
            valueName: "name=value"
        )
    )
    var limit: [String] = []

    @Option(help: ArgumentHelp(BrokerValues.help("state"), valueName: "file"))
    var state: String?

    @Option(help: ArgumentHelp(BrokerValues.help("stop_within_seconds"), valueName: "seconds"))
    var drainSeconds: String?

    @Flag(help: ArgumentHelp(BrokerValues.help("resilience_testing")))
    var resilienceTesting = false

    @Option(
        help: ArgumentHelp(
            "A fault of the resilience mode by its name in the configuration file, such as drops_per_million=1000; "
                + "--print-config lists them. Repeatable. Refused without --resilience-testing.",
            valueName: "name=value"
        )
    )
    var resilience: [String] = []

    @Option(help: ArgumentHelp(BrokerValues.help("log_format"), valueName: "format"))
    var logFormat: String?

    @Option(help: ArgumentHelp(BrokerValues.help("log_level"), valueName: "level"))
    var logLevel: String?

    func run() async {
        await Program.run(Self.program) {
            let manager = try ServiceManager.take()
            let defaults = Settings(defaults: BrokerValues(), table: BrokerValues.table)
            guard let settings = try file.settings(defaults, of: Self.program, flags: flags) else { return }
            let environment = ProcessInfo.processInfo.environment
            let plan = try BrokerPlan(
                settings,
                environment: environment,
                userID: geteuid(),
                inherited: manager.sockets
            )
            if file.checkConfig {
                try plan.server.stateFile?.check()
                StandardStream.output.writeLine(plan.summary)
                return
            }
            try await Self.serve(plan, manager)
        }
    }

    private func flags(_ settings: inout Settings<BrokerValues>) throws {
        try settings.set("listen", to: listen, from: "--listen")
        try settings.set("ops", to: ops.map { [$0] } ?? [], from: "--ops")
        try settings.set("allow_remote_tcp", to: allowRemoteTcp ? ["true"] : [], from: "--allow-remote-tcp")
        try settings.set("log_format", to: logFormat.map { [$0] } ?? [], from: "--log-format")
        try settings.set("log_level", to: logLevel.map { [$0] } ?? [], from: "--log-level")
        let security = [
            ("credentials", credentials, "--credentials"), ("tls_certificate", tlsCertificate, "--tls-certificate"),
            ("tls_key", tlsKey, "--tls-key"), ("tls_client_ca", tlsClientCa, "--tls-client-ca"),
            ("socket_mode", socketMode, "--socket-mode"), ("socket_group", socketGroup, "--socket-group"),
        ]
        for (name, value, flag) in security { try settings.set(name, to: value.map { [$0] } ?? [], from: flag) }
        try settings.set("state", to: state.map { [$0] } ?? [], from: "--state")
        try settings.set("stop_within_seconds", to: drainSeconds.map { [$0] } ?? [], from: "--drain-seconds")
        let limits = [
            ("capacity_default", capacity, "--capacity"), ("expiry_default_seconds", expiry, "--expiry"),
            ("group_expiry_default_seconds", groupExpiry, "--group-expiry"), ("body_bytes", bodyBytes, "--body-bytes"),
            ("memory_bytes", memoryBytes, "--memory-bytes"),
        ]
        for (name, value, flag) in limits {
            try settings.set("limits.\(name)", to: value.map { [$0] } ?? [], from: flag)
        }
        try settings.set("resilience_testing", to: resilienceTesting ? ["true"] : [], from: "--resilience-testing")
        for assignment in resilience {
            try settings.set(assignment: assignment, in: "resilience", from: "--resilience")
        }
        for assignment in limit { try settings.set(assignment: assignment, in: "limits", from: "--limit") }
        try settings.settle(limits: \.limits)
    }

    private static func serve(_ plan: BrokerPlan, _ manager: ServiceManager) async throws {
        Logs.bootstrap(format: plan.logFormat, level: plan.logLevel)
        let logger = Logger(label: program)
        let ours = plan.server.endpoints.filter { plan.server.inherited[$0] == nil }
        try SocketFolder.prepare(for: ours, isOurs: plan.ownsFolder, userID: geteuid())
        let stage = RunStage<BrokerServer>()
        let (drained, continuation) = AsyncStream.makeStream(of: Void.self)
        try await Program.serve(program, logger: logger, stopWithin: plan.stopWithin, manager: manager) {
            var parts: [RunningPart] = []
            if let (host, port) = plan.ops {
                let refusals = OpsRefusals()
                let ops = try await OpsServer.start(
                    host: host,
                    port: port,
                    routes: BrokerOps.routes(stage, refusals: refusals),
                    refusals: refusals,
                    logger: logger
                )
                parts.append(RunningPart(name: "operations") { await ops.stop() })
            }
            var configuration = plan.server
            configuration.onDrain = { within in
                guard let broker = stage.server else { return }
                stage.current = .stopping
                logger.notice("stopping", metadata: ["asked": "ADMIN drain", "within_milliseconds": "\(within.value)"])
                Task {
                    await broker.stop(within: min(within, plan.stopWithin))
                    continuation.finish()
                }
            }
            let broker = try await BrokerServer.start(configuration, logger: logger)
            stage.current = .running(broker)
            parts.append(
                RunningPart(
                    name: "broker",
                    ended: { for await _ in drained {} },
                    reload: { await plan.security.reload(broker, logger) },
                    turn: { await broker.turn() }
                ) {
                    stage.current = .stopping
                    await broker.stop(within: plan.stopWithin)
                }
            )
            return (broker.endpoints.map(\.description).joined(separator: " "), parts)
        }
    }
}
