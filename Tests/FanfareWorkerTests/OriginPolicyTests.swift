import Testing

@testable import FanfareWorker

@Suite struct OriginPolicyTests {
    @Test func `the same origin is the same host and port, with the scheme's default`() {
        let same = [
            ("http://chat.example:8000", "chat.example:8000"), ("HTTP://Chat.Example:8000", "chat.example:8000"),
            ("http://chat.example", "chat.example"), ("http://chat.example", "chat.example:80"),
            ("https://chat.example", "chat.example"), ("https://chat.example:443", "chat.example"),
            ("http://[::1]:8000", "[::1]:8000"), ("http://[::1]", "[0:0:0:0:0:0:0:1]"), ("http://a_b-c", "a_b-c"),
            ("https://chat.example.", "chat.example."),
        ]
        for (origin, host) in same {
            #expect(OriginPolicy.sameOrigin.admits(origin: origin, host: host), "\(origin) at \(host)")
        }
        let foreign = [
            ("http://evil.example:8000", "chat.example:8000"), ("http://chat.example:8001", "chat.example:8000"),
            ("http://chat.example", "chat.example:8000"), ("https://chat.example", "chat.example:80"),
            ("http://chat.example:8001", "chat.example"), ("http://chat.example:443", "chat.example"),
            ("null", "chat.example"), ("null", "null"), ("", "chat.example"), ("", ""),
            ("chat.example", "chat.example"), ("file://chat.example", "chat.example"),
            ("ws://chat.example", "chat.example"), ("://chat.example", "chat.example"),
            ("http://", ""), ("http://chat.example/", "chat.example"), ("http://a@chat.example", "chat.example"),
            ("http://chat.example.evil", "chat.example"), ("http://chat.example:", "chat.example"),
            ("http://chat.example:99999", "chat.example:99999"), ("http://[::1", "[::1"), ("http://[::1]x", "[::1]x"),
            ("http://chat.example.", "chat.example"), ("http://chat.example", "chat.example."),
            ("http://chat.example..", "chat.example.."), ("http://.chat.example", ".chat.example"),
            ("http://chat.example:080", "chat.example:80"), ("http://chat.example:0", "chat.example:0"),
            ("http://chat.example:+80", "chat.example"), ("http://chat.example:80 ", "chat.example"),
            ("http://chat.example, http://chat.example", "chat.example"), ("http://chat.example\0", "chat.example"),
            ("http://[1.2.3.4]", "[1.2.3.4]"), ("http://[::1%eth0]", "[::1%eth0]"),
            // Unicode's lower case of the Kelvin sign is an ASCII k.
            ("http://\u{212a}.example", "k.example"), ("http://k.example", "\u{212a}.example"),
            ("http://" + String(repeating: "a", count: 64), String(repeating: "a", count: 64)),
            ("http://" + String(repeating: "a.", count: 200) + "a", String(repeating: "a.", count: 200) + "a"),
        ]
        for (origin, host) in foreign {
            #expect(!OriginPolicy.sameOrigin.admits(origin: origin, host: host), "\(origin) at \(host)")
        }
    }

    @Test func `a program without an origin is let in where the policy says so`() throws {
        #expect(OriginPolicy.sameOrigin.admits(origin: nil, host: "chat.example"))
        #expect(!OriginPolicy.sameOrigin(missing: .refused).admits(origin: nil, host: "chat.example"))
        #expect(try !OriginPolicy(allowing: ["shop.example"]).admits(origin: nil, host: "shop.example"))
        #expect(try OriginPolicy(allowing: ["shop.example"], missing: .allowed).admits(origin: nil, host: ""))
        #expect(try OriginPolicy(allowing: ["*"]).admits(origin: nil, host: ""))
        #expect(try !OriginPolicy(allowing: ["*"], missing: .refused).admits(origin: nil, host: ""))
    }

