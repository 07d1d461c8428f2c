import FanfareModel
import HTTPTypes
import Testing

@testable import FanfareWorker

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

private enum NameKey: ContextKey { typealias Value = String }
private enum CountKey: ContextKey { typealias Value = Int }

@Suite(.timeLimit(.minutes(2))) struct MiddlewareTests {
    private static let tracer = HTTPField.Name("X-Trace")!

    /// Adds its name on the way in and on the way out.
    private static func trace(_ name: String, _ chronicle: Chronicle) -> MiddlewareClosure {
        MiddlewareClosure { request, context, next in
            chronicle.note("\(name) in")
            var response = try await next(request, context)
            chronicle.note("\(name) out")
            response.headers.append(HTTPField(name: tracer, value: name))
            return response
        }
    }

    /// Answers what it sees of a request.
    private static func mirror(_ pattern: PathPattern = "/") -> Router {
        var router = Router()
        router.get(pattern) { request, context in
            .text("\(request.address) \(request.scheme) \(request.host) \(context.identity?.user ?? "nobody")")
        }
        return router
    }

    @Test func `middleware runs from the outside in, and back out, in the order it was added`() async throws {
        let chronicle = Chronicle()
        var inner = Router()
        inner.get("/page") { _, context in .text("\(context[NameKey.self] ?? "none") \(context[CountKey.self] ?? 0)") }
        inner.use(Self.trace("inner", chronicle))
        var router = Router()
        router.use(Self.trace("first", chronicle))
        router.mount("/in", inner)
        router.use(
            MiddlewareClosure { request, context, next in
                var context = context
                context[NameKey.self] = "kept"
                context[CountKey.self] = 7
                return try await next(request, context)
            }
        )
        let worker = try await Place.lonelyWorker(router: router)
        let (head, body) = try await TestClient.get(worker.port, "/in/page")
        #expect(head.hasPrefix("HTTP/1.1 200 "))
        #expect(body == "kept 7\n")
        #expect(chronicle.all == ["first in", "inner in", "inner out", "first out"])
        #expect(head.contains("X-Trace: inner\r\nX-Trace: first\r\n"))
        _ = try await TestClient.get(worker.port, "/in/nothing")
        #expect(chronicle.all.count == 4)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a refusal and an error of middleware are answered, counted and reach no handler`() async throws {
        let chronicle = Chronicle()
        var router = Router()
        router.use(
            MiddlewareClosure { request, context, next in
                switch request.query("do") {
                case "deny": throw Denial(.init(code: 418), "no coffee", reason: "teapot")
                case "fail": throw Mishap()
                case "answer": return .text(.accepted, "already")
                default: return try await next(request, context)
                }
            }
        )
        router.get("/") { _, _ in
            chronicle.note("handler")
            throw Mishap()
        }
        router.webSocket("/ws/") { _, _ in
            chronicle.note("consumer")
            return Scripted()
        }
        let worker = try await Place.lonelyWorker(router: router)
        let port = worker.port
        let denied = try await TestClient.get(port, "/?do=deny")
        #expect(denied.head.hasPrefix("HTTP/1.1 418 "))
        #expect(denied.body == "no coffee\n")
        #expect(try await TestClient.get(port, "/?do=fail").head.hasPrefix("HTTP/1.1 500 "))
        #expect(try await TestClient.get(port, "/?do=answer").head.hasPrefix("HTTP/1.1 202 "))
        for (action, status) in [("deny", "418"), ("fail", "500"), ("answer", "202")] {
            let client = try await TestClient.knock(port, "/ws/?do=\(action)")
            #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 \(status) "))
            _ = await client.rest()
        }
        #expect(chronicle.all.isEmpty)
        #expect(try await TestClient.get(port, "/").head.hasPrefix("HTTP/1.1 500 "))
        #expect(chronicle.all == ["handler"])
        let counters = try await worker.health().counters
        #expect(counters.refusals == ["teapot": 2, "failed": 3])
        #expect(counters.handlerFailures == 3)
        #expect(counters.responses == [418: 2, 500: 3, 202: 2])
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `what middleware changes is what the route sees, and its headers are in a 101`() async throws {
        let place = try await Place.start()
        var router = Router()
        router.use(
            MiddlewareClosure { request, context, next in
                var request = request
                request.address = "203.0.113.9"
                var response = try await next(request, context)
                response.headers[Self.tracer] = "\(response.status.code)"
                return response
            }
        )
        router.webSocket("/ws/") { request, _ in
            let address = request.address
            return Scripted(connected: { try await $0.send("\(address) \($0.address)") })
        }
        let worker = try await place.worker("only", router: router)
        let client = try await TestClient.knock(worker.port, "/ws/")
        let head = try #require(await client.head())
        #expect(head.hasPrefix("HTTP/1.1 101 "))
        #expect(head.contains("X-Trace: 101\r\n"))
        #expect(try await client.frame()?.text == "203.0.113.9 203.0.113.9")
        try await place.stop()
    }

    @Test func `middleware that asks twice, or claims a 101 of its own, makes no second socket`() async throws {
        let place = try await Place.start()
        var router = Router()
        router.use(
            MiddlewareClosure { request, context, next in
                if request.query("claim") != nil { return Response(.switchingProtocols) }
                _ = try await next(request, context)
                return try await next(request, context)
            }
        )
        router.webSocket("/ws/") { _, _ in Scripted() }
        let worker = try await place.worker("only", router: router)
        for query in ["", "?claim"] {
            let client = try await TestClient.knock(worker.port, "/ws/\(query)")
            let head = try #require(await client.head())
            #expect(head.hasPrefix("HTTP/1.1 50"), "\(head)")
            _ = await client.rest()
        }
        #expect(try await worker.health().sockets == 0)
        try await place.stop()
    }

    @Test func `only pages of allowed origins open sockets, and the innermost policy decides`() async throws {
        let place = try await Place.start()
        var inner = Router()
        inner.use(AllowedOrigins(try OriginPolicy(allowing: ["*"])))
        inner.webSocket("/") { _, _ in Scripted() }
        var router = Router()
        router.use(AllowedOrigins(try OriginPolicy(allowing: ["https://shop.example", ".cafe.example"])))
        router.webSocket("/ws/") { _, _ in Scripted() }
        router.mount("/open", inner)
        router.get("/page") { _, _ in .text("page") }
        let worker = try await place.worker("only", router: router)
        for (path, headers, status) in [
            ("/ws/", "Origin: https://shop.example\r\n", 101), ("/ws/", "Origin: http://a.cafe.example:9\r\n", 101),
            ("/ws/", "Origin: http://shop.example\r\n", 403), ("/ws/", "Origin: https://shop.example.evil\r\n", 403),
            ("/ws/", "Origin: null\r\n", 403), ("/ws/", "", 403), ("/ws/", "Origin: http://127.0.0.1\r\n", 403),
            ("/ws/", "Origin: https://shop.example\r\nOrigin: https://shop.example\r\n", 403),
            ("/open/", "Origin: null\r\n", 101), ("/open/", "", 101),
        ] {
            let client = try await TestClient.knock(worker.port, path, headers: headers)
            #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 \(status) "), "\(path) \(headers)")
            await client.close()
        }
        let page = try await TestClient.get(worker.port, "/page", headers: "Origin: https://evil.example\r\n")
        #expect(page.body == "page\n")
        #expect(try await worker.health().counters.refusals == ["origin": 6])
        try await place.stop()
    }

    @Test func `headers of a proxy count when it is trusted, and nobody else's`() async throws {
        let headers =
            "X-Forwarded-For: 198.51.100.7, 203.0.113.5\r\nX-Forwarded-Proto: https\r\n"
            + "X-Forwarded-Host: shop.example\r\n"
        for (trusted, expected) in [
            (["127.0.0.1"], "203.0.113.5 https shop.example nobody\n"),
            (["127.0.0.1", "203.0.113.0/24"], "198.51.100.7 https shop.example nobody\n"),
            (["10.0.0.0/8"], "127.0.0.1 http 127.0.0.1 nobody\n"),
        ] {
            var router = Self.mirror()
            router.use(ProxyHeaders(try TrustedProxies(trusted)))
            let worker = try await Place.lonelyWorker(router: router)
            #expect(try await TestClient.get(worker.port, "/", headers: headers).body == expected)
            #expect(try await TestClient.get(worker.port, "/").body == "127.0.0.1 http 127.0.0.1 nobody\n")
            await worker.stop(within: Milliseconds(200))
        }
    }

    @Test func `a token is taken from each of its sources, and what is wrong with it is counted`() async throws {
        let signer = try TokenSigner(secrets: ["0123456789abcdef"], salt: "test", maximumAgeSeconds: 60)
        let token = try signer.sign(["sub": "ann"])
        let old = try signer.sign(["sub": "ann"], now: Date(timeIntervalSinceNow: -100))
        var router = Self.mirror()
        router.use(TokenAuthentication(signer, from: [.bearer, .query("token"), .subprotocol, .cookie("session")]))
        let worker = try await Place.lonelyWorker(router: router)
        let base64 = Base64URL.encode(Array(token.utf8))
        let escaped = token.split(separator: ":").joined(separator: "%3A")
        for (path, headers, isAnn) in [
            ("/", "Authorization: Bearer \(token)\r\n", true), ("/", "Authorization: bEARER   \(token) \r\n", true),
            ("/?token=\(escaped)", "", true), ("/", "Cookie: a=b; session=\(token)\r\n", true),
            ("/", "Sec-WebSocket-Protocol: chat, token64.\(base64)\r\n", true),
            ("/", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: token.\(token)\r\n", true),
            ("/", "", false), ("/", "Authorization: Basic \(token)\r\n", false), ("/?token=", "", false),
            ("/", "Sec-WebSocket-Protocol: token64.!!\r\n", false), ("/", "Authorization: Bearer\r\n", false),
            ("/", "Authorization: Bearer \(old)\r\n", false), ("/", "Authorization: Bearer \(token)x\r\n", false),
            // The first source that has one decides.
            ("/?token=\(escaped)", "Authorization: Bearer nonsense\r\n", false),
        ] {
            let (head, body) = try await TestClient.get(worker.port, path, headers: headers)
            #expect(head.hasPrefix("HTTP/1.1 \(isAnn ? 200 : 401) "), "\(path) \(headers)")
            #expect(body.hasSuffix(" ann\n") == isAnn)
        }
        let refusals = try await worker.health().counters.refusals
        #expect(refusals["token_expired"] == 1)
        #expect(refusals["token_missing"] == 4)
        #expect(refusals.values.reduce(0, +) == 8)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a browser gets back one of the subprotocols it offered, its token only for want of another`()
        async throws
    {
        let place = try await Place.start()
        let signer = try TokenSigner(secrets: ["0123456789abcdef"], salt: "test", maximumAgeSeconds: 60)
        let token = "token64." + Base64URL.encode(Array(try signer.sign(["sub": "ann"]).utf8))
        var router = Router()
        router.use(TokenAuthentication(signer, from: [.subprotocol]))
        router.webSocket("/ws/") { _, _ in Scripted() }
        router.webSocket("/early/") { _, _ in Scripted(connected: { $0.accept() }) }
        router.webSocket("/chosen/") { _, _ in Scripted(connected: { $0.accept(subprotocol: "b") }) }
        let worker = try await place.worker("only", router: router)
        for (path, offered, expected) in [
            ("/ws/", "a, \(token), b", "a"), ("/ws/", "\(token)", token), ("/early/", "\(token), a", "a"),
            ("/chosen/", "a, b, \(token)", "b"),
        ] {
            let headers = "Sec-WebSocket-Protocol: \(offered)\r\n"
            let client = try await TestClient.knock(worker.port, path, headers: headers)
            let head = try #require(await client.head())
            #expect(head.hasPrefix("HTTP/1.1 101 "))
            #expect(head.contains("Sec-WebSocket-Protocol: \(expected)\r\n"), "\(path) \(offered) \(head)")
            await client.close()
        }
        try await place.stop()
    }

    @Test func `a cookie is recognised by code of the application`() async throws {
        var router = Self.mirror("/required")
        router.use(
            CookieAuthentication("sessionid") { value, _ in
                if value == "broken" { throw Mishap() }
                return value == "good" ? try Identity(claims: ["sub": "bob"], expiresAt: nil) : nil
            }
        )
        var open = Self.mirror()
        open.use(CookieAuthentication("sessionid", isRequired: false) { _, _ in nil })
        router.mount("/", Self.mirror("/inside"))
        var all = Router()
        all.mount("/a", router)
        all.mount("/b", open)
        let worker = try await Place.lonelyWorker(router: all)
        for (path, headers, status) in [
            ("/a/required", "Cookie: sessionid=good\r\n", 200), ("/a/inside", "Cookie: sessionid=good\r\n", 200),
            ("/a/required", "Cookie: sessionid=bad\r\n", 401), ("/a/inside", "", 401),
            ("/a/required", "Cookie: sessionid=broken\r\n", 500), ("/b/", "", 200),
            ("/b/", "Cookie: sessionid=bad\r\n", 200),
        ] {
            let (head, body) = try await TestClient.get(worker.port, path, headers: headers)
            #expect(head.hasPrefix("HTTP/1.1 \(status) "), "\(path) \(headers)")
            if path.hasPrefix("/a"), status == 200 { #expect(body.hasSuffix(" bob\n")) }
        }
        #expect(try await worker.health().counters.refusals == ["not_logged_in": 2, "failed": 1])
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `an address that asks too often is told to wait`() async throws {
        var router = Self.mirror()
        router.use(ProxyHeaders(try TrustedProxies(["127.0.0.1"])))
        router.use(RequestRate(try RateLimit(1, perSeconds: 3_600, burst: 3)))
        let worker = try await Place.lonelyWorker(router: router)
        for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            for attempt in 0..<5 {
                let headers = "X-Forwarded-For: \(address)\r\n"
                let (head, _) = try await TestClient.get(worker.port, "/", headers: headers)
                #expect(head.hasPrefix("HTTP/1.1 \(attempt < 3 ? 200 : 429) "))
                #expect(head.contains("Retry-After: 3") == (attempt >= 3))
            }
        }
        let (head, _) = try await TestClient.get(worker.port, "/", headers: "X-Forwarded-For: 2001:db8::ffff\r\n")
        #expect(head.hasPrefix("HTTP/1.1 429 "))
        #expect(try await worker.health().counters.refusals == ["request_rate": 7])
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a place of an address is free again when its socket has ended, was denied, or never came to be`()
        async throws
    {
        let place = try await Place.start()
        let gate = Gate()
        let chronicle = Chronicle()
        var router = Router()
        router.use(ConnectionLimit(perAddress: 1))
        router.get("/") { _, _ in .text("page") }
        router.webSocket("/ws/") { request, _ in
            if request.query("deny") != nil { throw Denial(.forbidden, "no") }
            let isSlow = request.query("slow") != nil
            return Scripted(connected: { _ in
                chronicle.note("connect")
                if isSlow { try await gate.pass() }
            })
        }
        let worker = try await place.worker("only", router: router)
        /// The one place there is.
        func enters() async throws {
            try await eventually {
                let client = try await TestClient.knock(worker.port, "/ws/")
                let head = try #require(await client.head())
                if head.hasPrefix("HTTP/1.1 101 ") {
                    let second = try await TestClient.knock(worker.port, "/ws/")
                    #expect(try #require(await second.head()).hasPrefix("HTTP/1.1 429 "))
                    #expect(try await TestClient.get(worker.port, "/").body == "page\n")
                    try await client.write(ClientFrame.close(1_000))
                    #expect(try await client.frame()?.closeCode == 1_000)
                }
                await client.close()
                return head.hasPrefix("HTTP/1.1 101 ")
            }
        }
        try await enters()
        let denied = try await TestClient.knock(worker.port, "/ws/?deny")
        _ = await denied.head()
        try await enters()
        let connects = chronicle.all.count
        var slow = try await TestClient.knock(worker.port, "/ws/?slow")
        var refusals = try await worker.health().counters.refusals["address_connections"] ?? 0
        while chronicle.all.count == connects {
            let now = try await worker.health().counters.refusals["address_connections"] ?? 0
            // The place of the one before was not free yet.
            if now > refusals { slow = try await TestClient.knock(worker.port, "/ws/?slow") }
            refusals = now
        }
        await slow.close()
        try await enters()
        gate.open()
        try await place.stop()
    }
}
