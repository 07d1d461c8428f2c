import FanfareModel
import Testing

struct NamesTests {
    private let limits = Limits()

    private static func run(_ count: Int, of letter: Character = "a") -> String {
        String(repeating: letter, count: count)
    }

    @Test(
        "a channel is a normal name, or prefix, node, ! and a local part",
        arguments: [
            "a", "Z", "0", ".", "-", "_", "..", "http.request", "chat_room-7.x", run(99), "node!1", "n!a.b-c_d",
            "specific.k3x9qd71ma!1", "a.b.c.node-1_2!local.part", ".n!x", "..n!x", run(40) + "!x",
            "p." + run(40) + "!x", run(40) + "!" + run(58), run(57) + "." + run(39) + "!x",
        ]
    )
    func channels(name: String) {
        #expect(Names.isChannel(name, limits))
    }

    @Test(
        "anything else is no channel",
        arguments: [
            "", "!", "!a", "a!", "p.!x", "n!a!b", "n!!", "a.b!", run(100), run(41) + "!x", "p." + run(41) + "!x",
            run(40) + "!" + run(59), "a b", " a", "a ", "a\n", "a\u{0}", "a/b", "a:b", "a,b", "a*b", "a?b", "a[b",
            "a@b",
            "a#b", "a$b", "a%b", "a&b", "a+b", "a=b", "a~b", "a\\b", "a\"b", "ä", "aé", "日本", "a\u{7f}", "a\u{200b}",
            "n ode!x", "n!lo cal", "pré.n!x",
        ]
    )
    func notChannels(name: String) {
        #expect(!Names.isChannel(name, limits))
    }

    @Test("every ASCII byte is judged as the grammar says, in every part of a name")
    func everyByte() {
        for byte in UInt8(0)..<128 {
            let letter = String(UnicodeScalar(byte))
            let isWord = ("a"..."z").contains(letter) || ("A"..."Z").contains(letter) || ("0"..."9").contains(letter)
            let isPlain = isWord || [".", "-", "_"].contains(letter)
            #expect(Names.isGroup("a\(letter)b", limits) == isPlain, "byte \(byte)")
            #expect(Names.isChannel("a\(letter)b", limits) == (isPlain || letter == "!"), "byte \(byte)")
            #expect(Names.isChannel("p\(letter).node!x", limits) == isPlain, "byte \(byte)")
            #expect(Names.isChannel("node!a\(letter)b", limits) == isPlain, "byte \(byte)")
            #expect(Names.isNode("a\(letter)b", limits) == (isPlain && letter != "."), "byte \(byte)")
        }
    }

    @Test("a group is a normal name of at most 99 bytes")
    func groups() {
        for name in ["a", "chat_lobby", "A.b-C_9", Self.run(99)] { #expect(Names.isGroup(name, limits)) }
        for name in ["", "a!b", "!", "a b", Self.run(100), "grüße"] { #expect(!Names.isGroup(name, limits)) }
    }

    @Test("a node has 1 to 40 bytes and no dot")
    func nodes() {
        for node in ["a", "k3x9qd71ma", "A-b_9", Self.run(40)] { #expect(Names.isNode(node, limits)) }
        for node in ["", "a.b", ".", "a!", "a b", Self.run(41), "ü"] { #expect(!Names.isNode(node, limits)) }
    }

    @Test("lengths are bytes and follow the limits")
    func otherLimits() {
        var limits = Limits()
        limits.nameBytes = 5
        limits.nodeBytes = 2
        #expect(Names.isChannel("abcde", limits))
        #expect(!Names.isChannel("abcdef", limits))
        #expect(Names.isChannel("ab!cd", limits))
        #expect(!Names.isChannel("abc!d", limits))
    }

    @Test(
        "the node of a process channel stands between the last dot and the !",
        arguments: [
            ("node!1", "node"), ("specific.node!1", "node"), ("a.b.c!d.e", "c"), (".n!x", "n"), ("a-b_c!x", "a-b_c"),
            ("http.request", nil), ("a", nil),
        ] as [(String, String?)]
    )
    func node(name: String, node: String?) {
        #expect(Names.node(of: name).map(String.init) == node)
    }
}
