import FanfareBroker
import FanfareClient
import FanfareModel
import Glibc
import Logging
import Synchronization
import Testing

/// Where the layers of a test meet: a broker inside the process, or one on a Unix socket of its own.
final class MeetingPlace: Sendable {
    enum Kind: CaseIterable, Sendable {
        case embedded
        case broker
    }

    struct TooLate: Error {
        var what: String
    }

    /// A broker that soon forgets whose link broke: so a restart is soon known to be one.
    static let shortGrace = {
        var limits = Limits()
        limits.resumeGrace = Milliseconds(50)
        return limits
    }()
    static let patience = Duration.seconds(30)
    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private let embedded: EmbeddedLayers?
    private let folder: String
    private let limits: Limits
    private let broker = Mutex<BrokerServer?>(nil)
    private let layers = Mutex<[ChannelLayer]>([])

    var path: String { folder + "/broker.sock" }

    private init(_ kind: Kind, _ limits: Limits) throws {
        var template = Array("/tmp/fanfare-test-XXXXXX".utf8CString)
        folder = try template.withUnsafeMutableBufferPointer { buffer in
            String(cString: try #require(buffer.baseAddress.flatMap { mkdtemp($0) }))
        }
        embedded = kind == .embedded ? EmbeddedLayers() : nil
        self.limits = limits
    }

    deinit {
        unlink(path)
        rmdir(folder)
    }

    /// Runs `body` and closes what it opened, whatever happens.
    static func run(
        _ kind: Kind,
        _ limits: Limits = Limits(),
        _ body: (MeetingPlace) async throws -> Void
    ) async throws {
        let place = try MeetingPlace(kind, limits)
        do {
            if kind == .broker { try await place.startBroker() }
            try await body(place)
        } catch {
            await place.end()
            throw error
        }
        await place.end()
    }

    private func end() async {
        for layer in layers.withLock({ $0 }) { await layer.close() }
        await stopBroker()
    }

    /// A layer as another process would have it.
    func layer(
        _ name: String = "test",
        _ change: (inout ChannelLayer.Configuration) -> Void = { _ in }
    ) async throws -> ChannelLayer {
        let layer = try await untrackedLayer(name, change)
        layers.withLock { $0.append(layer) }
        return layer
    }

    /// A layer the test itself closes or lets go.
    func untrackedLayer(
        _ name: String = "test",
        _ change: (inout ChannelLayer.Configuration) -> Void = { _ in }
    ) async throws -> ChannelLayer {
        var configuration = ChannelLayer.Configuration(name: name)
        configuration.endpoints = ["unix:" + path]
        change(&configuration)
        if let embedded { return try await ChannelLayer.embedded(configuration, with: embedded) }
        return try await ChannelLayer.connect(configuration)
    }

    // MARK: The broker

    func startBroker(_ change: (inout Limits) -> Void = { _ in }) async throws {
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.unix(path: path)]
        configuration.limits = limits
        change(&configuration.limits)
        let server = try await BrokerServer.start(configuration, logger: Self.quiet)
        broker.withLock { $0 = server }
    }

    func stopBroker() async {
        let server = broker.withLock { broker in
            defer { broker = nil }
            return broker
        }
        await server?.stop(within: Milliseconds(500))
    }

    func status() async throws -> MessageValue {
        try await #require(broker.withLock { $0 }).status()
    }

    /// The names of all groups the broker knows.
    func groups() async throws -> [String] {
        let answer = try await #require(broker.withLock { $0 }).inspect(InspectionQuery(.groups))
        return try #require(answer["rows"]?.array).compactMap { $0["group"]?.string }
    }

    func count(_ name: String) async throws -> Int64 {
        try #require(try await status()[name]?.int)
    }

    func drops(_ reason: DropReason) async throws -> Int64 {
        try await status()["drops"]?[reason.name]?.int ?? 0
    }
}

/// Waits for something that must come true, however long the machine takes.
func poll(_ what: String, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + MeetingPlace.patience
    while try await !condition() {
        guard ContinuousClock.now < end else { throw MeetingPlace.TooLate(what: what) }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Numbers from many tasks.
final class Collected: Sendable {
    private let list = Mutex<[Int]>([])

    var numbers: [Int] { list.withLock { $0 } }

    func append(_ number: Int) {
        list.withLock { $0.append(number) }
    }
}

/// A message that is a number.
func numbered(_ number: Int) -> [String: MessageValue] {
    ["number": .int(Int64(number))]
}

extension ChannelLayer {
    /// Receives a message of ``numbered(_:)``; fails the test when none comes.
    func number(from channel: String) async throws -> Int? {
        try await soon { try await self.receive(from: channel)["number"]?.int.map(Int.init) }
    }

    /// The numbers that wait in a channel: everything before a last message sent for this.
    func waiting(in channel: String, by sender: ChannelLayer? = nil) async throws -> [Int] {
        try await (sender ?? self).send(["number": -1], to: channel)
        var numbers: [Int] = []
        while let number = try await number(from: channel), number >= 0 { numbers.append(number) }
        return numbers
    }
}

/// Runs something that must end by itself, however long the machine takes; what does not is left behind.
func soon<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        let first = FirstResult(continuation)
        let clock = Task {
            try await Task.sleep(for: MeetingPlace.patience)
            first.resume(with: .failure(MeetingPlace.TooLate(what: "it does not end")))
        }
        Task {
            first.resume(with: await Task(operation: body).result)
            clock.cancel()
        }
    }
}

/// Passes on the first of several results.
private final class FirstResult<R: Sendable>: Sendable {
    private let continuation: Mutex<CheckedContinuation<R, any Error>?>

    init(_ continuation: CheckedContinuation<R, any Error>) {
        self.continuation = Mutex(continuation)
    }

    func resume(with result: Result<R, any Error>) {
        let waiting = continuation.withLock { continuation in
            defer { continuation = nil }
            return continuation
        }
        waiting?.resume(with: result)
    }
}

/// The error a call of a layer throws, `nil` when it throws none.
func layerError(_ body: () async throws -> Void) async throws -> ChannelLayerError? {
    do {
        try await body()
        return nil
    } catch let error as ChannelLayerError {
        return error
    }
}

extension ChannelLayerError {
    /// The case without its text.
    enum Kind {
        case channelFull
        case messageTooLarge
        case badName
        case notOwner
        case notConnected
        case outcomeUnknown
        case refused
        case closed
    }

    var kind: Kind {
        switch self {
        case .channelFull: .channelFull
        case .messageTooLarge: .messageTooLarge
        case .badName: .badName
        case .notOwner: .notOwner
        case .notConnected: .notConnected
        case .outcomeUnknown: .outcomeUnknown
        case .refused: .refused
        case .closed: .closed
        }
    }
}
