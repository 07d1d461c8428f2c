import FanfareBroker
import FanfareModel
import FanfareOps
import Glibc

/// The credentials file: who is let in, and what each may do. `SECURITY.md` explains it.
struct CredentialsFile: Sendable {
    var credentials: [Record<CredentialValues>] = []

    private static let table: [Setting<CredentialsFile>] = [
        .records(
            "credentials",
            \.credentials,
            most: Credentials.entriesMaximum,
            defaults: CredentialValues(),
            table: CredentialValues.table,
            "Who is let in. A user over a Unix socket gets the first that fits."
        )
    ]

    /// Reads and checks the file at `path`, whole or not at all.
    ///
    /// - Throws: `ProgramFailure(.configuration)` that names the file, the line and what would be right.
    static func read(_ path: String) throws(ProgramFailure) -> Credentials {
        let text = try ConfigurationFile.read(path, what: "credentials file", isSecret: true)
        return try parse(text, path)
    }

    /// Understands the text of a file that is called `path` in errors.
    static func parse(_ text: String, _ path: String) throws(ProgramFailure) -> Credentials {
        var settings = Settings(defaults: CredentialsFile(), table: table)
        try settings.read(yaml: text, from: path)
        var entries: [Credential] = []
        for record in settings.values.credentials {
            let entry = try record.values.credential(record)
            guard !entries.contains(where: { $0.name == entry.name }) else {
                throw refusal(record, "name", "the name \"\(entry.name)\" is given twice; keep one of them")
            }
            if let other = entries.first(where: { $0.tokens.contains(where: entry.tokens.contains) }) {
                throw refusal(record, "tokens", "\"\(entry.name)\" and \"\(other.name)\" have the same token")
            }
            entries.append(entry)
        }
        guard !entries.isEmpty else {
            throw ProgramFailure(.configuration, "\(path): no credentials: nobody could connect; add one")
        }
        return Credentials(entries)
    }

    static func refusal(_ record: Record<CredentialValues>, _ key: String, _ text: String) -> ProgramFailure {
        ProgramFailure(.configuration, (record.origin(of: key).map { $0 + ": " } ?? "") + text)
    }
}

/// One entry of the file, as written.
struct CredentialValues: Sendable {
    var name = ""
    var tokens: [String] = []
    var unixUsers: [String] = []
    var unixGroups: [String] = []
    var loopback = false
    var roles: [String] = []
    var namespaces = ["*"]
    var nodes = ["*"]
    var channels = ChannelPatterns()
    var groups = GroupPatterns()

    struct ChannelPatterns: Sendable {
        var send = ["*"]
        var receive = ["*"]
    }

    struct GroupPatterns: Sendable {
        var send = ["*"]
        var join = ["*"]
    }

    private static let patternsMaximum = 64
    private static let tokensMaximum = 8
    private static let usersMaximum = 64
    private static let patternBytes = 256
    private static let nameBytes = 64

    static let table: [Setting<CredentialValues>] =
        [
            .text("name", \.name, example: "web", "What errors and logs call it.").required,
            .list(
                "tokens",
                \.tokens,
                example: "sha256:…",
                most: tokensMaximum,
                "Hashes of tokens, as `fanfare token` prints them; any one is enough."
            ),
            .list(
                "unix_users",
                \.unixUsers,
                example: "www-data",
                most: usersMaximum,
                "Users, by name or number, who need no token over a Unix socket."
            ),
            .list(
                "unix_groups",
                \.unixGroups,
                example: "www-data",
                most: usersMaximum,
                "Groups, by name or number, whose users need no token over a Unix socket."
            ),
            .flag(
                "loopback",
                \.loopback,
                "Whether it is also for everybody on this machine who asks the operations port over a loopback address, "
                    + "without a token."
            ),
            .list("roles", \.roles, example: "worker", most: 4, "publish, worker, inspect, admin.").required,
            patterns("namespaces", \.namespaces, "Namespaces it may use and look into."),
            patterns("nodes", \.nodes, "Nodes it may own."),
        ]
        + Setting.section(
            "channels",
            \.channels,
            [
                patterns("send", \.send, "Channels it may send to and put into groups."),
                patterns("receive", \.receive, "Normal channels it may receive from."),
            ]
        )
        + Setting.section(
            "groups",
            \.groups,
            [
                patterns("send", \.send, "Groups it may send to."),
                patterns("join", \.join, "Groups it may add channels to and take them from."),
            ]
        )