    @Test(arguments: [
        (
            "https://shop.example", ["https://shop.example", "https://shop.example:443", "HTTPS://SHOP.example"],
            [
                "http://shop.example", "https://shop.example:8443", "https://www.shop.example",
                "https://shop.example.evil", "https://evilshop.example", "https://shop.example.",
            ]
        ),
        (
            "https://shop.example:8443", ["https://shop.example:8443"],
            ["https://shop.example", "http://shop.example:8443"]
        ),
        (
            "Shop.Example", ["https://shop.example", "http://shop.example:1", "capacitor://shop.example"],
            ["https://a.shop.example", "https://shop.example.", "shop.example", "//shop.example"]
        ),
        (
            "shop.example:8443", ["https://shop.example:8443", "http://shop.example:8443"],
            ["https://shop.example", "https://shop.example:443"]
        ),
        (
            ".shop.example", ["https://shop.example", "http://a.shop.example:9", "https://a.b.shop.example"],
            [
                "https://evilshop.example", "https://a.shop.example.", "https://.shop.example",
                "https://a..shop.example", "https://shop.example.evil", "https://a.shop.example/",
            ]
        ),
        (
            "http://.shop.example:8080", ["http://shop.example:8080", "http://a.shop.example:8080"],
            ["http://a.shop.example", "https://a.shop.example:8080"]
        ),
        ("*.shop.example", ["https://shop.example", "https://a.shop.example"], ["https://ashop.example"]),
        ("https://*.shop.example", ["https://a.shop.example", "https://shop.example"], ["http://a.shop.example"]),
        ("localhost", ["http://localhost:3000"], ["http://localhost.evil", "http://a.localhost"]),
        ("http://[2001:DB8:0::1]:8000", ["http://[2001:db8::1]:8000"], ["http://[2001:db8::2]:8000"]),
        ("127.0.0.1", ["http://127.0.0.1:8000"], ["http://a.127.0.0.1", "http://127.0.0.2"]),
        ("capacitor://localhost", ["capacitor://localhost"], ["http://localhost", "capacitor://localhost:80"]),
        ("xn--bcher-kva.example", ["https://XN--bcher-kva.example"], ["https://bücher.example"]),
    ])
    func `a pattern admits what it describes and nothing else`(
        pattern: String,
        admitted: [String],
        refused: [String]
    ) throws {
        let policy = try OriginPolicy(allowing: ["https://other.example", pattern])
        // The Host header plays no part.
        for origin in admitted { #expect(policy.admits(origin: origin, host: "x.example"), "\(origin)") }
        for origin in refused + ["null", "", "https://"] {
            #expect(!policy.admits(origin: origin, host: "shop.example"), "\(origin)")
        }
    }

    @Test func `only the star admits null and what cannot be read`() throws {
        let policy = try OriginPolicy(allowing: ["shop.example", "*"])
        for origin in ["null", "", "https://anything.example:1", "\0"] {
            #expect(policy.admits(origin: origin, host: "chat.example"))
        }
    }

    @Test func `what cannot be read stops the start and is named`() {
        let unreadable = [
            "", " ", "https://", "https://shop.example/", "shop.example/path", "https://shop.example?x", "a#b",
            "https://me:pw@shop.example", "me@shop.example", "shop.*", "https://*", "*shop.example", "**",
            "*.*.example", "..shop.example", "shop..example", "shop.example.", ".shop.example.", "shop.example:",
            "shop.example:0", "shop.example:080", "shop.example:65536", "shop.example:*", "shop example",
            " shop.example", "bücher.example", "https://\u{212a}.example", "://shop.example", "1http://shop.example",
            "ht tp://shop.example", ".127.0.0.1", ".[::1]", "[::1", "[::1]x", "::1", "null,", "a\\b", ".", "*.",
        ]
        for pattern in unreadable {
            // Beside readable ones and beside the star too.
            for patterns in [[pattern], ["shop.example", pattern], ["*", pattern]] {
                #expect("\(patterns)") { try OriginPolicy(allowing: patterns) } throws: { error in
                    guard let setting = error as? InvalidSetting else { return false }
                    return setting.description.contains(InvalidSetting.quoted(pattern))
                        && setting.description.contains("write https://shop.example")
                }
            }
        }
        #expect(throws: InvalidSetting.self) { try OriginPolicy(allowing: []) }
        #expect(throws: InvalidSetting.self) { try OriginPolicy(allowing: Array(repeating: "a", count: 1_001)) }
    }
}
