import FanfareModel
import Testing

struct TokenHashTests {
    private static let text = "sha256:" + String(repeating: "0123456789abcdef", count: 4)

    @Test("a hash is read as it is written, in either case")
    func roundTrip() throws {
        let hash = try #require(TokenHash(Self.text))
        #expect(hash.description == Self.text)
        #expect(TokenHash("sha256:" + Self.text.dropFirst(7).uppercased()) == hash)
        let digits = String(repeating: "a5", count: 32)
        #expect(TokenHash(bytes: Array(repeating: 0xa5, count: 32))?.description == "sha256:" + digits)
    }

    @Test(
        "anything else is no hash",
        arguments: [
            "", "sha256:", String(text.dropFirst(7)), text + "0", String(text.dropLast()),
            "SHA256:" + text.dropFirst(7),
            "sha256:" + String(repeating: "g", count: 64), "sha256:" + String(repeating: "é", count: 32), " " + text,
            "sha512:" + text.dropFirst(7), "sha256:+1" + text.dropFirst(9),
        ]
    )
    func wrongTexts(text: String) {
        #expect(TokenHash(text) == nil)
    }

    @Test("a digest has 32 bytes", arguments: [0, 31, 33, 64])
    func wrongLengths(count: Int) {
        #expect(TokenHash(bytes: Array(repeating: 0, count: count)) == nil)
    }

    @Test("hashes that differ in any one bit are not equal")
    func everyBitCounts() throws {
        let bytes = (0..<32).map { UInt8($0 * 7) }
        let hash = try #require(TokenHash(bytes: bytes))
        for bit in 0..<256 {
            var other = bytes
            other[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(TokenHash(bytes: other) != hash)
        }
        #expect(TokenHash(bytes: bytes) == hash)
    }
}

struct NamePatternsTests {
    @Test("a name is allowed by any one pattern, and by none when there is none")
    func patterns() {
        let patterns = NamePatterns(["jobs.*", "news"])
        #expect(patterns.allow("jobs.1") && patterns.allow("news"))
        #expect(!patterns.allow("news.1") && !patterns.allow("jobs") && !patterns.allow(""))
        #expect(!NamePatterns([]).allow("news"))
        #expect(!NamePatterns([]).allowsAll && !patterns.allowsAll)
    }

    @Test("a star alone allows everything", arguments: [["*"], ["a", "*"]])
    func star(texts: [String]) {
        #expect(NamePatterns(texts).allowsAll)
        #expect(NamePatterns(texts) == .all)
        #expect(NamePatterns(texts).allow("anything!at.all"))
    }

    @Test("a union allows what either allows")
    func union() {
        let both = NamePatterns(["a"]).union(NamePatterns(["b*"]))
        #expect(both.allow("a") && both.allow("b1") && !both.allow("c"))
        #expect(NamePatterns([]).union(.all).allowsAll)
        #expect(!NamePatterns([]).union(NamePatterns([])).allow("a"))
    }

    @Test("what is seen is bounded by namespace and by pattern, but for what is one's own")
    func visibility() {
        var visibility = Visibility()
        #expect(visibility.shows(.channel, "x", in: "any") && visibility.shows(.group, "x", in: "any"))
        visibility.namespaces = NamePatterns(["shop", "else"])
        visibility.channels = NamePatterns(["jobs.*"])
        visibility.groups = NamePatterns(["room"])
        visibility.node = "n1"
        visibility.ownNamespace = "shop"
        #expect(visibility.shows(.channel, "jobs.1", in: "shop") && visibility.shows(.channel, "jobs.1", in: "else"))
        #expect(!visibility.shows(.channel, "jobs.1", in: "other"))
        #expect(!visibility.shows(.channel, "room", in: "shop") && visibility.shows(.group, "room", in: "shop"))
        #expect(visibility.shows(.channel, "ws.n1!7", in: "shop") && !visibility.shows(.channel, "ws.n1!7", in: "else"))
        #expect(!visibility.shows(.channel, "ws.n2!7", in: "shop") && !visibility.shows(.channel, "n1", in: "shop"))
        #expect(visibility.shows(namespace: "else") && !visibility.shows(namespace: "other"))
    }
}
