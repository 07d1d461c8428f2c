import Testing

@testable import FanfareWorker

@Suite struct CompressionTests {
    private static let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

    /// What Autobahn, browsers and other clients offer, and the window we compress with.
    private static let accepted: [([String], Int, String)] = [
        (["permessage-deflate"], 15, plain),
        (["permessage-deflate; client_max_window_bits"], 15, plain),
        (["permessage-deflate; client_no_context_takeover; client_max_window_bits"], 15, plain),
        (["permessage-deflate; client_max_window_bits=8"], 15, plain),
        (["permessage-deflate; server_no_context_takeover"], 15, plain),
        (["permessage-deflate; server_max_window_bits=15"], 15, plain + "; server_max_window_bits=15"),
        (
            [
                "permessage-deflate; client_no_context_takeover; client_max_window_bits; "
                    + "server_no_context_takeover; server_max_window_bits=8, permessage-deflate"
            ], 8, plain + "; server_max_window_bits=8"
        ),
        (
            ["permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=9"], 9,
            plain + "; server_max_window_bits=9"
        ),
        (
            ["permessage-deflate;server_max_window_bits=10;client_max_window_bits=12"], 10,
            plain + "; server_max_window_bits=10"
        ),
        (["permessage-deflate; server_max_window_bits=\"12\""], 12, plain + "; server_max_window_bits=12"),
        (["permessage-deflate; server_max_window_bits=\"1\\2\""], 12, plain + "; server_max_window_bits=12"),
        ([" \t permessage-deflate \t;\tserver_max_window_bits = 11 "], 11, plain + "; server_max_window_bits=11"),
        ([", ,permessage-deflate, ,"], 15, plain),
        (["x-webkit-deflate-frame, permessage-deflate"], 15, plain),
        (["x-webkit-deflate-frame; a=\"b, permessage-deflate; c\"", "permessage-deflate"], 15, plain),
        (
            ["permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=14"], 14,
            plain + "; server_max_window_bits=14"
        ),
        (["permessage-deflate; nonsense", "permessage-bzip2, permessage-deflate"], 15, plain),
        (["permessage-deflate; =, permessage-deflate"], 15, plain),
    ]

    @Test("The first offer that can be accepted is", arguments: accepted)
    func accepts(offers: [String], windowBits: Int, response: String) {
        let answer = Compression.negotiate(offers: offers)
        #expect(answer?.agreement == Compression.Agreement(serverWindowBits: windowBits))
        #expect(answer?.responseHeader == response)
    }

    private static let declined: [String] = [
        "", ",", " ", ";", "=", "\"", "\\", "permessage-deflate;", "permessage-deflate; ;client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover=true", "permessage-deflate; client_no_context_takeover=\"\"",
        "permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=\"\"", "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16", "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9", "permessage-deflate; server_max_window_bits=-9",
        "permessage-deflate; server_max_window_bits=9.0", "permessage-deflate; server_max_window_bits=0x9",
        "permessage-deflate; server_max_window_bits=9 9", "permessage-deflate; server_max_window_bits==9",
        "permessage-deflate; server_max_window_bits=\"9", "permessage-deflate; server_max_window_bits=9\"",
        "permessage-deflate; server_max_window_bits=\"9\\\"", "permessage-deflate; server_max_window_bits=\"9\"\"",
        "permessage-deflate; server_max_window_bits=\"\\\"9\"", "permessage-deflate; server_max_window_bits=\" 9\"",
        "permessage-deflate; server_max_window_bits='9'", "permessage-deflate; server_max_window_bits=٩",
        "permessage-deflate; server_max_window_bits=18446744073709551625",
        "permessage-deflate; client_max_window_bits=7", "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=", "permessage-deflate; Server_No_Context_Takeover",
        "permessage-deflate; window=9", "permessage-deflate=9", "permessage deflate", "permessage-deflate\0",
        "Permessage-Deflate", "permessage-deflate2", "\"permessage-deflate\"", "x-webkit-deflate-frame",
        "foo; a=\"b, permessage-deflate", "foo\", permessage-deflate", "permessage-deflate\r\nX: y",
    ]

    @Test("An offer that is malformed, unknown or out of range is no agreement", arguments: declined)
    func declines(offer: String) {
        #expect(Compression.negotiate(offers: [offer]) == nil)
        #expect(Compression.negotiate(offers: [offer, "", offer]) == nil)
        // It spoils no other offer, as long as it is a header of its own.
        #expect(Compression.negotiate(offers: [offer, "permessage-deflate"])?.responseHeader == Self.plain)
    }

    @Test func `long headers and many offers are not looked at`() {
        let fits = "permessage-deflate" + String(repeating: " ", count: Compression.headerBytes - 18)
        #expect(Compression.negotiate(offers: [fits]) != nil)
        #expect(Compression.negotiate(offers: [fits + " "]) == nil)
        #expect(Compression.negotiate(offers: [fits, " "]) == nil)
        let others = [String](repeating: "a", count: Compression.offers - 1)
        #expect(Compression.negotiate(offers: others + ["permessage-deflate"]) != nil)
        #expect(Compression.negotiate(offers: others + ["a", "permessage-deflate"]) == nil)
        #expect(Compression.negotiate(offers: [(others + ["a", "permessage-deflate"]).joined(separator: ",")]) == nil)
        #expect(Compression.negotiate(offers: []) == nil)
        for hostile in [";", ",", "\"", "\\", "=", "a;", "permessage-deflate;a,"] {
            let header = String(repeating: hostile, count: Compression.headerBytes / hostile.utf8.count)
            #expect(Compression.negotiate(offers: [header]) == nil)
        }
    }

    @Test func `damaged headers never trap and every agreement is answered in full`() {
        let start = Array(#"permessage-deflate; server_max_window_bits="10"; client_max_window_bits, foo;a="\"""#.utf8)
        let alphabet = Array(" ,;=\"\\-_a19\t".utf8)
        for seed in UInt64(0)..<5_000 {
            var random = SplitMix64(seed: seed)
            var bytes = start
            for _ in 0...(random.next() % 5) {
                let index = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 3 {
                case 0: bytes.remove(at: index)
                case 1: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: index)
                default: bytes[index] = UInt8(truncatingIfNeeded: random.next())
                }
            }
            guard let answer = Compression.negotiate(offers: [String(decoding: bytes, as: UTF8.self)]) else { continue }
            #expect((8...15).contains(answer.agreement.serverWindowBits), "seed \(seed)")
            #expect(answer.responseHeader.hasPrefix(Self.plain), "seed \(seed)")
        }
    }
}
