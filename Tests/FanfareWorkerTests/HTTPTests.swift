import FanfareModel
import HTTPTypes
import Testing

@testable import FanfareWorker

/// Requests that become no socket, over real connections.
@Suite(.timeLimit(.minutes(2))) struct HTTPTests {
    private static let bodyBytes = 100_000

    /// Answers how many bytes it was sent, and their sum.
    private static func counting(_ chronicle: Chronicle = Chronicle(), _ gate: Gate? = nil) async throws -> WorkerServer
    {
        var router = Router()
        router.post("/") { request, _ in
            chronicle.note("\(request.body.count)")
            do { try await gate?.pass() } catch {
                chronicle.note("cancelled")
                throw error
            }
            return .text("\(request.body.count) \(request.body.reduce(0) { $0 + Int($1) })")
        }
        router.get("/") { _, _ in .text("page") }
        router.get("/fail") { _, _ in throw Mishap() }
        router.get("/json") { _, _ in try .json(["a": 1]) }
        var limits = WorkerLimits()
        limits.bodyBytes = bodyBytes
        return try await Place.lonelyWorker(limits, router: router)
    }

    private func post(_ body: String, headers: String = "") -> String {
        "POST / HTTP/1.1\r\nHost: a\r\n\(headers)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    private func chunked(_ parts: [String]) -> String {
        let chunks = parts.map { String($0.utf8.count, radix: 16) + "\r\n\($0)\r\n" }.joined()
        return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\(chunks)0\r\n\r\n"
    }

    @Test func `a body arrives whole, up to the limit, with a length or in chunks`() async throws {
        let worker = try await Self.counting()
        for count in [0, 1, 2_048, Self.bodyBytes] {
            let body = String(repeating: "a", count: count)
            #expect(try await TestClient.ask(worker.port, post(body)).body == "\(count) \(97 * count)\n")
            let parts = stride(from: 0, to: count, by: 999).map { String(repeating: "a", count: min(999, count - $0)) }
            #expect(try await TestClient.ask(worker.port, chunked(parts)).body == "\(count) \(97 * count)\n")
        }
        #expect(try await worker.health().counters.responses == [200: 8])
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a body over the limit is a 413, declared or not`() async throws {
        let chronicle = Chronicle()
        let worker = try await Self.counting(chronicle)
        let declared = try await TestClient.connect(worker.port)
        // Answered before the body has come.
        try await declared.write(
            Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \(Self.bodyBytes + 1)\r\n\r\n".utf8)
        )
        #expect(try #require(await declared.head()).hasPrefix("HTTP/1.1 413 "))
        await declared.close()
        let parts = Array(repeating: String(repeating: "a", count: 1_000), count: 101)
        #expect(try await TestClient.ask(worker.port, chunked(parts)).head.hasPrefix("HTTP/1.1 413 "))
        let huge = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"
        #expect(try await TestClient.ask(worker.port, huge).head.hasPrefix("HTTP/1.1 400 "))
        #expect(chronicle.all.isEmpty)
        #expect(try await worker.health().counters.refusals == ["body_too_large": 2, "bad_request": 1])
        await worker.stop(within: Milliseconds(200))
    }

    @Test(arguments: [("POST /nowhere", 404), ("PUT /", 405), ("POST /ws", 405), ("POST /%zz", 400)])
    func `nobody waits for a body that nothing takes`(request: String, status: Int) async throws {
        var router = Router()
        router.post("/") { _, _ in .text("taken") }
        router.webSocket("/ws") { _, _ in Scripted() }
        let worker = try await Place.lonelyWorker(router: router)
        for header in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let head = "\(request) HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\(header)\r\n\r\n"
            let answer = try await TestClient.ask(worker.port, head)
            #expect(answer.head.hasPrefix("HTTP/1.1 \(status) "))
            #expect(!answer.body.isEmpty)
        }
        #expect(try await worker.health().counters.responses == [status: 2])
        #expect(try await worker.health().counters.refusals.values.reduce(0, +) == 2)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a client that asks whether it may send is told to go on, or why not`() async throws {
        let worker = try await Self.counting()
        let client = try await TestClient.connect(worker.port)
        let request = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: "
        try await client.write(Array("\(request)3\r\n\r\n".utf8))
        #expect(await client.head() == "HTTP/1.1 100 Continue\r\n\r\n")
        try await client.write(Array("abc".utf8))
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 200 "))
        #expect(String(decoding: await client.rest(), as: UTF8.self) == "3 294\n")
        let refused = try await TestClient.connect(worker.port)
        try await refused.write(Array("\(request)\(Self.bodyBytes + 1)\r\n\r\n".utf8))
        #expect(try #require(await refused.head()).hasPrefix("HTTP/1.1 413 "))
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a second request on the same connection is not carried out`() async throws {
        let chronicle = Chronicle()
        let gate = Gate()
        let worker = try await Self.counting(chronicle, gate)
        let client = try await TestClient.connect(worker.port)
        try await client.write(Array((post("a") + post("bb") + post("ccc")).utf8))
        await chronicle.reach(1)
        // Whatever came with the first one has been read.
        for _ in 0..<10 { _ = try await worker.health() }
        try await client.write(Array(post("dddd").utf8))
        for _ in 0..<10 { _ = try await worker.health() }
        gate.open()
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 200 "))
        #expect(String(decoding: await client.rest(), as: UTF8.self) == "1 97\n")
        #expect(chronicle.all == ["1"])
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `HEAD has the headers of GET, an error is a 500 that tells nothing`() async throws {
        let worker = try await Self.counting()
        let (head, body) = try await TestClient.ask(worker.port, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(head.hasPrefix("HTTP/1.1 200 "))
        #expect(head.contains("content-length: 5\r\n"))
        #expect(body.isEmpty)
        let failed = try await TestClient.get(worker.port, "/fail")
        #expect(failed.head.hasPrefix("HTTP/1.1 500 "))
        #expect(!failed.body.contains("Mishap"))
        #expect(try await TestClient.get(worker.port, "/json").body == #"{"a":1}"#)
        #expect(try await worker.health().counters.handlerFailures == 1)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `a client that leaves in the middle cancels its handler, and nothing is left of it`() async throws {
        let chronicle = Chronicle()
        let worker = try await Self.counting(chronicle, Gate())
        let early = try await TestClient.connect(worker.port)
        try await early.write(Array("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc".utf8))
        try await eventually { try await worker.health().handshakes == 1 }
        await early.close()
        let late = try await TestClient.connect(worker.port)
        try await late.write(Array(post("abc").utf8))
        await chronicle.reach(1)
        await late.close()
        #expect(await chronicle.reach(2) == ["3", "cancelled"])
        try await eventually { try await worker.health().handshakes == 0 }
        #expect(try await worker.health().counters.responses.isEmpty)
        await worker.stop(within: Milliseconds(200))
    }

    @Test func `an address without end is refused before it is all there`() async throws {
        let worker = try await Self.counting()
        let client = try await TestClient.connect(worker.port)
        try await client.write(Array("GET /".utf8))
        let piece = [UInt8](repeating: 0x61, count: 10_000)
        let writer = client.writer
        async let writing: Void = {
            for _ in 0..<100 { try? await writer.write(piece) }
        }()
        #expect(try #require(await client.head()).hasPrefix("HTTP/1.1 4"))
        await writing
        await client.close()
        await worker.stop(within: Milliseconds(200))
    }
}
