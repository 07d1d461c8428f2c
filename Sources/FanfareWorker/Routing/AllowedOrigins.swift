import HTTPTypes

/// Says which pages may open the WebSockets of a router, in place of the worker's own policy.
///
/// ```swift
/// router.use(AllowedOrigins(try OriginPolicy(allowing: ["https://shop.example", ".shop.example"])))
/// ```
///
/// A policy that cannot be read stops the program when it is made, so that a mistake never opens the door. A handshake
/// from elsewhere is answered 403 and counted as `origin`.
public struct AllowedOrigins: Middleware {
    private let policy: OriginPolicy

    /// - Parameter policy: For all WebSockets of the router.
    public init(_ policy: OriginPolicy) {
        self.policy = policy
    }

    /// Passes everything on; the policy is applied where the WebSocket would be made.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        var context = context
        context.origins = policy
        return try await next(request, context)
    }
}

/// Takes the client's address, scheme and host from the headers of proxies that are trusted, and from nobody else.
///
/// To be used before everything that looks at ``Request/address``, ``Request/scheme`` or ``Request/host``.
public struct ProxyHeaders: Middleware {
    private let proxies: TrustedProxies

    /// - Parameter proxies: Whose `X-Forwarded-For`, `-Proto` and `-Host` are believed.
    public init(_ proxies: TrustedProxies) {
        self.proxies = proxies
    }

    /// Passes everything on, with what trusted proxies say about the client.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        guard proxies.trusts(request.peer) else { return try await next(request, context) }
        let client = proxies.client(
            peer: request.peer,
            forwardedFor: request.headers[values: .forwardedFor],
            forwardedProto: request.headers[values: .forwardedProto],
            forwardedHost: request.headers[values: .forwardedHost]
        )
        var request = request
        request.address = client.address
        if let scheme = client.scheme { request.scheme = scheme }
        if let host = client.host { request.host = host }
        return try await next(request, context)
    }
}

extension HTTPField.Name {
    static let forwardedFor = HTTPField.Name("X-Forwarded-For")!
    static let forwardedProto = HTTPField.Name("X-Forwarded-Proto")!
    static let forwardedHost = HTTPField.Name("X-Forwarded-Host")!
}
