import ArgumentParser
import FanfareModel
import FanfareOps
import FanfareWorker
import FoundationEssentials
import Glibc
import Logging

/// `fanfare-worker`: reads what the person wants and runs the worker.
@main
struct WorkerCommand: AsyncParsableCommand {
    private static let program = "fanfare-worker"

    static let configuration = CommandConfiguration(
        commandName: program,
        abstract: "Serves WebSockets, joined to the other workers by a broker: the chat, or the routes of a file.",
        discussion: """
            A worker that cannot reach its broker starts all the same, says so on /readyz and in its log, and keeps \
            trying. Settings come from the defaults, then --config FILE, then the flags; the last one wins. \
            --print-config shows all of them.

            SIGHUP makes it read its TLS certificate and the keys for tokens again; sockets that are open stay as they \
            are.

            When it is ready it prints one line on standard output: fanfare-worker ready on URL (NAME). A \
            service manager such as systemd is told as well (Type=notify, WatchdogSec=), and may listen for it.

            \(Program.exitCodes)
            """,
        version: "\(program) \(Version.current)"
    )

    @Option(help: ArgumentHelp(WorkerValues.help("brokers") + " Repeatable.", valueName: "endpoint"))
    var broker: [String] = []

    @Option(help: ArgumentHelp(WorkerValues.help("broker_token_file"), valueName: "file"))
    var brokerTokenFile: String?

    @Option(help: ArgumentHelp(WorkerValues.help("broker_ca_file"), valueName: "file"))
    var brokerCaFile: String?

    @Option(help: ArgumentHelp(WorkerValues.help("broker_certificate_file"), valueName: "file"))
    var brokerCertificateFile: String?

    @Option(help: ArgumentHelp(WorkerValues.help("broker_key_file"), valueName: "file"))
    var brokerKeyFile: String?

    @Option(help: ArgumentHelp(WorkerValues.help("listen"), valueName: "host:port"))
    var listen: String?

    @Option(help: ArgumentHelp(WorkerValues.help("tls_certificate_file"), valueName: "file"))
    var tlsCertificate: String?

    @Option(help: ArgumentHelp(WorkerValues.help("tls_key_file"), valueName: "file"))
    var tlsKey: String?

    @Option(help: ArgumentHelp(WorkerValues.help("ops"), valueName: "host:port"))
    var ops: String?

