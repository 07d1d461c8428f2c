import ArgumentParser
import FanfareModel
import Testing

@testable import fanfare

struct TopTests {
    private let terminal = Surface(isStyled: false, isRedrawn: true, columns: 80, rows: 14)

    private func sample(
        _ question: TopQuestion,
        second: Double,
        sends: Int = 0,
        epoch: Int = 1,
        rows: [MessageValue] = []
    ) -> TopSample {
        TopSample(
            question: question,
            time: UInt64(second * 1e9),
            status: [
                "broker": "fanfare-broker/1", "uptime_milliseconds": 61_000, "epoch": .count(epoch), "sessions": 4,
                "memory_bytes": 2_048, "sends": .count(sends), "group_sends": .count(sends), "delivers": .count(sends),
                "hand_outs": 0, "group_deliver_frames": .count(3 * sends), "drops": ["full": .count(sends), "x": 0],
            ],
            listing: ["rows": .array(rows), "total": .count(rows.count)]
        )
    }

    private var screen: TopScreen {
        TopScreen(TopQuestion(view: .groups, order: .rate, rows: 20), intervalSeconds: 1)
    }

    private func row(_ name: String) -> MessageValue {
        ["group": .string(name), "namespace": "default", "members": 3, "rate": 12.5, "drops": 1]
    }

    @Test func `rates are what was counted between two answers, by the time between them`() {
        var screen = screen
        #expect(screen.rates == nil)
        screen.take(sample(screen.question, second: 10, sends: 100))
        #expect(screen.rates == nil)
        screen.take(sample(screen.question, second: 12, sends: 150))
        #expect(screen.rates == [50, 100, 25])
        screen.take(sample(screen.question, second: 13, sends: 150))
        #expect(screen.rates == [0, 0, 0])
    }

    @Test func `a broker that started again and a clock that stands have no rates`() {
        var screen = screen
        screen.take(sample(screen.question, second: 10, sends: 100))
        screen.take(sample(screen.question, second: 11, sends: 5, epoch: 2))
        #expect(screen.rates == nil)
        screen.take(sample(screen.question, second: 11, sends: 9, epoch: 2))
        #expect(screen.rates == nil)
        screen.take(sample(screen.question, second: 12, sends: 9, epoch: 2))
        #expect(screen.rates == [0, 0, 0])
    }

    @Test func `deliveries are members reached where the broker counts them`() {
        var screen = screen
        for (second, sum) in [(1.0, 10.0), (2.0, 40.0)] {
            let status: MessageValue = ["fan_out_members": ["sum": .double(sum)], "group_deliver_frames": 1]
            screen.take(TopSample(question: screen.question, time: UInt64(second * 1e9), status: status, listing: nil))
        }
        #expect(screen.rates == [0, 30, 0])
    }

    @Test func `the screen has numbers, the view, keys and rows`() {
        var screen = screen
        screen.take(sample(screen.question, second: 1, sends: 10))
        screen.take(sample(screen.question, second: 2, sends: 20, rows: [row("chat.lobby")]))
        let expected = """
            fanfare top  fanfare-broker/1  up 1m01s
            messages/s 20.0  deliveries/s 40.0  drops/s 10.0  connections 4  memory 2.0 KiB

            groups by RATE/s   g c w view  r d l x order  p pause  ? help  q quit

            NAMESPACE  GROUP       MEMBERS  OWNERS  MESSAGES  RATE/s  DROPS  AGE
            default    chat.lobby        3       -         -    12.5      1    -

            1 group

            """
        #expect(screen.page(hasKeys: true).text(on: terminal, fits: true) == expected)
        #expect(!screen.page(hasKeys: false).text(on: terminal).contains("q quit"))
    }

    @Test func `a screen never has more lines and columns than the terminal`() {
        var screen = screen
        screen.take(sample(screen.question, second: 1, rows: (0..<50).map { row("group-with-a-long-name-\($0)") }))
        for (rows, columns) in [(1, 1), (2, 10), (5, 40), (24, 80), (60, 200)] {
            let surface = Surface(isStyled: false, isRedrawn: true, columns: columns, rows: rows)
            let lines = screen.page(hasKeys: true).text(on: surface, fits: true).split(
                separator: "\n",
                omittingEmptySubsequences: false
            ).dropLast()
            #expect(lines.count <= max(1, rows - 1))
            #expect(lines.allSatisfy { DisplayText.width(String($0)) <= columns })
        }
    }

