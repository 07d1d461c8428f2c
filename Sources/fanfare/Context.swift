import FanfareModel
import FanfareOps

/// A broker with everything that is needed to talk to it, under a name.
struct Context: Sendable, Equatable {
    var name = ""
    /// What people read in lists.
    var note: String?
    /// Endpoints as written, tried in order; none: the standard socket of this user.
    var brokers: [String] = []
    var namespace: String?
    var role: String?
    var token: String?
    var tokenFile: String?
    var allowsTokenInTheClear: Bool?
    var caFile: String?
    var certificateFile: String?
    var keyFile: String?
    var serverName: String?

    private static let nameBytesMaximum = 64
    private static let brokersMaximum = 16

    static let table: [Setting<Context>] = [
        Setting.text("name", \.name, example: "production", "What commands call it.").required,
        .text("note", \.note, example: "the shop", "For people."),
        .list(
            "brokers",
            \.brokers,
            example: "tls://broker.example:7411",
            most: brokersMaximum,
            "Endpoints, tried in order."
        ),
        .text("namespace", \.namespace, example: "shop", "Where sends go, what listings are limited to."),
        .choice("role", \.role, Role.allCases.map(\.rawValue), "What to be."),
        .text("token", \.token, example: "ff_…", "The token to show."),
        .text("token_file", \.tokenFile, example: "/etc/fanfare/token", "A file with the token."),
        .flag("token_in_the_clear", \.allowsTokenInTheClear, "Whether the token may go over tcp:// to other machines."),
        .text("ca_file", \.caFile, example: "/etc/fanfare/ca.pem", "The CAs that may sign the broker's certificate."),
        .text("certificate_file", \.certificateFile, example: "/etc/fanfare/me.pem", "This user's certificate."),
        .text("key_file", \.keyFile, example: "/etc/fanfare/me.key", "Its private key."),
        .text("server_name", \.serverName, example: "broker.example", "The name the certificate must hold."),
    ]

    /// - Throws: ``ProgramFailure`` for a name that would need quotes, and for values no broker could be reached with.
    func check() throws(ProgramFailure) {
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isPlain, (1...Self.nameBytesMaximum).contains(name.utf8.count), name.first != "-" else {
            throw ProgramFailure(
                .configuration,
                "\"\(name)\" is no name for a context: write 1 to \(Self.nameBytesMaximum) of a-z, A-Z, 0-9, \".\", "
                    + "\"_\" and \"-\", and no \"-\" first"
            )
        }
        for broker in brokers { _ = try Endpoint(broker) }
        var security = BrokerSecurity()
        (security.certificateFile, security.keyFile, security.token) = (certificateFile, keyFile, token)
        try security.check()
    }

    /// How it shows who it is, in a word.
    var credentials: String {
        var ways: [String] = []
        if token != nil { ways.append("token") }
        if tokenFile != nil { ways.append("token file") }
        if certificateFile != nil { ways.append("certificate") }
        return ways.isEmpty ? "none" : ways.joined(separator: ", ")
    }

    /// Everything of it as a map, keys as in the file.
    ///
    /// - Parameter revealing: Whether the token is shown, and not only that there is one.
    func value(revealing: Bool) -> MessageValue {
        var map: [String: MessageValue] = [:]
        for setting in Self.table {
            switch setting.read(self) {
            case .text(let text):
                map[setting.name] = .string(setting.name == "token" && !revealing ? "<hidden>" : text)
            case .list(let texts): map[setting.name] = .array(texts.map { .string($0) })
            case .flag(let isSet): map[setting.name] = .bool(isSet)
            default: break
            }
        }
        return .map(map)
    }
}

/// The contexts of a user, and which one is in use.
struct Contexts: Sendable, Equatable {
    /// The one used when nobody says which.
    var selected: String?
    /// The one selected before it.
    var previous: String?
    private var records: [Record<Context>] = []

    /// How many there may be.
    static let most = 256

    static let table: [Setting<Contexts>] = [
        .text("selected", \.selected, example: "production", "The context in use."),
        .text("previous", \.previous, example: "test", "The one before it."),
        .records(
            "contexts",
            \.records,
            most: most,
            defaults: Context(),
            table: Context.table,
            "A broker and how to reach it."
        ),
    ]

    /// All of them, in the order they were added.
    var all: [Context] { records.map(\.values) }

    /// The context of that name.
    ///
    /// - Parameter place: Who named it, for the error: `--context`.
    func named(_ name: String, from place: String) throws(ProgramFailure) -> Context {
        if let context = all.first(where: { $0.name == name }) { return context }
        let meant = Suggestion.closest(to: name, among: all.map(\.name)).map { "; did you mean \"\($0)\"?" }
        throw ProgramFailure(
            .configuration,
            "\(place) \"\(name)\" names no context" + (meant ?? "; `fanfare context list` lists them")
        )
    }

    /// Takes up `context`, in the place of the one of its name if `replaces`.
    mutating func add(_ context: Context, replaces: Bool) throws(ProgramFailure) {
        try context.check()
        if let index = all.firstIndex(where: { $0.name == context.name }) {
            guard replaces else {
                throw ProgramFailure(.usage, "there is a context \"\(context.name)\"; --replace puts this in its place")
            }
            records[index] = Record(context)
        } else {
            guard records.count < Self.most else {
                throw ProgramFailure(.usage, "there are \(Self.most) contexts, the most there may be; remove one")
            }
            records.append(Record(context))
        }
    }

    /// Puts `name` in use; `nil`: none.
    mutating func select(_ name: String?) throws(ProgramFailure) {
        if let name { _ = try named(name, from: "select") }
        if name != selected { previous = selected }
        selected = name
    }

    /// Forgets a context; if it was in use, none is.
    mutating func remove(_ name: String) throws(ProgramFailure) {
        _ = try named(name, from: "remove")
        records.removeAll { $0.values.name == name }
        if selected == name { selected = nil }
        if previous == name { previous = nil }
    }

    /// The contexts a file says.
    ///
    /// - Parameter file: What to call it in errors.
    init(yaml: String, from file: String) throws(ProgramFailure) {
        var settings = Settings(defaults: Contexts(), table: Self.table)
        try settings.read(yaml: yaml, from: file)
        self = settings.values
        var names: Set<String> = []
        for record in records {
            try record.locating("name") { () throws(ProgramFailure) in
                try record.values.check()
                guard names.insert(record.values.name).inserted else {
                    throw ProgramFailure(.configuration, "context \"\(record.values.name)\" is there twice; remove one")
                }
            }
        }
    }

    init() {}

    /// The file that says the same.
    var yaml: String {
        Settings.briefYAML(self, Contexts(), Self.table, title: "Brokers for `fanfare --context`. It may hold tokens.")
    }
}
