import FanfareModel
import Testing

struct EndpointTests {
    private static let longest = "/" + String(repeating: "p", count: Endpoint.unixPathBytes - 1)

    @Test(
        "what people write is read",
        arguments: [
            ("unix:/run/fanfare/broker.sock", .unix(path: "/run/fanfare/broker.sock")),
            ("unix:///run/b.sock", .unix(path: "/run/b.sock")),
            ("unix:" + longest, .unix(path: longest)),
            ("tcp://127.0.0.1:7411", .tcp(host: "127.0.0.1", port: 7_411)),
            ("tcp://localhost", .tcp(host: "localhost", port: 7_411)),
            ("tcp://broker.example:0", .tcp(host: "broker.example", port: 0)),
            ("tcp://broker:65535", .tcp(host: "broker", port: 65_535)),
            ("tcp://[::1]:80", .tcp(host: "::1", port: 80)),
            ("tcp://[::1]", .tcp(host: "::1", port: 7_411)),
            ("tcp://[fe80::1]:9", .tcp(host: "fe80::1", port: 9)),
        ] as [(String, Endpoint)]
    )
    func reads(text: String, endpoint: Endpoint) throws {
        #expect(try Endpoint(text) == endpoint)
    }

    @Test(
        "what cannot be used is refused with the text and a way out",
        arguments: [
            "", "broker", "/run/b.sock", "unix:", "unix:run/b.sock", "unix://run/b.sock", "unix:" + longest + "p",
            "tcp:", "tcp:localhost", "tcp://", "tcp://:80", "tcp://[]:80", "tcp://host:", "tcp://host:x",
            "tcp://host:-1",
            "tcp://host:65536", "tcp://host:99999999999999999999", "tls://host:-1", "http://host:80", "TCP://host:1",
        ]
    )
    func refuses(text: String) {
        let failure = #expect(throws: ProgramFailure.self) { try Endpoint(text) }
        #expect(failure?.exit == .configuration)
        // Host and port are judged, and shown, without their scheme.
        let hasScheme = text.hasPrefix("tcp://") || text.hasPrefix("tls://")
        #expect(failure?.text.contains(hasScheme ? text.dropFirst(6) : text[...]) == true)
        #expect(failure?.text.contains("\n") == false)
    }

    @Test(
        "an endpoint prints as it is read",
        arguments: [
            Endpoint.unix(path: "/run/fanfare/broker.sock"), .tcp(host: "127.0.0.1", port: 7_411),
            .tcp(host: "::1", port: 0),
            .tcp(host: "broker.example", port: 65_535),
        ]
    )
    func prints(endpoint: Endpoint) throws {
        #expect(try Endpoint(endpoint.description) == endpoint)
    }

    @Test("an IPv6 host is printed in brackets")
    func printsBrackets() {
        #expect(Endpoint.tcp(host: "::1", port: 80).description == "tcp://[::1]:80")
    }

    @Test(
        "without an endpoint the environment decides, then who runs the program",
        arguments: [
            ([:], 0, "unix:/run/fanfare/broker.sock"),
            ([:], 1_000, "unix:/tmp/fanfare-1000/broker.sock"),
            (["XDG_RUNTIME_DIR": "/run/user/1000"], 1_000, "unix:/run/user/1000/fanfare/broker.sock"),
            (["XDG_RUNTIME_DIR": "relative"], 1_000, "unix:/tmp/fanfare-1000/broker.sock"),
            (["XDG_RUNTIME_DIR": ""], 0, "unix:/run/fanfare/broker.sock"),
            (["FANFARE_BROKER": "tcp://b:1", "XDG_RUNTIME_DIR": "/run/user/1"], 1, "tcp://b:1"),
            (["FANFARE_BROKER": "/srv/b.sock"], 1, "unix:/srv/b.sock"),
            (["FANFARE_BROKER": "unix:/srv/b.sock"], 1, "unix:/srv/b.sock"),
            (["FANFARE_BROKER": ""], 7, "unix:/tmp/fanfare-7/broker.sock"),
        ] as [([String: String], UInt32, String)]
    )
    func standard(environment: [String: String], userID: UInt32, endpoint: String) throws {
        #expect(try Endpoint.standard(environment: environment, userID: userID).description == endpoint)
    }

    @Test("an environment that names nothing usable is refused", arguments: ["broker", "relative/path", "tcp://"])
    func refusedEnvironment(text: String) {
        #expect(throws: ProgramFailure.self) {
            try Endpoint.standard(environment: ["FANFARE_BROKER": text], userID: 0)
        }
    }

    @Test("host and port without a default need the port")
    func hostAndPort() throws {
        let both = try Endpoint.hostAndPort("0.0.0.0:8000", portDefault: nil)
        #expect(both.host == "0.0.0.0")
        #expect(both.port == 8_000)
        #expect(throws: ProgramFailure.self) { try Endpoint.hostAndPort("0.0.0.0", portDefault: nil) }
        for text in ["", "[Optional", "[::1", "::1]", "[[::1]]:80", "a[b]"] {
            #expect(throws: ProgramFailure.self) { try Endpoint.hostAndPort(text, portDefault: 80) }
        }
    }
}
