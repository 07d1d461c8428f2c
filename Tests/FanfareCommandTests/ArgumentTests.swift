import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareProtocol
import Testing

@testable import fanfare

struct ArgumentTests {
    /// How the program would end for words that ask no broker.
    private func ending(_ arguments: String...) -> Ending? {
        do {
            var command = try Fanfare.parseAsRoot(arguments)
            try command.run()
            return nil
        } catch {
            return Ending(error)
        }
    }

    private func groupsQuery(_ arguments: String...) throws -> InspectionQuery {
        let command = try GroupsCommand.parse(arguments)
        let query = try command.listing.query(.groups, glob: command.glob, namespace: command.global.namespace)
        let isStream = command.global.wantsJSONLines
        return try command.pages.walk(.groups, query, command.listing, isStream: isStream).first
    }

    @Test func `a bare listing asks for the first hundred of all namespaces by name`() throws {
        #expect(try groupsQuery() == InspectionQuery(.groups))
    }

    @Test func `filter, order, size, place and namespace go to the broker`() throws {
        var expected = InspectionQuery(.groups)
        expected.match = Glob("chat.*")
        expected.namespace = "blue"
        expected.sort = "rate"
        expected.descending = true
        expected.limit = 7
        expected.cursor = "abc"
        let query = try groupsQuery(
            "chat.*",
            "--namespace",
            "blue",
            "--sort",
            "rate",
            "--descending",
            "--limit",
            "7",
            "--cursor",
            "abc"
        )
        #expect(query == expected)
    }

    @Test func `--top is descending and limited, by the main number unless --sort says otherwise`() throws {
        var expected = InspectionQuery(.groups)
        expected.sort = "members"
        expected.descending = true
        expected.limit = 3
        #expect(try groupsQuery("--top", "3") == expected)
        expected.sort = "messages"
        #expect(try groupsQuery("--top", "3", "--sort", "MESSAGES") == expected)
    }

    @Test(
        "columns are known by heading and by wire name",
        arguments: [
            ("age", "age_milliseconds"), ("AGE", "age_milliseconds"), ("age_milliseconds", "age_milliseconds"),
            ("rate/s", "rate"), ("Members", "members"),
        ]
    )
    func columnNames(text: String, field: String) throws {
        #expect(try Listing.groups.order(named: text) == field)
    }

    @Test func `hyphens of headings are underscores on the wire`() throws {
        #expect(try Listing.sessions.order(named: "frames-in") == "frames_in")
        #expect(try Listing.sessions.order(named: "bytes-out") == "bytes_out")
        #expect(try Listing.channels.order(named: "oldest") == "oldest_milliseconds")
    }

    @Test(arguments: ["bogus", "", "pid", "attributes"])
    func `an order there is none by is refused with those there are`(name: String) throws {
        let failure = #expect(throws: ProgramFailure.self) { try Listing.workers.order(named: name) }
        #expect(failure?.exit == .usage)
        #expect(failure?.text.contains("\"\(name)\"") == true)
        #expect(failure?.text.contains(",lag,drops,") == true && failure?.text.contains(",pid") == false)
    }

    @Test func `one group and one channel are asked for by name`() throws {
        let group = try GroupCommand.parse(["chat.lobby", "--namespace", "blue"])
        let groupQuery = try group.listing.query(.group, name: group.name, namespace: group.global.namespace)
        #expect(groupQuery.subject == .group)
        #expect(groupQuery.name == "chat.lobby")
        #expect(groupQuery.namespace == "blue")
        let channelQuery = try ChannelCommand.parse(["n1!a"]).query
        #expect(channelQuery.subject == .channel)
        #expect(channelQuery.name == "n1!a")
        #expect(channelQuery.namespace == nil)
    }

    @Test func `workers are sought among all sessions`() throws {
        let first = try WorkersCommand.parse(["--top", "5"]).walk().first
        #expect(first.subject == .sessions && first.sort == "memberships" && first.descending)
        #expect(first.limit == 1_000)
        #expect(try WorkersCommand.parse(["--all"]).walk().first.limit == 100)
    }

