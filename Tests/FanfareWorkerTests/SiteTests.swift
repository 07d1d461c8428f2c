import FanfareModel
import NIOHTTP1
import Testing

@testable import FanfareWorker

@Suite struct SiteTests {
    private let site = Site(routes: [Route(prefix: "/ws/chat/", consumer: ChatConsumer())])

    private func head(
        _ uri: String,
        _ method: HTTPMethod = .GET,
        version: HTTPVersion = .http1_1,
        changes: [String: String?] = [:],
        isUpgrade: Bool = true
    ) -> HTTPRequestHead {
        var headers = ["host": "chat.example:8000"]
        if isUpgrade {
            headers["upgrade"] = "websocket"
            headers["connection"] = "keep-alive, Upgrade"
            headers["sec-websocket-version"] = "13"
            headers["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        }
        for (name, value) in changes { headers[name] = value }
        return HTTPRequestHead(version: version, method: method, uri: uri, headers: HTTPHeaders(Array(headers)))
    }

    private func status(_ head: HTTPRequestHead, hasRoom: Bool = true) -> UInt {
        switch site.answer(head, hasRoom: hasRoom) {
        case .respond(let response): response.status.code
        case .upgrade: 101
        }
    }

    @Test func `rooms are 1 to 64 plain characters and never folders`() {
        for name in ["a", "lobby", "A-Z_0.9", "...", String(repeating: "x", count: 64)] { #expect(Room.isName(name)) }
        for name in ["", ".", "..", "a b", "a/b", "ü", "a%20", "a!", String(repeating: "x", count: 65)] {
            #expect(!Room.isName(name))
        }
    }

    @Test func `an origin must be the page's own host and port`() {
        let same = [
            ("http://chat.example:8000", "chat.example:8000"), ("HTTP://Chat.Example:8000", "chat.example:8000"),
            ("http://chat.example", "chat.example"), ("http://chat.example", "chat.example:80"),
            ("https://chat.example", "chat.example"), ("https://chat.example:443", "chat.example"),
            ("http://[::1]:8000", "[::1]:8000"), ("http://[::1]", "[::1]"),
        ]
        for (origin, host) in same { #expect(OriginRule.admits(origin: origin, host: host), "\(origin) at \(host)") }
        let foreign = [
            ("http://evil.example:8000", "chat.example:8000"), ("http://chat.example:8001", "chat.example:8000"),
            ("http://chat.example", "chat.example:8000"), ("https://chat.example", "chat.example:80"),
            ("null", "chat.example"),
            ("", "chat.example"), ("chat.example", "chat.example"), ("file://chat.example", "chat.example"),
            ("http://", ""), ("http://chat.example/", "chat.example"), ("http://a@chat.example", "chat.example"),
            ("http://chat.example.evil", "chat.example"), ("http://chat.example:", "chat.example"),
            ("http://chat.example:99999", "chat.example:99999"), ("http://[::1", "[::1"), ("http://[::1]x", "[::1]x"),
        ]
        for (origin, host) in foreign {
            #expect(!OriginRule.admits(origin: origin, host: host), "\(origin) at \(host)")
        }
        #expect(OriginRule.admits(origin: nil, host: "chat.example"))
    }

    @Test func `pages have their addresses, types and policy`() {
        for uri in ["/", "/?x=1", "/chat/lobby/", "/chat/lobby/?hello=1"] {
            guard case .respond(let page) = site.answer(head(uri, isUpgrade: false), hasRoom: true) else {
                Issue.record("no page at \(uri)")
                continue
            }
            #expect(page.status == .ok)
            #expect(page.headers["content-type"] == ["text/html; charset=utf-8"])
            #expect(page.headers["content-length"] == [String(page.body.count)])
            #expect(page.headers["x-content-type-options"] == ["nosniff"])
            #expect(page.headers["content-security-policy"][0].hasPrefix("default-src 'none';"))
            #expect(!page.body.isEmpty)
        }
        guard case .respond(let redirect) = site.answer(head("/chat/lobby", isUpgrade: false), hasRoom: true) else {
            Issue.record("no redirect")
            return
        }
        #expect(redirect.headers["location"] == ["/chat/lobby/"])
        #expect(redirect.status.code / 100 == 3)
    }

    @Test func `addresses that are none and methods that are none are refused`() {
        for uri in [
            "/nothing", "/chat/", "/chat//", "/chat/a/b/", "/chat/a b/", "/chat/%61/", "/chat/../", "/ws/chat/",
            "/ws/chat/a",
            "/ws/other/a/", "/ws/chat/a/b/", "/healthz",
        ] {
            #expect(status(head(uri, isUpgrade: false)) == 404, "\(uri)")
        }
        for uri in ["/", "/chat/a/", "/ws/other/a/", "/ws/chat/a b/"] { #expect(status(head(uri)) == 404, "\(uri)") }
        #expect(status(head("/", .POST, isUpgrade: false)) == 405)
        #expect(status(head("/", .HEAD, isUpgrade: false)) == 200)
        #expect(status(head("/ws/chat/a/", .POST)) == 405)
        #expect(status(head("http://chat.example/", isUpgrade: false)) == 400)
        #expect(status(head("/", changes: ["host": nil as String?], isUpgrade: false)) == 400)
    }

    @Test func `a handshake is accepted when everything in it is right`() {
        guard case .upgrade(_, let request) = site.answer(head("/ws/chat/lobby/?a=b&hello=1"), hasRoom: true) else {
            Issue.record("refused")
            return
        }
        #expect(request.path == "/ws/chat/lobby/")
        #expect(request.room == "lobby")
        #expect(request.wantsHello)
        #expect(status(head("/ws/chat/lobby/", changes: ["origin": "http://chat.example:8000"])) == 101)
        #expect(status(head("/ws/chat/lobby/", changes: ["upgrade": "WebSocket"])) == 101)
    }

    @Test func `a handshake that is not right gets the status that says why`() {
        let refused: [(UInt, [String: String?])] = [
            (426, ["upgrade": nil]), (426, ["sec-websocket-version": "8"]), (426, ["sec-websocket-version": nil]),
            (400, ["connection": "keep-alive"]), (400, ["sec-websocket-key": nil]),
            (400, ["sec-websocket-key": "short"]),
            (400, ["sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==="]),
            (400, ["sec-websocket-key": "!!!!IHNhbXBsZSBub25jZQ=="]),
            (403, ["origin": "http://evil.example"]), (403, ["origin": "null"]),
        ]
        for (expected, changes) in refused {
            #expect(status(head("/ws/chat/a/", changes: changes)) == expected, "\(changes)")
        }
        #expect(status(head("/ws/chat/a/", version: .http1_0)) == 426)
        #expect(status(head("/ws/chat/a/"), hasRoom: false) == 503)
        var twoOrigins = head("/ws/chat/a/", changes: ["origin": "http://chat.example:8000"])
        twoOrigins.headers.add(name: "origin", value: "http://evil.example")
        #expect(status(twoOrigins) == 403)
    }
}
