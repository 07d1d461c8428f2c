import NIOCore

/// Whoever is told what comes to sockets of a load, on their loop.
protocol LoadSocketOwner: AnyObject {
    /// A numbered message came.
    ///
    /// - Parameter inOrder: Whether it is the one after the last, or the socket's first.
    func arrived(_ number: UInt64, inOrder: Bool)
    /// An open socket was closed; see ``LoadSocket/closeCode``.
    func closed(_ socket: LoadSocket)
}

/// One WebSocket of a load: shakes hands, counts what arrives, checks its order, answers pings. Only what a benchmark
/// needs of RFC 6455: the server's frames are unmasked, whole and below 64 KiB.
final class LoadSocket: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    /// Whether it reads nothing after its handshake.
    let isStalled: Bool
    private let path: String
    private unowned let owner: any LoadSocketOwner
    private var opening: EventLoopPromise<Void>?
    private var context: ChannelHandlerContext?
    private var pending = ByteBuffer()
    private var isOpen = false
    private var nextNumber: UInt64 = 1
    /// The code of the close frame that came.
    private(set) var closeCode: UInt16?
    /// Whether the connection has ended.
    private(set) var isClosed = false

    init(path: String, isStalled: Bool = false, owner: any LoadSocketOwner) {
        self.path = path
        self.isStalled = isStalled
        self.owner = owner
    }

    /// - Parameter opening: Told when the handshake is through, or why it is not.
    func open(host: String, _ opening: EventLoopPromise<Void>) {
        self.opening = opening
        let request =
            "GET \(path) HTTP/1.1\r\nHost: \(host)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        context?.writeAndFlush(NIOAny(ByteBuffer(string: request)), promise: nil)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        isClosed = true
        opening?.fail(LoadFailure("a socket was refused"))
        opening = nil
        if isOpen { owner.closed(self) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        if pending.readableBytes > 0 {
            pending.writeBuffer(&buffer)
            swap(&pending, &buffer)
        }
        pending.clear()
        if !isOpen, !shakeHands(&buffer) {
            pending.writeBuffer(&buffer)
            return
        }
        while let (opcode, payload) = nextFrame(&buffer) { arrived(opcode, payload) }
        if buffer.readableBytes > 0 { pending.writeBuffer(&buffer) } else { pending = ByteBuffer() }
    }

    private func shakeHands(_ buffer: inout ByteBuffer) -> Bool {
        let view = buffer.readableBytesView
        let end = Array("\r\n\r\n".utf8)
        guard let range = view.firstRange(of: end) else { return false }
        guard view.starts(with: "HTTP/1.1 101".utf8) else {
            opening?.fail(LoadFailure("the server answered \(String(decoding: view.prefix(64), as: UTF8.self))"))
            opening = nil
            return false
        }
        buffer.moveReaderIndex(to: range.upperBound)
        isOpen = true
        setReading(!isStalled)
        opening?.succeed()
        opening = nil
        return true
    }

    /// The next whole frame.
    private func nextFrame(_ buffer: inout ByteBuffer) -> (opcode: UInt8, payload: ByteBuffer)? {
        let start = buffer.readerIndex
        guard let first: UInt8 = buffer.getInteger(at: start), let second: UInt8 = buffer.getInteger(at: start + 1)
        else { return nil }
        var header = 2
        var length = Int(second & 0x7F)
        if length == 126 {
            guard let long: UInt16 = buffer.getInteger(at: start + 2) else { return nil }
            header = 4
            length = Int(long)
        }
        guard buffer.readableBytes >= header + length else { return nil }
        buffer.moveReaderIndex(forwardBy: header)
        return buffer.readSlice(length: length).map { (first & 0x0F, $0) }
    }

    private func arrived(_ opcode: UInt8, _ payload: ByteBuffer) {
        switch opcode {
        case 0x8:
            closeCode = payload.getInteger(at: payload.readerIndex) ?? 1005
            write(0x88, payload)
        case 0x9: write(0x8A, payload)
        default: arrived(payload)
        }
    }

    private static let prefixBytes = Array("{\"message\":\"".utf8).count

    /// A payload is `{"message":"0000000000000001…"}`: sixteen digits number the messages of a room.
    private func arrived(_ payload: ByteBuffer) {
        guard payload.readableBytes > Self.prefixBytes + 16,
            let digits = payload.viewBytes(at: payload.readerIndex + Self.prefixBytes, length: 16),
            let number = Self.number(digits)
        else { return }
        owner.arrived(number, inOrder: number == nextNumber)
        nextNumber = number + 1
    }

    private static func number(_ digits: ByteBufferView) -> UInt64? {
        var number: UInt64 = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            number = number * 10 + UInt64(digit - UInt8(ascii: "0"))
        }
        return number
    }

    // MARK: Out

    /// Sends message `number`, filled up to `payloadBytes` of text.
    func send(_ number: UInt64, payloadBytes: Int) {
        let digits = String(number)
        let text = String(repeating: "0", count: 16 - digits.count) + digits
        let filling = String(repeating: "x", count: max(0, payloadBytes - 16))
        write(0x81, ByteBuffer(string: "{\"message\":\"\(text)\(filling)\"}"))
    }

    /// Writes a frame, masked with zeros as a client must mask.
    private func write(_ first: UInt8, _ payload: ByteBuffer) {
        var frame = ByteBuffer()
        frame.writeInteger(first)
        if payload.readableBytes < 126 {
            frame.writeInteger(UInt8(payload.readableBytes) | 0x80)
        } else {
            frame.writeInteger(UInt8(126) | 0x80)
            frame.writeInteger(UInt16(payload.readableBytes))
        }
        frame.writeInteger(UInt32(0))
        frame.writeImmutableBuffer(payload)
        context?.writeAndFlush(NIOAny(frame), promise: nil)
    }

    /// Goes on reading, or stops.
    func setReading(_ isReading: Bool) {
        guard let channel = context?.channel else { return }
        try? channel.syncOptions?.setOption(.autoRead, value: isReading)
    }

    func close() {
        context?.close(promise: nil)
    }
}

/// Why a load cannot go on.
struct LoadFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
