import NIOCore
import NIOPosix
import Testing

@testable import FanfareWorker

/// A client that reads and writes a TCP connection as a test says. Used by one task.
final class TestClient {
    private let channel: any Channel
    private var incoming: AsyncStream<ByteBuffer>.Iterator
    private var buffer: [UInt8] = []

    private init(channel: any Channel, incoming: AsyncStream<ByteBuffer>) {
        self.channel = channel
        self.incoming = incoming.makeAsyncIterator()
    }

    /// - Parameter receiveBytes: A small receive buffer for clients that are to stall.
    static func connect(_ port: Int, receiveBytes: Int? = nil) async throws -> TestClient {
        let (incoming, continuation) = AsyncStream.makeStream(of: ByteBuffer.self)
        var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: receiveBytes == nil)
        if let receiveBytes {
            bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: .init(receiveBytes))
        }
        let channel = try await bootstrap.channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(Collector(continuation))
            }
        }.connect(host: "127.0.0.1", port: port).get()
        return TestClient(channel: channel, incoming: incoming)
    }

    /// Connects and opens a WebSocket; what `first` holds goes out with the request.
    static func open(
        _ port: Int,
        _ path: String,
        first: [UInt8] = [],
        receiveBytes: Int? = nil
    ) async throws -> TestClient {
        let client = try await connect(port, receiveBytes: receiveBytes)
        try await client.write(Array(handshake(path).utf8) + first)
        guard receiveBytes == nil else { return client }
        let head = try #require(await client.head())
        #expect(head.hasPrefix("HTTP/1.1 101 "))
        #expect(head.lowercased().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"))
        return client
    }

    /// - Parameter headers: More of them, each with its line end.
    static func handshake(_ path: String, headers: String = "") -> String {
        "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\(headers)\r\n"
    }

    /// Asks for a WebSocket, without waiting for the answer.
    static func knock(_ port: Int, _ path: String, headers: String = "") async throws -> TestClient {
        let client = try await connect(port)
        try await client.write(Array(handshake(path, headers: headers).utf8))
        return client
    }

    /// Sends one request and reads to the end of the connection.
    static func ask(_ port: Int, _ request: String) async throws -> (head: String, body: String) {
        let client = try await connect(port)
        try await client.write(Array(request.utf8))
        let head = await client.head() ?? ""
        return (head, String(decoding: await client.rest(), as: UTF8.self))
    }

    /// Gets a page.
    static func get(_ port: Int, _ path: String, headers: String = "") async throws -> (head: String, body: String) {
        try await ask(port, "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\(headers)\r\n")
    }

    func write(_ bytes: [UInt8]) async throws {
        try await writer.write(bytes)
    }

    /// Writes from another task than the one that reads.
    var writer: Writer { Writer(channel: channel) }

    struct Writer: Sendable {
        fileprivate let channel: any Channel

        func write(_ bytes: [UInt8]) async throws {
            try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
        }
    }

    func say(_ message: String) async throws {
        try await write(ClientFrame.text("{\"message\":\"\(message)\"}"))
    }

    /// Begins to read, for a client that was told to stall.
    func readOn() async throws {
        try await channel.setOption(.autoRead, value: true).get()
    }

    /// The head of an HTTP answer, `nil` when the connection ends before.
    func head() async -> String? {
        while true {
            if let end = buffer.firstRange(of: Array("\r\n\r\n".utf8)) {
                let head = String(decoding: buffer[..<end.upperBound], as: UTF8.self)
                buffer.removeFirst(end.upperBound)
                return head
            }
            guard await more() else { return nil }
        }
    }

    /// Everything up to the end of the connection.
    func rest() async -> [UInt8] {
        while await more() {}
        return buffer
    }

    /// The next frame, `nil` at the end of the connection. Pings are answered and passed over.
    func frame() async throws -> ReceivedFrame? {
        while true {
            if let frame = ReceivedFrame(consuming: &buffer) {
                guard frame.opcode == 9 else { return frame }
                try await write(ClientFrame.bytes(first: 0x8a, frame.payload))
            } else {
                guard await more() else { return nil }
            }
        }
    }

    /// The next `count` chat messages; other frames in between end it early.
    func messages(_ count: Int) async throws -> [String] {
        var messages: [String] = []
        while messages.count < count, let message = try await frame()?.message { messages.append(message) }
        return messages
    }

    func close() async {
        try? await channel.close()
    }

    private func more() async -> Bool {
        guard let next = await incoming.next() else { return false }
        buffer += Array(next.readableBytesView)
        return true
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let continuation: AsyncStream<ByteBuffer>.Continuation

        init(_ continuation: AsyncStream<ByteBuffer>.Continuation) { self.continuation = continuation }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { continuation.yield(unwrapInboundIn(data)) }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
