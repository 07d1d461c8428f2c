public import HTTPTypes

/// Which address is answered by what: WebSockets by consumers, HTTP requests by handlers, on one port.
///
/// ```swift
/// var router = Router()
/// router.use(AllowedOrigins(try OriginPolicy(allowing: [".shop.example"])))
/// router.webSocket("/ws/room/<int:room_id>/messages") { request, context in
///     RoomConsumer(room: try context.captures.int("room_id"))
/// }
/// router.get("/rooms") { request, context in try Response.json(rooms) }
/// ```
///
/// Routes are tried in the order they were added; the first that matches answers. What matches none is answered 404,
/// 404 with the reason when only the type of a capture differs, 405 for another method, 426 for a WebSocket's address
/// without a handshake.
public struct Router: Sendable {
    /// Answers an HTTP request.
    public typealias Handler = @Sendable (Request, Context) async throws -> Response

    enum Target: Sendable {
        case http(HTTPRequest.Method, Handler)
        case socket(SocketRoute)
        case router(Router)
    }

    struct Entry: Sendable {
        let pattern: PathPattern
        var target: Target
    }

    private(set) var entries: [Entry] = []
    private(set) var middleware: [any Middleware] = []

    /// A router without routes.
    public init() {}

    /// Adds middleware in front of all of this router's routes, those added before included.
    ///
    /// The first one added sees requests first and answers last.
    public mutating func use(_ added: some Middleware) {
        middleware.append(added)
    }

    /// Puts all routes of another router, with its middleware, below an address.
    ///
    /// - Parameters:
    ///   - prefix: Such as `/shop/<slug:shop>`; `/` for none. Its captures are those of the routes too.
    ///   - router: A copy of it is taken.
    public mutating func mount(_ prefix: PathPattern, _ router: Router) {
        entries.append(Entry(pattern: prefix.prefix, target: .router(router)))
    }

    /// Adds all routes of another router, with its middleware, at the addresses they have there.
    public mutating func include(_ router: Router) {
        entries.append(Entry(pattern: .nothing, target: .router(router)))
    }

    /// Answers an address for one method. `GET` answers `HEAD` too.
    public mutating func on(_ method: HTTPRequest.Method, _ pattern: PathPattern, _ handler: @escaping Handler) {
        entries.append(Entry(pattern: pattern, target: .http(method, handler)))
    }

    /// Answers `GET` and `HEAD`.
    public mutating func get(_ pattern: PathPattern, _ handler: @escaping Handler) { on(.get, pattern, handler) }
    /// Answers `POST`.
    public mutating func post(_ pattern: PathPattern, _ handler: @escaping Handler) { on(.post, pattern, handler) }
    /// Answers `PUT`.
    public mutating func put(_ pattern: PathPattern, _ handler: @escaping Handler) { on(.put, pattern, handler) }
    /// Answers `PATCH`.
    public mutating func patch(_ pattern: PathPattern, _ handler: @escaping Handler) { on(.patch, pattern, handler) }
    /// Answers `DELETE`.
    public mutating func delete(_ pattern: PathPattern, _ handler: @escaping Handler) { on(.delete, pattern, handler) }

    /// Serves WebSockets at an address, each by a consumer of its own.
    ///
    /// - Parameters:
    ///   - pattern: The address.
    ///   - name: What listings call these consumers; the type's name when left out.
    ///   - make: Makes the consumer of one connection before it is accepted; may throw ``Denial``.
    public mutating func webSocket<C: Consumer>(
        _ pattern: PathPattern,
        name: String? = nil,
        _ make: @escaping @Sendable (Request, Context) async throws -> C
    ) {
        socket(pattern, .hosting(name ?? String(describing: C.self), make))
    }

    mutating func socket(_ pattern: PathPattern, _ route: SocketRoute) {
        entries.append(Entry(pattern: pattern, target: .socket(route)))
    }

    /// Every WebSocket route, those of nested routers included, in order, with its whole pattern.
    var socketRoutes: [(pattern: String, route: SocketRoute)] {
        entries.flatMap { entry -> [(pattern: String, route: SocketRoute)] in
            switch entry.target {
            case .socket(let route): [(entry.pattern.description, route)]
            case .router(let router): router.socketRoutes.map { (entry.pattern.joined(with: $0.pattern), $0.route) }
            case .http: []
            }
        }
    }