    @Test func `keys choose what and in which order, and ask at once`() {
        var screen = screen
        #expect(screen.press("c") == .ask)
        #expect(screen.press("d") == .ask)
        #expect(screen.question.walk.first.subject == .channels)
        #expect(screen.question.walk.first.sort == "depth" && screen.question.walk.first.descending)
        #expect(screen.press("l") == .ask)
        #expect(screen.question.walk.first.sort == "oldest_milliseconds")
        #expect(screen.press("i") == .ask)
        #expect(!screen.question.walk.first.descending)
        #expect(screen.press("w") == .ask)
        #expect(screen.question.walk.first.subject == .sessions)
        #expect(screen.question.walk.first.sort == "lag_milliseconds")
        #expect(screen.press("x") == .ask)
        #expect(screen.question.walk.first.sort == "drops")
        #expect(screen.press("\t") == .ask)
        #expect(screen.question.view == .groups)
        for key: Character in ["z", "A", "\n", "\0"] { #expect(screen.press(key) == .nothing) }
    }

    @Test func `groups have no lag: the key does nothing, and coming from another view they are shown by rate`() {
        var screen = screen
        #expect(screen.press("l") == .nothing)
        #expect(screen.question.order == .rate)
        _ = screen.press("w")
        _ = screen.press("l")
        _ = screen.press("g")
        #expect(screen.question.order == .rate)
        for view in TopView.allCases {
            for order in TopOrder.allCases {
                guard let field = order.field(view) else { continue }
                #expect(view.listing.usual.contains { $0.field == field }, "\(view) by \(order) shows what it sorts by")
            }
        }
    }

    @Test(arguments: ["q", "Q", "\u{3}", "\u{4}"] as [Character])
    func `these keys end it`(key: Character) {
        var screen = screen
        #expect(screen.press(key) == .quit)
    }

    @Test func `a paused screen stands still`() {
        var screen = screen
        screen.take(sample(screen.question, second: 1, rows: [row("before")]))
        #expect(screen.press("p") == .nothing)
        #expect(screen.isPaused)
        screen.take(sample(screen.question, second: 2, rows: [row("after")]))
        let paused = screen.page(hasKeys: true).text(on: terminal)
        #expect(paused.contains("before") && paused.contains("PAUSED") && !paused.contains("after"))
        #expect(screen.press(" ") == .ask)
        screen.take(sample(screen.question, second: 3, rows: [row("after")]))
        #expect(screen.page(hasKeys: true).text(on: terminal).contains("after"))
    }

    @Test func `an answer to another view's question gives numbers and no rows`() {
        var screen = screen
        let late = sample(screen.question, second: 1, rows: [row("late")])
        _ = screen.press("c")
        screen.take(late)
        let text = screen.page(hasKeys: true).text(on: terminal)
        #expect(text.contains("connections 4") && !text.contains("late"))
    }

    @Test func `help takes the place of the rows and goes again`() {
        var screen = screen
        screen.take(sample(screen.question, second: 1, rows: [row("lobby")]))
        #expect(screen.press("?") == .nothing)
        let help = screen.page(hasKeys: true).text(on: terminal)
        #expect(help.contains("KEYS") && !help.contains("lobby"))
        _ = screen.press("h")
        #expect(screen.page(hasKeys: true).text(on: terminal).contains("lobby"))
    }

    @Test func `the terminal's height says how many rows are asked for`() {
        var screen = screen
        screen.resize(rows: 24)
        #expect(screen.question.rows == 24 - TopScreen.linesAround)
        screen.resize(rows: 1)
        #expect(screen.question.rows == 1)
        screen.resize(rows: 60_000)
        #expect(screen.question.rows == 1_000)
        screen.resize(rows: nil)
        #expect(screen.question.rows == 1_000)
    }

    @Test func `programs get the same as one object`() throws {
        var screen = screen
        #expect(screen.report["messages_per_second"] == .null)
        screen.take(sample(screen.question, second: 1, sends: 10))
        screen.take(sample(screen.question, second: 2, sends: 20, rows: [row("lobby")]))
        let report = screen.report
        #expect(report["messages_per_second"] == 20.0 && report["drops_per_second"] == 10.0)
        #expect(report["connections"] == 4 && report["memory_bytes"] == 2_048)
        #expect(report["view"] == "groups" && report["sort"] == "rate")
        #expect(report["rows"]?.array?.count == 1)
    }

    @Test func `arrows and other sequences are no keys, in whatever pieces they come`() {
        var keys = KeyReader()
        let bytes = Array("q\u{1b}[Ac\u{1b}[1;5Dd\u{1b}OPx\u{1b}qé\u{1b}\u{1b}[Bw".utf8)
        #expect(bytes.compactMap { keys.take($0) } == ["q", "c", "d", "x", "w"])
    }

    @Test func `a wrong command line of top is refused`() {
        for arguments in [
            ["--interval", "0"], ["--interval", "nan"], ["--count", "0"], ["--count", "2", "--once"], ["--limit", "0"],
            ["--sort", "lag"], ["weather"],
        ] {
            #expect(throws: (any Error).self) { try TopCommand.parse(arguments) }
        }
        #expect(throws: Never.self) { try TopCommand.parse(["workers", "--sort", "lag", "--match", "w*"]) }
    }
}
