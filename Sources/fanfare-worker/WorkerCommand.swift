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
        abstract: "Serves the chat and its WebSockets, joined to the other workers by a broker.",
        discussion: """
            A worker that cannot reach its broker starts all the same, says so on /readyz and in its log, and keeps \
            trying. Settings come from the defaults, then --config FILE, then the flags; the last one wins. \
            --print-config shows all of them.

            When it is ready it prints one line on standard output: fanfare-worker ready on URL (NAME)

            \(Program.exitCodes)
            """,
        version: "\(program) \(Version.current)"
    )

    @Option(help: ArgumentHelp(WorkerValues.help("brokers") + " Repeatable.", valueName: "endpoint"))
    var broker: [String] = []

    @Option(help: ArgumentHelp(WorkerValues.help("listen"), valueName: "host:port"))
    var listen: String?

    @Option(help: ArgumentHelp(WorkerValues.help("ops"), valueName: "host:port"))
    var ops: String?

    @Option(help: ArgumentHelp(WorkerValues.help("name"), valueName: "name"))
    var name: String?

    @Option(help: ArgumentHelp("Configuration file (YAML).", valueName: "file"))
    var config: String?

    @Flag(help: "Say whether the configuration is valid and what it comes to, and exit with 0 or 78.")
    var checkConfig = false

    @Flag(help: "Print all settings with their values and explanations as a configuration file, and exit.")
    var printConfig = false

    @Option(
        help: ArgumentHelp(
            "A limit by its name in the configuration file, such as sockets.message_bytes=64KiB or body_bytes=4MiB; --print-config lists them. "
                + "Repeatable.",
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
            let settings = try settings()
            if printConfig {
                StandardStream.output.writeLine(
                    settings.commentedYAML(title: "\(Self.program) \(Version.current): every setting and its value.")
                )
                return
            }
            let plan = try WorkerPlan(
                settings,
                environment: ProcessInfo.processInfo.environment,
                userID: geteuid(),
                standardName: "\(ProcessInfo.processInfo.hostName)-\(getpid())"
            )
            if checkConfig {
                StandardStream.output.writeLine(plan.summary)
                return
            }
            try await Self.serve(plan)
        }
    }

    /// The defaults, then the file, then the flags.
    private func settings() throws(ProgramFailure) -> Settings<WorkerValues> {
        var settings = Settings(defaults: WorkerValues(), table: WorkerValues.table)
        if let config { try settings.read(yaml: ConfigurationFile.read(config), from: config) }
        try settings.set("brokers", to: broker, from: "--broker")
        try settings.set("listen", to: listen.map { [$0] } ?? [], from: "--listen")
        try settings.set("ops", to: ops.map { [$0] } ?? [], from: "--ops")
        try settings.set("name", to: name.map { [$0] } ?? [], from: "--name")
        try settings.set("log_format", to: logFormat.map { [$0] } ?? [], from: "--log-format")
        try settings.set("log_level", to: logLevel.map { [$0] } ?? [], from: "--log-level")
        for assignment in limit { try settings.set(assignment: assignment, in: "limits", from: "--limit") }
        try settings.settle(limits: \.limits)
        return settings
    }

    private static func serve(_ plan: WorkerPlan) async throws {
        Logs.bootstrap(format: plan.logFormat, level: plan.logLevel)
        let logger = Logger(label: program)
        let stage = RunStage<WorkerServer>()
        try await Program.serve(program, logger: logger, stopWithin: plan.stopWithin) {
            var parts: [RunningPart] = []
            if let (host, port) = plan.ops {
                let ops = try await OpsServer.start(
                    host: host,
                    port: port,
                    routes: WorkerOps.routes(stage, brokers: plan.server.brokers),
                    logger: logger
                )
                logger.info(
                    "operations port open",
                    metadata: ["host": "\(host)", "port": .stringConvertible(ops.port)]
                )
                parts.append(RunningPart(name: "operations") { await ops.stop() })
            }
            let worker = try await WorkerServer.start(plan.server, router: .chat, logger: logger)
            stage.current = .running(worker)
            parts.append(
                RunningPart(name: "worker") {
                    stage.current = .stopping
                    await worker.stop(within: plan.stopWithin)
                }
            )
            return ("\(WorkerPlan.url(plan.server.listenHost, worker.port)) (\(plan.server.name))", parts)
        }
    }
}
