import FanfareModel
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import FanfareOps

/// Gathers what a server sends until it closes.
private final class Gather: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private var bytes = ByteBuffer()
    private let done: EventLoopPromise<String>

    init(_ done: EventLoopPromise<String>) {
        self.done = done
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        bytes.writeBuffer(&part)
    }

    func channelInactive(context: ChannelHandlerContext) {
        done.succeed(String(buffer: bytes))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// A request that is refused; shown by its name, for some are long.
struct Refused: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var request: String
    var status: Int

    static let all = [
        Refused(
            testDescription: "a method that changes something",
            request: "POST /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nbody",
            status: 405
        ),
        Refused(
            testDescription: "a header over the limit",
            request: "GET /healthz HTTP/1.1\r\nx: \(String(repeating: "a", count: 20_000))\r\n\r\n",
            status: 431
        ),
        Refused(
            testDescription: "too many headers",
            request: "GET /healthz HTTP/1.1\r\n\(String(repeating: "x: y\r\n", count: 100))\r\n",
            status: 431
        ),
        Refused(
            testDescription: "an address over the limit",
            request: "GET /\(String(repeating: "a", count: 1_000_000)) HTTP/1.1\r\n\r\n",
            status: 431
        ),
        Refused(testDescription: "no HTTP", request: "\u{0}\u{1}not http\r\n\r\n", status: 400),
    ]
}

