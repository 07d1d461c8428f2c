import Testing

@testable import FanfareWorker

@Suite struct TrustedProxiesTests {
    @Test func `addresses are read in every usual form and written in one`() throws {
        let forms = [
            ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("::FFFF:c000:201", "192.0.2.1"),
            ("2001:DB8:0:0::1", "2001:db8::1"), ("::", "::"), ("::1", "::1"), ("255.255.255.255", "255.255.255.255"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ]
        for (text, usual) in forms { #expect(IPAddress(text)?.description == usual, "\(text)") }
        for text in [
            "", " ", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "0x7f.0.0.1", "1.2.3.4 ", "1.2.3.4\0", "1.2.3.4\0x",
            "[::1]", "::1%eth0", ":::", "1::2::3", "g::1", "1.2.3.4:80", "unknown", "١.٢.٣.٤",
            String(repeating: "1", count: 10_000),
        ] {
            #expect(IPAddress(text) == nil, "\(text.prefix(40))")
        }
    }

    @Test func `addresses of sockets and proxies may have ports`() {
        for text in ["192.0.2.1", "192.0.2.1:4711", "[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]:80"] {
            #expect(IPAddress(node: text)?.description == "192.0.2.1", "\(text)")
        }
        for text in ["2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:4711"] {
            #expect(IPAddress(node: text)?.description == "2001:db8::1", "\(text)")
        }
        for text in [
            "", ":", "[", "[]", "[::1", "::1]", "[::1]]", "[::1]:", "[::1]80", "[1.2.3.4]", "1.2.3.4:", "1.2.3.4:a",
            "1.2.3.4:123456", ":80", "_hidden", "unix", String(repeating: "[", count: 100_000),
        ] {
            #expect(IPAddress(node: text) == nil, "\(text.prefix(40))")
        }
    }

    @Test func `a network holds the addresses that begin like it`() throws {
        let cases: [(String, [String], [String])] = [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["9.255.255.255", "11.0.0.0"]),
            ("10.0.0.0/7", ["11.255.255.255"], ["::a00:1", "12.0.0.0"]),
            ("192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.128"]),
            ("192.0.2.1", ["192.0.2.1"], ["192.0.2.0", "192.0.2.2"]),
            ("192.0.2.1/32", ["192.0.2.1"], ["192.0.2.0"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
            ("::/0", ["::", "2001:db8::1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
            ("2001:db8::/33", ["2001:db8:7fff::1"], ["2001:db8:8000::", "2001:db7::"]),
            ("::1", ["::1"], ["::", "::2"]),
            ("::ffff:10.0.0.0/104", ["10.9.9.9"], ["11.0.0.0"]),
        ]
        for (text, inside, outside) in cases {
            let network = try IPNetwork(text)
            for address in inside { #expect(network.contains(try #require(IPAddress(address))), "\(address)") }
            for address in outside { #expect(!network.contains(try #require(IPAddress(address))), "\(address)") }
        }
        for text in [
            "", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/ 8",
            "10.0.0.0/0008", "10.0.0.1/8", "::1/129", "::1/64", "10.0.0/8", "proxy.example", "Unix", "unix ",
            "[::1]", "10.0.0.1:80", "*", "10.0.0.0/255.0.0.0", "::ffff:0:0/90",
        ] {
            #expect("\(text)") { try TrustedProxies(["10.0.0.1", text]) } throws: { error in
                (error as? InvalidSetting)?.description.contains(InvalidSetting.quoted(text)) == true
            }
        }
    }

    private let proxies = try! TrustedProxies(["10.0.0.0/8", "2001:db8::/32", "unix"])

    @Test func `a stranger is not believed`() {
        let client = proxies.client(
            peer: "192.0.2.9:4711",
            forwardedFor: ["127.0.0.1"],
            forwardedProto: ["https"],
            forwardedHost: ["admin.example"]
        )
        #expect(client == TrustedProxies.Client(address: "192.0.2.9", scheme: nil, host: nil))
        #expect(proxies.client(peer: "192.0.2.9", forwarded: ["for=127.0.0.1"]).address == "192.0.2.9")
        #expect(TrustedProxies.none.client(peer: "unix", forwardedFor: ["1.2.3.4"]).address == "unix")
        #expect(!TrustedProxies.none.trusts("127.0.0.1"))
        #expect(!proxies.trusts("garbage"))
        #expect(proxies.trusts("::ffff:10.0.0.1"))
    }

    @Test(arguments: [
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["\t192.0.2.1 "], "192.0.2.1"),
        // What stands left of the first stranger was written by the stranger.
        (["127.0.0.1, 10.0.0.9, 192.0.2.1"], "192.0.2.1"),
        (["127.0.0.1", "192.0.2.1, 10.0.0.9", "[2001:db8::7]:80"], "192.0.2.1"),
        (["192.0.2.1, ::ffff:10.0.0.9"], "192.0.2.1"),
        // Only proxies: the farthest.
        (["10.0.0.9,10.0.0.8"], "10.0.0.9"),
        // Garbage: who wrote it.
        (["192.0.2.1, unknown"], "10.0.0.1"), (["192.0.2.1, "], "10.0.0.1"), ([""], "10.0.0.1"), ([], "10.0.0.1"),
        (["192.0.2.1, x, 10.0.0.9"], "10.0.0.9"), (["192.0.2.1\0"], "10.0.0.1"), ([",,,,"], "10.0.0.1"),
        (["192.0.2.1;10.0.0.1"], "10.0.0.1"),
        (["192.0.2.1" + String(repeating: ", 10.0.0.9", count: 31)], "192.0.2.1"),
        (["192.0.2.1" + String(repeating: ", 10.0.0.9", count: 32)], "10.0.0.9"),
        ([String(repeating: "9", count: 100_000)], "10.0.0.1"),
    ])
    func `the client is the first from the right that is no proxy`(values: [String], address: String) {
        #expect(proxies.client(peer: "10.0.0.1", forwardedFor: values).address == address)
    }

    @Test func `scheme and host are those at the client's place`() {
        func client(_ addresses: [String], _ schemes: [String], _ hosts: [String] = []) -> TrustedProxies.Client {
            proxies.client(
                peer: "unix",
                forwardedFor: addresses,
                forwardedProto: schemes,
                forwardedHost: hosts
            )
        }
        #expect(client(["192.0.2.1"], ["https"], ["Shop.example:8443"]).scheme == "https")
        #expect(client(["192.0.2.1"], ["https"], ["Shop.example:8443"]).host == "shop.example:8443")
        #expect(client([], ["HTTPS"]) == TrustedProxies.Client(address: "unix", scheme: "https", host: nil))
        // The stranger's claim stands left of the proxy's.
        #expect(client(["192.0.2.1"], ["https, http"], ["admin.example, shop.example"]).scheme == "http")
        #expect(client(["192.0.2.1"], ["https, http"], ["admin.example, shop.example"]).host == "shop.example")
        // Two proxies, each appended, or only the first wrote one.
        #expect(client(["192.0.2.1, 10.0.0.9"], ["https, http"]).scheme == "https")
        #expect(client(["192.0.2.1, 10.0.0.9"], ["https"]).scheme == "https")
        #expect(client(["6.6.6.6, 192.0.2.1, 10.0.0.9"], ["https, http, https"]).scheme == "http")
        #expect(client(["192.0.2.1"], ["wss"]).scheme == "https")
        for scheme in ["", "javascript", "https://", "\u{212a}"] {
            #expect(client(["192.0.2.1"], [scheme]).scheme == nil)
        }
        for host in ["", "a b", "a/b", "a@b", "a:0", "a:x", "ü", "a\r\nb", String(repeating: "a", count: 1_000)] {
            #expect(client(["192.0.2.1"], [], [host]).host == nil)
        }
    }

    @Test(arguments: [
        (["for=192.0.2.1"], "192.0.2.1"), (["For=\"192.0.2.1:80\";proto=https"], "192.0.2.1"),
        (["for=\"[2001:db9::1]:4711\""], "2001:db9::1"), (["for=6.6.6.6, for=192.0.2.1 ,\tfor=10.0.0.9"], "192.0.2.1"),
        (["for=6.6.6.6", "for=192.0.2.1"], "192.0.2.1"), (["for=\"192.0.2.\\1\""], "192.0.2.1"),
        (["proto=https"], "10.0.0.1"), (["for=unknown"], "10.0.0.1"), (["for=_hidden"], "10.0.0.1"),
        // What breaks the grammar anywhere is the client's attempt to swallow the rest.
        (["for=\"6.6.6.6, for=192.0.2.1"], "10.0.0.1"), (["for=\"6.6.6.6\\\", for=192.0.2.1"], "10.0.0.1"),
        (["for=\"x, for=\"192.0.2.1\""], "10.0.0.1"), (["for=192.0.2.1;for=6.6.6.6"], "10.0.0.1"),
        (["for=[2001:db9::1]"], "10.0.0.1"), ([""], "10.0.0.1"), ([","], "10.0.0.1"), (["for"], "10.0.0.1"),
        (["for="], "10.0.0.1"), (["for = 192.0.2.1"], "10.0.0.1"), (["for=192.0.2.1;"], "10.0.0.1"),
        (["for=\"", "for=192.0.2.1"], "10.0.0.1"), (["for=\"\\"], "10.0.0.1"), (["for=192.0.2.1\0"], "10.0.0.1"),
        (["for=192.0.2.1" + String(repeating: ", for=10.0.0.9", count: 31)], "192.0.2.1"),
        (["for=192.0.2.1" + String(repeating: ", for=10.0.0.9", count: 32)], "10.0.0.9"),
        ([String(repeating: "for=192.0.2.1,", count: 400) + "for=192.0.2.1"], "10.0.0.1"),
    ])
    func `the standard header is read as strictly`(values: [String], address: String) {
        #expect(proxies.client(peer: "10.0.0.1", forwarded: values).address == address)
    }

    @Test func `the standard header tells scheme and host`() {
        let client = proxies.client(
            peer: "unix",
            forwarded: [
                "for=6.6.6.6;host=evil.example, for=192.0.2.1;proto=HTTPS;host=\"shop.example:8443\"", "for=10.0.0.9",
            ]
        )
        #expect(client == TrustedProxies.Client(address: "192.0.2.1", scheme: "https", host: "shop.example:8443"))
    }
}
