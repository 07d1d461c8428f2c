import FanfareClient
import FanfareModel

/// Shows an answer of the broker: once or again and again, as a page or as JSON.
struct Display: Sendable {
    let isJSON: Bool
    /// Between two answers; `nil` to show one.
    let watchSeconds: Double?

    init(_ options: GlobalOptions, _ watch: WatchOptions) {
        isJSON = options.isJSON
        watchSeconds = watch.watch
    }

    init(isJSON: Bool, watchSeconds: Double?) {
        self.isJSON = isJSON
        self.watchSeconds = watchSeconds
    }

    /// Asks and shows until that is done, or until Ctrl-C when watching.
    func run(
        _ options: GlobalOptions,
        ask: @escaping @Sendable (ChannelLayer) async throws -> MessageValue,
        page: @escaping @Sendable (MessageValue) -> Page
    ) async throws {
        guard let watchSeconds else {
            let answer = try await options.withLayer(ask)
            return try System.write(try text(answer, page, isFirst: true, on: System.surface))
        }
        try await Interruption.cancels {
            try await options.withLayer { layer in
                var isFirst = true
                while !Task.isCancelled {
                    let answer = try await ask(layer)
                    try System.write(try text(answer, page, isFirst: isFirst, on: System.surface))
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
        if isJSON { return try Self.json(answer) }
        guard watchSeconds != nil else { return page(answer).text(on: surface) }
        guard surface.isStyled else { return (isFirst ? "" : "\n") + page(answer).text(on: surface) }
        // Overwriting line by line does not flicker as clearing the screen does.
        let lines = page(answer).text(on: surface, fits: true).replacing("\n", with: "\u{1b}[K\n")
        return (isFirst ? "\u{1b}[2J" : "") + "\u{1b}[H" + lines + "\u{1b}[J"
    }

    /// `value` as a line of JSON; keys sorted, so that equal answers are equal texts.
    static func json(_ value: MessageValue) throws -> String {
        String(decoding: try value.json(sortedKeys: true), as: UTF8.self) + "\n"
    }
}
