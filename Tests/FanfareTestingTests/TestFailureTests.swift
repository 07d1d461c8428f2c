import FanfareClient
import FanfareModel
import FanfareTesting
import FanfareWorker
import HTTPTypes
import Testing

/// Every expectation can fail, and says what came instead.
@Suite struct TestFailureTests {
    private let shop = Shop()

    /// The text of the failure `body` throws, its place cut off.
    private func text(_ body: () async throws -> Void) async -> String {
        do {
            try await body()
            return "no failure"
        } catch let failure as TestFailure {
            #expect(failure.description.hasPrefix("FanfareTestingTests/TestFailureTests.swift:"))
            return failure.description.split(separator: ": ", maxSplits: 1).last.map(String.init) ?? ""
        } catch {
            return "another error: \(error)"
        }
    }

    @Test func `expecting nothing waits for a slow handler and fails when it sends`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("slow")
        let failure = await text {
            shop.gate.openLater()
            try await socket.expectNothing()
        }
        #expect(failure == #"/puppet/ws/: expected that nothing is sent, but got the text "late""#)
        #expect(try await socket.expectText() == "late")
        try await socket.expectNothing()
        await app.stop()
    }

    @Test func `expecting nothing waits for a connect that has accepted early`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/", subprotocols: ["early"])
        let failure = await text {
            shop.gate.openLater()
            try await socket.expectNothing()
        }
        #expect(failure == #"/puppet/ws/: expected that nothing is sent, but got the text "welcome""#)
        await app.stop()
    }

    @Test func `expecting nothing fails while a handler does not return`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("slow")
        app.timeout = .milliseconds(50)
        let failure = await text { try await socket.expectNothing() }
        #expect(failure.contains("expected that nothing is sent, and still under way after 0.05 seconds: Puppet"))
        #expect(await text { try await app.settle() } == "still under way after 0.05 seconds: Puppet")
        #expect(await text { try await socket.disconnect() }.contains("still under way after"))
        try await socket.expectNothing(for: .milliseconds(1))
        await app.stop()
    }

    @Test func `a window of time sees what tasks send that nobody waits for`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("aside")
        try await socket.expectNothing()
        shop.gate.open()
        let failure = await text { try await socket.expectNothing(for: .seconds(60)) }
        #expect(failure.contains(#"but got the text "from a task""#))
        await app.stop()
    }

    @Test func `expecting nothing counts every message and the close`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send([7])
        try await socket.send("close")
        let failure = await text { try await socket.expectNothing() }
        #expect(failure == "/puppet/ws/: expected that nothing is sent, but got 1 bytes [7] and 1 more")
        _ = try await socket.expectBinary()
        #expect(await text { try await socket.expectNothing() }.contains(#"a close with 4001 "as you wish""#))
        await app.stop()
    }

    @Test func `what is not sent is missed, with what is under way`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        app.timeout = .milliseconds(50)
        let nothing = "but nothing was sent within 0.05 seconds; nothing is under way"
        #expect(await text { _ = try await socket.expectText() } == "/puppet/ws/: expected a text message, \(nothing)")
        #expect(await text { _ = try await socket.expectBinary() }.contains("expected a binary message, \(nothing)"))
        #expect(await text { try await socket.expectClose() }.contains("expected a close, \(nothing)"))
        let json = await text { _ = try await socket.expectJSON(ChatMessage.self) }
        #expect(json.contains("expected JSON of a ChatMessage, \(nothing)"))
        try await app.layer.send(["type": "nobody.knows"], to: socket.channelName)
        try await socket.send("slow")
        let failure = await text { _ = try await socket.expectText() }
        #expect(failure.contains("under way: Puppet; messages of groups and channels that no handler knows: 1"))
        await app.stop()
    }

    @Test func `another kind of message is shown`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send([1, 2, 3])
        #expect(await text { _ = try await socket.expectText() }.contains("but got 3 bytes [3, 2, 1]"))
        try await socket.send([1, 2, 3])
        #expect(await text { try await socket.expectClose() }.contains("expected a close, but got 3 bytes"))
        try await socket.send("slow")
        shop.gate.open()
        #expect(await text { _ = try await socket.expectBinary() }.contains(#"but got the text "late""#))
        try await socket.send("slow")
        let json = await text { _ = try await socket.expectJSON(ChatMessage.self) }
        #expect(json.contains(#"expected JSON of a ChatMessage, but got the text "late": "#))
        await app.stop()
    }

    @Test func `a close instead of a message comes with what handlers threw`() async throws {
        let app = try await TestApplication(shop.router)
        let socket = try await app.connect("/puppet/ws/")
        try await socket.send("throw")
        let failure = await text { _ = try await socket.expectText() }
        #expect(
            failure == "/puppet/ws/: expected a text message, but got a close with 1011 \"the server failed\"; "
                + "handlers that threw: Puppet: Oops()"
        )
        let sending = await text { try await socket.send("more") }
        #expect(sending.contains("nothing can be sent any more after a close with 1011"))
        await app.stop()
    }

    @Test func `a refusal where a connection was expected carries the answer`() async throws {
        let app = try await TestApplication(shop.router)
        let failure = await #expect(throws: TestFailure.self) { try await app.connect("/ws/chat/secret/") }
        #expect(failure?.response?.status == .forbidden)
        #expect(failure?.description.contains("/ws/chat/secret/ was not accepted: 403") == true)
        let accepted = await text { _ = try await app.expectDenial("/ws/chat/lobby/") }
        #expect(accepted == "expected /ws/chat/lobby/ to be refused, but it was accepted")
        let liar = await text { _ = try await app.connect("/puppet/ws/", subprotocols: ["liar"]) }
        #expect(liar.contains(#"accepted with the subprotocol "truth", which was not offered"#))
        let number = await text { _ = try await app.connect("/ws/add/", worker: 3) }
        #expect(number == "there is no worker 3; this application has 0 to 0")
        await app.stop()
    }

    @Test func `a page that does not answer is given up`() async throws {
        let app = try await TestApplication(shop.router)
        app.timeout = .milliseconds(50)
        let failure = await text { _ = try await app.get("/stuck") }
        #expect(failure == "GET /stuck was not answered within 0.05 seconds; its handler still runs")
        await app.stop()
    }
}
