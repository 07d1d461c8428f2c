import ArgumentParser
import FanfareClient
import FanfareModel

struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Ask a process to finish and leave, or the broker to stop.",
        discussion: """
            `drain worker ID` tells one process, by its session or its name in `fanfare workers`, to finish within the \
            time: a worker closes its sockets spread over it, each told to come back elsewhere. `drain broker` is as \
            SIGTERM: with a state file its next start goes on. Neither waits for the end.
            """
    )

    enum Subject: String, ExpressibleByArgument, CaseIterable {
        case broker
        case worker
    }

    @Argument(help: "What to drain: broker or worker.") var subject: Subject
    @Argument(help: "The worker's session or name.", completion: .workers) var worker: String?
    @Option(help: ArgumentHelp("How long it may take, 0 to 86400.", valueName: "seconds")) var within = 10.0
    @OptionGroup var confirmation: Confirmation
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (0...86_400).contains(within) else {
            throw ValidationError("--within is \(within); it must be 0 to 86400 seconds")
        }
        switch subject {
        case .broker where worker != nil:
            throw ValidationError("drain broker takes no further argument; a process is drained by drain worker ID")
        case .worker where worker == nil:
            throw ValidationError("drain worker needs the session or the name of one, as `fanfare workers` lists them")
        default: break
        }
    }

    func run() async throws {
        let (worker, within) = (worker, Milliseconds(seconds: within))
        let question = worker.map { "Ask \($0) to leave?" } ?? "Stop the broker, which carries all messages?"
        try confirmation.ask(question)
        let answer = try await global.withLayer { layer in
            var arguments: [String: MessageValue] = ["within_milliseconds": .count(within.value)]
            if let worker { arguments["session"] = .count(try await SessionName(worker).session(layer)) }
            let command = arguments
            let answer = try await layer.request { .admin($0, command: "drain", arguments: .map(command)) }
            return Self.report(answer, within)
        }
        try System.write(global.isJSON ? Display.json(answer) : Self.line(answer) + "\n")
    }

    /// The answer of the broker beside what was asked.
    static func report(_ answer: MessageValue, _ within: Milliseconds) -> MessageValue {
        let asked: [String: MessageValue] = ["within_milliseconds": .count(within.value)]
        return .map(asked.merging(answer.map ?? [:]) { $1 })
    }

    static func line(_ report: MessageValue) -> String {
        let seconds = (report["within_milliseconds"]?.double ?? 0) / 1_000
        guard let session = report["session"]?.int else { return "the broker stops within \(seconds) s" }
        return "session \(session) was asked to leave within \(seconds) s"
    }
}

struct KickCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kick",
        abstract: "End a session at once.",
        discussion:
            "Its channels and memberships go with it. Its program may connect again; to keep it out, revoke its "
            + "credential."
    )

    @Argument(help: "The session, or the name of its process.", completion: .processes) var session: String
    @Option(help: ArgumentHelp("Told to the process and to its log.", valueName: "text")) var reason: String
    @OptionGroup var confirmation: Confirmation
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard !reason.isEmpty else { throw ValidationError("--reason is empty; say why") }
    }

    func run() async throws {
        let (session, reason) = (session, reason)
        try confirmation.ask("End session \(session), with its channels and memberships?")
        let answer = try await global.withLayer { layer in
            let number = try await SessionName(session).session(layer)
            let arguments: MessageValue = ["session": .count(number), "reason": .string(reason)]
            return try await layer.request { .admin($0, command: "kick", arguments: arguments) }
        }
        try System.write(global.isJSON ? Display.json(answer) : Self.line(answer) + "\n")
    }

    static func line(_ answer: MessageValue) -> String {
        let name = DisplayText.sanitized(answer["name"]?.string ?? "")
        return "session \(answer["session"]?.int ?? 0) (\(name)) has ended"
    }
}

/// How a person names a session: its number, or the name of its process where only one has it.
struct SessionName: Equatable {
    let text: String

    init(_ text: String) {
        self.text = text
    }

    /// The number, asked of the broker when it is a name.
    func session(_ layer: ChannelLayer) async throws -> Int64 {
        if let number = Int64(text), number > 0 { return number }
        return try session(among: try await layer.inspect(query)["rows"]?.array ?? [])
    }

    /// The sessions of that name, and those whose names it matches as a pattern.
    private var query: InspectionQuery {
        var query = InspectionQuery(.sessions)
        query.match = Glob(text)
        query.limit = 1_000
        return query
    }

    /// - Throws: ``ProgramFailure``: nobody has the name, or several have.
    func session(among rows: [MessageValue]) throws -> Int64 {
        let sessions = rows.filter { $0["name"]?.string == text }.compactMap { $0["session"]?.int }
        guard let session = sessions.first else {
            let text = "no session is named \"\(text)\"; `fanfare workers --all` lists them"
            throw ProgramFailure(.unavailable, text)
        }
        guard sessions.count == 1 else {
            let numbers = sessions.sorted().prefix(10).map(String.init).joined(separator: ", ")
            throw ProgramFailure(.usage, "\(sessions.count) sessions are named \"\(text)\"; choose one: \(numbers)")
        }
        return session
    }
}
