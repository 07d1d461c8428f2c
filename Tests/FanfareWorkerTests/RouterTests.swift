import HTTPTypes
import Testing

@testable import FanfareWorker

@Suite struct RouterTests {
    private static let page: Router.Handler = { _, _ in .text("") }

    private func answer(_ router: Router, _ request: Request) -> (status: Int, denial: Denial?, captures: Captures) {
        switch router.find(request) {
        case .http(_, let captures, _): (200, nil, captures)
        case .socket(_, let captures, _): (101, nil, captures)
        case .refused(let denial): (denial.response.status.code, denial, Captures())
        }
    }

    private func answer(_ router: Router, _ method: HTTPRequest.Method, _ path: String) -> Int {
        answer(router, Request(method, path)).status
    }

    @Test func `pages and sockets share an address, and each answer is precise`() throws {
        var router = Router()
        router.get("/", Self.page)
        router.post("/form", Self.page)
        router.get("/form", Self.page)
        router.delete("/form", Self.page)
        router.socket("/live", SocketRoute(service: { ChatConsumer() }) { _, _ in SocketRoute.Plan() })
        router.socket("/form", SocketRoute(service: { ChatConsumer() }) { _, _ in SocketRoute.Plan() })
        router.put("/both", Self.page)
        router.socket("/both", SocketRoute(service: { ChatConsumer() }) { _, _ in SocketRoute.Plan() })
        func socket(_ path: String) -> Int { answer(router, Request(.get, path, isWebSocket: true)).status }
        #expect(answer(router, .get, "/") == 200)
        #expect(answer(router, .head, "/") == 200)
        #expect(socket("/") == 404)
        #expect(answer(router, .get, "/nothing") == 404)
        #expect(socket("/nothing") == 404)
        #expect(socket("/live") == 101)
        #expect(answer(router, .get, "/live") == 426)
        #expect(answer(router, .get, "/form") == 200)
        #expect(socket("/form") == 101)
        #expect(answer(router, .get, "/%zz") == 400)
        #expect(answer(router, .get, "form") == 400)
        let live = try #require(answer(router, Request(.post, "/live")).denial)
        #expect(live.response.status == .methodNotAllowed)
        #expect(live.response.headers[.allow] == "GET")
        let home = try #require(answer(router, Request(.put, "/")).denial)
        #expect(home.response.headers[.allow] == "GET, HEAD")
        #expect(home.reason == "wrong_method")
        let form = try #require(answer(router, Request(.patch, "/form")).denial)
        #expect(form.response.status == .methodNotAllowed)
        #expect(form.response.headers[.allow] == "DELETE, GET, HEAD, POST")
        let both = try #require(answer(router, Request(.patch, "/both")).denial)
        #expect(both.response.headers[.allow] == "GET, PUT")
        #expect(answer(router, .get, "/both") == 426)
        #expect(answer(router, .put, "/both") == 200)
    }

    @Test func `a part of the wrong type is a 404 that says so, unless another route takes it`() throws {
        var router = Router()
        router.get("/room/<int:id>", Self.page)
        let denial = try #require(answer(router, Request(.get, "/room/abc")).denial)
        #expect(denial.response.status == .notFound)
        #expect(denial.reason == "no_route")
        #expect(
            String(decoding: denial.response.body, as: UTF8.self).contains("id must be a whole number, not \"abc\"")
        )
        router.get("/room/<str:name>", Self.page)
        #expect(answer(router, Request(.get, "/room/abc")).captures["name"] == "abc")
        #expect(answer(router, Request(.get, "/room/12")).captures["id"] == "12")
    }

    @Test func `the first route that fits answers`() {
        var router = Router()
        router.get("/<str:first>", Self.page)
        router.get("/<str:second>", Self.page)
        router.get("/<path:third>", Self.page)
        #expect(answer(router, Request(.get, "/a")).captures["first"] == "a")
        #expect(answer(router, Request(.get, "/a/b")).captures["third"] == "a/b")
    }

    @Test func `routers inside routers add up their addresses, captures and middleware`() {
        var messages = Router()
        messages.use(MiddlewareClosure { try await $2($0, $1) })
        messages.get("/", Self.page)
        messages.get("/<int:id>", Self.page)
        var shop = Router()
        shop.use(MiddlewareClosure { try await $2($0, $1) })
        shop.mount("/<slug:product>/messages", messages)
        shop.get("/about", Self.page)
        var router = Router()
        router.mount("/shop/<int:id>", shop)
        router.get("/shop/7/late", Self.page)
        guard case .http(_, let captures, let middleware) = router.find(Request(.get, "/shop/7/lamp/messages/9"))
        else {
            Issue.record("not found")
            return
        }
        #expect(middleware.count == 2)
        #expect(captures["id"] == "9")
        #expect(captures["product"] == "lamp")
        #expect(answer(router, .get, "/shop/7/lamp/messages/") == 200)
        #expect(answer(router, .get, "/shop/7/lamp/messages") == 404)
        #expect(answer(router, .get, "/shop/7/about") == 200)
        #expect(answer(router, .get, "/shop/x/about") == 404)
        #expect(answer(router, .get, "/shop/7") == 404)
        #expect(answer(router, .get, "/shop/7/late") == 200)
        #expect(answer(router, .post, "/shop/7/about") == 405)
        #expect(router.socketRoutes.isEmpty)
    }

    @Test func `a router can be mounted at the root, and a slash at the end of its prefix does not matter`() {
        var inner = Router()
        inner.get("/", Self.page)
        inner.get("/a", Self.page)
        var router = Router()
        router.get("/first", Self.page)
        router.mount("/", inner)
        router.mount("/folder/", inner)
        #expect(answer(router, .get, "/first") == 200)
        #expect(answer(router, .get, "/") == 200)
        #expect(answer(router, .get, "/a") == 200)
        #expect(answer(router, .get, "/folder/a") == 200)
        #expect(answer(router, .get, "/folder/") == 200)
        #expect(answer(router, .get, "/folder") == 404)
    }

    @Test func `queries, cookies and subprotocols are read as they were sent`() {
        let headers: HTTPFields = [
            .cookie: "a=1; token=\"x=y\"; b", .secWebSocketProtocol: " chat , token.abc,,", .authorization: "x",
        ]
        let request = Request(.get, "/p?a=1&b=%20+&c&a=2&%64=4&bad=%zz&e==&", headers: headers)
        #expect(request.path == "/p")
        #expect(request.query("a") == "1")
        #expect(request.query("b") == "  ")
        #expect(request.query("c") == "")
        #expect(request.query("d") == "4")
        #expect(request.query("bad") == nil)
        #expect(request.query("e") == "=")
        #expect(request.query("f") == nil)
        #expect(request.cookie("a") == "1")
        #expect(request.cookie("token") == "x=y")
        #expect(request.cookie("b") == nil)
        #expect(request.subprotocols == ["chat", "token.abc"])
        #expect(Request(.get, "/p?a?b").rawQuery == "a?b")
        // A question mark is a byte of the address, whatever follows it.
        #expect(Request(.get, "/p?\u{301}=1").path == "/p")
        #expect(Request.address(ofPeer: "[::1]:80") == "::1")
        #expect(Request.address(ofPeer: "1.2.3.4:80") == "1.2.3.4")
        #expect(Request.address(ofPeer: "unix") == "unix")
    }
}
