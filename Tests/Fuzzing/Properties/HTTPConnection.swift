import Crypto
import FanfareClient
import FanfareModel
import FanfareTransport
import Foundation
import Glibc
import Logging
import NIOCore

@testable import FanfareWorker

/// A connection to a worker, from its first byte: HTTP, the handshake, and a WebSocket that echoes. The first byte of an
/// input chooses the cuts, the rest is what the client sends.
enum HTTPConnection {
    private static let bench = try! HTTPBench()

    static func check(_ input: UnsafeRawBufferPointer) throws {
        guard let seed = input.first else { return }
        let stream = Array(input.dropFirst())
        let answer = try bench.answer(to: [stream])
        try check(answer, to: stream)
        // What comes behind a head meets an answer that is on its way or is not; up to there nothing does.
        guard let head = Head(stream), head.length == stream.count else { return }
        let ways = input.withUnsafeBytes(seed)
        for pieces in ways {
            let other = try bench.answer(to: pieces)
            try require(other == answer, "\(pieces.count) pieces are answered \(show(other)), one \(show(answer))")
        }
    }

    private static func check(_ answer: [UInt8], to stream: [UInt8]) throws {
        guard !answer.isEmpty else { return }
        guard var head = Head(answer) else { throw Finding("the answer has no head: \(show(answer))") }
        var rest = Array(answer.dropFirst(head.length))
        if head.status == 100 {
            guard !rest.isEmpty else { return }
            guard let final = Head(rest) else { throw Finding("no head follows 100: \(show(answer))") }
            head = final
            rest = Array(rest.dropFirst(head.length))
        }
        guard let status = head.status, (200...599).contains(status) || status == 101 else {
            throw Finding("the status is none: \(show(answer))")
        }
        guard status == 101 else {
            let length = head.values("content-length").first.flatMap { Int($0) }
            let isWhole = rest.count == length || (rest.isEmpty && stream.starts(with: Array("HEAD".utf8)))
            // NIO's own answer to what is not HTTP has no body and says so.
            try require(isWhole, "the body is not as long as declared: \(show(answer))")
            return try require(head.values("connection") == ["close"], "the connection stays: \(show(answer))")
        }
        try checkHandshake(head, stream)
        try checkFrames(rest)
    }

