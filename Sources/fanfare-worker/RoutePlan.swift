import FanfareModel
import FanfareOps
import FanfareWorker

/// One record of `routes`, understood.
struct RoutePlan: Sendable {
    let path: String
    let auth: RouteAuth
    let isAuthRequired: Bool
    /// The line of `--check-config`.
    let summary: String
    /// The route alone, without authentication.
    let router: Router
    private let record: Record<RouteValues>

    /// - Throws: `ProgramFailure(.configuration)` with the line of what is wrong.
    init(_ record: Record<RouteValues>) throws(ProgramFailure) {
        let values = record.values
        let consumer = values.consumer.flatMap(RouteConsumer.init(rawValue:)) ?? .echo
        self.record = record
        path = values.path
        auth = values.auth.flatMap(RouteAuth.init(rawValue:)) ?? .none
        isAuthRequired = values.isAuthRequired
        try Self.checkKeys(record, consumer)
        var router = Router()
        if let origins = try Self.origins(record) { router.use(AllowedOrigins(origins)) }
        let name = values.name ?? consumer.rawValue
        let pattern = try Self.pattern(record)
        var summary = "\(path) \(consumer.rawValue)"
        switch consumer {
        case .echo: router.echo(pattern, name: name)
        case .chat:
            guard pattern.names.contains("room") else {
                throw Self.failure(record, "path", "the path of a chat needs a <str:room>, which \(path) does not have")
            }
            router.chat(pattern, name: name)
        case .relay:
            let options = try Self.relay(record)
            try Self.checked(record, "group") { () throws(InvalidSetting) in
                try router.relay(pattern, name: name, options)
            }
            summary += " group=\(options.group) echo=\(options.echo) presence=\(options.presence)"
        case .pubsub:
            let options = try Self.pubSub(record)
            let key = ["prefix", "subscribe", "publish"].first { record.origins[$0] != nil } ?? "path"
            try Self.checked(record, key) { () throws(InvalidSetting) in
                try router.pubSub(pattern, name: name, options)
            }
            summary += " prefix=\(options.prefix) subscribe=\(options.subscribe) publish=\(options.publish)"
        }
        if values.rate != nil || values.messageBytes != nil {
            summary += " rate=\(values.rate.map(\.description) ?? "none")"
            summary += " message_bytes=\(values.messageBytes.map(String.init) ?? "none")"
        }
        summary += " origins=\(record.origins["origins"] == nil ? "the worker's" : "\(values.origins)")"
        summary += " auth=\(auth.rawValue)" + (auth == .none || isAuthRequired ? "" : " (optional)")
        self.summary = summary
        self.router = router
    }

    /// Where `key` stands, in front of `text`.
    func failure(_ key: String, _ text: String) -> ProgramFailure {
        Self.failure(record, key, text)
    }

    private static func failure(_ record: Record<RouteValues>, _ key: String, _ text: String) -> ProgramFailure {
        ProgramFailure(.configuration, (record.origin(of: key).map { $0 + ": " } ?? "") + "routes: " + text)
    }

    private static func checked<Value>(
        _ record: Record<RouteValues>,
        _ key: String,
        _ body: () throws(InvalidSetting) -> Value
    ) throws(ProgramFailure) -> Value {
        do { return try body() } catch { throw failure(record, key, error.description) }
    }

    private static func checkKeys(_ record: Record<RouteValues>, _ consumer: RouteConsumer) throws(ProgramFailure) {
        let foreign = RouteValues.own.keys.filter { key in
            record.origins[key] != nil && RouteValues.own[key]?.contains(consumer) == false
        }
        if let key = foreign.min() {
            let owners = RouteValues.own[key, default: []].map(\.rawValue).joined(separator: " and ")
            throw failure(record, key, "\(key) is for \(owners), not for \(consumer.rawValue)")
        }
        if record.origins["auth_required"] != nil, record.values.auth == RouteAuth.none.rawValue {
            throw failure(record, "auth_required", "auth_required needs auth: token or auth: jwt")
        }
    }

    private static func pattern(_ record: Record<RouteValues>) throws(ProgramFailure) -> PathPattern {
        do throws(PathPattern.Failure) {
            return try PathPattern(record.values.path)
        } catch {
            throw failure(record, "path", error.description)
        }
    }

    private static func origins(_ record: Record<RouteValues>) throws(ProgramFailure) -> OriginPolicy? {
        try checked(record, "origins") { () throws(InvalidSetting) in
            try OriginSettings.policy(
                record.origins["origins"] == nil ? nil : record.values.origins,
                missing: record.values.originMissing
            )
        }
    }

    private static func limits(_ record: Record<RouteValues>) throws(ProgramFailure) -> ClientLimits {
        let values = record.values
        var limits = ClientLimits()
        limits.messageBytes = values.messageBytes
        limits.ratePolicy = values.ratePolicy.flatMap(ClientLimits.RatePolicy.init(rawValue:)) ?? .close
        limits.rate = try checked(record, "rate") { () throws(InvalidSetting) in try values.rate?.limit }
        return limits
    }

    private static func relay(_ record: Record<RouteValues>) throws(ProgramFailure) -> RelayOptions {
        guard let group = record.values.group else {
            throw failure(record, "consumer", "a relay needs a group, such as group: relay_<room>")
        }
        var options = RelayOptions(group: group)
        options.limits = try limits(record)
        options.echo = record.values.echo
        options.presence = record.values.presence
        return options
    }

    private static func pubSub(_ record: Record<RouteValues>) throws(ProgramFailure) -> PubSubOptions {
        let values = record.values
        guard !values.subscribe.isEmpty || !values.publish.isEmpty || values.auth != RouteAuth.none.rawValue else {
            let text = "nobody could subscribe or publish here; give patterns as subscribe or publish, or auth: token"
            throw failure(record, "consumer", text)
        }
        var options = PubSubOptions()
        options.prefix = values.prefix ?? ""
        options.subscribe = values.subscribe
        options.publish = values.publish
        options.subscriptions = values.subscriptions
        options.limits = try limits(record)
        options.echo = values.echo
        options.batch = values.batch
        return options
    }

    /// The path without the names in it: two that have the same match the same addresses.
    var shape: String {
        path.replacing(/<(?:(\w+):)?\w+>/) { "<\($0.1 ?? "str")>" }
    }
}

extension Rate {
    /// The rate as the worker applies it.
    var limit: RateLimit {
        get throws(InvalidSetting) { try RateLimit(count, perSeconds: Double(seconds), burst: burst) }
    }
}
