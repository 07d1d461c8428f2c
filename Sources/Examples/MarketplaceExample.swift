import ArgumentParser
import FanfareWorker
import HTTPTypes
import Logging

/// The owner or the visitor of one room. Whatever goes wrong is answered as JSON, and the connection goes on.
struct RoomConsumer: JSONConsumer {
    struct Incoming: Decodable {
        let text: String
        let sender: String
    }

    let database: MarketplaceDatabase
    let id: Int
    /// `nil` when there is none with this id.
    let room: Room?

    var group: String { "room_\(id)" }
    var groups: [String] { room == nil ? [] : [group] }

    static let handlers = Handlers<RoomConsumer> {
        $0.broadcast("room.message", Message.self)
    }

    func connect(_ socket: WebSocket) async throws {
        guard room == nil else { return }
        try await sendJSON(Problem.noSuchRoom(id), to: socket)
        socket.close(4404, reason: "no such room")
    }

    func receiveJSON(_ incoming: Incoming, from socket: WebSocket) async throws {
        guard let room else { return }
        do {
            try Problem.check(text: incoming.text, sender: incoming.sender, in: room)
            let message = try await blocking { [database] in
                try database.add(text: incoming.text, sender: incoming.sender, to: room)
            }
            try await socket.layer.groupSend(message, type: "room.message", to: group)
        } catch {
            if !(error is Problem) { socket.context.logger.error("room \(id): \(error)") }
            try await sendJSON(Problem(error), to: socket)
        }
    }

    func receiveInvalid(_ error: any Error, from socket: WebSocket) async throws {
        let problem =
            error is DecodingError
            ? Problem(.badRequest, "wrong_type", "Send an object with the texts \"text\" and \"sender\".")
            : Problem(.badRequest, "invalid_json", "This is no JSON.")
        try await sendJSON(problem, to: socket)
    }

    func receive(binary: [UInt8], from socket: WebSocket) async throws {
        try await sendJSON(Problem(.badRequest, "binary", "Send text, not bytes."), to: socket)
    }
}

/// The calls around the rooms, and the page that uses them.
struct Marketplace: Sendable {
    struct Members: Decodable {
        let owner: String
        let visitor: String
    }

    struct History: Encodable {
        let room: Room
        let messages: [Message]
        /// Whether there are older messages: ask for those `before` the first.
        let more: Bool
    }

    let database: MarketplaceDatabase

    var router: Router {
        var router = Router()
        router.use(JSONProblems())
        router.get("/") { _, _ in .html(PackageResources.marketplace_html) }
        router.post("/products/<int:product_id>/rooms") { try await createRoom($0, $1) }
        router.get("/rooms/<int:room_id>/messages") { try await listMessages($0, $1) }
        router.webSocket("/ws/room/<int:room_id>/messages") { _, context in
            let id = try context.captures.int("room_id")
            return RoomConsumer(database: database, id: id, room: try await blocking { try database.room(id: id) })
        }
        return router
    }

    private func createRoom(_ request: Request, _ context: Context) async throws -> Response {
        let productID = try context.captures.int("product_id")
        guard let members = try? request.json(Members.self) else {
            throw Problem(.badRequest, "invalid_json", "Send an object with the texts \"owner\" and \"visitor\".")
        }
        try Problem.check(name: members.owner, of: "owner")
        try Problem.check(name: members.visitor, of: "visitor")
        guard members.owner != members.visitor else {
            throw Problem(.badRequest, "wrong_name", "The owner and the visitor must have different names.")
        }
        let (room, isNew) = try await blocking {
            try database.room(productID: productID, owner: members.owner, visitor: members.visitor)
        }
        return try .json(isNew ? .created : .ok, room)
    }

    private func listMessages(_ request: Request, _ context: Context) async throws -> Response {
        let id = try context.captures.int("room_id")
        let limit = try number("limit", of: request, 1...100) ?? 50
        let before = try number("before", of: request, 1...Int.max)
        return try await blocking {
            guard let room = try database.room(id: id) else { throw Problem.noSuchRoom(id) }
            let (messages, hasMore) = try database.messages(in: room, before: before, limit: limit)
            return try .json(History(room: room, messages: messages, more: hasMore))
        }
    }

    private func number(_ name: String, of request: Request, _ range: ClosedRange<Int>) throws(Problem) -> Int? {
        guard let text = request.query(name) else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw Problem(
                .badRequest,
                "wrong_parameter",
                "\(name) must be a number from \(range.lowerBound) to \(range.upperBound)."
            )
        }
        return number
    }
}

struct MarketplaceExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "marketplace",
        abstract: "A shop's owner and a visitor talk about a product; SQLite remembers it."
    )

    @OptionGroup var options: WorkerOptions

    @Option(help: ArgumentHelp("The SQLite file; made when it is not there.", valueName: "file"))
    var database: String

    func run() async throws {
        let database = try MarketplaceDatabase(path: database)
        try await options.worker(Marketplace(database: database).router).serve()
    }
}
