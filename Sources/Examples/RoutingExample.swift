import ArgumentParser
import FanfareWorker

/// Answers with what the address names.
struct Visitor: Consumer {
    let shop: String
    let product: Int

    func connect(_ socket: WebSocket) async throws {
        try await socket.send("product \(product) of \(shop)")
    }

    func receive(text: String, from socket: WebSocket) async throws {
        try await socket.send("\(shop) hears: \(text)")
    }
}

/// All of one shop, wherever it is mounted.
var shopRouter: Router {
    var router = Router()
    router.get("/") { _, context in .text("the shop \(try context.captures.string("shop"))") }
    router.get("/products/<int:product>") { _, context in
        .text("product \(try context.captures.int("product")) of \(try context.captures.string("shop"))")
    }
    router.webSocket("/ws/products/<int:product>") { _, context in
        Visitor(shop: try context.captures.string("shop"), product: try context.captures.int("product"))
    }
    return router
}

/// Pages, files, shops and their WebSockets on one port.
var routingRouter: Router {
    var router = Router()
    router.get("/") { _, _ in .text("try /shops/cheese/products/7, /orders/UUID, /hello/anybody and /files/a/b.txt") }
    router.get("/hello/<name>") { _, context in .text("Hello, \(try context.captures.string("name"))!") }
    router.get("/orders/<uuid:order>") { _, context in .text("order \(try context.captures.uuid("order"))") }
    router.get("/files/<path:file>") { _, context in .text("the file \(try context.captures.string("file"))") }
    router.mount("/shops/<slug:shop>", shopRouter)
    return router
}

struct RoutingExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "routing",
        abstract: "Typed captures, a router inside a router, HTTP and WebSockets on one port."
    )

    @OptionGroup var options: WorkerOptions

    func run() async throws {
        try await options.worker(routingRouter).serve()
    }
}
