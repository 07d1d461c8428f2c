import FanfareClient
import FanfareModel
import FanfareWorker
import HTTPTypes
import Synchronization

/// Lets handlers pass when a test says so.
final class Gate: Sendable {
    private let isOpen = Mutex(false)

    func open() { isOpen.withLock { $0 = true } }

    /// Opens when whoever does not wait for handlers has looked.
    func openLater() {
        Task {
            try await Task.sleep(for: .milliseconds(30))
            open()
        }
    }

    func pass() async throws {
        while !isOpen.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
    }
}

/// What consumers have noted, for tests to look at.
final class Notes: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }

    func add(_ line: String) { lines.withLock { $0.append(line) } }
}

struct ChatMessage: Codable, Equatable {
    var message: String
}

/// A room: everybody gets what anybody says.
struct Chat: Consumer {
    let room: String
    let notes: Notes
    var groups: [String] { ["chat_\(room)"] }

    static let handlers = Handlers<Chat> {
        $0.broadcast("chat.message", ChatMessage.self) { try .json($0) }
    }

    func connect(_ socket: WebSocket) async throws {
        guard room != "secret" else { throw Denial(.forbidden, "This room is closed.", reason: "closed_room") }
    }

    func receive(text: String, from socket: WebSocket) async throws {
        try await socket.layer.groupSend(ChatMessage(message: text), type: "chat.message", to: "chat_\(room)")
    }

    func disconnect(_ code: CloseCode, reason: String, from socket: WebSocket) async throws {
        notes.add("\(room) left with \(code.rawValue) \(reason)")
    }
}

/// Adds up numbers, in JSON.
struct Adder: JSONConsumer {
    struct Incoming: Codable {
        var numbers: [Int]
    }

    struct Sum: Codable, Equatable {
        var sum: Int
    }

    func receiveJSON(_ message: Incoming, from socket: WebSocket) async throws {
        try await socket.sendJSON(Sum(sum: message.numbers.reduce(0, +)))
    }
}

/// Does what it is told: for everything else a test wants to see.
struct Puppet: Consumer {
    struct Oops: Error {}

    let gate: Gate
    let notes: Notes

    static let handlers = Handlers<Puppet> {
        $0.on("job.done", [String: String].self) { _, message, socket in
            try await socket.send("done: \(message["what"] ?? "")")
        }
    }

    func connect(_ socket: WebSocket) async throws {
        let offered = socket.context[OfferKey.self] ?? []
        if offered.contains("chat.v2") {
            socket.accept(subprotocol: "chat.v2", headers: [HTTPField.Name("X-Served-By")!: "puppet"])
        }
        if offered == ["liar"] { socket.accept(subprotocol: "truth") }
        if offered == ["early"] {
            socket.accept(subprotocol: "early")
            try await gate.pass()
            try await socket.send("welcome")
        }
    }

    func receive(text: String, from socket: WebSocket) async throws {
        switch text {
        case "throw": throw Oops()
        case "close": socket.close(4_001, reason: "as you wish")
        case "slow":
            try await gate.pass()
            try await socket.send("late")
        case "aside":
            Task {
                try await gate.pass()
                try await socket.send("from a task")
            }
        case "leave": try await socket.groupDiscard("crowd")
        case "join": try await socket.groupAdd("crowd")
        case "job": try await socket.layer.send(["channel": .string(socket.channelName)], to: "jobs")
        default: notes.add(text)
        }
    }

    func receive(binary: [UInt8], from socket: WebSocket) async throws {
        try await socket.send(binary.reversed())
    }
}

enum OfferKey: ContextKey { typealias Value = [String] }

/// The application of these tests.
struct Shop {
    let gate = Gate()
    let notes = Notes()
    static let signer = try! TokenSigner(
        secrets: ["a secret of at least thirty-two bytes!"],
        salt: "tests",
        maximumAgeSeconds: 3_600
    )

    var router: Router {
        var router = Router()
        router.webSocket("/ws/chat/<slug:room>/") { [notes] _, context in
            Chat(room: try context.captures.string("room"), notes: notes)
        }
        router.webSocket("/ws/add/") { _, _ in Adder() }
        var puppets = Router()
        puppets.use(
            MiddlewareClosure { request, context, next in
                var context = context
                context[OfferKey.self] = request.subprotocols
                return try await next(request, context)
            }
        )
        puppets.webSocket("/ws/") { [gate, notes] _, _ in Puppet(gate: gate, notes: notes) }
        router.mount("/puppet", puppets)
        var members = Router()
        members.use(TokenAuthentication(Self.signer, from: [.query("token"), .bearer]))
        members.webSocket("/ws/") { [notes] _, _ in Chat(room: "members", notes: notes) }
        members.get("/me") { _, context in .text(.ok, "\(context.identity?.user ?? "nobody")") }
        router.mount("/members", members)
        router.post("/rooms/<slug:room>") { request, context in
            let message = try FanfareJSONCoding().decode(ChatMessage.self, from: request.body)
            let room = try context.captures.string("room")
            try await context.layer.groupSend(message, type: "chat.message", to: "chat_\(room)")
            return try .json(.created, message)
        }
        router.get("/address") { request, _ in .text(.ok, request.address) }
        router.get("/broken") { _, _ in throw Puppet.Oops() }
        router.get("/stuck") { [gate] _, _ in
            try await gate.pass()
            return .text(.ok, "at last")
        }
        return router
    }
}