    @Option(help: ArgumentHelp(WorkerValues.help("name"), valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp(WorkerValues.help("origins") + " Repeatable.", valueName: "origin"))
    var origin: [String] = []

    @Option(help: ArgumentHelp(WorkerValues.help("drain_seconds"), valueName: "seconds"))
    var drainSeconds: String?

    @Flag(help: ArgumentHelp(WorkerValues.help("echo")))
    var echo = false

    @Flag(help: ArgumentHelp(WorkerValues.help("sockets.compression")))
    var compression = false

    @Flag(
        inversion: .prefixedNo,
        help: "Serve the chat and its pages. Without it: only when the configuration has no routes."
    )
    var chat: Bool?

    @OptionGroup var file: ConfigurationOptions

    @Option(
        help: ArgumentHelp(
            "A limit by its name in the configuration file, such as sockets.message_bytes=64KiB or body_bytes=4MiB; "
                + "--print-config lists them. Repeatable.",
            valueName: "name=value"
        )
    )
    var limit: [String] = []

    @Option(help: ArgumentHelp(WorkerValues.help("log_format"), valueName: "format"))
    var logFormat: String?

    @Option(help: ArgumentHelp(WorkerValues.help("log_level"), valueName: "level"))
    var logLevel: String?

    func run() async {
        await Program.run(Self.program) {
            let manager = try ServiceManager.take()
            let defaults = Settings(defaults: WorkerValues(), table: WorkerValues.table)
            guard let settings = try file.settings(defaults, of: Self.program, flags: flags) else { return }
            let plan = try WorkerPlan(
                settings,
                environment: ProcessInfo.processInfo.environment,
                userID: geteuid(),
                standardName: "\(ProcessInfo.processInfo.hostName)-\(getpid())",
                inherited: manager.sockets
            )
            let credentials = try await Credentials.read(plan.site)
            if file.checkConfig {
                try plan.server.checkFiles()
                StandardStream.output.writeLine(plan.summary)
                return
            }
            try await Self.serve(plan, credentials, manager)
        }
    }

    private func flags(_ settings: inout Settings<WorkerValues>) throws {
        try settings.set("brokers", to: broker, from: "--broker")
        for (name, flag, file) in [
            ("broker_token_file", "--broker-token-file", brokerTokenFile),
            ("broker_ca_file", "--broker-ca-file", brokerCaFile),
            ("broker_certificate_file", "--broker-certificate-file", brokerCertificateFile),
            ("broker_key_file", "--broker-key-file", brokerKeyFile),
        ] {
            try settings.set(name, to: file.map { [$0] } ?? [], from: flag)
        }
        try settings.set("listen", to: listen.map { [$0] } ?? [], from: "--listen")
        try settings.set("ops", to: ops.map { [$0] } ?? [], from: "--ops")
        try settings.set("name", to: name.map { [$0] } ?? [], from: "--name")
        try settings.set("log_format", to: logFormat.map { [$0] } ?? [], from: "--log-format")
        try settings.set("log_level", to: logLevel.map { [$0] } ?? [], from: "--log-level")
        try settings.set("tls_certificate_file", to: tlsCertificate.map { [$0] } ?? [], from: "--tls-certificate")
        try settings.set("tls_key_file", to: tlsKey.map { [$0] } ?? [], from: "--tls-key")
        try settings.set("origins", to: origin, from: "--origin")
        try settings.set("drain_seconds", to: drainSeconds.map { [$0] } ?? [], from: "--drain-seconds")
        try settings.set("echo", to: echo ? ["true"] : [], from: "--echo")
        try settings.set("chat", to: chat.map { [String($0)] } ?? [], from: chat == true ? "--chat" : "--no-chat")
        try settings.set("sockets.compression", to: compression ? ["true"] : [], from: "--compression")
        for assignment in limit { try settings.set(assignment: assignment, in: "limits", from: "--limit") }
        try settings.settle(limits: \.limits)
    }

    private static func serve(_ plan: WorkerPlan, _ credentials: Credentials, _ manager: ServiceManager) async throws {
        Logs.bootstrap(format: plan.logFormat, level: plan.logLevel)
        let logger = Logger(label: program)
        credentials.logWarnings(logger)
        let reload = WorkerReload(tls: plan.server.tls, site: plan.site, credentials: credentials)
        let router = plan.site.router(credentials)
        let stage = RunStage<WorkerServer>()
        let (stopped, continuation) = AsyncStream.makeStream(of: Void.self)
        try await Program.serve(program, logger: logger, stopWithin: plan.drain.total, manager: manager) {
            var parts: [RunningPart] = []
            if let (host, port) = plan.ops {
                let ops = try await OpsServer.start(
                    host: host,
                    port: port,
                    routes: WorkerOps.routes(stage, brokers: plan.server.brokers),
                    logger: logger
                )
                parts.append(RunningPart(name: "operations") { await ops.stop() })
            }
            let worker = try await WorkerServer.start(plan.server, router: router, logger: logger) {
                stage.current = .stopping
                continuation.finish()
            }
            stage.current = .running(worker)
            parts.append(
                RunningPart(
                    name: "worker",
                    ended: { for await _ in stopped {} },
                    reload: { await reload.run(worker, logger) },
                    turn: { await worker.turn() }
                ) {
                    await worker.drain(plan.drain)
                }
            )
            return ("\(plan.address(port: worker.port)) (\(plan.server.name))", parts)
        }
    }
}
