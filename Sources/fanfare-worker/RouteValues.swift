import FanfareModel
import FanfareOps
import FanfareWorker

/// One record of `routes`: an address and the built-in consumer that serves it.
struct RouteValues: Sendable, Equatable {
    var path = ""
    var consumer: String?
    var name: String?
    var group: String?
    var prefix: String? = PubSubOptions().prefix
    var echo = true
    var presence = false
    var batch = false
    var subscribe: [String] = []
    var publish: [String] = []
    var subscriptions = PubSubOptions().subscriptions
    var messageBytes: Int?
    var rate: Rate?
    var ratePolicy: String? = ClientLimits().ratePolicy.rawValue
    var origins: [String] = []
    var originMissing: String?
    var auth: String? = RouteAuth.none.rawValue
    var isAuthRequired = true

    /// Routes one worker serves at most.
    static let most = 100

    /// The keys that not every consumer has, with those that have them.
    static let own: [String: [RouteConsumer]] = [
        "group": [.relay], "presence": [.relay], "prefix": [.pubsub], "batch": [.pubsub], "subscribe": [.pubsub],
        "publish": [.pubsub], "subscriptions": [.pubsub], "echo": [.relay, .pubsub],
        "message_bytes": [.relay, .pubsub],
        "rate": [.relay, .pubsub], "rate_policy": [.relay, .pubsub],
    ]

    static let table: [Setting<RouteValues>] = [
        .text(
            "path",
            \.path,
            example: "/ws/relay/<slug:room>/",
            "The address; <str:name>, <int:name>, <slug:name>, <uuid:name> and <path:name> match parts of it."
        ).required,
        .choice(
            "consumer",
            \.consumer,
            RouteConsumer.allCases.map(\.rawValue),
            "What serves it: relay passes every message to a group, pubsub takes JSON commands, echo sends back, chat "
                + "is the tutorial's and needs a <str:room>. docs/relay.md and docs/pubsub.md have the details."
        ).required,
        .text("name", \.name, example: "lobby", "What listings call its connections. Without it: the consumer."),
        .text("group", \.group, example: "relay_<room>", "Of a relay: the group, with names of the path in it."),
        .flag("echo", \.echo, "Of a relay or pubsub: whether senders hear their own messages."),
        .flag("presence", \.presence, "Of a relay: whether members are told who comes and goes."),
        .text(
            "prefix",
            \.prefix,
            example: "shop_<shop>_",
            "Of pubsub: what stands in front of the clients' groups in the broker, with names of the path in it."
        ),
        .list(
            "subscribe",
            \.subscribe,
            example: "news.*",
            most: 100,
            "Of pubsub: patterns of the groups everybody may subscribe to. A token's claim subscribe adds more."
        ),
        .list(
            "publish",
            \.publish,
            example: "room.*",
            most: 100,
            "Of pubsub: patterns of the groups everybody may publish to. A token's claim publish adds more."
        ),
        .integer(
            "subscriptions",
            \.subscriptions,
            1...10_000,
            "Of pubsub: groups one connection may be subscribed to; more is an error to the client."
        ),
        .flag("batch", \.batch, "Of pubsub: whether messages of one burst may share a frame, as a list."),
        .bytes(
            "message_bytes",
            \.messageBytes,
            1...1_073_741_824,
            "Of a relay or pubsub: size of one message of a client; more closes with 1009. Without it: "
                + "sockets.message_bytes alone."
        ),
        .rate(
            "rate",
            \.rate,
            1...1_000_000,
            "Of a relay or pubsub: how often one client may send. Without it: as often as it likes."
        ),
        .choice(
            "rate_policy",
            \.ratePolicy,
            ClientLimits.RatePolicy.allCases.map(\.rawValue),
            "What happens beyond the rate: close closes with 1008, drop drops the message. Both are counted."
        ),
        .list(
            "origins",
            \.origins,
            example: "https://shop.example",
            most: 1_000,
            "Which pages may connect here, in place of the worker's origins."
        ),
        .choice(
            "origin_missing",
            \.originMissing,
            OriginSettings.missing,
            "Whether programs that are no browsers may connect here. Without it: as for the worker, or refused when "
                + "origins are given here."
        ),
        .choice(
            "auth",
            \.auth,
            RouteAuth.allCases.map(\.rawValue),
            "Who may connect: everybody, or who has a token that the section tokens or jwt checks."
        ),
        .flag(
            "auth_required",
            \.isAuthRequired,
            "Whether clients without any token are refused, too. One with a wrong token always is."
        ),
    ]
}

/// The built-in consumers.
enum RouteConsumer: String, CaseIterable {
    case relay, pubsub, echo, chat
}

/// How clients of a route say who they are.
enum RouteAuth: String, CaseIterable {
    case none, token, jwt
}
