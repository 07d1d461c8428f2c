import ArgumentParser
import Dispatch
import FanfareClient
import FanfareModel

struct TopCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch the busiest groups, channels and workers.",
        discussion: """
            On a terminal it takes the screen and listens to keys; ? lists them. Elsewhere, with --once or --count, it \
            prints a table an interval; with --json or --jsonl an object.
            """
    )

    @Argument(help: "What to show first: groups, channels or workers.") var view = TopView.groups
    @Option(help: "By what: rate, depth, lag or drops.") var sort = TopOrder.rate
    @Option(help: ArgumentHelp("Only names that match.", valueName: "glob")) var match: String?
    @Option(name: .customLong("interval"), help: ArgumentHelp("Between two looks, 0.1 to 3600.", valueName: "seconds"))
    var intervalSeconds = 1.0
    @Option(help: ArgumentHelp("Rows, where no screen says how many, 1 to 1000.", valueName: "n")) var limit = 20
    @Option(help: ArgumentHelp("End after so many tables.", valueName: "n")) var count: Int?
    @Flag(name: .customLong("once"), help: "One table, with the rates of one interval.") var isOnce = false
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard (0.1...3_600).contains(intervalSeconds) else {
            throw ValidationError("--interval is \(intervalSeconds); it must be 0.1 to 3600 seconds")
        }
        guard (1...Walk.pageRows).contains(limit) else {
            throw ValidationError("--limit is \(limit); it must be 1 to \(Walk.pageRows)")
        }
        guard count.map({ $0 >= 1 && !isOnce }) ?? true else {
            throw ValidationError("--count is \(count ?? 0); it must be at least 1, and --once says 1")
        }
        guard sort.field(view) != nil else {
            throw ValidationError("\(view.rawValue) have no \(sort.rawValue); choose another --sort")
        }
    }

    var question: TopQuestion {
        var question = TopQuestion(view: view, order: sort, rows: limit)
        question.match = match.map { Glob($0) }
        question.namespace = global.namespace
        return question
    }

    func run() async throws {
        let screen = TopScreen(question, intervalSeconds: intervalSeconds)
        let count = isOnce ? 1 : count
        let isFullScreen = count == nil && !global.isJSON && System.inputIsTerminal && global.surface.isRedrawn
        if isFullScreen { return try await TopLoop(screen).run(global) }
        let global = global
        try await Interruption.cancels {
            try await global.withLayer { try await Self.print(screen, count, $0, global) }
        }
    }

    /// A table or an object after each interval.
    private static func print(
        _ screen: TopScreen,
        _ count: Int?,
        _ layer: ChannelLayer,
        _ global: GlobalOptions
    ) async throws {
        var screen = screen
        screen.take(try await TopSample.ask(screen.question, layer))
        var shown = 0
        while shown < count ?? .max {
            try await Task.sleep(for: .seconds(screen.intervalSeconds))
            screen.take(try await TopSample.ask(screen.question, layer))
            if global.isJSON {
                try System.write(try Display.json(screen.report))
            } else {
                try System.write((shown > 0 ? "\n" : "") + screen.page(hasKeys: false).text(on: global.surface))
            }
            shown += 1
        }
    }
}

extension TopSample {
    /// Asks the broker.
    static func ask(_ question: TopQuestion, _ layer: ChannelLayer) async throws -> TopSample {
        let status = try await layer.inspect(InspectionQuery(.status))
        let time = System.nanoseconds()
        var walk = question.walk
        var rows: [MessageValue] = []
        var next: InspectionQuery? = walk.first
        while let query = next {
            let step = walk.take(try await layer.inspect(query))
            rows += step.rows
            // What does not fit is no news here.
            next = rows.count < question.rows || question.view == .workers ? step.next : nil
        }
        return TopSample(question: question, time: time, status: status, listing: walk.answer(rows))
    }
}

/// `top` on a terminal: waits for keys, signals, ticks and answers, and redraws.
struct TopLoop {
    private enum Event: Sendable {
        case terminal(Terminal.Event)
        case tick
        case answered(TopSample)
        case failed(any Error)
    }

    private let screen: TopScreen

    init(_ screen: TopScreen) {
        self.screen = screen
    }

    /// Runs until `q` or a signal that ends programs. The terminal is as it was, whatever came of it.
    func run(_ global: GlobalOptions) async throws {
        try await global.withLayer { layer in
            let terminal = try Terminal()
            terminal.enter()
            defer { terminal.leave() }
            try await run(layer, terminal, global)
        }
    }

    private func run(_ layer: ChannelLayer, _ terminal: Terminal, _ global: GlobalOptions) async throws {
        let (events, happened) = AsyncStream.makeStream(of: Event.self)
        // A broker that is slow is asked the newest question only, and never two at once.
        let (questions, ask) = AsyncStream.makeStream(of: TopQuestion.self, bufferingPolicy: .bufferingNewest(1))
        let interval = Duration.seconds(screen.intervalSeconds)
        let sources = terminal.listen { happened.yield(.terminal($0)) }
        // Nobody waits for them in the end: a broker that does not answer must not hold the terminal.
        let asking = Task {
            for await question in questions {
                do {
                    happened.yield(.answered(try await TopSample.ask(question, layer)))
                } catch {
                    happened.yield(.failed(error))
                }
            }
        }
        let ticking = Task {
            while (try? await Task.sleep(for: interval)) != nil { happened.yield(.tick) }
        }
        defer {
            asking.cancel()
            ticking.cancel()
            sources.forEach { $0.cancel() }
        }
        try await show(events, ask, terminal, global)
    }

    private func show(
        _ events: AsyncStream<Event>,
        _ ask: AsyncStream<TopQuestion>.Continuation,
        _ terminal: Terminal,
        _ global: GlobalOptions
    ) async throws {
        var screen = screen
        var keys = KeyReader()
        screen.resize(rows: global.surface.rows)
        ask.yield(screen.question)
        for await event in events {
            switch event {
            case .tick:
                if !screen.isPaused { ask.yield(screen.question) }
                continue
            case .answered(let sample): screen.take(sample)
            case .failed(let error): throw error
            case .terminal(.ended): return
            case .terminal(.suspended): terminal.suspend()
            case .terminal(.continued): terminal.enter()
            case .terminal(.resized):
                screen.resize(rows: global.surface.rows)
                ask.yield(screen.question)
            case .terminal(.bytes(let bytes)):
                for key in bytes.compactMap({ keys.take($0) }) {
                    switch screen.press(key) {
                    case .quit: return
                    case .ask: ask.yield(screen.question)
                    case .nothing: break
                    }
                }
            }
            try System.write(Display.redrawn(screen.page(hasKeys: true).text(on: global.surface, fits: true)))
        }
    }
}
