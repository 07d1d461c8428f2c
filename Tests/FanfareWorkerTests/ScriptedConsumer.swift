import FanfareClient
import FanfareModel
import Synchronization

@testable import FanfareWorker

/// What happened, in order, noted by any thread.
final class Chronicle: Sendable {
    private let lines = Mutex<[String]>([])

    func note(_ line: String) { lines.withLock { $0.append(line) } }

    var all: [String] { lines.withLock { $0 } }

    /// Waits until so many lines were noted, and returns them.
    @discardableResult
    func reach(_ count: Int) async -> [String] {
        while all.count < count, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(1)) }
        return all
    }
}

/// One value that a handler hands to its test.
final class Handed<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)

    func give(_ given: Value) { value.withLock { $0 = given } }

    func take() async throws -> Value {
        while true {
            if let value = value.withLock({ $0 }) { return value }
            try await Task.sleep(for: .milliseconds(1))
        }
    }
}

/// Waits until `condition` holds; the time limit of the suite is the bound.
func eventually(_ condition: () async throws -> Bool) async throws {
    while try await !condition() { try await Task.sleep(for: .milliseconds(1)) }
}

struct Line: Codable, Sendable, Equatable {
    let text: String
}

/// How a ``ScriptedConsumer`` is served.
protocol Serving: Sendable {
    static var options: ConsumerOptions { get }
}

enum AsUsual: Serving {
    static var options: ConsumerOptions { ConsumerOptions() }
}

/// A consumer as a test plays it; echoes when it is told nothing else.
struct ScriptedConsumer<How: Serving>: Consumer {
    var groups: [String] = []
    var connected: @Sendable (WebSocket) async throws -> Void = { _ in }
    var text: @Sendable (String, WebSocket) async throws -> Void = { try await $1.send($0) }
    var missed: @Sendable (Missed, WebSocket) async throws -> Void = { _, _ in }
    var binary: @Sendable ([UInt8], WebSocket) async throws -> Void = { try await $1.send($0) }
    var told: @Sendable (String, WebSocket) async throws -> Void = { try await $1.send("told \($0)") }
    var ended: @Sendable (CloseCode, String, WebSocket) async throws -> Void = { _, _, _ in }

    static var handlers: Handlers<Self> {
        Handlers {
            $0.broadcast("line.all", Line.self) { .text($0.text) }
            $0.on("line_one", Line.self) { try await $0.told($1.text, $2) }
        }
    }
    static var options: ConsumerOptions { How.options }

    func connect(_ socket: WebSocket) async throws { try await connected(socket) }
    func missed(_ missed: Missed, from socket: WebSocket) async throws { try await self.missed(missed, socket) }
    func receive(text: String, from socket: WebSocket) async throws { try await self.text(text, socket) }
    func receive(binary: [UInt8], from socket: WebSocket) async throws { try await self.binary(binary, socket) }
    func disconnect(_ code: CloseCode, reason: String, from socket: WebSocket) async throws {
        try await ended(code, reason, socket)
    }
}

typealias Scripted = ScriptedConsumer<AsUsual>

extension Router {
    /// One WebSocket route.
    static func serving<C: Consumer>(
        _ path: PathPattern = "/ws/",
        _ make: @escaping @Sendable (FanfareWorker.Request, Context) async throws -> C
    ) -> Router {
        var router = Router()
        router.webSocket(path, make)
        return router
    }
}

/// An error of a handler.
struct Mishap: Error {}
