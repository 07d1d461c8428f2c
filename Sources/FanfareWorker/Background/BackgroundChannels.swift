public import FanfareClient
public import FanfareModel
public import Logging

/// What a ``BackgroundWorker`` is to do with which channel.
public struct BackgroundChannels {
    private(set) var plans: [BackgroundPlan] = []
    private(set) var onError: BackgroundContext.ErrorHook?

    /// Every message of a channel is one type, whatever it has under `type`.
    ///
    /// - Parameters:
    ///   - name: A normal channel. Each may be declared once.
    ///   - concurrency: How many messages are handled at once, 1 to 1 024. With 1 they are handled in the order in
    ///     which this process is handed them.
    ///   - handle: Gets each message. When it throws the message is gone; see ``onError(_:)``.
    public mutating func channel<Message: Decodable & SendableMetatype>(
        _ name: String,
        concurrency: Int = 1,
        handle: @escaping @Sendable (Message, BackgroundContext) async throws -> Void
    ) {
        add(BackgroundPlan(name: name, concurrency: concurrency, routing: .any(BackgroundPlan.handler(handle))))
    }

    /// The messages of a channel are told apart by their `type`.
    ///
    /// - Parameters:
    ///   - name: A normal channel. Each may be declared once.
    ///   - concurrency: As above, over all types together.
    ///   - declare: Names a handler for each type; messages of other types are dropped and counted.
    public mutating func channel(
        _ name: String,
        concurrency: Int = 1,
        types declare: (inout BackgroundTypes) -> Void
    ) {
        var types = BackgroundTypes()
        declare(&types)
        add(BackgroundPlan(name: name, concurrency: concurrency, routing: .byType(types.handlers)))
    }

    /// Calls `hook` for each message that was lost to an error, with the error: what a handler threw, a
    /// `DecodingError`, or ``UnknownMessageType``. It may send `context.message` elsewhere; it is part of handling the
    /// message, so the next one waits for it.
    public mutating func onError(_ hook: @escaping @Sendable (BackgroundContext, any Error) async -> Void) {
        onError = hook
    }

    private mutating func add(_ plan: BackgroundPlan) {
        precondition(!plans.contains { $0.name == plan.name }, "channel \"\(plan.name)\" is declared twice")
        precondition((1...1_024).contains(plan.concurrency), "a concurrency of \(plan.concurrency); 1 to 1 024 can be")
        plans.append(plan)
    }
}

/// The handlers of one channel by the `type` of its messages.
public struct BackgroundTypes {
    fileprivate(set) var handlers: [String: BackgroundPlan.Handler] = [:]

    /// Gives messages of a type to a handler.
    ///
    /// - Parameters:
    ///   - type: What messages have under `type`; `.` and `_` are the same here, as they are in Django Channels, where
    ///     `mail.send` calls the method `mail_send`. Each may be named once.
    ///   - message: What they are read as.
    ///   - handle: As in ``BackgroundChannels/channel(_:concurrency:handle:)``.
    public mutating func on<Message: Decodable & SendableMetatype>(
        _ type: String,
        _ message: Message.Type = Message.self,
        _ handle: @escaping @Sendable (Message, BackgroundContext) async throws -> Void
    ) {
        let before = handlers.updateValue(BackgroundPlan.handler(handle), forKey: BackgroundPlan.normalised(type))
        precondition(before == nil, "the message type \"\(type)\" is declared twice")
    }
}

/// What a background handler knows besides its message.
public struct BackgroundContext: Sendable {
    typealias ErrorHook = @Sendable (BackgroundContext, any Error) async -> Void

    /// The channel the message was taken from.
    public let channel: String
    /// The message as it was sent.
    public let message: [String: MessageValue]
    /// Where the worker takes its messages; for sending others.
    public let layer: ChannelLayer
    /// The worker's, with the channel in its metadata.
    public let logger: Logger
}

/// A message whose `type` no handler was declared for.
public struct UnknownMessageType: Error, Sendable, Equatable, CustomStringConvertible {
    /// What the message has under `type`; `nil` when that is no text.
    public let type: String?

    /// What happened, for people.
    public var description: String {
        guard let type else { return "the message has no text under \"type\"" }
        return "no handler is declared for messages of type \"\(type.prefix(64))\""
    }
}

/// One channel of a worker as it was declared.
struct BackgroundPlan: Sendable {
    typealias Handler = @Sendable (BackgroundContext) async throws -> Void

    enum Routing: Sendable {
        case any(Handler)
        case byType([String: Handler])
    }

    /// A message that never reached its handler.
    struct Unreadable: Error {
        let reason: any Error
    }

    let name: String
    let concurrency: Int
    let routing: Routing

    /// - Throws: ``Unreadable``; what the handler throws.
    func handle(_ context: BackgroundContext) async throws {
        switch routing {
        case .any(let handler): try await handler(context)
        case .byType(let handlers):
            let type = context.message["type"]?.string
            guard let type, let handler = handlers[Self.normalised(type)] else {
                throw Unreadable(reason: UnknownMessageType(type: type))
            }
            try await handler(context)
        }
    }

    static func handler<Message: Decodable & SendableMetatype>(
        _ handle: @escaping @Sendable (Message, BackgroundContext) async throws -> Void
    ) -> Handler {
        { context in
            let message: Message
            do {
                message = try MessageDecoder().decode(Message.self, fromMessage: context.message)
            } catch {
                throw Unreadable(reason: error)
            }
            try await handle(message, context)
        }
    }

    /// A type as handlers are found by.
    static func normalised(_ type: String) -> String {
        let (dot, underscore) = (UInt8(ascii: "."), UInt8(ascii: "_"))
        return String(decoding: type.utf8.map { $0 == dot ? underscore : $0 }, as: UTF8.self)
    }
}
