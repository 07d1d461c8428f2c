import FanfareClient
import FanfareModel
import Testing

struct MessageJSONTests {
    private func read(_ text: String) throws -> MessageValue {
        try MessageValue(json: Array(text.utf8))
    }

    private func write(_ value: MessageValue) throws -> String {
        String(decoding: try value.json(sortedKeys: true), as: UTF8.self)
    }

    private func failure(_ text: String) -> MessageValue.JSONFailure? {
        #expect(throws: MessageValue.JSONFailure.self) { try read(text) }
    }

    private func nested(_ depth: Int, around value: MessageValue = 1) -> MessageValue {
        (0..<depth).reduce(value) { inner, _ in .array([inner]) }
    }

    @Test(
        "every kind of value has one JSON text and comes back as it was",
        arguments: [
            (.null, "null"), (.bool(true), "true"), (.bool(false), "false"),
            (.int(0), "0"), (.int(-7), "-7"), (.int(.max), "9223372036854775807"), (.int(.min), "-9223372036854775808"),
            (.double(1), "1.0"), (.double(-0.5), "-0.5"), (.double(1e100), "1e+100"),
            (.double(.leastNonzeroMagnitude), "5e-324"),
            (.double(9_007_199_254_740_992), "9007199254740992.0"),
            (.string(""), "\"\""), (.string("héllo 👋"), "\"héllo 👋\""),
            (.string("a\"b\\c/\n\t\u{8}\u{c}\r"), #""a\"b\\c/\n\t\b\f\r""#),
            (.string("\u{0}\u{1b}\u{7f}\u{9b}\u{a0}"), "\"\\u0000\\u001b\\u007f\\u009b\u{a0}\""),
            (.binary([]), #"{"$bytes":""}"#), (.binary([0, 255, 16]), #"{"$bytes":"AP8Q"}"#),
            (.array([]), "[]"), (.array([1, 2.0, .null]), "[1,2.0,null]"),
            (.map([:]), "{}"), (.map(["b": 1, "a": ["x": .binary([1])]]), #"{"a":{"x":{"$bytes":"AQ=="}},"b":1}"#),
        ] as [(MessageValue, String)]
    )
    func roundTrip(value: MessageValue, text: String) throws {
        #expect(try write(value) == text)
        #expect(try read(text) == value)
    }

    @Test func `white space, escapes and exponents are read as RFC 8259 says`() throws {
        #expect(try read(" \r\n\t[ 1 , 2 ] \n") == [1, 2])
        #expect(try read(#""\u0041\u00e9\ud83d\uDC4B\/""#) == "Aé👋/")
        #expect(try read("1e3") == .double(1_000))
        #expect(try read("-1.5E-2") == .double(-0.015))
        #expect(try read("-0") == .int(0))
        #expect(try read(#"{"a":1,"a":2}"#) == ["a": 2])
    }

    @Test(
        "what is not JSON is refused",
        arguments: [
            "", " ", "nul", "truex", "[1,]", "[1 2]", "[", "{", #"{"a"}"#, #"{"a":}"#, "{a:1}", #"{"a":1,}"#, "01",
            "1.", ".5",
            "-", "+1", "1e", "0x10", "NaN", "Infinity", "'a'", "\"a", "\"\n\"", #""\x""#, #""\u12""#, #""\u12g4""#,
            "[1]]",
            "1 2", "// a\n1",
        ]
    )
    func notJSON(text: String) {
        #expect(throws: MessageValue.JSONFailure.self) { try read(text) }
    }

    @Test(
        "text with half a surrogate pair is refused",
        arguments: [#""\ud83d""#, #""\udc4b""#, #""\ud83d\u0041""#, #""\ud83dx""#]
    )
    func halfSurrogates(text: String) throws {
        #expect(try #require(failure(text)).problem.contains("surrogate"))
    }

    @Test func `text that is not UTF-8 is refused`() {
        #expect(throws: MessageValue.JSONFailure.self) { try MessageValue(json: [0x22, 0xff, 0x22]) }
        #expect(throws: MessageValue.JSONFailure.self) { try MessageValue(json: [0x22, 0xc0, 0xaf, 0x22]) }
        #expect(throws: MessageValue.JSONFailure.self) { try MessageValue(json: [0x22, 0xed, 0xa0, 0x80, 0x22]) }
    }

    @Test func `numbers that would lose their value are refused and the path names them`() throws {
        #expect(try #require(failure(#"{"user":{"ids":[1,9223372036854775808]}}"#)).path == "$.user.ids[1]")
        #expect(try #require(failure(#"[-9223372036854775809]"#)).path == "$[0]")
        #expect(try #require(failure(#"{"a":1e999}"#)).path == "$.a")
    }

    @Test func `doubles JSON cannot say are refused and the path names them`() throws {
        for double in [Double.nan, .infinity, -.infinity] {
            let value: MessageValue = ["a": ["b": [1, .double(double)]]]
            let failure = #expect(throws: MessageValue.JSONFailure.self) { try value.json() }
            #expect(try #require(failure).path == "$.a.b[1]")
        }
    }

    @Test func `only a map with the one key $bytes and a text stands for bytes`() throws {
        #expect(try read(#"{"$bytes":"aGk=","x":1}"#) == ["$bytes": "aGk=", "x": 1])
        #expect(try read(#"{"$bytes":1}"#) == ["$bytes": 1])
        #expect(try #require(failure(#"{"a":{"$bytes":"not base64"}}"#)).path == "$.a.$bytes")
    }

    @Test func `sixteen containers are read and written, seventeen refused both ways`() throws {
        let deepest = nested(16)
        #expect(try read(write(deepest)) == deepest)
        let text = String(repeating: "[", count: 17) + String(repeating: "]", count: 17)
        #expect(try #require(failure(text)).problem.contains("16 containers"))
        #expect(throws: MessageValue.JSONFailure.self) { try nested(17).json() }
        let maps = String(repeating: #"{"a":"#, count: 17) + "1" + String(repeating: "}", count: 17)
        #expect(try #require(failure(maps)).problem.contains("16 containers"))
    }

    @Test func `bytes inside sixteen containers are a leaf, not a seventeenth container`() throws {
        let deepest = nested(16, around: .binary([1, 2, 3]))
        #expect(try read(write(deepest)) == deepest)
    }

    @Test func `hostile nesting is refused without recursion to match`() {
        #expect(throws: MessageValue.JSONFailure.self) { try read(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: MessageValue.JSONFailure.self) { try read(String(repeating: #"{"a":"#, count: 200_000)) }
    }

    @Test func `more elements than a message may have are refused`() throws {
        let text = "[" + String(repeating: "0,", count: 1_048_576) + "0]"
        #expect(try #require(failure(text)).problem.contains("elements"))
    }

    @Test func `a long key is cut in the path`() throws {
        let key = String(repeating: "k", count: 5_000)
        #expect(try #require(failure(#"{"\#(key)":x}"#)).description.utf8.count < 200)
    }
}
