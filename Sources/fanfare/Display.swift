import FanfareClient
import FanfareModel

/// Shows answers of the broker: once or again and again, as a page or as JSON.
struct Display: Sendable {
    enum Form: Sendable {
        case page
        /// One document.
        case json
        /// One object a row.
        case jsonLines
    }

    let form: Form
    /// Between two answers; `nil` to show one.
    let watchSeconds: Double?

    init(_ options: GlobalOptions, _ watch: WatchOptions) {
        self.init(options.wantsJSONLines ? .jsonLines : options.wantsJSON ? .json : .page, watchSeconds: watch.watch)
    }

    init(_ form: Form, watchSeconds: Double?) {
        self.form = form
        self.watchSeconds = watchSeconds
    }

    /// Asks and shows until that is done, or until Ctrl-C when watching.
    func run(
        _ options: GlobalOptions,
        ask: @escaping @Sendable (ChannelLayer) async throws -> MessageValue,
        page: @escaping @Sendable (MessageValue) -> Page
    ) async throws {
        try await again(options) { layer, isFirst in
            let answer = try await ask(layer)
            try System.write(try text(answer, page, isFirst: isFirst, on: options.surface))
        }
    }

    /// Walks a listing and shows it.
    ///
    /// - Parameter chosen: The columns to show instead of the usual ones.
    func run(_ listing: Listing, _ walk: Walk, _ chosen: [Column]?, _ options: GlobalOptions) async throws {
        try await again(options) { layer, isFirst in
            var walk = walk
            var rows: [MessageValue] = []
            var next: InspectionQuery? = walk.first
            while let query = next {
                let step = walk.take(try await layer.inspect(query))
                next = step.next
                if form == .jsonLines {
                    try System.write(try Self.lines(step.rows, chosen))
                } else {
                    rows += step.rows
                }
            }
            let surface = options.surface
            if form != .jsonLines {
                let answer = walk.answer(form == .json ? rows.map { Self.object($0, chosen) } : rows)
                let page = { listing.page($0, namespace: options.namespace, chosen: chosen) }
                try System.write(try text(answer, page, isFirst: isFirst, on: surface))
            }
            // A page that is redrawn says it in its last line.
            let isRedrawn = form == .page && watchSeconds != nil && surface.isRedrawn
            if let notice = walk.notice, !isRedrawn { System.complain(notice) }
        }
    }

    private func again(
        _ options: GlobalOptions,
        _ show: @escaping @Sendable (ChannelLayer, _ isFirst: Bool) async throws -> Void
    ) async throws {
        guard let watchSeconds else { return try await options.withLayer { try await show($0, true) } }
        try await Interruption.cancels {
            try await options.withLayer { layer in
                var isFirst = true
                while !Task.isCancelled {
                    try await show(layer, isFirst)
                    isFirst = false
                    try await Task.sleep(for: .seconds(watchSeconds))
                }
            }
        }
    }

    /// What is written for one answer.
    ///
    /// JSON is one document on one line. A watched page takes the place of the one before on a terminal and follows
    /// it after an empty line elsewhere.
    func text(
        _ answer: MessageValue,
        _ page: (MessageValue) -> Page,
        isFirst: Bool,
        on surface: Surface
    ) throws -> String {
        guard form == .page else { return try Self.json(answer) }
        guard watchSeconds != nil else { return page(answer).text(on: surface) }
        guard surface.isRedrawn else { return (isFirst ? "" : "\n") + page(answer).text(on: surface) }
        return (isFirst ? "\u{1b}[2J" : "") + Self.redrawn(page(answer).text(on: surface, fits: true))
    }

    /// A text that takes the place of what a terminal shows: overwriting line by line does not flicker as clearing the
    /// screen does.
    static func redrawn(_ text: String) -> String {
        "\u{1b}[H" + text.replacing("\n", with: "\u{1b}[K\n") + "\u{1b}[J"
    }

    /// `value` as a line of JSON; keys sorted, so that equal answers are equal texts.
    static func json(_ value: MessageValue) throws -> String {
        String(decoding: try value.json(sortedKeys: true), as: UTF8.self) + "\n"
    }

    /// A line of JSON for each row.
    static func lines(_ rows: [MessageValue], _ chosen: [Column]?) throws -> String {
        try rows.reduce(into: "") { $0 += try json(object($1, chosen)) }
    }

    /// A row with the chosen columns only.
    static func object(_ row: MessageValue, _ chosen: [Column]?) -> MessageValue {
        guard let chosen else { return row }
        return .map(Dictionary(chosen.map { ($0.key, $0.value(row)) }) { first, _ in first })
    }
}