    private static func patterns<Values>(
        _ name: String,
        _ path: any WritableKeyPath<Values, [String]> & Sendable,
        _ explanation: String
    ) -> Setting<Values> {
        .list(name, path, example: "*", most: patternsMaximum, explanation + " Without it: all; [] for none.")
    }

    /// What the entry means.
    func credential(_ record: Record<CredentialValues>) throws(ProgramFailure) -> Credential {
        guard (1...Self.nameBytes).contains(name.utf8.count) else {
            throw CredentialsFile.refusal(record, "name", "a name has 1 to \(Self.nameBytes) bytes")
        }
        var entry = Credential(name: name)
        for (index, text) in tokens.enumerated() {
            // The text is not shown: it may be a token somebody took for its hash.
            guard let hash = TokenHash(text) else {
                throw CredentialsFile.refusal(
                    record,
                    "tokens",
                    "token \(index + 1) of \"\(name)\" is no hash; write sha256: and 64 hexadecimal digits, as "
                        + "`fanfare token` prints them"
                )
            }
            entry.tokens.append(hash)
        }
        for text in unixUsers { entry.users.append(try SystemID.user(text, record)) }
        for text in unixGroups { entry.userGroups.append(try SystemID.group(text, record)) }
        entry.coversLoopback = loopback
        guard !entry.tokens.isEmpty || !entry.users.isEmpty || !entry.userGroups.isEmpty || loopback else {
            let text = "\"\(name)\" could be used by nobody; give it tokens, unix_users, unix_groups or loopback"
            throw CredentialsFile.refusal(record, "name", text)
        }
        for text in roles {
            guard let role = Role(rawValue: text) else {
                let known = Role.allCases.map(\.rawValue).joined(separator: ", ")
                throw CredentialsFile.refusal(record, "roles", "there is no role \"\(text)\"; write some of \(known)")
            }
            entry.roles.append(role)
        }
        guard !entry.roles.isEmpty else {
            throw CredentialsFile.refusal(record, "roles", "\"\(name)\" has no role")
        }
        guard !loopback || entry.mayLook else {
            let text = "\"\(name)\" has loopback, which is for looking, and neither the role inspect nor admin"
            throw CredentialsFile.refusal(record, "loopback", text)
        }
        entry.permissions = try permissions(record)
        return entry
    }

    private func permissions(_ record: Record<CredentialValues>) throws(ProgramFailure) -> Permissions {
        func patterns(_ key: String, _ texts: [String]) throws(ProgramFailure) -> NamePatterns {
            for text in texts where !(1...Self.patternBytes).contains(text.utf8.count) {
                throw CredentialsFile.refusal(record, key, "a pattern of \(key) has 1 to \(Self.patternBytes) bytes")
            }
            return NamePatterns(texts)
        }
        var permissions = Permissions()
        permissions.namespaces = try patterns("namespaces", namespaces)
        permissions.nodes = try patterns("nodes", nodes)
        permissions.sendChannels = try patterns("channels.send", channels.send)
        permissions.receiveChannels = try patterns("channels.receive", channels.receive)
        permissions.sendGroups = try patterns("groups.send", groups.send)
        permissions.joinGroups = try patterns("groups.join", groups.join)
        return permissions
    }
}

/// Users and groups of this machine.
enum SystemID {
    static func user(_ text: String, _ record: Record<CredentialValues>) throws(ProgramFailure) -> UInt32 {
        if let number = UInt32(text) { return number }
        guard let entry = getpwnam(text) else {
            throw CredentialsFile.refusal(record, "unix_users", "this machine knows no user \"\(text)\"")
        }
        return entry.pointee.pw_uid
    }

    static func group(_ text: String, _ record: Record<CredentialValues>) throws(ProgramFailure) -> UInt32 {
        guard let number = group(text) else {
            throw CredentialsFile.refusal(record, "unix_groups", "this machine knows no group \"\(text)\"")
        }
        return number
    }

    /// The number of a group, which may be given as one; `nil` for a name this machine does not know.
    static func group(_ text: String) -> UInt32? {
        UInt32(text) ?? getgrnam(text).map(\.pointee.gr_gid)
    }
}
