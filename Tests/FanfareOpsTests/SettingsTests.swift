import FanfareModel
import Testing

@testable import FanfareOps

/// A program with one setting of each kind.
private struct Values: Sendable, Equatable {
    var listen: [String] = []
    var name: String?
    var level: String? = "info"
    var isOpen = false
    var limits = Limits()

    static let table: [Setting<Values>] =
        [
            .list("listen", \.listen, example: "unix:/x", most: 2, flag: "--listen", "Where to listen."),
            .text("name", \.name, example: "a", "A name."),
            .choice("level", \.level, ["info", "debug"], "How much."),
            .flag("open", \.isOpen, "Whether it is open."),
        ] + Setting.section("limits", \.limits, Limits.settings)
}

@Suite struct SettingsTests {
    private func settings(_ yaml: String) throws(ProgramFailure) -> Settings<Values> {
        var settings = Settings(defaults: Values(), table: Values.table)
        try settings.read(yaml: yaml, from: "broker.yaml")
        try settings.settle(limits: \.limits)
        return settings
    }

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

    @Test func `a file changes what it names and nothing else`() throws {
        var expected = Values()
        expected.listen = ["unix:/a", "tcp://127.0.0.1:1"]
        expected.name = "12"
        expected.level = "debug"
        expected.isOpen = true
        expected.limits.capacityDefault = 1_000
        expected.limits.expiryDefault = Milliseconds(2_500)
        expected.limits.textBytes = 1_024
        let yaml = """
            listen: [unix:/a, "tcp://127.0.0.1:1"]
            name: "12"
            level: debug
            open: true
            limits:
              capacity_default: 1_000
              expiry_default_seconds: 2.5
              text_bytes: 1 KiB
            """
        #expect(try settings(yaml).values == expected)
        #expect(try settings("listen: unix:/a").values.listen == ["unix:/a"])
    }

    @Test(arguments: ["", "# nothing\n", "limits:\n", "---\n"])
    func `a file that says nothing changes nothing`(yaml: String) throws {
        #expect(try settings(yaml).values == Values())
    }

