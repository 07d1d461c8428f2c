import ArgumentParser
import FanfareClient
import FanfareWorker
import FoundationEssentials

/// What a client orders: `{"product_id": 7, "unit_price": 2.5, "ordered_at": "2026-01-31T12:00:00Z"}`.
struct Order: Codable {
    let productId: Int
    let unitPrice: Double
    let orderedAt: Date
}

/// Reads and writes JSON as a web shop in another language does: keys in snake_case, dates in ISO 8601.
struct OrderConsumer: JSONConsumer {
    struct Receipt: Encodable {
        let productId: Int
        let totalPrice: Double
        let payBefore: Date
    }

    static let coding: any JSONCoding = {
        let (encoder, decoder) = (JSONEncoder(), JSONDecoder())
        encoder.keyEncodingStrategy = .convertToSnakeCase
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = .sortedKeys
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.dateDecodingStrategy = .iso8601
        return .foundation(encoder, decoder)
    }()

    func receiveJSON(_ order: Order, from socket: WebSocket) async throws {
        let receipt = Receipt(
            productId: order.productId,
            totalPrice: order.unitPrice * 1.2,
            payBefore: order.orderedAt.addingTimeInterval(14 * 86_400)
        )
        try await sendJSON(receipt, to: socket)
    }

    func receiveInvalid(_ error: any Error, from socket: WebSocket) async throws {
        try await sendJSON(["error": "send product_id, unit_price and ordered_at"], to: socket)
    }
}

struct JSONExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "json",
        abstract: "Typed JSON with keys in snake_case: send an order to /ws/orders/."
    )

    @OptionGroup var options: WorkerOptions

    func run() async throws {
        var router = Router()
        router.webSocket("/ws/orders/") { _, _ in OrderConsumer() }
        try await options.worker(router).serve()
    }
}
