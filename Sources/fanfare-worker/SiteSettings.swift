import FanfareModel
import FanfareOps
import FanfareWorker

extension WorkerValues {
    /// What is served, and to whom: the settings of the first level that ``SitePlan`` understands.
    static let site: [Setting<WorkerValues>] = [
        .flag(
            "chat",
            \.hasChat,
            flag: "--chat or --no-chat",
            "Whether the chat of the Channels tutorial is served: /, /chat/ROOM/ and /ws/chat/ROOM/. Without it: only "
                + "when there are no routes."
        ),
        .flag(
            "echo",
            \.hasEcho,
            flag: "--echo",
            "Whether /ws/echo/ sends every message back, for tests and measurements."
        ),
        .list(
            "origins",
            \.origins,
            example: "https://shop.example",
            most: 1_000,
            flag: "--origin",
            "Which pages may open WebSockets: https://shop.example, shop.example, .shop.example (with all hosts below "
                + "it) or * for all. Without any: pages of the host and port that they connect to."
        ),
        .choice(
            "origin_missing",
            \.originMissing,
            OriginSettings.missing,
            "Whether a handshake without Origin, from a program that is no browser, is let in. Without it: allowed, "
                + "but refused when origins are given, unless one is *."
        ),
        .list(
            "trusted_proxies",
            \.trustedProxies,
            example: "10.0.0.0/8",
            most: 100,
            "Peers whose X-Forwarded-For, -Proto and -Host are believed: addresses, networks, or unix for all on a "
                + "Unix socket. Without any: nobody."
        ),
        .text(
            "root_path",
            \.rootPath,
            example: "/live",
            "What stands in front of all addresses, for a proxy that passes them on unchanged."
        ),
        .text("server_name", \.serverName, example: "fanfare", "The Server header of answers. Without it: none."),
        .rate(
            "request_rate",
            \.requestRate,
            1...1_000_000,
            "How often one client address may ask, handshakes and pages alike; more is answered 429. Without it: no "
                + "limit."
        ),
        .integer(
            "connections_per_address",
            \.connectionsPerAddress,
            1...1_000_000,
            "WebSockets of one client address at once; more is answered 429. Without it: no limit."
        ),
        .records(
            "routes",
            \.routes,
            most: RouteValues.most,
            defaults: RouteValues(),
            table: RouteValues.table,
            "WebSocket addresses and the built-in consumers that serve them; the first that matches answers."
        ),
    ]
}

/// Settings about `Origin`, of the worker and of a route.
enum OriginSettings {
    static let missing = ["allowed", "refused"]

    /// - Parameters:
    ///   - origins: Patterns, when they were given.
    ///   - missing: One of ``missing``, when it was given.
    /// - Returns: `nil` when nothing was given.
    static func policy(_ origins: [String]?, missing: String?) throws(InvalidSetting) -> OriginPolicy? {
        let missing: OriginPolicy.MissingOrigin? = missing.map { $0 == "allowed" ? .allowed : .refused }
        if let origins { return try OriginPolicy(allowing: origins, missing: missing) }
        return missing.map { .sameOrigin(missing: $0) }
    }
}