    @Test func `--limit, --jsonl and --all say how far a listing goes`() throws {
        #expect(try groupsQuery("--limit", "5000").limit == 1_000)
        #expect(try groupsQuery("--jsonl").limit == 1_000)
        #expect(try groupsQuery("--jsonl", "--limit", "3").limit == 3)
        #expect(try groupsQuery("--all", "--cursor", "c").cursor == "c")
        #expect(throws: (any Error).self) { try groupsQuery("--all", "--limit", "3") }
    }

    @Test func `the pattern is an argument or --match, the budget goes to the broker`() throws {
        #expect(try groupsQuery("--match", "chat.*").match == Glob("chat.*"))
        #expect(throws: (any Error).self) { try groupsQuery("a*", "--match", "chat.*") }
        #expect(try groupsQuery("--budget", "20").budget == Milliseconds(20))
        #expect(try groupsQuery().budget == Milliseconds(1_000))
        for budget in ["0", "10001", "-1", "x"] {
            #expect(ending("groups", "--budget", budget)?.exitCode == 64)
        }
    }

    @Test func `reasons are filtered by the broker`() throws {
        let closed = try ClosedCommand.parse(["web*", "--reason", "silence", "--namespace", "blue"]).walk().first
        #expect(closed.subject == .closed && closed.match == Glob("web*") && closed.reason == "silence")
        #expect(closed.namespace == "blue" && closed.sort == nil && closed.limit == 100)
        let drops = try DropsCommand.parse(["--reason", "full", "--since", "10m"]).walk().first
        #expect(drops.subject == .drops && drops.reason == "full" && drops.limit == 1_000)
    }