    @Test(arguments: [
        (
            "name: x\n\nexpiri: 3",
            #"broker.yaml:3: unknown key "expiri"; did you mean "limits.expiry_default_seconds"?"#
        ),
        ("limits:\n  expiri: 3", #"broker.yaml:2: unknown key "expiri"; did you mean "expiry_default_seconds"?"#),
        ("lisetn: x", #"broker.yaml:1: unknown key "lisetn"; did you mean "listen"?"#),
        ("limit:\n  nesting: 3", #"broker.yaml:1: unknown key "limit"; did you mean "limits"?"#),
        ("zzzzzzzz: 1", #"broker.yaml:1: unknown key "zzzzzzzz"; --print-config shows all of them"#),
        (
            "capacity_default: 3",
            #"broker.yaml:1: "capacity_default" belongs below "limits:", with two spaces in front"#
        ),
        ("[1, 2]: 3", #"broker.yaml:1: unknown key ""; --print-config shows all of them"#),
    ])
    func `an unknown key is refused with its line and what was probably meant`(yaml: String, text: String) {
        #expect(refusal(yaml) == text)
    }

    @Test(arguments: [
        ("limits:\n  nesting: deep", #"broker.yaml:2: nesting must be a whole number from 2 to 32, not "deep""#),
        ("limits:\n  nesting: 33", #"broker.yaml:2: nesting must be a whole number from 2 to 32, not "33""#),
        ("limits:\n  nesting: \"8\"", #"broker.yaml:2: nesting must be a whole number from 2 to 32, not the text "8""#),
        ("limits:\n  nesting: [8]", "broker.yaml:2: nesting must be a whole number from 2 to 32"),
        (
            "limits:\n  nesting: 99999999999999999999",
            "broker.yaml:2: nesting must be a whole number from 2 to 32, "
                + #"not "99999999999999999999""#
        ),
        ("open: yes", #"broker.yaml:1: open must be true or false, not "yes""#),
        ("level: loud", #"broker.yaml:1: level must be one of info, debug, not "loud""#),
        ("name:\n", "broker.yaml:1: name has no value: give it one or remove the line"),
        ("listen: [a, b, c]", "broker.yaml:1: listen takes at most 2 values, not 3"),
        ("limits: 3", #"broker.yaml:1: "limits" must hold keys and values, indented by two spaces"#),
        ("- a\n- b", #"broker.yaml:1: expected keys and values, such as "listen: …""#),
    ])
    func `a value of the wrong kind or out of range is refused with its line`(yaml: String, text: String) {
        #expect(refusal(yaml) == text)
    }

    @Test func `a key given twice is refused`() {
        #expect(
            refusal("name: a\nopen: true\nname: b") == #"broker.yaml:1: key "name" is given twice; keep one of them"#
        )
    }

    @Test(arguments: ["a: [1\nb: 2", "name: a\n---\nname: b", "name: *nobody", "\tname: x", "name: 'x"])
    func `what is not YAML is refused with a line`(yaml: String) {
        let text = refusal(yaml)
        #expect(text.hasPrefix("broker.yaml:"))
        #expect(text.contains("not valid YAML"))
        #expect(!text.contains("\n"))
    }

    @Test func `a file of brackets without end is refused without exhausting the stack`() {
        #expect(refusal(String(repeating: "[", count: 1_000_000)).contains("not valid YAML"))
    }

    @Test(arguments: [
        (
            "limits: {expiry_default_seconds: 100000}",
            "broker.yaml:1: expiry_maximum_seconds (86400) must be at least expiry_default_seconds (100000); "
                + "change one of them"
        ),
        (
            "limits: {frame_bytes: 2MiB}",
            "broker.yaml:1: frame_bytes (2MiB) must be at least body_bytes (2MiB) plus 4096; change one of them"
        ),
        (
            "limits: {ping_after_seconds: 45}",
            "broker.yaml:1: silence_maximum_seconds (45) must be more than ping_after_seconds (45); change one of them"
        ),
    ])
    func `limits that contradict each other are refused`(yaml: String, text: String) {
        #expect(refusal(yaml) == text)
    }

    @Test func `limits nobody gave follow those somebody gave`() throws {
        let raised = try settings("limits: {body_bytes: 4MiB}").values.limits
        #expect(raised.frameBytes == raised.bodyBytes + Limits().frameBytes - Limits().bodyBytes)
        let lowered = try settings("limits: {queued_bytes: 8MiB}").values.limits
        #expect(lowered.channelBytes == lowered.queuedBytes)
        let small = try settings("limits: {memory_bytes: 8MiB}").values.limits
        #expect(small.queuedBytes == small.memoryBytes)
        #expect(small.channelBytes == small.memoryBytes)
    }

    @Test func `the command line wins over the file, and its errors name the flag`() throws {
        var settings = try settings("listen: a\nlimits: {nesting: 3}")
        try settings.set("listen", to: ["b", "c"], from: "--listen")
        try settings.set("name", to: [], from: "--name")
        try settings.set(assignment: "nesting=4", in: "limits", from: "--limit")
        #expect(settings.values.listen == ["b", "c"])
        #expect(settings.values.name == nil)
        #expect(settings.values.limits.nesting == 4)
        for (assignment, text) in [
            ("nesting=x", #"--limit nesting must be a whole number from 2 to 32, not "x""#),
            ("nestign=3", #"--limit: unknown name "nestign"; did you mean "nesting"?"#),
            ("nesting", #"--limit "nesting" must be NAME=VALUE, such as frame_bytes=VALUE"#),
        ] {
            #expect(throws: ProgramFailure(.configuration, text)) {
                try settings.set(assignment: assignment, in: "limits", from: "--limit")
            }
        }
    }

    @Test func `the printed configuration says the same when it is read again`() throws {
        let changed = try settings("listen: [a, 'b \"c']\nname: 'ü: #x'\nlimits: {expiry_default_seconds: 0.25}")
        let printed = changed.commentedYAML(title: "All settings.")
        #expect(try settings(printed).values == changed.values)
        for setting in Values.table { #expect(printed.contains("\(setting.name):")) }
    }
}

@Suite struct LimitSettingsTests {
    @Test func `every bound of Limits is in the table under its snake_case name`() {
        let properties = Mirror(reflecting: Limits()).children.map { child in
            let name = (child.label ?? "").reduce(into: "") { name, character in
                name += character.isUppercase ? "_" + character.lowercased() : String(character)
            }
            return child.value is Milliseconds ? name + "_seconds" : name
        }
        #expect(!properties.isEmpty)
        #expect(Limits.settings.map(\.name) == properties)
    }

    @Test func `every default lies within the range of its setting`() throws {
        for setting in Limits.settings {
            let text = try #require(setting.yaml(Limits()))
            #expect(try setting.kind.value(of: text) == setting.read(Limits()))
        }
    }

    @Test func `every setting writes the property it reads`() throws {
        for setting in Limits.settings {
            var limits = Limits()
            let changed: SettingValue =
                switch setting.read(limits) {
                case .integer(let number): .integer(number + 1)
                case .duration(let time): .duration(Milliseconds(time.value + 1))
                case let other: other
                }
            setting.write(&limits, changed)
            #expect(setting.read(limits) == changed)
            #expect(Limits.settings.filter { $0.read(limits) != $0.read(Limits()) }.map(\.name) == [setting.name])
        }
    }
}

@Suite struct SettingValueTests {
    @Test(
        arguments: [
            ("0", 0), ("60", 60_000), ("0.5", 500), ("1.25", 1_250), ("0.001", 1), ("007", 7_000),
            ("999999999999999", 999_999_999_999_999_000),
        ] as [(String, UInt64)]
    )
    func `seconds are read with up to three decimals`(text: String, milliseconds: UInt64) {
        #expect(Milliseconds(seconds: text) == Milliseconds(milliseconds))
    }

    @Test(arguments: ["", ".5", "5.", "-1", "+1", "1e3", "1.0005", "1,5", "60s", " 1", "9999999999999999", "٣"])
    func `what is not seconds is refused`(text: String) {
        #expect(Milliseconds(seconds: text) == nil)
    }

    @Test(arguments: [0, 1, 10, 500, 1_000, 1_001, 60_000, 90_050] as [UInt64])
    func `seconds are written as they are read`(milliseconds: UInt64) {
        #expect(Milliseconds(seconds: Milliseconds(milliseconds).inSeconds) == Milliseconds(milliseconds))
    }

    @Test(arguments: [("0", 0), ("4096", 4_096), ("4KiB", 4_096), ("4 MiB", 4_194_304), ("1_000", 1_000)])
    func `bytes take a unit`(text: String, bytes: Int) throws {
        #expect(try SettingKind.bytes(0...Int.max).value(of: text) == .integer(bytes))
        #expect(try SettingKind.bytes(0...Int.max).value(of: SettingKind.shown(bytes: bytes)) == .integer(bytes))
    }

    @Test(arguments: ["", "KiB", "4KB", "4kib", "-4", "+4", "010", "_1", "1_", "0x10", "9999999999GiB", "1.5MiB"])
    func `what is not bytes is refused`(text: String) {
        #expect(throws: WrongValue.self) { try SettingKind.bytes(0...Int.max).value(of: text) }
    }
}

@Suite struct SuggestionTests {
    @Test(arguments: [
        ("expiri", "expiry_default_seconds"), ("capacty", "capacity_default"), ("frame_byte", "frame_bytes"),
        ("Nesting", "nesting"), ("nestign", "nesting"), ("group_expiry", "group_expiry_default_seconds"),
    ])
    func `a slip finds what was meant`(word: String, meant: String) {
        #expect(Suggestion.closest(to: word, among: Limits.settings.map(\.name)) == meant)
    }

    @Test(arguments: ["", "x", "timeout", String(repeating: "a", count: 100_000)])
    func `something else finds nothing`(word: String) {
        #expect(Suggestion.closest(to: word, among: Limits.settings.map(\.name)) == nil)
    }
}
