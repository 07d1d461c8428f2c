import ArgumentParser
import FanfareModel

/// What `top` lists.
enum TopView: String, ExpressibleByArgument, CaseIterable, Sendable {
    case groups
    case channels
    case workers

    var listing: Listing {
        switch self {
        case .groups: .groups
        case .channels: .channels
        case .workers: .workers
        }
    }
}

/// What `top` puts first; each view has the column that comes nearest.
enum TopOrder: String, ExpressibleByArgument, CaseIterable, Sendable {
    case rate
    case depth
    case lag
    case drops

    /// The wire name of the column; `nil` where a view has none.
    func field(_ view: TopView) -> String? {
        switch (self, view) {
        case (.rate, .groups), (.rate, .channels): "rate"
        case (.rate, .workers): "rate_out"
        case (.depth, .groups): "members"
        case (.depth, .channels): "depth"
        case (.depth, .workers): "link_bytes"
        case (.lag, .groups): nil
        case (.lag, .channels): "oldest_milliseconds"
        case (.lag, .workers): "lag_milliseconds"
        case (.drops, _): "drops"
        }
    }
}

/// What the broker is asked for one screen.
struct TopQuestion: Sendable, Equatable {
    var view: TopView
    var order: TopOrder
    var isDescending = true
    var rows: Int
    var match: Glob?
    var namespace: String?

    var walk: Walk {
        var query = InspectionQuery(view.listing.subject)
        query.sort = order.field(view)
        query.descending = isDescending
        query.match = match
        query.namespace = namespace
        return Walk(view.listing, query, rows: rows, keeping: view == .workers ? .owners : .all)
    }
}

/// What the broker answered at one time.
struct TopSample: Sendable {
    let question: TopQuestion
    /// Of ``System/nanoseconds()``.
    let time: UInt64
    let status: MessageValue
    let listing: MessageValue

    /// Messages that were sent, messages on their way to readers, messages that were lost; all since the start.
    fileprivate var counters: [Double] {
        let sent = number("sends") + number("group_sends")
        // Members reached, where the broker counts them; frames to processes otherwise.
        let fannedOut = status["fan_out_members"]?["sum"]?.double ?? number("group_deliver_frames")
        let drops = (status["drops"]?.map ?? [:]).values.reduce(0) { $0 + ($1.double ?? 0) }
        return [sent, number("delivers") + number("hand_outs") + fannedOut, drops]
    }

    private func number(_ field: String) -> Double {
        status[field]?.double ?? 0
    }
}

/// What `top` shows and what keys do to it: samples and keys in, a page out. Without terminal, clock and broker.
struct TopScreen {
    /// What the one who pressed a key wants.
    enum Wish: Equatable {
        case nothing
        /// Ask the broker again, at once.
        case ask
        case quit
    }

    private(set) var question: TopQuestion
    private(set) var isPaused = false
    private var showsHelp = false
    private var previous: TopSample?
    private var current: TopSample?
    let intervalSeconds: Double

    /// Lines that are no rows: two of numbers, the view, three empty ones, headings, totals, and the cursor's.
    static let linesAround = 9

    init(_ question: TopQuestion, intervalSeconds: Double) {
        self.question = question
        self.intervalSeconds = intervalSeconds
    }

    // MARK: Input

    /// Takes an answer of the broker. Of an answer to another question only the numbers count.
    mutating func take(_ sample: TopSample) {
        guard !isPaused else { return }
        previous = current
        current = sample
    }

    /// Takes the height of the terminal.
    mutating func resize(rows: Int?) {
        guard let rows else { return }
        question.rows = min(max(1, rows - Self.linesAround), Walk.pageRows)
    }

    mutating func press(_ key: Character) -> Wish {
        switch key {
        case "q", "Q", "\u{3}", "\u{4}": return .quit
        case "g": return show(.groups)
        case "c": return show(.channels)
        case "w": return show(.workers)
        case "\t":
            let views = TopView.allCases
            return show(views[((views.firstIndex(of: question.view) ?? 0) + 1) % views.count])
        case "r": return order(.rate)
        case "d": return order(.depth)
        case "l": return order(.lag)
        case "x": return order(.drops)
        case "i": question.isDescending.toggle()
        case "p", " ":
            isPaused.toggle()
            return isPaused ? .nothing : .ask
        case "?", "h":
            showsHelp.toggle()
            return .nothing
        default: return .nothing
        }
        return .ask
    }

    private mutating func show(_ view: TopView) -> Wish {
        question.view = view
        if question.order.field(view) == nil { question.order = .rate }
        isPaused = false
        return .ask
    }

