public import FanfareClient

/// The code behind one WebSocket connection.
///
/// One value per connection. A struct when it has nothing to remember, an actor when it has:
///
/// ```swift
/// struct Chat: Consumer {
///     let room: String
///     var groups: [String] { ["chat_\(room)"] }
///
///     static let handlers = Handlers<Chat> {
///         $0.broadcast("chat.message", ChatMessage.self) { try .json($0) }
///     }
///
///     func receive(text: String, from socket: WebSocket) async throws {
///         try await socket.layer.groupSend(ChatMessage(message: text), type: "chat.message", to: "chat_\(room)")
///     }
/// }
/// ```
///
/// In time: ``groups`` are joined, ``connect(_:)`` runs, the connection is accepted, then messages of the client and of
/// the channel layer are handled in the order they came, one at a time unless ``options-swift.type.property`` says
/// otherwise, then ``disconnect(_:reason:from:)`` runs, then the groups are left. A handler that throws closes the connection with
/// 1011 and is counted; the others do not notice. Handlers run on Swift's own threads; code that blocks belongs into
/// ``blocking(_:)``. Source: Django Channels, consumers.
public protocol Consumer: Sendable {
    /// Groups the connection is in from before ``connect(_:)`` until after ``disconnect(_:reason:from:)``.
    var groups: [String] { get }

    /// What happens with messages of channels and groups, by their `type`.
    static var handlers: Handlers<Self> { get }

    /// How connections of this kind are served.
    static var options: ConsumerOptions { get }

    /// A client asks for the connection; its groups are joined.
    ///
    /// Returning accepts it. ``WebSocket/accept(subprotocol:headers:)`` accepts it earlier or with a subprotocol and
    /// headers. What is sent before leaves right after the acceptance.
    ///
    /// - Parameter socket: The connection: who asks, what the address names, the way to it.
    /// - Throws: ``Denial`` to refuse with a status and a body. Every other error is answered 500.
    func connect(_ socket: WebSocket) async throws

    /// A text message of the client, empty ones included.
    func receive(text: String, from socket: WebSocket) async throws

    /// A binary message of the client, empty ones included.
    func receive(binary: [UInt8], from socket: WebSocket) async throws

    /// Messages of channels or groups that were for this connection did not reach it: told at their place in its order,
    /// once for each hole. A link to the broker that breaks and comes back in time leaves none.
    ///
    /// - Parameters:
    ///   - missed: How many, if that is known, and why: `reconnected` when the broker had forgotten everything.
    ///   - socket: The connection.
    func missed(_ missed: Missed, from socket: WebSocket) async throws

    /// An accepted connection has ended, whoever ended it; nothing can be sent to it any more.
    ///
    /// - Parameters:
    ///   - code: That of the close frame that came or went first; `abnormal` when the connection broke.
    ///   - reason: The client's, when it closed.
    ///   - socket: The connection that was.
    func disconnect(_ code: CloseCode, reason: String, from socket: WebSocket) async throws
}

extension Consumer {
    /// None.
    public var groups: [String] { [] }
    /// None: messages from channels and groups are counted as unknown and dropped.
    public static var handlers: Handlers<Self> { Handlers() }
    /// The documented defaults.
    public static var options: ConsumerOptions { ConsumerOptions() }
    /// Accepts.
    public func connect(_ socket: WebSocket) async throws {}
    /// Closes with 1003: this consumer takes no text.
    public func receive(text: String, from socket: WebSocket) async throws {
        socket.close(.unsupportedData, reason: "text is not taken here")
    }
    /// Closes with 1003: this consumer takes no bytes.
    public func receive(binary: [UInt8], from socket: WebSocket) async throws {
        socket.close(.unsupportedData, reason: "binary is not taken here")
    }
    /// Does nothing.
    public func missed(_ missed: Missed, from socket: WebSocket) async throws {}
    /// Does nothing.
    public func disconnect(_ code: CloseCode, reason: String, from socket: WebSocket) async throws {}
}

/// How connections of one kind of consumer are served.
public struct ConsumerOptions: Sendable {
    /// Handlers of one connection that may run at once. With 1, the default, they keep the order of events.
    public var concurrentHandlers = 1
    /// Messages of channels and groups that may wait for the handlers of one connection. More are dropped, counted and
    /// reported to the broker as `full`.
    public var waitingMessages = 100
    /// Messages of the client that may wait for handlers, or as many bytes as one message may have; beyond, the client
    /// is not read until they have caught up.
    public var waitingFrames = 32
    /// Messages a client may send; one more closes with 1008. No limit by default.
    public var messageRate: RateLimit?

    /// The documented defaults.
    public init() {}
}

/// One message to a client.
public enum Frame: Sendable, Equatable {
    case text(String)
    case binary([UInt8])

    /// A value as JSON text.
    ///
    /// - Throws: `EncodingError` for a value that has no JSON.
    public static func json(_ value: some Encodable, coding: any JSONCoding = .fanfare) throws -> Frame {
        .text(try coding.text(value))
    }

    /// Appends it as a WebSocket frame.
    func append(to frames: inout [UInt8]) {
        switch self {
        case .text(let text):
            var text = text
            text.withUTF8 { ServerFrame.append(.text, $0, to: &frames) }
        case .binary(let bytes): ServerFrame.append(.binary, bytes, to: &frames)
        }
    }
}
