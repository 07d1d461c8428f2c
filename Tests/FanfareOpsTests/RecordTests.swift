import FanfareModel
import Testing

@testable import FanfareOps

/// A route with a setting of each kind, and a list of its own.
private struct RouteValues: Sendable, Equatable {
    var path = ""
    var consumer: String?
    var group: String?
    var secretFile: String?
    var token: String?
    var isOpen = true
    var share = 0.5
    var sockets: Int?
    var bytes: Int?
    var patience: Milliseconds?
    var rate: Rate?
    var permissions: [String] = []
    var options = Options()

    static let table: [Setting<RouteValues>] =
        [
            .text("path", \.path, example: "/ws/chat/", "The path.").required,
            .choice("consumer", \.consumer, ["relay", "pubsub"], "Who answers.").required,
            .text("group", \.group, example: "chat", "The group."),
            .text("secret_file", \.secretFile, example: "/etc/key", "A file."),
            .text("token", \.token, example: "abc", "A token.").secret,
            .flag("open", \.isOpen, "Whether it is open."),
            .number("share", \.share, 0...1, "A part."),
            .integer("sockets", \.sockets, 1...100, "How many."),
            .bytes("bytes", \.bytes, 1...65_536, "How much."),
            .seconds("patience_seconds", \.patience, 1...60_000, "How long."),
            .rate("rate", \.rate, 1...1_000, "How often."),
            .list("permissions", \.permissions, example: "send", most: 3, "What for."),
        ] + Setting.section("options", \.options, Options.table)
}

private struct Options: Sendable, Equatable {
    var retries: Int?
    var rules: [Record<Rule>] = []

    static let table: [Setting<Options>] = [
        .integer("retries", \.retries, 0...9, "How often again."),
        .records("rules", \.rules, most: 2, defaults: Rule(), table: Rule.table, "Rules."),
    ]
}

private struct Rule: Sendable, Equatable {
    var allows: String?
    static let table: [Setting<Rule>] = [.text("allows", \.allows, example: "x", "What is allowed.")]
}

private struct Values: Sendable, Equatable {
    var name: String?
    var password: String?
    var level: String?
    var routes: [Record<RouteValues>] = []
    var hosts: [String] = ["localhost"]
    var limits = Limits()

    static let table: [Setting<Values>] =
        [
            .text("name", \.name, example: "a", "A name."),
            .text("password", \.password, example: "a", "A password.").secret,
            .choice("level", \.level, ["low", "high"], "A secret level.").secret,
            .records(
                "routes",
                \.routes,
                most: 3,
                defaults: RouteValues(),
                table: RouteValues.table,
                "What answers on which path."
            ),
            .list("hosts", \.hosts, example: "example.org", most: 2, "Hosts."),
        ] + Setting.section("limits", \.limits, Limits.settings)
}

/// A configuration that sets everything about one route and little about another.
private let example = """
    name: x
    routes:
      - path: /ws/a
        consumer: relay
        group: "#1"
        secret_file: /etc/a
        open: false
        share: 0.25
        sockets: 7
        bytes: 2KiB
        patience_seconds: 2.5
        rate: 5/10s burst 40
        permissions: [send, 'join "x"']
        options:
          retries: 1
          rules:
            - allows: a
            - {}

      - consumer: pubsub
        path: /ws/b
    """

private func settings(_ yaml: String, _ defaults: Values = Values()) throws(ProgramFailure) -> Settings<Values> {
    var settings = Settings(defaults: defaults, table: Values.table)
    try settings.read(yaml: yaml, from: "worker.yaml")
    return settings
}

@Suite struct RecordTests {
    /// The text of the refusal of a file.
    private func refusal(_ yaml: String) -> String {
        do {
            _ = try settings(yaml)
            return "accepted"
        } catch {
            #expect(error.exit == .configuration)
            return error.text
        }
    }

    private var first: RouteValues {
        var route = RouteValues()
        route.path = "/ws/a"
        route.consumer = "relay"
        route.group = "#1"
        route.secretFile = "/etc/a"
        route.isOpen = false
        route.share = 0.25
        route.sockets = 7
        route.bytes = 2_048
        route.patience = Milliseconds(2_500)
        route.rate = Rate(5, perSeconds: 10, burst: 40)
        route.permissions = ["send", "join \"x\""]
        route.options.retries = 1
        route.options.rules = [Record(Rule(allows: "a")), Record(Rule())]
        return route
    }

