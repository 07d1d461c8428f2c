import ArgumentParser
import FanfareWorker

/// What people say: `{"message": "Hello"}`, to the browsers and in the group alike.
struct ChatMessage: Codable {
    let message: String
}

/// One person in one room.
struct Chat: JSONConsumer {
    let room: String

    var group: String { "chat_\(room)" }
    var groups: [String] { [group] }

    static let handlers = Handlers<Chat> {
        $0.broadcast("chat.message", ChatMessage.self)
    }

    func receiveJSON(_ message: ChatMessage, from socket: WebSocket) async throws {
        try await socket.layer.groupSend(message, type: "chat.message", to: group)
    }
}

/// The page, which asks for a room and shows it, and the rooms' WebSockets.
var chatRouter: Router {
    var router = Router()
    router.get("/") { _, _ in .html(PackageResources.chat_html) }
    router.get("/chat/<slug:room>/") { _, _ in .html(PackageResources.chat_html) }
    router.webSocket("/ws/chat/<slug:room>/") { _, context in
        Chat(room: try context.captures.string("room"))
    }
    return router
}

struct ChatExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "The chat of the Channels tutorial."
    )

    @OptionGroup var options: WorkerOptions

    func run() async throws {
        try await options.worker(chatRouter).serve()
    }
}