    // MARK: Finding

    /// What answers a request.
    enum Found: Sendable {
        case http(Handler, Captures, [any Middleware])
        case socket(SocketRoute, Captures, [any Middleware])
        case refused(Denial)
    }

    /// Finds the route of a request. Middleware is not asked yet: what has no route reaches none.
    func find(_ request: Request) -> Found {
        guard request.path.first == "/" else {
            return .refused(Denial(.badRequest, "The address must begin with a slash.", reason: "bad_request"))
        }
        var segments: [String] = []
        for part in request.path.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard let segment = PercentEncoding.decode(part) else {
                return .refused(
                    Denial(.badRequest, "The address is not valid percent-encoding.", reason: "bad_request")
                )
            }
            segments.append(segment)
        }
        var search = Search(method: request.method, wantsSocket: request.isWebSocket)
        search.run(self, segments[...], Captures(), [])
        return search.result
    }
}

/// One walk through a router and those inside it: remembers the best reason to refuse until something answers.
private struct Search {
    let method: HTTPRequest.Method
    let wantsSocket: Bool
    private var found: Router.Found?
    private var methods: [HTTPRequest.Method] = []
    private var hasPage = false
    private var hasSocket = false
    private var complaint: String?

    init(method: HTTPRequest.Method, wantsSocket: Bool) {
        self.method = method
        self.wantsSocket = wantsSocket
    }

    mutating func run(
        _ router: Router,
        _ path: ArraySlice<String>,
        _ captures: Captures,
        _ outer: [any Middleware]
    ) {
        let middleware = outer + router.middleware
        for entry in router.entries where found == nil {
            switch (entry.pattern.match(path, captures), entry.target) {
            case (.begins(let captures, let rest), .router(let inner)): run(inner, rest, captures, middleware)
            case (.matches(let captures), .http(let method, let handler)):
                take(method, .http(handler, captures, middleware))
            case (.matches(let captures), .socket(let route)):
                hasSocket = true
                if wantsSocket { found = .socket(route, captures, middleware) }
            case (.wrongType(let text), _): complaint = complaint ?? text
            default: break
            }
        }
    }

    private mutating func take(_ offered: HTTPRequest.Method, _ answer: Router.Found) {
        hasPage = true
        guard !wantsSocket else { return }
        if offered == method || (offered == .get && method == .head) {
            found = answer
        } else {
            methods += offered == .get ? [.get, .head] : [offered]
        }
    }

    var result: Router.Found {
        if let found { return found }
        if hasSocket {
            guard method == .get else { return refusal(methods + [.get], "A WebSocket begins with GET.") }
            let response = Response.text(
                .upgradeRequired,
                "This address speaks WebSocket.",
                headers: [.upgrade: "websocket"]
            )
            return .refused(Denial(response, reason: "no_handshake"))
        }
        if wantsSocket, hasPage {
            return .refused(Denial(.notFound, "There is no WebSocket at this address.", reason: "no_route"))
        }
        if hasPage { return refusal(methods, "This address cannot be used in this way.") }
        let text = complaint.map { "There is nothing at this address: \($0)." } ?? "There is nothing at this address."
        return .refused(Denial(.notFound, text, reason: "no_route"))
    }

    private func refusal(_ methods: [HTTPRequest.Method], _ text: String) -> Router.Found {
        let allow = Set(methods.map(\.rawValue)).sorted().joined(separator: ", ")
        return .refused(Denial(.text(.methodNotAllowed, text, headers: [.allow: allow]), reason: "wrong_method"))
    }
}

/// A request's way through middleware.
struct MiddlewareChain: Sendable {
    let middleware: ArraySlice<any Middleware>
    let end: Next

    func callAsFunction(_ request: Request, _ context: Context) async throws -> Response {
        guard let first = middleware.first else { return try await end(request, context) }
        let rest = MiddlewareChain(middleware: middleware.dropFirst(), end: end)
        return try await first.handle(request, context) { try await rest($0, $1) }
    }
}
