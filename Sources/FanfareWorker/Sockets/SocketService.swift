import FanfareClient
import FanfareModel

/// What a message of the channel layer becomes for the sockets it is for.
enum Rendering {
    /// Frames were appended, the same for all of them; or nothing, and nothing is to be sent.
    case frames
    /// ``SocketService/handle(_:for:)`` is to be called for each of them.
    case each
    /// Nobody knows such messages; nothing was appended.
    case unknown
}

/// What a route does with its sockets. One instance serves all of them; every call is on the worker's loop and returns
/// at once.
protocol SocketService: AnyObject {
    /// Shown in the broker's listings.
    var name: String { get }

    /// The handshake is through and the groups are joined.
    func opened(_ socket: Socket)

    /// One text message of a client; order kept.
    func received(text: String, from socket: Socket)

    /// One binary message of a client; order kept.
    func received(binary: [UInt8], from socket: Socket)

    /// Writes a message of a group or channel as frames, once for all the sockets that get it.
    ///
    /// - Parameters:
    ///   - message: As it was sent, from anybody.
    ///   - frames: Append to it.
    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering

    /// Takes a message for which ``render(_:into:)`` said `each`.
    ///
    /// - Parameters:
    ///   - arrival: Where it came from, when there is a tracer.
    ///   - taken: Called when the socket's code begins with it.
    /// - Returns: Whether there was room for it.
    func handle(
        _ message: MessageValue,
        for socket: Socket,
        from arrival: MessageTracing.Arrival?,
        taken: (() -> Void)?
    ) -> Bool

    /// A socket did not get messages that were for it, told at their place in its order.
    func missed(_ missed: Missed, _ socket: Socket)

    /// An accepted socket has ended.
    ///
    /// - Parameter done: The socket leaves its groups when it is called.
    func closed(_ socket: Socket, _ code: CloseCode, reason: String, done: @escaping () -> Void)

    /// Whether code of the socket's runs or is about to.
    func isBusy(_ socket: Socket) -> Bool

    /// Whatever still runs for a closed socket has run too long.
    func cancel(_ socket: Socket)
}

extension SocketService {
    func opened(_ socket: Socket) {}

    func handle(
        _ message: MessageValue,
        for socket: Socket,
        from arrival: MessageTracing.Arrival?,
        taken: (() -> Void)?
    ) -> Bool { false }

    func missed(_ missed: Missed, _ socket: Socket) {}

    func closed(_ socket: Socket, _ code: CloseCode, reason: String, done: @escaping () -> Void) { done() }

    func isBusy(_ socket: Socket) -> Bool { false }

    func cancel(_ socket: Socket) {}
}

/// A WebSocket route: what is decided before a connection is accepted, and what serves it afterwards.
struct SocketRoute: Sendable {
    /// What a connection is to be, before there is a socket.
    struct Plan: Sendable {
        var groups: [String] = []
        /// Handed to the service with the socket, on the loop.
        var attach: (@Sendable (Socket, WebSocket) -> Void)?
        /// Runs between the joining of the groups and the acceptance.
        var connect: (@Sendable (WebSocket) async throws -> Void)?
    }

    /// Tells two routes apart.
    let id: RouteID
    /// Made once per worker, on its loop.
    let service: @Sendable () -> any SocketService
    let plan: @Sendable (Request, Context) async throws -> Plan

    init(
        service: @escaping @Sendable () -> any SocketService,
        plan: @escaping @Sendable (Request, Context) async throws -> Plan
    ) {
        id = RouteID()
        self.service = service
        self.plan = plan
    }
}

/// The identity of a route.
final class RouteID: Sendable, Hashable {
    static func == (left: RouteID, right: RouteID) -> Bool { left === right }
    func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
