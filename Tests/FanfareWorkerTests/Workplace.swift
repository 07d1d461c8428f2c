import FanfareClient
import FanfareModel
import Logging
import Synchronization
import Testing

@testable import FanfareWorker

/// Where background workers of a test meet: a broker inside the process, a sender, and a clock that is told the time.
final class Workplace: Sendable {
    /// A worker with the task it runs in.
    struct Started: Sendable {
        let worker: BackgroundWorker
        let run: Task<Void, any Error>

        func stop() async {
            await worker.stop(within: Workplace.never)
        }
    }

    /// A time that does not pass.
    static let never = Duration.seconds(1_000_000)
    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private struct State {
        var now = Instant(nanoseconds: 0)
        var pauses: [Duration] = []
        var deadlines = 0
        var layers: [ChannelLayer] = []
    }

    let log = Texts()
    private let layers = EmbeddedLayers()
    private let sender: ChannelLayer
    private let state = Mutex(State())

    init() async throws {
        var settings = ChannelLayer.Configuration(name: "sender")
        settings.capacity = 10_000
        sender = try await ChannelLayer.embedded(settings, with: layers)
    }

    /// A layer as another process would have it.
    func layer() async throws -> ChannelLayer {
        var settings = ChannelLayer.Configuration(name: "worker")
        settings.capacity = 10_000
        let layer = try await ChannelLayer.embedded(settings, with: layers)
        state.withLock { $0.layers.append(layer) }
        return layer
    }

    func start(
        _ layer: ChannelLayer,
        stopWithin: Duration = never,
        _ declare: (inout BackgroundChannels) -> Void
    ) -> Started {
        let timing = BackgroundWorker.Timing(now: { self.now }, sleep: { try await self.sleep($0) })
        let logger = Logger(label: "test") { [log] _ in TextLog(texts: log) }
        let worker = BackgroundWorker(layer: layer, logger: logger, stopWithin: stopWithin, timing: timing, declare)
        return Started(worker: worker, run: Task { try await worker.run() })
    }

    func send(_ message: [String: MessageValue], to channel: String) async throws {
        try await sender.send(message, to: channel)
    }

    /// The numbers that wait in a channel: everything before a last message sent for this.
    func queued(in channel: String) async throws -> [Int] {
        try await sender.send(["number": -1], to: channel)
        var numbers: [Int] = []
        while let number = try await sender.receive(from: channel)["number"]?.int, number >= 0 {
            numbers.append(Int(number))
        }
        return numbers
    }

    func end() async {
        for layer in state.withLock({ $0.layers }) { await layer.close() }
        await sender.close()
    }

    // MARK: Time

    private var now: Instant { state.withLock { $0.now } }
    /// How long places have waited after failures.
    var pauses: [Duration] { state.withLock { $0.pauses } }
    /// Stops that have begun to count their time.
    var deadlines: Int { state.withLock { $0.deadlines } }

    func passTime(_ time: Milliseconds) {
        state.withLock { $0.now = $0.now.advanced(by: time) }
    }

    /// Pauses take no time; a stop's time is over at once or never.
    private func sleep(_ duration: Duration) async throws {
        if duration == .zero || duration == Self.never {
            state.withLock { $0.deadlines += 1 }
            if duration == Self.never { try await Task.sleep(for: duration) }
        } else {
            state.withLock { $0.pauses.append(duration) }
        }
    }
}

/// Lets nobody pass until it is opened.
final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiting = 0
        var mostAtOnce = 0
    }

    private let state = Mutex(State())

    var mostAtOnce: Int { state.withLock { $0.mostAtOnce } }

    func open() {
        state.withLock { $0.isOpen = true }
    }

    /// - Throws: `CancellationError`.
    func pass() async throws {
        state.withLock { state in
            state.waiting += 1
            state.mostAtOnce = max(state.mostAtOnce, state.waiting)
        }
        defer { state.withLock { $0.waiting -= 1 } }
        while !state.withLock({ $0.isOpen }) { try await Task.sleep(for: .milliseconds(1)) }
    }
}

/// Numbers from many tasks.
final class Numbers: Sendable {
    private let numbers = Mutex<[Int]>([])

    var list: [Int] { numbers.withLock { $0 } }

    func append(_ number: Int) {
        numbers.withLock { $0.append(number) }
    }
}

/// Texts from many tasks.
final class Texts: Sendable {
    private let texts = Mutex<[String]>([])

    var list: [String] { texts.withLock { $0 } }

    func append(_ text: String) {
        texts.withLock { $0.append(text) }
    }
}

/// Writes log lines where a test can read them.
private struct TextLog: LogHandler {
    let texts: Texts
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(texts: Texts) {
        self.texts = texts
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let fields = all.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
        texts.append("\(event.message) \(fields)")
    }
}

/// Waits for something that must come true, however long the machine takes.
func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(30)
    while try await !condition() {
        try #require(ContinuousClock.now < end, "too late: \(what)")
        try await Task.sleep(for: .milliseconds(2))
    }
}
