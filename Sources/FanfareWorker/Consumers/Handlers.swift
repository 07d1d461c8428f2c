import FanfareClient
import FanfareModel

/// What a consumer does with messages of channels and groups, by the message's `type`.
///
/// `chat.message` and `chat_message` are the same type, as they meet the same method in Channels. A type is handled in
/// one of two ways: ``broadcast(_:_:_:)`` makes one frame for all connections of the worker, which is fast however
/// many there are; ``on(_:_:_:)`` runs code for each connection.
public struct Handlers<C: Consumer>: Sendable {
    /// What a message becomes for each connection.
    typealias Task = @Sendable (C, WebSocket) async throws -> Void

    enum Kind: Sendable {
        case broadcast(@Sendable (MessageValue) throws -> Frame?)
        case each(@Sendable (MessageValue) throws -> Task)
    }

    private(set) var kinds: [String: Kind] = [:]

    /// - Parameter build: Adds the handlers.
    public init(_ build: (inout Handlers) -> Void = { _ in }) {
        build(&self)
    }

    /// Turns messages of a type into one frame, made once and sent to every connection they are for.
    ///
    /// - Parameters:
    ///   - type: The `type` of the messages.
    ///   - message: What the message is decoded as; its `type` is one of the keys.
    ///   - render: Runs on the worker's event loop: quick, without side effects. `nil` sends nothing.
    public mutating func broadcast<Message: Decodable & SendableMetatype>(
        _ type: String,
        _ message: Message.Type,
        _ render: @escaping @Sendable (Message) throws -> Frame?
    ) {
        add(type, .broadcast { try render(try MessageDecoder().decode(Message.self, from: $0)) })
    }

    /// Runs code for each connection a message of a type is for, in order with its other events.
    ///
    /// - Parameters:
    ///   - type: The `type` of the messages.
    ///   - message: What the message is decoded as, once for all connections.
    ///   - handle: With the connection's consumer; on Swift's own threads.
    public mutating func on<Message: Decodable & Sendable>(
        _ type: String,
        _ message: Message.Type,
        _ handle: @escaping @Sendable (C, Message, WebSocket) async throws -> Void
    ) {
        add(
            type,
            .each { value in
                let message = try MessageDecoder().decode(Message.self, from: value)
                return { try await handle($0, message, $1) }
            }
        )
    }

    private mutating func add(_ type: String, _ kind: Kind) {
        let known = kinds.updateValue(kind, forKey: MessageType.normalized(type))
        precondition(known == nil, "\(C.self) handles messages of type \(type) twice")
    }

    /// How a message is handled, by its `type`; `nil` for a type nobody handles and for a message without one.
    func kind(of message: MessageValue) -> Kind? {
        guard let type = message["type"]?.string else { return nil }
        return kinds[type] ?? kinds[MessageType.normalized(type)]
    }
}

/// The `type` of messages, by which handlers are found.
enum MessageType {
    /// `chat_message` for `chat.message`, as Channels names the method.
    static func normalized(_ type: String) -> String {
        String(type.map { $0 == "." ? "_" : $0 })
    }
}
