import HTTPTypes
import NIOCore
import Synchronization

@testable import FanfareWorker

/// Objects that are to go away. Only asked whether they are there.
final class Remains: Sendable {
    private struct Weak: @unchecked Sendable {
        weak var object: AnyObject?
    }

    private let objects = Mutex<[Weak]>([])

    func add(_ object: AnyObject) {
        let weak = Weak(object: object)
        objects.withLock { $0.append(weak) }
    }

    var count: Int { objects.withLock { $0.count } }
    var living: Int { objects.withLock { $0.count { $0.object != nil } } }
}

/// Counts its instances.
final class Counted: Sendable {
    static let count = Atomic(0)
    init() { Self.count.add(1, ordering: .relaxed) }
    deinit { Self.count.subtract(1, ordering: .relaxed) }
}

/// Keeps its own socket, and ends as its test says.
actor RememberingConsumer: Consumer {
    private let one = Counted()
    private let how: String
    private let remains: Remains
    private var own: WebSocket?

    init(how: String, remains: Remains) {
        self.how = how
        self.remains = remains
    }

    nonisolated var groups: [String] { ["g"] }

    func connect(_ socket: WebSocket) async throws {
        own = socket
        let (remains, inside) = (remains, socket.socket)
        remains.add(socket)
        try await inside.eventLoop.submit {
            remains.add(inside.value)
            if let ticket = socket.context.ticket { remains.add(ticket.exchange.value) }
        }.get()
        switch how {
        case "deny": throw Denial(.forbidden, "no")
        case "throw": throw Mishap()
        case "early": socket.accept()
        case "closed": socket.close(4_000)
        default: break
        }
    }

    func receive(text: String, from socket: WebSocket) async throws { throw Mishap() }
}