    @Test(
        "times have units",
        arguments: [
            ("90", 90_000), ("1.5", 1_500), ("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000),
            ("1d", 86_400_000), ("", nil), ("m", nil), ("-1s", nil), ("nan", nil), ("inf", nil), ("1e300d", nil),
            ("10 m", nil),
        ] as [(String, UInt64?)]
    )
    func timeSpans(text: String, milliseconds: UInt64?) {
        #expect(TimeSpan(text)?.milliseconds == milliseconds.map { Milliseconds($0) })
    }

    @Test func `a tail carries pattern, sample, rate and namespace`() throws {
        var expected = TailQuery(kind: .group, match: Glob("chat.*"))
        #expect(try TailCommand.parse(["group", "chat.*"]).query == expected)
        expected.kind = .channel
        expected.namespace = "blue"
        expected.sample = 10
        expected.ratePerSecond = 500
        let command = try TailCommand.parse(
            ["channel", "chat.*", "--sample", "10", "--rate", "500", "--count", "3", "--namespace", "blue"]
        )
        #expect(command.query == expected)
        #expect(command.count == 3)
    }

    @Test func `options every command takes may stand before the command`() {
        let moved = GlobalOptions.behindCommand(["--broker", "unix:/b", "--json", "groups", "chat.*"])
        #expect(moved == ["groups", "--broker", "unix:/b", "--json", "chat.*"])
        #expect(GlobalOptions.behindCommand(["--namespace=x", "drops"]) == ["drops", "--namespace=x"])
        let security = ["--token-file", "/t", "--token-in-the-clear", "--ca-file=/c", "--role", "inspect"]
        #expect(GlobalOptions.behindCommand(security + ["groups"]) == ["groups"] + security)
        #expect(GlobalOptions.behindCommand(["--version"]) == ["--version"])
        #expect(GlobalOptions.behindCommand(["--broker"]) == ["--broker"])
        #expect(GlobalOptions.behindCommand(["groups", "--json"]) == ["groups", "--json"])
    }

    @Test func `--watch stands alone, takes seconds, and does not take the pattern behind it`() throws {
        #expect(WatchOptions.spelledOut(["groups", "--watch", "chat.*"]) == ["groups", "--watch=2", "chat.*"])
        #expect(WatchOptions.spelledOut(["groups", "--watch"]) == ["groups", "--watch=2"])
        #expect(WatchOptions.spelledOut(["groups", "--watch", "--json"]) == ["groups", "--watch=2", "--json"])
        for arguments in [["--watch", "0.5"], ["--watch=0.5"], ["send", "a", "--", "--watch"]] {
            #expect(WatchOptions.spelledOut(arguments) == arguments)
        }
        #expect(try GroupsCommand.parse(["--watch", "0.5", "x"]).watch.watch == 0.5)
    }

    @Test func `endpoints are tried in the order given; an unusable one is a fault of configuration`() throws {
        let command = try StatusCommand.parse(["--broker", "unix:/a/b", "--broker", "tcp://h:1"])
        #expect(try command.global.endpoints() == [.unix(path: "/a/b"), .tcp(host: "h", port: 1)])
        let bad = try StatusCommand.parse(["--broker", "http://x"])
        let failure = #expect(throws: ProgramFailure.self) { try bad.global.endpoints() }
        #expect(try Ending(#require(failure)).exitCode == 78)
    }

    @Test func `the hello names program, process, role and namespace`() throws {
        let hello = try SendCommand.parse(["a", "{}", "--namespace", "blue"]).global.hello()
        #expect(hello.client.hasPrefix("fanfare/"))
        #expect(hello.name == "fanfare-\(System.processID)")
        #expect(hello.role == .admin)
        #expect(hello.namespace == "blue")
        #expect(hello.node == nil)
        #expect(try StatusCommand.parse([]).global.hello().namespace == "default")
    }

    @Test func `expiry is given in seconds`() throws {
        #expect(try SendCommand.parse(["a", "{}", "--expiry", "1.5"]).expiry.milliseconds == Milliseconds(1_500))
        #expect(try GroupSendCommand.parse(["a", "{}", "--outcome"]).wantsOutcome)
        #expect(try SendCommand.parse(["a", "{}"]).expiry.milliseconds == nil)
    }

    @Test(
        "what the command line cannot mean ends with 64 and one line that says why",
        arguments: [
            (["bogus"], "'bogus'"), (["groups", "--bogus"], "'--bogus'"), (["group"], "'<name>'"),
            (["send", "a"], "'<message>'"),
            (["groups", "--limit", "0"], "1 to 200000"), (["groups", "--limit", "200001"], "200001"),
            (["groups", "--top", "0"], "--top is 0"), (["groups", "--top", "3", "--limit", "3"], "--top"),
            (["groups", "--watch=0"], "0.1 to 3600"), (["groups", "--watch=nan"], "nan"),
            (["tail", "drop", "x"], "'drop'"),
            (["tail", "group", "x", "--rate", "10001"], "10001"),
            (["tail", "group", "x", "--sample", "0"], "--sample"),
            (["tail", "group", "x", "--count", "0"], "--count"), (["ping", "--count", "0"], "1 to 100000"),
            (["ping", "--interval", "61"], "61"), (["send", "a", "{}", "--expiry", "0"], "0.001 to 86400"),
            (["send", "a", "{}", "--expiry", "inf"], "inf"),
        ] as [([String], String)]
    )
    func usageErrors(arguments: [String], part: String) throws {
        let error = #expect(throws: (any Error).self) { try Fanfare.parseAsRoot(arguments) }
        let ending = try Ending(#require(error))
        #expect(ending.exitCode == 64)
        #expect(ending.text.hasPrefix("fanfare: "))
        #expect(ending.text.contains(part))
        #expect(!ending.text.contains("\n"))
    }

    @Test func `--all with a size is a usage error`() throws {
        let command = try GroupsCommand.parse(["--all", "--limit", "3"])
        let error = #expect(throws: (any Error).self) {
            try command.pages.walk(.groups, InspectionQuery(.groups), command.listing, isStream: false)
        }
        #expect(try Ending(#require(error)).exitCode == 64)
    }

    @Test func `flush wants its namespace said`() throws {
        #expect(try FlushCommand.parse(["--namespace", "blue", "--yes"]).namespace() == "blue")
        let failure = #expect(throws: ProgramFailure.self) { try FlushCommand.parse(["--yes"]).namespace() }
        #expect(failure?.exit == .usage)
    }

    @Test func `drain takes the broker, or a worker by session or name`() throws {
        let broker = try DrainCommand.parse(["broker", "--within", "2.5"])
        #expect(broker.subject == .broker && broker.within == 2.5)
        #expect(try DrainCommand.parse(["worker", "12"]).worker == "12")
        for wrong in [["worker"], ["broker", "12"], ["workers", "1"], ["broker", "--within", "-1"], []] {
            let error = #expect(throws: (any Error).self) { try DrainCommand.parse(wrong) }
            #expect(try Ending(#require(error)).exitCode == 64, "\(wrong)")
        }
        #expect(DrainCommand.line(DrainCommand.report([:], Milliseconds(2_500))) == "the broker stops within 2.5 s")
        let report = DrainCommand.report(["session": 12], Milliseconds(10_000))
        #expect(report == ["session": 12, "within_milliseconds": 10_000])
        #expect(DrainCommand.line(report) == "session 12 was asked to leave within 10.0 s")
    }

    @Test func `kick wants a reason, and says whom it ended without control characters`() throws {
        #expect(try KickCommand.parse(["12", "--reason", "too loud"]).reason == "too loud")
        for wrong in [["12"], ["12", "--reason", ""], ["--reason", "x"]] {
            let error = #expect(throws: (any Error).self) { try KickCommand.parse(wrong) }
            #expect(try Ending(#require(error)).exitCode == 64, "\(wrong)")
        }
        let line = KickCommand.line(["session": 12, "name": "worker\u{1b}[2J"])
        #expect(line.hasPrefix("session 12 (worker") && !line.contains("\u{1b}"))
    }

    @Test func `a name stands for a session when one has it, and for none when several have`() throws {
        let rows: [MessageValue] = [
            ["session": 3, "name": "a"], ["session": 4, "name": "b"], ["session": 9, "name": "b"],
            ["session": 5, "name": "ab"],
        ]
        #expect(try SessionName("a").session(among: rows) == 3)
        let many = #expect(throws: ProgramFailure.self) { try SessionName("b").session(among: rows) }
        #expect(many?.exit == .usage && many?.text.contains("4, 9") == true)
        let none = #expect(throws: ProgramFailure.self) { try SessionName("c").session(among: rows) }
        #expect(none?.exit == .unavailable)
    }

    @Test func `who may not be everything is told what to be, unless a role was chosen`() throws {
        func hinted(_ roles: String, _ arguments: String...) throws -> String {
            let refusal = ProgramFailure(.unavailable, "the credential \"look\" has no role \"admin\", only: \(roles)")
            return try GlobalOptions.parse(arguments).hinting(at: refusal).text
        }
        #expect(try hinted("inspect").hasSuffix(", only: inspect; write --role inspect"))
        #expect(try hinted("worker, inspect").hasSuffix("; write --role inspect"))
        #expect(try hinted("publish").hasSuffix("; write --role publish"))
        #expect(try hinted("everything").hasSuffix(", only: everything"))
        #expect(try hinted("inspect", "--role", "admin").hasSuffix(", only: inspect"))
        let other = ProgramFailure(.unavailable, "no broker answers")
        #expect(try GlobalOptions.parse([]).hinting(at: other) == other)
    }

    @Test func `help and version are no errors, and help tells the exit codes`() throws {
        let help = try #require(ending("--help"))
        #expect(help.exitCode == 0)
        #expect(help.text.contains("64") && help.text.contains("69") && help.text.contains("78"))
        for command in Fanfare.configuration.subcommands {
            #expect(help.text.contains(try #require(command.configuration.commandName)))
        }
        #expect(try #require(ending("--version")).exitCode == 0)
        #expect(try #require(ending("groups", "--help")).text.contains("--cursor"))
    }

    @Test func `refusals end with 69, what they say of the words themselves with 64, always in one line`() {
        let full = Ending(Failure(.channelFull, "channel \"a\" holds 100 unread messages"))
        #expect(full == Ending(ProgramFailure(.unavailable, "channel_full: channel \"a\" holds 100 unread messages")))
        #expect(full.exitCode == 69)
        #expect(full.text == "fanfare: channel_full: channel \"a\" holds 100 unread messages")
        #expect(Ending(Failure(.notFound, "x")).exitCode == 69)
        #expect(Ending(Failure(.forbidden, "x")).exitCode == 69)
        #expect(Ending(Failure(.badName, "x")).exitCode == 64)
        #expect(Ending(Failure(.badRequest, "no column \"x\"")).exitCode == 64)
        #expect(!Ending(Failure(.notFound, "a\nb\u{1b}c")).text.contains { $0 == "\n" || $0 == "\u{1b}" })
        #expect(Ending(ChannelLayerError.channelFull("channel \"a\" holds 100 unread messages")) == full)
        #expect(Ending(ChannelLayerError.badName("x")).exitCode == 64)
        #expect(Ending(ChannelLayerError.notConnected("no link")).exitCode == 69)
        #expect(Ending(CancellationError()).exitCode == 0)
        #expect(Ending(CancellationError()).text.isEmpty)
    }
}

struct MessageArgumentTests {
    @Test func `a JSON object is a message`() throws {
        #expect(
            try MessageArgument.message(Array(#"{"type":"chat.message","n":1}"#.utf8)) == [
                "type": "chat.message", "n": 1,
            ]
        )
        #expect(try MessageArgument.read("{}") == [:])
    }