    @Test func `records are read in order, each with its own defaults`() throws {
        var second = RouteValues()
        second.path = "/ws/b"
        second.consumer = "pubsub"
        #expect(try settings(example).values.routes.map(\.values) == [first, second])
    }

    @Test func `a record remembers where it and its keys stand`() throws {
        let settings = try settings(example)
        let routes = settings.values.routes
        #expect(settings.origins["routes"] == "worker.yaml:2")
        #expect(routes.map(\.origin) == ["worker.yaml:3", "worker.yaml:20"])
        #expect(routes[0].origins["options.retries"] == "worker.yaml:15")
        #expect(routes[0].values.options.rules.map(\.origin) == ["worker.yaml:17", "worker.yaml:18"])
        #expect(routes[1].origin(of: "path") == "worker.yaml:21")
        #expect(routes[1].origin(of: "group") == "worker.yaml:20")
        #expect(throws: ProgramFailure(.configuration, #"worker.yaml:21: routes: path "/ws/b" is taken"#)) {
            try routes[1].locating("path") { () throws(ProgramFailure) in
                throw ProgramFailure(.configuration, #"routes: path "\#(routes[1].values.path)" is taken"#)
            }
        }
        #expect(throws: ProgramFailure(.configuration, "taken")) {
            try Record(Rule()).locating("allows") { () throws(ProgramFailure) in
                throw ProgramFailure(.configuration, "taken")
            }
        }
    }

    @Test func `records in a file replace those of the defaults`() throws {
        var defaults = Values()
        defaults.routes = [Record(RouteValues(path: "/"))]
        #expect(try settings("name: x", defaults).values.routes == defaults.routes)
        #expect(try settings("routes: []", defaults).values.routes == [])
        let given = try settings("routes: [{path: /a, consumer: relay}]", defaults).values.routes
        #expect(given.map(\.values.path) == ["/a"])
    }

    @Test(arguments: [
        (
            "name: x\nroutes:\n  - path: /a\n    gruop: b",
            #"worker.yaml:4: unknown key "gruop" in routes; did you mean "group"?"#
        ),
        (
            "routes:\n- zzzzzzzz: b",
            #"worker.yaml:2: unknown key "zzzzzzzz" in routes; --print-config shows all of them"#
        ),
        (
            "routes:\n- options:\n    retrise: 3",
            #"worker.yaml:3: unknown key "retrise" in routes; did you mean "retries"?"#
        ),
        (
            "routes:\n- options:\n    rules:\n    - allow: 3",
            #"worker.yaml:4: unknown key "allow" in routes.options.rules; did you mean "allows"?"#
        ),
        (
            "routes:\n- path: /a\n  retries: 3",
            #"worker.yaml:3: "retries" belongs below "options:", with two more spaces in front"#
        ),
        (
            "routes:\n- path: /a\n  consumer: relay\n- group: a\n  path: /b",
            #"worker.yaml:4: "consumer" is missing in this record of routes; give it one of relay, pubsub"#
        ),
        (
            "routes: [{}]",
            #"worker.yaml:1: "path" is missing in this record of routes; give it a text such as /ws/chat/"#
        ),
        ("routes:\n- path: /a\n  sockets: 0", #"worker.yaml:3: sockets must be a whole number from 1 to 100, not "0""#),
        ("routes:\n- path: /a\n  path: /b", #"worker.yaml:2: key "path" is given twice; keep one of them"#),
        ("routes:\n- path:", "worker.yaml:2: path has no value: give it one or remove the line"),
        ("routes:", "worker.yaml:1: routes has no value: give it records, or [] for none"),
        (
            "routes:\n  path: /a",
            #"worker.yaml:2: routes must be a list of up to 3 records: put "- " in front of each"#
        ),
        ("routes:\n- /a", #"worker.yaml:2: a record of routes must hold keys and values, such as "path: …""#),
        ("routes:\n-", #"worker.yaml:2: a record of routes must hold keys and values, such as "path: …""#),
        ("name: x\nroutes: [1, 2, 3, 4]", "worker.yaml:2: routes takes at most 3 records, not 4"),
    ])
    func `a wrong record is refused with its line`(yaml: String, text: String) {
        #expect(refusal(yaml) == text)
    }

    @Test func `an error names the file also when a key is called like it`() {
        var settings = Settings(
            defaults: Rule(),
            table: [Setting<Rule>.choice("worker", \.allows, ["x"], "What is allowed.")]
        )
        #expect(throws: ProgramFailure(.configuration, #"worker.yaml:1: worker must be one of x, not "y""#)) {
            try settings.read(yaml: "worker: y", from: "worker.yaml")
        }
    }
}

@Suite struct PrintedRecordTests {
    @Test(arguments: [
        "", example, "routes: []", "hosts: []", "routes: [{path: '#', consumer: relay}]",
        "routes: [{consumer: relay, path: a, options: {rules: [{}, {}]}}, {consumer: relay, path: b}]",
    ])
    func `what is printed and read again says the same`(yaml: String) throws {
        var withRoutes = Values()
        withRoutes.routes = try settings(example).values.routes
        for defaults in [Values(), withRoutes] {
            let before = try settings(yaml, defaults)
            let printed = before.commentedYAML(title: "All settings.")
            #expect(try settings(printed, defaults).values == before.values)
            for setting in Values.table { #expect(printed.contains("\(setting.name):")) }
            for setting in RouteValues.table { #expect(printed.contains("# \(setting.explanation) Takes")) }
        }
    }

    @Test func `every character of a text is read again as it was printed`() throws {
        let scalars = (0...0xffff).compactMap(Unicode.Scalar.init) + ["\u{10000}", "\u{1f600}", "\u{10ffff}"]
        var values = Values()
        let text = String(String.UnicodeScalarView(scalars))
        values.name = text
        values.hosts = [text, text]
        let printed = Settings(defaults: values, table: Values.table).commentedYAML(title: "Characters")
        let again = try settings(printed).values
        // Strings that differ by normalization are equal; the scalars are compared.
        for read in [again.name ?? ""] + again.hosts { #expect(read.unicodeScalars.elementsEqual(scalars)) }
        #expect(again.hosts.count == 2)
    }

    @Test func `the first record explains its keys, the others are brief`() throws {
        let printed = try settings(example).commentedYAML(title: "All.").split(separator: "\n").map(String.init)
        let start = try #require(printed.firstIndex(of: "routes:"))
        #expect(printed[start - 1] == "# What answers on which path. Takes a list of up to 3 records.")
        #expect(
            printed[(start + 1)...(start + 4)] == [
                "  # The path. Takes a text such as /ws/chat/. Required.",
                "  - path: \"/ws/a\"",
                "    # Who answers. Takes one of relay, pubsub. Required.",
                "    consumer: relay",
            ]
        )
        let second = try #require(printed.firstIndex(of: "  - path: \"/ws/b\""))
        #expect(
            printed[second...(second + 4)] == [
                "  - path: \"/ws/b\"", "    consumer: pubsub", "    open: true", "    share: 0.5",
                "# Hosts. Takes a list of up to 2 texts such as example.org.",
            ]
        )
    }

    @Test func `the example is a record once its comment signs are removed`() throws {
        let printed = try settings("").commentedYAML(title: "All.").split(separator: "\n").map(String.init)
        let start = try #require(printed.firstIndex(of: "# routes:"))
        let example = printed[start...].prefix { $0.hasPrefix("# ") && !$0.hasPrefix("# Hosts") }
        let routes = try settings(example.map { $0.dropFirst(2) }.joined(separator: "\n")).values.routes
        #expect(routes.map(\.values) == [RouteValues(path: "/ws/chat/", consumer: "relay")])
    }
}

@Suite struct SecretSettingTests {
    @Test func `a secret is neither printed nor part of an error`() throws {
        let secret = "hunter2"
        let settings = try settings(
            "password: \(secret)\nroutes: [{path: a, consumer: relay, token: \(secret)}, "
                + "{path: b, consumer: relay, token: \(secret)}]"
        )
        #expect(settings.values.password == secret)
        let printed = settings.commentedYAML(title: "All.")
        #expect(!printed.contains(secret))
        #expect(printed.contains("\n# password: <hidden>\n"))
        #expect(printed.contains("\n    # token: <hidden>\n"))
        let summary = Setting.changed(settings.values, Values(), Values.table)
        #expect(summary == "password=<hidden> routes=2")
        for setting in Values.table { #expect(!setting.help(defaults: settings.values).contains(secret)) }
        #expect(throws: ProgramFailure(.configuration, "worker.yaml:1: level must be one of low, high")) {
            var other = settings
            try other.read(yaml: "level: \(secret)", from: "worker.yaml")
        }
    }
}
