public import Logging

/// What is known of a request beside the request itself: who asks, what its address names, the way to the channel layer.
///
/// Middleware adds to it; consumers and handlers read it. A WebSocket keeps it for its whole life.
public struct Context: Sendable {
    /// The named parts of the address.
    public internal(set) var captures = Captures()
    /// Who asks, once an authentication has said so. When it expires, a live WebSocket is closed with 3000.
    public var identity: Identity?
    /// Sends to channels and groups over this worker's link.
    public let layer: WorkerLayer
    /// For what a handler has to say.
    public let logger: Logger
    /// Which pages may open WebSockets at this address; see ``AllowedOrigins``.
    var origins: OriginPolicy
    /// What is to be held as long as the WebSocket lives, and given back with it.
    var leases: [any Sendable & AnyObject] = []
    /// What a client that offered subprotocols gets back when the consumer chooses none.
    var subprotocol: String?
    /// The WebSocket that is to be made of this request.
    let ticket: Ticket?
    private var values: [ObjectIdentifier: any Sendable] = [:]

    init(layer: WorkerLayer, logger: Logger, origins: OriginPolicy, ticket: Ticket?) {
        self.layer = layer
        self.logger = logger
        self.origins = origins
        self.ticket = ticket
    }

    /// A value that middleware of your own hands on.
    public subscript<Key: ContextKey>(key: Key.Type) -> Key.Value? {
        get { values[ObjectIdentifier(key)] as? Key.Value }
        set { values[ObjectIdentifier(key)] = newValue }
    }
}

/// Names a value in a ``Context``: `enum ShopKey: ContextKey { typealias Value = Shop }`.
public protocol ContextKey {
    associatedtype Value: Sendable
}
