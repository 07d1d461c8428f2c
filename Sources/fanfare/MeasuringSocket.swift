import ArgumentParser
import FanfareClient
import FanfareModel
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// What a worker makes of a group's messages.
enum WorkerRoute: String, ExpressibleByArgument, CaseIterable {
    case chat
    case relay

    /// A group message that reaches the sockets as `text`.
    func message(_ text: String) -> [String: MessageValue] {
        switch self {
        case .chat: ["type": "chat.message", "message": .string(text)]
        case .relay: ["type": "relay.text", "text": .string(text), "from": "fanfare-latency"]
        }
    }

    /// The text in a frame to a socket.
    func text(_ frame: String) -> String? {
        switch self {
        case .chat: (try? MessageValue(json: Array(frame.utf8)))?["message"]?.string
        case .relay: frame
        }
    }
}

/// A socket of a worker and the group it is in.
struct SocketAddress: Sendable, Equatable {
    let host: String
    let port: Int
    let path: String
    let group: String

    private static let chatPath = "/ws/chat/"

    /// Reads `ws://HOST[:PORT][/PATH]`; without a path it is a room of the chat.
    ///
    /// - Throws: A usage error.
    init(_ text: String, group: String?, room: String) throws {
        let scheme = ["ws://", "http://"].first { text.lowercased().hasPrefix($0) }
        guard let scheme else {
            throw ValidationError("--worker is \"\(text)\"; write ws://HOST:PORT, with a path if it is not the chat")
        }
        let rest = text.dropFirst(scheme.count)
        let authority = rest.prefix { $0 != "/" }
        let path = rest.dropFirst(authority.count)
        (host, port) = try Self.hostAndPort(authority)
        self.path = path.isEmpty || path == "/" ? Self.chatPath + room + "/" : String(path)
        guard let known = group ?? Self.chatGroup(self.path) else {
            throw ValidationError("--group is missing: the group of the socket at \(text)")
        }
        self.group = known
    }

    /// The group of a room of the chat; `nil` for the path of another route.
    private static func chatGroup(_ path: String) -> String? {
        let place = path.prefix { $0 != "?" }
        guard place.hasPrefix(chatPath) else { return nil }
        let names = place.dropFirst(chatPath.count).split(separator: "/")
        return names.count == 1 ? "chat_" + names[0] : nil
    }

    private static func hostAndPort(_ authority: Substring) throws -> (String, Int) {
        let colon = authority.lastIndex(of: ":").flatMap { authority[$0...].contains("]") ? nil : $0 }
        let host = authority[..<(colon ?? authority.endIndex)]
        let port = colon.map { Int(authority[authority.index(after: $0)...]) } ?? 80
        guard !host.isEmpty, let port, (1...65_535).contains(port) else {
            throw ValidationError("--worker has \"\(authority)\" where HOST:PORT should be")
        }
        let isLiteral = host.hasPrefix("[") && host.hasSuffix("]")
        return (String(isLiteral ? host.dropFirst().dropLast() : host), port)
    }

    var authority: String { (host.contains(":") ? "[\(host)]" : host) + ":\(port)" }
    var text: String { "ws://\(authority)\(path)" }
}

/// A WebSocket (RFC 6455) that tells when its texts came. Ends with the program.
struct MeasuringSocket {
    private let channel: any Channel

    private static let frameBytes = 1 << 20
    private static let connecting = TimeAmount.seconds(10)

    /// Opens the socket.
    ///
    /// - Parameter heard: Called with each text and ``System/nanoseconds()``, on a thread of the socket.
    /// - Throws: ``ProgramFailure``: nobody listens there, or what listens opens no WebSocket at that path.
    static func open(
        _ address: SocketAddress,
        heard: @escaping @Sendable (String, UInt64) -> Void
    ) async throws -> MeasuringSocket {
        let opening: EventLoopFuture<(any Channel)?>
        do {
            opening = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connectTimeout(connecting)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connect(host: address.host, port: address.port) { channel in
                    channel.eventLoop.makeCompletedFuture { try Self.upgrade(channel, address, heard) }
                }
        } catch {
            throw ProgramFailure(.unavailable, "no worker answers at \(address.text): \(error)")
        }
        // A server that takes the connection and says nothing would be waited for without end.
        let channel = try? await opening.eventLoop.flatSubmit {
            let limit = opening.eventLoop.makePromise(of: (any Channel)?.self)
            opening.cascade(to: limit)
            let timeout = opening.eventLoop.scheduleTask(in: connecting) { limit.succeed(nil) }
            return limit.futureResult.always { _ in timeout.cancel() }
        }.get()
        guard let channel else {
            throw ProgramFailure(
                .unavailable,
                "\(address.text) opens no WebSocket for Origin http://\(address.authority); is it the address of one?"
            )
        }
        return MeasuringSocket(channel: channel)
    }

    private static func upgrade(
        _ channel: any Channel,
        _ address: SocketAddress,
        _ heard: @escaping @Sendable (String, UInt64) -> Void
    ) throws -> EventLoopFuture<(any Channel)?> {
        let upgrader = NIOTypedWebSocketClientUpgrader<(any Channel)?>(maxFrameSize: frameBytes) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(TextListener(heard))
                return channel
            }
        }
        let headers: HTTPHeaders = ["Host": address.authority, "Origin": "http://\(address.authority)"]
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: address.path, headers: headers)
        let configuration = NIOTypedHTTPClientUpgradeConfiguration<(any Channel)?>(
            upgradeRequestHead: head,
            upgraders: [upgrader],
            notUpgradingCompletionHandler: { channel in channel.close().map { nil } }
        )
        return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
            configuration: .init(upgradeConfiguration: configuration)
        )
    }

    func close() {
        channel.close(promise: nil)
    }
}

/// Hears texts, answers pings.
private final class TextListener: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame
    typealias OutboundOut = WebSocketFrame

    private let heard: @Sendable (String, UInt64) -> Void

    init(_ heard: @escaping @Sendable (String, UInt64) -> Void) {
        self.heard = heard
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let time = System.nanoseconds()
        let frame = unwrapInboundIn(data)
        switch frame.opcode {
        case .text: heard(String(buffer: frame.unmaskedData), time)
        case .ping:
            let pong = WebSocketFrame(fin: true, opcode: .pong, maskKey: .random(), data: frame.unmaskedData)
            context.writeAndFlush(wrapOutboundOut(pong), promise: nil)
        case .connectionClose: context.close(promise: nil)
        default: break
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
