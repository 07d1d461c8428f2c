import ArgumentParser
import FanfareModel
import Foundation
import Testing

@testable import fanfare

struct ContextTests {
    private func contexts(_ contexts: Context...) throws -> Contexts {
        var all = Contexts()
        for context in contexts { try all.add(context, replaces: false) }
        return all
    }

    private static let full = Context(
        name: "production",
        note: "the \"shop\": # 1",
        brokers: ["tls://broker.example:7411", "tls://[::1]:7412"],
        namespace: "shop",
        role: "inspect",
        token: "ff_secret",
        allowsTokenInTheClear: true,
        caFile: "/etc/ca.pem",
        certificateFile: "/etc/me.pem",
        keyFile: "/etc/me.key",
        serverName: "broker"
    )

    @Test func `contexts read back as they were written, token included`() throws {
        var all = try contexts(Context(name: "local", brokers: ["unix:/run/a.sock"]), Self.full)
        try all.select("local")
        try all.select("production")
        #expect(all.yaml.hasPrefix("# ") && all.yaml.contains("ff_secret"))
        #expect(try Contexts(yaml: all.yaml, from: "contexts.yaml") == all)
        #expect(try Contexts(yaml: Contexts().yaml, from: "contexts.yaml") == Contexts())
        #expect(try Contexts(yaml: "", from: "contexts.yaml").all.isEmpty)
    }

    @Test func `selecting remembers the one before, removing forgets both`() throws {
        var all = try contexts(Context(name: "a"), Context(name: "b"))
        try all.select("a")
        #expect(all.previous == nil)
        try all.select("b")
        try all.select("b")
        #expect((all.selected, all.previous) == ("b", "a"))
        try all.select(nil)
        #expect((all.selected, all.previous) == (nil, "b"))
        try all.remove("b")
        #expect(all.all.map(\.name) == ["a"] && all.previous == nil)
        let failure = #expect(throws: ProgramFailure.self) { try all.select("c") }
        #expect(failure?.exit == .configuration)
    }

    @Test func `a name is taken once, unless it is replaced`() throws {
        var all = try contexts(Context(name: "a", note: "old"))
        let failure = #expect(throws: ProgramFailure.self) { try all.add(Context(name: "a"), replaces: false) }
        #expect(failure?.exit == .usage && failure?.text.contains("--replace") == true)
        try all.add(Context(name: "a", note: "new"), replaces: true)
        #expect(all.all.map(\.note) == ["new"])
        for number in all.all.count..<Contexts.most { try all.add(Context(name: "n\(number)"), replaces: false) }
        #expect(throws: ProgramFailure.self) { try all.add(Context(name: "more"), replaces: false) }
    }

    @Test(arguments: ["", "-a", "a b", "ä", "a/b", "a\nb", String(repeating: "a", count: 65)])
    func `a name that would need quotes is refused`(name: String) {
        #expect(throws: ProgramFailure.self) { try Context(name: name).check() }
    }

    @Test(arguments: [
        ("contexts:\n  - name: a\n  - name: a\n", "twice"), ("contexts:\n  - note: a\n", "name"),
        ("contexts:\n  - name: a\n    brokers: [http://x]\n", "http://x"),
        ("contexts:\n  - name: a\n    rolle: admin\n", "did you mean \"role\"?"),
        ("contexts:\n  - name: a\n    role: root\n", "role"), ("selected: [a]\n", "selected"),
        ("contexts:\n  - name: a\n    key_file: /k\n", "both files"),
    ])
    func `a file that cannot be used is refused with its line`(yaml: String, part: String) {
        let failure = #expect(throws: ProgramFailure.self) { try Contexts(yaml: yaml, from: "contexts.yaml") }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.hasPrefix("contexts.yaml:") == true && failure?.text.contains(part) == true)
    }

    @Test func `a token is shown only when that is wanted`() throws {
        #expect(!"\(Self.full.value(revealing: false))".contains("ff_secret"))
        #expect(Self.full.value(revealing: true)["token"] == "ff_secret")
        #expect(!"\(ContextListCommand.answer(try contexts(Self.full)))".contains("ff_secret"))
        #expect(!ContextListCommand.page(try contexts(Self.full)).text(on: .plain).contains("ff_secret"))
    }

    @Test func `what is added are the options given, with absolute paths`() throws {
        let command = try ContextAddCommand.parse(
            ["a", "--broker", "unix:/b", "--ca-file", "ca.pem", "--token-file", "/t", "--role", "inspect"]
        )
        let context = command.context(token: nil, folder: "/home/me")
        var expected = Context(name: "a", brokers: ["unix:/b"])
        (expected.caFile, expected.tokenFile, expected.role) = ("/home/me/ca.pem", "/t", "inspect")
        #expect(context == expected)
        for wrong in [["a"], ["a", "--broker", "unix:/b", "--read-token", "--token-file", "t"]] {
            #expect(throws: (any Error).self) { try ContextAddCommand.parse(wrong) }
        }
    }
}

/// Each test has a folder of its own for the file.
struct ContextChoiceTests {
    private func withFile(_ contexts: Contexts, _ body: ([String: String]) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let environment = ["XDG_CONFIG_HOME": folder.path]
        let file = try #require(ContextsFile(environment: environment))
        try file.change { $0 = contexts }
        try body(environment)
    }

