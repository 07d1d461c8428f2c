import FanfareModel
import Testing

struct GlobTests {
    /// Names the patterns below are tried on: letters, digits, and every byte that means something in a pattern.
    private static let names = [
        "", "a", "b", "c", "x", "!", "-", "]", "[", "^", "*", "?", "\\", "ax", "bx", "dx", "ab", "abc", "aXbYc",
        "chat.a", "chat.ab", "chat.", "chat", "x.log", "specific.k3!1", "k3!1", "9", "x9", "[a", "x[", "x[!", "[!]",
        "[]", "a]", "a[b", "e", "d", "0", ".", "http.request", "aaaaaaaaaab", "aaaaaaaaaa", "[x", "A",
    ]

    /// What Python's `fnmatch.fnmatchcase` finds among ``names``.
    private static let matches: [(pattern: String, names: [String])] = [
        ("*", names),
        ("", [""]),
        (
            "?",
            [
                "a", "b", "c", "x", "!", "-", "]", "[", "^", "*", "?", "\\", "9", "e", "d", "0", ".", "A",
            ]
        ),
        ("chat.*", ["chat.a", "chat.ab", "chat."]),
        ("chat.?", ["chat.a"]),
        ("*.log", ["x.log"]),
        ("a*b", ["ab", "a[b", "aaaaaaaaaab"]),
        ("a**b", ["ab", "a[b", "aaaaaaaaaab"]),
        ("a*b*c", ["abc", "aXbYc"]),
        ("[abc]", ["a", "b", "c"]),
        ("[a-c]x", ["ax", "bx"]),
        ("[!a-c]x", ["dx", "[x"]),
        ("[]a]", ["a", "]"]),
        ("[!]a]", ["b", "c", "x", "!", "-", "[", "^", "*", "?", "\\", "9", "e", "d", "0", ".", "A"]),
        ("[a-]", ["a", "-"]),
        ("[-a]", ["a", "-"]),
        ("[b-a]", []),
        (
            "[!b-a]",
            [
                "a", "b", "c", "x", "!", "-", "]", "[", "^", "*", "?", "\\", "9", "e", "d", "0", ".", "A",
            ]
        ),
        ("[a-c-e]", ["a", "b", "c", "-", "e"]),
        ("[--0]", ["-", "0", "."]),
        ("[", ["["]),
        ("[a", ["[a"]),
        ("x[", ["x["]),
        ("x[!", ["x[!"]),
        ("[!]", ["[!]"]),
        ("[]", ["[]"]),
        ("[!]]", ["a", "b", "c", "x", "!", "-", "[", "^", "*", "?", "\\", "9", "e", "d", "0", ".", "A"]),
        ("a[b", ["a[b"]),
        ("[^a]", ["a", "^"]),
        ("\\*", ["\\"]),
        ("*[0-9]", ["specific.k3!1", "k3!1", "9", "x9", "0"]),
        ("specific.*!*", ["specific.k3!1"]),
        ("*!?", ["specific.k3!1", "k3!1", "[!]"]),
        ("[a-zA-Z0-9]*", all(but: ["", "!", "-", "]", "[", "^", "*", "?", "\\", "[a", "[!]", "[]", ".", "[x"])),
        ("[*]", ["*"]),
        ("[?]", ["?"]),
        ("[[]", ["["]),
        ("[[]a", ["[a"]),
        ("**", names),
        ("*?", all(but: [""])),
        ("?*", all(but: [""])),
        ("??", ["ax", "bx", "dx", "ab", "x9", "[a", "x[", "[]", "a]", "[x"]),
        ("[!!]", ["a", "b", "c", "x", "-", "]", "[", "^", "*", "?", "\\", "9", "e", "d", "0", ".", "A"]),
        ("[a-a]", ["a"]),
        ("http.request", ["http.request"]),
        ("*a*a*a*b", ["aaaaaaaaaab"]),
    ]

    private static func all(but missing: Set<String>) -> [String] {
        names.filter { !missing.contains($0) }
    }

    @Test("a pattern matches what Python's fnmatch matches", arguments: matches)
    func matchesLikePython(row: (pattern: String, names: [String])) {
        let glob = Glob(row.pattern)
        #expect(Self.names.filter(glob.matches) == row.names)
        #expect(glob.pattern == row.pattern)
    }

    @Test("a pattern of nothing but runs and near misses ends")
    func hostilePatterns() {
        let name = String(repeating: "a", count: 99)
        let runs = String(repeating: "a*", count: 2_000)
        #expect(!Glob(runs + "b").matches(name))
        #expect(Glob(String(repeating: "*a", count: 99)).matches(name))
        #expect(!Glob(String(repeating: "*a", count: 100)).matches(name))
        #expect(Glob(String(repeating: "*", count: 10_000)).matches(name))
        #expect(!Glob(String(repeating: "?", count: 10_000)).matches(name))
        #expect(!Glob(String(repeating: "[a-z]*", count: 500) + "!").matches(name))
    }

    @Test("a class nobody closes is an ordinary bracket, however often it is opened")
    func unclosedClasses() {
        let brackets = String(repeating: "[", count: 99)
        #expect(Glob(brackets).matches(brackets))
        #expect(!Glob(brackets).matches(brackets + "["))
        #expect(Glob("*[!").matches("room[!"))
    }

    @Test("a question mark is one byte, and a pattern may hold text that is not ASCII")
    func otherBytes() {
        #expect(Glob("ö").matches("ö"))
        #expect(!Glob("ö").matches("o"))
        #expect(Glob("??").matches("ö"))
        #expect(Glob("*ö*").matches("schöner"))
    }

    @Test("equal patterns are equal values")
    func equality() {
        #expect(Glob("a[b-c]*") == Glob("a[b-c]*"))
        #expect(Glob("a*") != Glob("a?"))
    }
}