    @Test(
        "anything else is a usage error that names it",
        arguments: [
            ("[1]", "a list"), ("7", "the number 7"), ("1.5", "the number 1.5"), ("\"x\"", "a text"), ("null", "null"),
            ("true", "the truth value true"), (#"{"$bytes":""}"#, "bytes"), ("{bad", "JSON"), ("", "JSON"),
            (#"{"a":[1e999]}"#, "$.a[0]"),
        ]
    )
    func notAMessage(text: String, part: String) throws {
        let failure = #expect(throws: ProgramFailure.self) { try MessageArgument.message(Array(text.utf8)) }
        #expect(failure?.exit == .usage)
        #expect(try #require(failure).text.contains(part))
        #expect(try #require(failure).text.contains("chat.message"))
    }

    @Test func `the outcome of a group send is told in counts`() throws {
        let body: Body = [0x80]
        #expect(GroupSendCommand.line(nil, "g", body) == "sent 1 bytes to group g")
        let answer: MessageValue = ["members": 3, "accepted": 2, "dropped": 1]
        #expect(GroupSendCommand.line(answer, "g", body) == "sent 1 bytes to group g: 3 members, 2 accepted, 1 dropped")
        let partial: MessageValue = ["members": 3, "accepted": 2, "dropped": 0, "partial": true]
        #expect(GroupSendCommand.line(partial, "g", body).hasSuffix("(partial: not every process answered in time)"))
        #expect(GroupSendCommand.report(answer, "g", body)["accepted"] == 2)
        #expect(GroupSendCommand.report(nil, "g", body) == ["group": "g", "bytes": 1])
    }
}

struct TailedMessageTests {
    private let time = WallTime(milliseconds: 1_000, offsetSeconds: 0)

    private func message(_ body: Body, namespace: String = "default", skipped: UInt64 = 0) -> TailedMessage {
        let tailed = Tailed(kind: .group, name: "chat.lobby", namespace: namespace, body: body, skipped: skipped)
        return TailedMessage(tailed, at: time, reader: FrameReader(limits: Limits()))
    }

    @Test func `a message that passes is a line with time, kind, name and JSON`() {
        let body = MessagePack.encode(["type": "chat", "n": 1])
        #expect(message(body).line == #"00:00:01.000  group  chat.lobby  {"n":1,"type":"chat"}"#)
        #expect(message(body, namespace: "blue").line.contains("  blue/chat.lobby  "))
    }

    @Test func `as JSON it keeps namespace, UTC time and what was left out`() throws {
        let report = message(MessagePack.encode(["n": 1]), skipped: 7).report
        #expect(
            try Display.json(report)
                == #"{"kind":"group","message":{"n":1},"name":"chat.lobby","namespace":"default","skipped":7,"#
                + #""time":"1970-01-01T00:00:01.000Z"}"# + "\n"
        )
    }

    @Test func `bodies that are no MessagePack, or no JSON, are shown as bytes`() {
        #expect(message([0xc1]).line.hasSuffix(#"{"$bytes":"wQ=="}"#))
        #expect(message([]).line.hasSuffix(#"{"$bytes":""}"#))
        let notANumber = MessagePack.encode(["x": .double(.nan)])
        #expect(message(notANumber).message == .binary(notANumber))
    }

    @Test func `what was left out is told apart from the messages`() {
        #expect(message([0x80]).notice == nil)
        #expect(message([0x80], skipped: 7).notice?.contains("7 matching messages") == true)
    }
}
