public import FanfareClient

/// A consumer whose client speaks JSON.
///
/// Text is decoded as ``Incoming``; what cannot be decoded goes to ``receiveInvalid(_:from:)``.
public protocol JSONConsumer: Consumer {
    /// What the client's messages are decoded as.
    associatedtype Incoming: Decodable & Sendable

    /// Reads and writes the JSON; replace it for other key names or dates.
    static var coding: any JSONCoding { get }

    /// A message of the client.
    func receiveJSON(_ message: Incoming, from socket: WebSocket) async throws

    /// Text of the client that is no JSON, or not an ``Incoming``.
    ///
    /// - Parameters:
    ///   - error: Says what is wrong and where.
    ///   - socket: The client's connection.
    func receiveInvalid(_ error: any Error, from socket: WebSocket) async throws
}

extension JSONConsumer {
    /// The house's own: exact numbers, unknown keys passed over.
    public static var coding: any JSONCoding { .fanfare }

    /// Closes with 1007.
    public func receiveInvalid(_ error: any Error, from socket: WebSocket) async throws {
        socket.close(.invalidPayload, reason: "this is not the JSON that is expected here")
    }

    /// Decodes and passes on to ``receiveJSON(_:from:)``.
    public func receive(text: String, from socket: WebSocket) async throws {
        let message: Incoming
        do {
            message = try Self.coding.decode(Incoming.self, from: text)
        } catch {
            socket.countInvalid()
            return try await receiveInvalid(error, from: socket)
        }
        try await receiveJSON(message, from: socket)
    }

    /// Sends a value as JSON text, written by ``coding``.
    ///
    /// - Throws: What ``coding`` throws; ``SocketClosed`` when the connection has ended.
    public func sendJSON(_ value: some Encodable, to socket: WebSocket) async throws {
        try await socket.sendJSON(value, coding: Self.coding)
    }
}

extension Handlers where C: JSONConsumer {
    /// Sends messages of a type on as JSON, written once by the consumer's ``JSONConsumer/coding``.
    ///
    /// - Parameters:
    ///   - type: The `type` of the messages.
    ///   - message: What the message is decoded as, and what of it the clients get.
    public mutating func broadcast<Message: Codable & SendableMetatype>(_ type: String, _ message: Message.Type) {
        broadcast(type, message) { try .json($0, coding: C.coding) }
    }
}

extension WebSocket {
    /// Sends a value as JSON text.
    ///
    /// - Throws: `EncodingError`; ``SocketClosed`` when the connection has ended.
    public func sendJSON(_ value: some Encodable, coding: any JSONCoding = .fanfare) async throws {
        try await send(try coding.text(value))
    }
}
