import HTTPTypes

/// Where a client's token is looked for.
public enum TokenSource: Sendable, Hashable {
    /// `Authorization: Bearer TOKEN`; browsers cannot send it with a WebSocket.
    case bearer
    /// A parameter of the query: `/ws/chat/lobby/?token=…`. It may end up in the logs of proxies.
    case query(String)
    /// A subprotocol `token.TOKEN`, or `token64.` and the token in base64url, for tokens with characters that a
    /// subprotocol may not have: `new WebSocket(url, ["chat", "token." + token])`.
    case subprotocol
    /// A cookie.
    case cookie(String)

    /// What stands in front of a token that is a subprotocol.
    static let subprotocolPrefix = "token."
    static let subprotocolPrefixBase64 = "token64."

    func token(of request: Request) -> String? {
        switch self {
        case .bearer:
            guard let field = request.headers[.authorization], field.lowercased().hasPrefix("bearer ") else {
                return nil
            }
            return String(field.dropFirst("bearer ".count)[...].trimmed)
        case .query(let name): return request.query(name)
        case .cookie(let name): return request.cookie(name)
        case .subprotocol:
            for offered in request.subprotocols {
                if offered.hasPrefix(Self.subprotocolPrefix) {
                    return String(offered.dropFirst(Self.subprotocolPrefix.count))
                }
                if offered.hasPrefix(Self.subprotocolPrefixBase64) {
                    let encoded = offered.dropFirst(Self.subprotocolPrefixBase64.count)
                    return Base64URL.decode(encoded.utf8).flatMap { String(validating: $0, as: UTF8.self) }
                }
            }
            return nil
        }
    }

    static func isToken(_ subprotocol: String) -> Bool {
        subprotocol.hasPrefix(subprotocolPrefix) || subprotocol.hasPrefix(subprotocolPrefixBase64)
    }
}

/// Lets in whoever has a valid token: a JWT with ``JWTVerifier``, a signed expiring token with ``TokenSigner``.
///
/// The identity is in ``Context/identity``. When it expires, WebSockets opened with it are closed with 3000. A token
/// that is not valid is answered 401 and counted by what is wrong with it, such as `token_expired`.
public struct TokenAuthentication: Middleware {
    private let verifier: any TokenVerifier
    private let sources: [TokenSource]
    private let isRequired: Bool

    /// - Parameters:
    ///   - verifier: ``JWTVerifier`` or ``TokenSigner``.
    ///   - sources: Looked at in this order; the first that has a token decides.
    ///   - isRequired: Whether requests without any token are refused, too.
    public init(_ verifier: any TokenVerifier, from sources: [TokenSource], isRequired: Bool = true) {
        self.verifier = verifier
        self.sources = sources
        self.isRequired = isRequired
    }

    /// Passes on who has a valid token, or none where none is needed.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        guard let token = sources.lazy.compactMap({ $0.token(of: request) }).first else {
            guard isRequired else { return try await next(request, context) }
            throw Unauthorized.denial("A token is needed here.", reason: "token_missing")
        }
        var context = context
        do throws(TokenFailure) {
            context.identity = try verifier.verify(token)
        } catch {
            throw Unauthorized.denial("The token is not valid.", reason: "token_\(error.reason)")
        }
        // A browser that offered subprotocols wants one of them back, and the token's own only for want of another.
        if sources.contains(.subprotocol) {
            let offered = request.subprotocols
            context.subprotocol = offered.first { !TokenSource.isToken($0) } ?? offered.first
        }
        return try await next(request, context)
    }
}

/// Lets in whoever has a cookie that code of your own recognises, such as a session of the website.
///
/// ```swift
/// router.use(CookieAuthentication("sessionid") { value, _ in
///     try await blocking { try sessions.user(of: value) }
/// })
/// ```
public struct CookieAuthentication: Middleware {
    private let name: String
    private let isRequired: Bool
    private let identify: @Sendable (String, Request) async throws -> Identity?

    /// - Parameters:
    ///   - name: The cookie's.
    ///   - isRequired: Whether requests without the cookie, or with one nobody recognises, are refused.
    ///   - identify: Says whose cookie it is; `nil` for nobody's. It gets whatever the client sent.
    public init(
        _ name: String,
        isRequired: Bool = true,
        identify: @escaping @Sendable (_ value: String, Request) async throws -> Identity?
    ) {
        self.name = name
        self.isRequired = isRequired
        self.identify = identify
    }

    /// Passes on whom `identify` knows, or everybody where nobody need be known.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        var context = context
        if let value = request.cookie(name) { context.identity = try await identify(value, request) }
        guard context.identity != nil || !isRequired else {
            throw Unauthorized.denial("You are not logged in.", reason: "not_logged_in")
        }
        return try await next(request, context)
    }
}

/// 401 of RFC 9110, section 15.5.2.
private enum Unauthorized {
    static func denial(_ line: String, reason: String) -> Denial {
        Denial(.text(.unauthorized, line, headers: [.wwwAuthenticate: "Bearer"]), reason: reason)
    }
}