    private mutating func order(_ order: TopOrder) -> Wish {
        guard order.field(question.view) != nil else { return .nothing }
        question.order = order
        isPaused = false
        return .ask
    }

    // MARK: Output

    private static let keys = "g c w view  r d l x order  p pause  ? help  q quit"

    /// Messages, deliveries and drops a second between the last two answers; `nil` before there are two, and when the
    /// broker started again in between.
    var rates: [Double]? {
        guard let previous, let current, current.time > previous.time,
            previous.status["epoch"] == current.status["epoch"]
        else { return nil }
        let seconds = Double(current.time - previous.time) / 1e9
        return zip(current.counters, previous.counters).map { max(0, ($0 - $1) / seconds) }
    }

    /// - Parameter hasKeys: Whether somebody can press some.
    func page(hasKeys: Bool) -> Page {
        var page = Page()
        let status = current?.status ?? .null
        let uptime = status["uptime_milliseconds"]?.int.map(HumanNumbers.age) ?? CellText.absent
        let broker = CellText.plain(status["broker"] ?? .null)
        page.append("fanfare top  \(broker)  up \(uptime)\(isPaused ? "  PAUSED" : "")", .heading)
        page.append(numbers(status))
        page.append("")
        guard !showsHelp else { return help(&page) }
        let column = question.order.field(question.view).flatMap { question.view.listing.column(named: $0)?.heading }
        page.append(
            "\(question.view.rawValue) by \(column ?? question.order.rawValue)"
                + (question.isDescending ? "" : ", smallest first")
                + (hasKeys ? "   " + Self.keys : ""),
            .faint
        )
        page.append("")
        if let current, current.question.view == question.view {
            page.append(
                question.view.listing.page(current.listing, namespace: question.namespace, hasOptions: false)
            )
        }
        return page
    }

    private func numbers(_ status: MessageValue) -> Page.Line {
        var line = Page.Line()
        let labels = ["messages/s", "deliveries/s", "drops/s"]
        for (index, label) in labels.enumerated() {
            let rate = rates?[index]
            line.append("\(label) ", .plain)
            line.append(rate.map { HumanNumbers.fixed($0, digits: 1) } ?? CellText.absent, tone(label, rate))
            line.append("  ", .plain)
        }
        line.append("connections \(CellText.plain(status["sessions"] ?? .null))  ", .plain)
        line.append("memory \(status["memory_bytes"]?.int.map(HumanNumbers.bytes) ?? CellText.absent)", .plain)
        return line
    }

    private func tone(_ label: String, _ rate: Double?) -> Tone {
        label == "drops/s" && (rate ?? 0) > 0 ? .bad : .heading
    }

    private func help(_ page: inout Page) -> Page {
        let facts = [
            ("g c w", "groups, channels, workers"), ("Tab", "the next of them"),
            ("r", "by rate: messages a second"),
            ("d", "by depth: members of a group, unread messages of a channel, bytes that wait for a worker"),
            ("l", "by lag: age of a channel's oldest message, round trip of a worker"), ("x", "by drops"),
            ("i", "smallest first, and back"), ("p Space", "pause, and go on"), ("? h", "this help"), ("q", "quit"),
        ]
        page.append(heading: "KEYS", facts: facts)
        return page
    }

    /// The same for programs.
    var report: MessageValue {
        let status = current?.status ?? .null
        var report = current?.listing.map ?? [:]
        let names = ["messages_per_second", "deliveries_per_second", "drops_per_second"]
        for (index, name) in names.enumerated() { report[name] = rates.map { .double($0[index]) } ?? .null }
        report["connections"] = status["sessions"] ?? .null
        report["memory_bytes"] = status["memory_bytes"] ?? .null
        report["view"] = .string(question.view.rawValue)
        report["sort"] = .string(question.order.rawValue)
        return .map(report)
    }
}

/// Keys in what a terminal sends: arrows and the like, which begin with ESC, are left out.
struct KeyReader {
    private enum State {
        case ground
        case escape
        case sequence
    }

    private var state = State.ground

    /// The keys that are complete with `byte`.
    mutating func take(_ byte: UInt8) -> Character? {
        switch (state, byte) {
        case (_, 0x1b): state = .escape
        case (.escape, UInt8(ascii: "[")), (.escape, UInt8(ascii: "O")): state = .sequence
        // Alt and a key.
        case (.escape, _): state = .ground
        // The last byte of a sequence (ECMA-48, section 5.4).
        case (.sequence, 0x40...0x7e): state = .ground
        case (.sequence, _): break
        case (.ground, 0..<0x80): return Character(Unicode.Scalar(byte))
        case (.ground, _): break
        }
        return nil
    }
}