    private func contexts() throws -> Contexts {
        var contexts = Contexts()
        var one = Context(name: "one", brokers: ["unix:/one"], namespace: "first", role: "inspect", token: "t-one")
        one.serverName = "one.example"
        try contexts.add(one, replaces: false)
        try contexts.add(Context(name: "two", brokers: ["unix:/two"], tokenFile: "/two.token"), replaces: false)
        return contexts
    }

    private func options(_ arguments: [String], _ environment: [String: String]) throws -> GlobalOptions {
        var options = try StatusCommand.parse(arguments).global
        try options.complete(environment: environment)
        return options
    }

    private func brokers(
        _ arguments: [String],
        _ file: [String: String],
        _ variables: [String: String] = [:]
    ) throws -> [String] {
        try options(arguments, file.merging(variables) { $1 }).brokers
    }

    @Test func `flag, then environment, then the selected context say where the broker is`() throws {
        var contexts = try contexts()
        try contexts.select("one")
        try withFile(contexts) { file throws in
            #expect(try brokers([], file) == ["unix:/one"])
            #expect(try brokers([], file, ["FANFARE_BROKER": "unix:/env"]) == [])
            #expect(try brokers([], file, ["FANFARE_CONTEXT": "two", "FANFARE_BROKER": "unix:/env"]) == ["unix:/two"])
            #expect(try brokers(["--broker", "unix:/x"], file, ["FANFARE_CONTEXT": "two"]) == ["unix:/x"])
            #expect(try brokers(["--context", "two"], file, ["FANFARE_CONTEXT": "one"]) == ["unix:/two"])
            #expect(try brokers(["--context", "two", "--broker", "unix:/x"], file) == ["unix:/x"])
            #expect(try brokers([], file, ["FANFARE_CONTEXT": "", "FANFARE_BROKER": ""]) == ["unix:/one"])
        }
    }

    @Test func `a token goes to no broker it was not meant for`() throws {
        var contexts = try contexts()
        try contexts.select("one")
        try withFile(contexts) { file in
            #expect(try options([], file).security().token == "t-one")
            let elsewhere = try options(["--broker", "unix:/x"], file)
            #expect(try elsewhere.security().token != "t-one")
            #expect(elsewhere.serverName == nil && elsewhere.namespace == nil)
            let named = try options(["--context", "one", "--token-file", "/mine"], file)
            #expect(try named.security().token == nil)
            #expect(try named.security().tokenFile == "/mine")
        }
    }

    @Test func `a context brings role and namespace, and flags change them`() throws {
        try withFile(try contexts()) { file in
            let plain = try options(["--context", "one"], file)
            #expect(plain.namespace == "first" && plain.hello().namespace == "first")
            #expect(plain.hello().role == .inspect && plain.serverName == "one.example")
            let changed = try options(["--context", "one", "--namespace", "b", "--role", "admin"], file)
            #expect(changed.namespace == "b" && changed.hello().role == .admin)
            #expect(try options([], file).namespace == nil)
            var flush = try FlushCommand.parse(["--context", "one"]).global
            try flush.complete(environment: file, takesNamespace: FlushCommand.takesNamespaceOfContext)
            #expect(flush.namespace == nil)
        }
    }

    @Test func `a name that does not exist and a file others may read are faults of configuration`() throws {
        try withFile(try contexts()) { file in
            let failure = #expect(throws: ProgramFailure.self) { try options(["--context", "onne"], file) }
            #expect(failure?.exit == .configuration && failure?.text.contains("did you mean \"one\"?") == true)
            let path = try #require(ContextsFile(environment: file)).path
            #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
            let open = #expect(throws: ProgramFailure.self) { try options([], file) }
            #expect(open?.exit == .configuration && open?.text.contains("chmod") == true)
            // Who says where the broker is needs no file.
            #expect(try options(["--broker", "unix:/x"], file).brokers == ["unix:/x"])
        }
    }

    @Test func `without a home there are no contexts, and that is no error`() throws {
        #expect(ContextsFile(environment: [:]) == nil)
        #expect(ContextsFile(environment: ["HOME": "/h"])?.path == "/h/.config/fanfare/contexts.yaml")
        #expect(ContextsFile(environment: ["HOME": "/h", "XDG_CONFIG_HOME": "x"])?.path.hasPrefix("/h/") == true)
        #expect(try options([], [:]).brokers == [])
        #expect(throws: ProgramFailure.self) { try options(["--context", "a"], [:]) }
    }

    @Test func `every command that goes to a broker takes up contexts`() {
        var count = 0
        for command in Fanfare.configuration.subcommands {
            let help = command.helpMessage()
            guard help.contains("--token-in-the-clear") else { continue }
            #expect(command is any BrokerCommand.Type, "\(command)")
            count += 1
        }
        #expect(count >= 14)
    }

    @Test func `options may stand in front of commands of two words`() {
        let moved = GlobalOptions.behindCommand(["--json", "--context", "a", "context", "list"])
        #expect(moved == ["context", "list", "--json", "--context", "a"])
        #expect(GlobalOptions.behindCommand(["--context", "a", "groups", "x"]) == ["groups", "--context", "a", "x"])
        #expect(GlobalOptions.behindCommand(["--json", "bogus", "x"]) == ["bogus", "--json", "x"])
    }
}
