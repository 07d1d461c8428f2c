import FanfareModel
import FanfareOps
import FanfareWorker

/// What a worker serves and to whom, understood and checked, before any file of secrets or keys is read.
struct SitePlan: Sendable {
    private(set) var routes: [RoutePlan] = []
    let hasChat: Bool
    let hasEcho: Bool
    /// Which pages may open WebSockets where no route says otherwise.
    let origins: OriginPolicy
    let tokens: TokenPlan?
    let jwt: JWTPlan?
    private let rootPath: PathPattern?
    private let proxies: TrustedProxies?
    private let requestRate: RateLimit?
    private let connectionsPerAddress: Int?

    private static let echoPath: PathPattern = "/ws/echo/"
    private static let chatPath = "/ws/chat/<str:room>/"

    /// - Parameters:
    ///   - settings: Settled settings.
    ///   - environment: Where a secret may be.
    /// - Throws: `ProgramFailure(.configuration)` with the line of what is wrong.
    init(_ settings: Settings<WorkerValues>, environment: [String: String]) throws(ProgramFailure) {
        let values = settings.values
        hasChat = values.hasChat ?? values.routes.isEmpty
        hasEcho = values.hasEcho
        connectionsPerAddress = values.connectionsPerAddress
        origins =
            try settings.checked("origins") { () throws(InvalidSetting) in
                try OriginSettings.policy(
                    settings.origins["origins"] == nil ? nil : values.origins,
                    missing: values.originMissing
                )
            } ?? .sameOrigin
        proxies = try settings.checked("trusted_proxies") { () throws(InvalidSetting) in
            values.trustedProxies.isEmpty ? nil : try TrustedProxies(values.trustedProxies)
        }
        requestRate = try settings.checked("request_rate") { () throws(InvalidSetting) in
            try values.requestRate?.limit
        }
        rootPath = try settings.locating("root_path") { () throws(ProgramFailure) in
            try values.rootPath.map(Self.rootPath)
        }
        tokens = try TokenPlan(settings, environment: environment)
        jwt = try JWTPlan(settings)
        for record in values.routes { try add(RoutePlan(record)) }
        guard hasChat || hasEcho || !routes.isEmpty else {
            throw settings.failure("routes", "nothing is served: give routes, or --chat or --echo")
        }
    }

    private mutating func add(_ route: RoutePlan) throws(ProgramFailure) {
        var taken = routes.map(\.shape)
        if hasEcho { taken.append(Self.echoPath.description) }
        if hasChat { taken.append("/ws/chat/<str>/") }
        guard !taken.contains(route.shape) else {
            throw route.failure("path", "the path \(route.path) is taken; each address has one consumer")
        }
        switch route.auth {
        case .token where tokens == nil:
            throw route.failure(
                "auth",
                "auth: token needs a secret: tokens.secret_file or $\(TokenPlan.secretVariable)"
            )
        case .jwt where jwt == nil: throw route.failure("auth", "auth: jwt needs keys: jwt.key_files")
        default: routes.append(route)
        }
    }

    private static func rootPath(_ text: String) throws(ProgramFailure) -> PathPattern {
        guard let pattern = try? PathPattern(text), pattern.names.isEmpty, !text.hasSuffix("/") else {
            throw ProgramFailure(
                .configuration,
                "root_path \"\(text)\" must begin with / and not end with it, and have no <names>, such as /live"
            )
        }
        return pattern
    }

    /// Everything as one router.
    ///
    /// - Parameter credentials: What was read for ``tokens`` and ``jwt``.
    func router(_ credentials: Credentials) -> Router {
        var site = Router()
        for route in routes { site.include(authenticated(route, credentials)) }
        if hasEcho { site.echo(Self.echoPath) }
        if hasChat { site.include(.chat) }
        var router = Router()
        if let proxies { router.use(ProxyHeaders(proxies)) }
        if let requestRate { router.use(RequestRate(requestRate)) }
        if let connectionsPerAddress { router.use(ConnectionLimit(perAddress: connectionsPerAddress)) }
        if let rootPath { router.mount(rootPath, site) } else { router.include(site) }
        return router
    }

    private func authenticated(_ route: RoutePlan, _ credentials: Credentials) -> Router {
        let (verifier, sources): ((any TokenVerifier)?, [TokenSource]?) =
            switch route.auth {
            case .none: (nil, nil)
            case .token: (credentials.tokens, tokens?.sources)
            case .jwt: (credentials.jwt, jwt?.sources)
            }
        guard route.auth != .none else { return route.router }
        guard let verifier, let sources else { preconditionFailure("\(route.path) has no keys; they were checked") }
        var router = Router()
        router.use(TokenAuthentication(verifier, from: sources, isRequired: route.isAuthRequired))
        router.include(route.router)
        return router
    }

    /// The lines of `--check-config`.
    var summary: [String] {
        var lines = routes.map { "route: \($0.summary)" }
        if hasEcho { lines.append("route: \(Self.echoPath) echo") }
        if hasChat { lines.append("route: / and /chat/<room>/ pages, \(Self.chatPath) chat") }
        if let rootPath { lines.append("root_path: \(rootPath)") }
        if let tokens { lines.append("tokens: \(tokens.summary)") }
        if let jwt { lines.append("jwt: \(jwt.summary)") }
        return lines
    }
}

extension Settings {
    /// Runs `body`, and puts where the setting at `path` was given in front of its failure.
    func checked<Value>(
        _ path: String,
        _ body: () throws(InvalidSetting) -> Value
    ) throws(ProgramFailure) -> Value {
        do { return try body() } catch { throw failure(path, "\(path): \(error.description)") }
    }

    /// A failure with where the setting at `path` was given in front.
    func failure(_ path: String, _ text: String) -> ProgramFailure {
        ProgramFailure(.configuration, (origins[path].map { $0 + ": " } ?? "") + text)
    }
}
