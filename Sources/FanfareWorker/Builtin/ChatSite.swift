import HTTPTypes

extension Router {
    /// The chat of the Channels tutorial: `/`, `/chat/<room>/` and `/ws/chat/<room>/`.
    package static var chat: Router {
        var router = Router()
        router.get("/") { _, _ in .html(PackageResources.index_html) }
        router.get("/chat/<str:room>/") { _, context in
            try Room.check(context)
            return .html(PackageResources.room_html)
        }
        // Relative, so that it holds below any root path too.
        router.get("/chat/<str:room>") { _, context in .redirect("\(try Room.check(context))/") }
        router.chat("/ws/chat/<str:room>/")
        return router
    }

    /// Serves the WebSockets of the chat at an address that has a `room`.
    package mutating func chat(_ pattern: PathPattern, name: String = "chat") {
        precondition(pattern.names.contains("room"), "\(pattern) names no room")
        socket(
            pattern,
            SocketRoute(service: { ChatConsumer(name: name) }) { request, context in
                let room = try Room.check(context)
                let wantsHello = request.query("hello") == "1"
                return SocketRoute.Plan(groups: [ChatConsumer.group(room)]) { socket, _ in
                    socket.attachment = ChatConsumer.Seat(room: room, wantsHello: wantsHello)
                }
            }
        )
    }
}

extension Room {
    /// The room an address names.
    ///
    /// - Throws: 404 for a name that is none.
    @discardableResult
    static func check(_ context: Context) throws -> String {
        let room = try context.captures.string("room")
        guard isName(room) else {
            throw Denial(
                .notFound,
                "A room's name has 1 to \(nameBytes) letters, digits, dots, - and _.",
                reason: "no_route"
            )
        }
        return room
    }
}