@Suite(.timeLimit(.minutes(5))) struct OpsServerTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let refusals = OpsRefusals()
    /// Begins (`true`) and ends of streams that would go on for an hour.
    private let endless = AsyncStream.makeStream(of: Bool.self)

    /// Connects; returns the channel and what the server will have sent when it closes.
    private func connect(_ port: Int) async throws -> (any Channel, EventLoopFuture<String>) {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let done = loop.makePromise(of: String.self)
        let bootstrap = ClientBootstrap(group: loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Gather(done)) }
        }
        do {
            return (try await bootstrap.connect(host: "127.0.0.1", port: port).get(), done.futureResult)
        } catch {
            done.fail(error)
            throw error
        }
    }

    /// Sends `request` as it is; returns everything the server answers until it closes.
    private func exchange(_ port: Int, _ request: String) async throws -> String {
        let (channel, answer) = try await connect(port)
        // The server may close before it has read everything: what it said still counts.
        channel.writeAndFlush(ByteBuffer(string: request), promise: nil)
        return try await answer.get()
    }

    private static func request(_ target: String) -> String { "GET \(target) HTTP/1.1\r\nhost: x\r\n\r\n" }

    private func withServer(_ body: (Int) async throws -> Void) async throws {
        let server = try await OpsServer.start(
            host: "127.0.0.1",
            port: 0,
            routes: [
                "/healthz": { _ in .json(200, ["status": "ok"]) },
                "/readyz": { _ in .json(503, ["ready": false, "reason": "no broker"]) },
                "/echo": { request in
                    .json(
                        200,
                        [
                            "query": .map((request.query ?? ["unreadable": ""]).mapValues { .string($0) }),
                            "x-twice": .count(request.fields["x-twice"]?.count ?? 0),
                            "peer": .string(request.peer), "isLoopback": .bool(request.isLoopbackListener),
                        ]
                    )
                },
                "/count": { _ in
                    .events { stream in
                        for number in 0..<3 { try? await stream.write("data: \(number)\n\n") }
                    }
                },
                "/endless": { _ in
                    .events { stream in
                        endless.continuation.yield(true)
                        try? await stream.write("data: begun\n\n")
                        try? await Task.sleep(for: .seconds(3_600))
                        endless.continuation.yield(false)
                    }
                },
            ],
            refusals: refusals,
            logger: logger
        )
        do {
            try await body(server.port)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    @Test func `a route answers GET with its status and body and closes`() async throws {
        try await withServer { port in
            let answer = try await exchange(port, "GET /healthz?x=1 HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.contains("content-type: application/json\r\n"))
            #expect(answer.contains("connection: close\r\n"))
            #expect(answer.hasSuffix("\r\n\r\n{\"status\":\"ok\"}\n"))
            let unready = try await exchange(port, "GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(unready.hasPrefix("HTTP/1.1 503 "))
            #expect(unready.contains("no broker"))
        }
    }

    @Test func `HEAD gets the same head without the body`() async throws {
        try await withServer { port in
            let get = try await exchange(port, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            let head = try await exchange(port, "HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(head.hasSuffix("\r\n\r\n"))
            #expect(get == head + "{\"status\":\"ok\"}\n")
        }
    }

    @Test func `an unknown path gets 404 and the paths there are`() async throws {
        try await withServer { port in
            let answer = try await exchange(port, "GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 404 "))
            #expect(answer.contains(#""paths":["/count","/echo","/endless","/healthz","/readyz"]"#))
        }
    }

    @Test(arguments: Refused.all)
    func `what this port does not take is answered with a status`(refused: Refused) async throws {
        try await withServer { port in
            // A request that is refused before its end may have its connection reset, and the answer with it; the
            // suite's time limit ends this if it always is.
            var answer = ""
            while answer.isEmpty { answer = try await exchange(port, refused.request) }
            #expect(answer.hasPrefix("HTTP/1.1 \(refused.status) "))
            #expect((refusals.counts["malformed"] ?? 0 > 0) == (refused.status != 405))
        }
    }

    @Test func `only one request of a connection is answered`() async throws {
        try await withServer { port in
            let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
            let answer = try await exchange(port, request + request)
            #expect(answer.ranges(of: "HTTP/1.1 ").count == 1)
        }
    }

    @Test func `connections over the limit are closed, and the port goes on when others leave`() async throws {
        try await withServer { port in
            var held: [any Channel] = []
            for _ in 0..<OpsServer.connections { held.append(try await connect(port).0) }
            let (_, refused) = try await connect(port)
            #expect(try await refused.get() == "")
            #expect(refusals.counts["connections"] == 1)
            // Some may be closed already: silent ones are, after a while.
            for channel in held { try? await channel.close().get() }
            var answer = ""
            while !answer.hasPrefix("HTTP/1.1 200") {
                answer = try await exchange(port, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            }
        }
    }

    @Test func `a route is told the query, the header fields and who asks`() async throws {
        try await withServer { port in
            let answer = try await exchange(
                port,
                "GET /echo?a=x+y%26%C3%A9&b HTTP/1.1\r\nhost: x\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"
            )
            let body = #"{"isLoopback":true,"peer":"127.0.0.1","query":{"a":"x y&é","b":""},"x-twice":2}"#
            #expect(answer.hasSuffix("\r\n\r\n\(body)\n"))
        }
    }

    @Test(arguments: ["/healthz", "/nothing", "/count"])
    func `every answer says that it is not to be kept, guessed or framed`(target: String) async throws {
        try await withServer { port in
            let answer = try await exchange(port, Self.request(target))
            for field in [
                "cache-control: no-store", "content-security-policy: default-src 'none'; frame-ancestors 'none'",
                "cross-origin-resource-policy: same-origin", "referrer-policy: no-referrer",
                "x-content-type-options: nosniff", "x-frame-options: DENY",
            ] { #expect(answer.contains("\r\n\(field)\r\n"), "\(field)") }
        }
    }

    @Test func `a stream is written piece by piece, and ends`() async throws {
        try await withServer { port in
            let answer = try await exchange(port, Self.request("/count"))
            #expect(answer.contains("content-type: text/event-stream\r\n"))
            #expect(!answer.contains("content-length"))
            let events = answer.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("data: ") }
            #expect(events == ["data: 0", "data: 1", "data: 2"])
        }
    }

    @Test func `HEAD of a stream begins none`() async throws {
        try await withServer { port in
            let answer = try await exchange(port, "HEAD /endless HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 200 "))
            #expect(answer.contains("text/event-stream"))
        }
    }

    @Test func `a stream ends with its connection, and over their limit there is none`() async throws {
        try await withServer { port in
            var events = endless.stream.makeAsyncIterator()
            var held: [any Channel] = []
            for _ in 0..<OpsServer.streams {
                let channel = try await connect(port).0
                try await channel.writeAndFlush(ByteBuffer(string: Self.request("/endless")))
                held.append(channel)
                #expect(await events.next() == true)
            }
            #expect(try await exchange(port, Self.request("/endless")).hasPrefix("HTTP/1.1 503 "))
            #expect(refusals.counts["streams"] == 1)
            for channel in held { try await channel.close().get() }
            for _ in held { #expect(await events.next() == false) }
            // The last place may be given back a moment after the stream has ended: who is turned away asks again.
            let turnedAway = endless.continuation
            var isServed = false
            while !isServed {
                let (channel, gathered) = try await connect(port)
                gathered.whenSuccess { if $0.hasPrefix("HTTP/1.1 503 ") { turnedAway.yield(false) } }
                try await channel.writeAndFlush(ByteBuffer(string: Self.request("/endless")))
                isServed = await events.next() == true
                if isServed { try await channel.close().get() }
            }
        }
    }

    @Test func `a taken port is a configuration failure that names it`() async throws {
        try await withServer { port in
            do throws(ProgramFailure) {
                await (try OpsServer.start(host: "127.0.0.1", port: port, routes: [:], logger: logger)).stop()
                Issue.record("a second server took the same port")
            } catch {
                #expect(error.exit == .configuration)
                #expect(error.text.contains("127.0.0.1:\(port)"))
                #expect(error.text.contains("Address already in use"))
            }
        }
    }
}
