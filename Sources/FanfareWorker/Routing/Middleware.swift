/// The rest of the way: the middleware after this one, and at the end the route.
public typealias Next = @Sendable (Request, Context) async throws -> Response

/// Something every request of a router passes on its way to its route, and every answer on its way back.
///
/// One shape for HTTP and WebSockets: for a WebSocket the answer is that of its handshake, 101 when it was accepted.
///
/// ```swift
/// struct Maintenance: Middleware {
///     func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
///         guard !isOn else { throw Denial(.serviceUnavailable, "Back in ten minutes.", reason: "maintenance") }
///         return try await next(request, context)
///     }
/// }
/// ```
///
/// Runs on Swift's own threads, never on an event loop; code that blocks belongs into ``blocking(_:)``.
public protocol Middleware: Sendable {
    /// Answers, or passes on to `next`, changed or not.
    ///
    /// - Throws: ``Denial`` to refuse with a status; everything else is answered 500 and counted.
    func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response
}

/// A middleware as a closure.
public struct MiddlewareClosure: Middleware {
    private let body: @Sendable (Request, Context, Next) async throws -> Response

    /// - Parameter body: As ``Middleware/handle(_:_:next:)``.
    public init(_ body: @escaping @Sendable (Request, Context, Next) async throws -> Response) {
        self.body = body
    }

    /// Calls the closure.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        try await body(request, context, next)
    }
}
