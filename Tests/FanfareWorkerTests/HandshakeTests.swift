import HTTPTypes
import NIOHTTP1
import Testing

@testable import FanfareWorker

@Suite struct HandshakeTests {
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

    /// The status of what would be answered before any middleware or handler runs; 101 or 200 when nothing is in the way.
    private func status(_ head: HTTPRequestHead) -> Int {
        switch Handshake.request(of: head, peer: "127.0.0.1:1") {
        case .failure(let denial): denial.response.status.code
        case .success(let request):
            switch Router.chat.find(request) {
            case .http: 200
            case .socket: 101
            case .refused(let denial): denial.response.status.code
            }
        }
    }

    @Test func `rooms are 1 to 64 plain characters and never folders`() {
        for name in ["a", "lobby", "A-Z_0.9", "...", String(repeating: "x", count: 64)] { #expect(Room.isName(name)) }
        for name in ["", ".", "..", "a b", "a/b", "ü", "a%20", "a!", String(repeating: "x", count: 65)] {
            #expect(!Room.isName(name))
        }
    }

    @Test func `addresses that are none and methods that are none are refused`() {
        for uri in [
            "/nothing", "/chat/", "/chat//", "/chat/a/b/", "/ws/chat/", "/ws/chat/a", "/ws/other/a/",
            "/ws/chat/a/b/", "/healthz", "/chat",
        ] {
            #expect(status(head(uri, isUpgrade: false)) == 404, "\(uri)")
        }
        for uri in ["/", "/chat/a/", "/ws/other/a/"] { #expect(status(head(uri)) == 404, "\(uri)") }
        #expect(status(head("/", .POST, isUpgrade: false)) == 405)
        #expect(status(head("/", .HEAD, isUpgrade: false)) == 200)
        #expect(status(head("/ws/chat/a/", .POST)) == 405)
        #expect(status(head("http://chat.example/", isUpgrade: false)) == 400)
        #expect(status(head("/", changes: ["host": nil as String?], isUpgrade: false)) == 400)
    }

    @Test func `a handshake is accepted when everything in it is right`() {
        guard case .success(let request) = Handshake.request(of: head("/ws/chat/lobby/?a=b&hello=1"), peer: "[::1]:7")
        else {
            Issue.record("refused")
            return
        }
        #expect(request.isWebSocket)
        #expect(request.path == "/ws/chat/lobby/")
        #expect(request.query("hello") == "1")
        #expect(request.address == "::1")
        #expect(request.host == "chat.example:8000")
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
        ]
        for (expected, changes) in refused {
            #expect(status(head("/ws/chat/a/", changes: changes)) == expected, "\(changes)")
        }
        #expect(status(head("/ws/chat/a/", version: .http1_0)) == 426)
    }
}