    /// RFC 6455, section 4.2.2: who gets a 101 has asked for it, and is given the hash of its key.
    private static func checkHandshake(_ answer: Head, _ stream: [UInt8]) throws {
        guard let request = Head(stream) else { throw Finding("a 101 for less than a head: \(show(stream))") }
        let keys = request.values("sec-websocket-key")
        try require(
            request.first.hasPrefix("GET ") && request.first.hasSuffix(" HTTP/1.1") && keys.count == 1
                && request.values("sec-websocket-version") == ["13"] && request.values("host").count == 1
                && request.values("upgrade").contains { $0.lowercased().contains("websocket") }
                && request.values("connection").contains { $0.lowercased().contains("upgrade") },
            "a 101 for what is no handshake: \(show(stream))"
        )
        let hash = Insecure.SHA1.hash(data: Data((keys[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
        let expected = Data(hash).base64EncodedString()
        let accepted = answer.values("sec-websocket-accept")
        try require(accepted == [expected], "the key \(keys[0]) is accepted as \(accepted)")
    }

    /// RFC 6455, section 5: whole frames of a server, nothing behind a close frame.
    private static func checkFrames(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        var hasClosed = false
        while !rest.isEmpty {
            let first = rest[rest.startIndex]
            guard rest.count >= 2, rest[rest.startIndex + 1] & 0x80 == 0, first & 0xb0 == 0x80,
                let opcode = Opcode(rawValue: first & 0x0f), opcode != .continuation, !hasClosed
            else { throw Finding("no frame of a server: \(show(Array(rest)))") }
            let before = rest.count
            guard let (_, payload) = ServerFrame.takeFirst(of: &rest) else { throw Finding("no frame: \(show(bytes))") }
            let width = payload.count < 126 ? 2 : payload.count < 65_536 ? 4 : 10
            try require(before - rest.count == width + payload.count, "a frame is cut off: \(show(bytes))")
            try require(!opcode.isControl || payload.count <= 125, "a control frame of \(payload.count) bytes")
            hasClosed = opcode == .close
        }
    }

    private static func show(_ bytes: [UInt8]) -> String {
        String(decoding: bytes.prefix(400), as: UTF8.self).debugDescription
    }
}

extension UnsafeRawBufferPointer {
    /// The stream behind the first byte, cut in several ways.
    fileprivate func withUnsafeBytes(_ seed: UInt8) -> [[[UInt8]]] {
        Cuts.of(UnsafeRawBufferPointer(rebasing: dropFirst()), seed: seed).dropFirst().map { $0.map { Array($0) } }
    }
}

/// A start line and header fields, read naively.
private struct Head {
    let first: String
    private let fields: [(name: String, value: String)]
    /// In bytes, with the empty line.
    let length: Int

    init?(_ bytes: [UInt8]) {
        let end = Data(bytes).range(of: Data("\r\n\r\n".utf8))
        guard let end else { return nil }
        length = end.upperBound
        let lines = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        first = lines[0]
        fields = lines.dropFirst().map { line in
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count == 2 ? parts[1].trimmingCharacters(in: .whitespaces) : ""
            return (parts[0].lowercased(), value)
        }
    }

    var status: Int? {
        let parts = first.split(separator: " ")
        return parts.count >= 2 && parts[0] == "HTTP/1.1" ? Int(parts[1]) : nil
    }

    func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
}

/// A worker on a loop of its own that takes connections from memory, and what it writes from a socket pair.
///
/// `@unchecked Sendable`: only constants, and what is not Sendable among them is bound to the loop.
private final class HTTPBench: @unchecked Sendable {
    private let loop: EpollLoop
    private let worker: NIOLoopBound<WorkerLoop>

    /// Turns of the loop that anything may take before it counts as never happening.
    private static let turnsMaximum = 60_000
    private static let turnsWithoutRest = 1_000

    init() throws {
        let loop = try EpollLoop(name: "fanfare-fuzz")
        self.loop = loop
        worker = try loop.submit { NIOLoopBound(Self.makeWorker(loop), eventLoop: loop) }.wait()
    }

    private static func makeWorker(_ loop: EpollLoop) -> WorkerLoop {
        var router = Router()
        router.echo("/ws/echo/")
        router.get("/") { _, _ in .text("page") }
        router.post("/") { request, _ in .text("\(request.body.count)") }
        var configuration = WorkerServer.Configuration()
        configuration.workerLimits.compression = true
        configuration.workerLimits.bodyBytes = 1_000
        configuration.workerLimits.messageBytes = 2_048
        configuration.workerLimits.headerBytes = 4_096
        configuration.workerLimits.headerFields = 20
        let worker = WorkerLoop(
            loop: loop,
            configuration: configuration,
            node: "node",
            processID: 7,
            router: router,
            port: LayerPort(post: { _ in true }, call: { _, then in then(.success(.null)) }),
            logger: Logger(label: "fuzz", factory: { _ in SwiftLogNoOpLogHandler() })
        )
        let limits = Limits()
        worker.link.layerDidConnect(
            Welcome(session: SessionID(1), epoch: 1, broker: "fuzz", policy: Policy(limits), limits: limits)
        )
        return worker
    }

    /// Everything the worker writes to a client that sends `pieces` in one turn, and then leaves.
    func answer(to pieces: [[UInt8]]) throws -> [UInt8] {
        var pair: [CInt] = [-1, -1]
        try require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &pair) == 0, "no socket pair: \(errno)")
        let (ours, peer) = (pair[0], pair[1])
        for descriptor in pair { _ = fcntl(descriptor, F_SETFL, O_NONBLOCK) }
        let channel = try loop.submit { [loop, worker] in
            let channel = PipelineChannel(ours, on: loop, remoteAddress: nil)
            try WorkerListener.addHandshake(to: channel, worker.value)
            channel.activate()
            for piece in pieces where channel.isActive { piece.withUnsafeBytes { channel.received($0) } }
            channel.finishedBurst()
            return channel
        }.wait()
        try settle {
            let handler = try? channel.pipeline.syncOperations.handler(type: HTTPHandler.self)
            return handler?.owesAnswer != true
        }
        let answer = Self.drain(peer)
        close(peer)
        try settle { [worker] in
            let health = worker.value.health
            return health.sockets == 0 && health.handshakes == 0
        }
        return answer
    }

    /// Lets the loop turn until `condition` holds, and some turns more for what follows from it. What other threads do
    /// for it may take its time on a machine that does much else.
    private func settle(_ condition: @escaping @Sendable () -> Bool) throws {
        var turns = 0
        while try !loop.submit(condition).wait() {
            turns += 1
            try require(turns < Self.turnsMaximum, "it does not come to rest")
            if turns > Self.turnsWithoutRest { usleep(1_000) }
        }
        for _ in 0..<4 { try loop.submit {}.wait() }
    }

    private static func drain(_ descriptor: CInt) -> [UInt8] {
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return answer }
            answer += chunk[..<count]
        }
    }
}
