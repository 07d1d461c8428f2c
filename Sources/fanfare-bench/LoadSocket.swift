import NIOCore

/// One WebSocket of the load: shakes hands, counts what arrives, checks its order. Only what a benchmark needs of
/// RFC 6455: the server's frames are unmasked, whole and below 64 KiB.
final class LoadSocket: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let room: LoadRoom
    private let request: String
    private var context: ChannelHandlerContext?
    private var pending = ByteBuffer()
    private var isOpen = false
    private var nextNumber: UInt64 = 1

    init(room: LoadRoom, host: String) {
        self.room = room
        request =
            "GET /ws/chat/\(room.name)/ HTTP/1.1\r\nHost: \(host)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        context.writeAndFlush(NIOAny(ByteBuffer(string: request)), promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        room.lost(isOpen ? "a socket was closed during the run" : "a socket was refused")
        self.context = nil
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
        while let payload = nextFrame(&buffer) { arrived(payload) }
        if buffer.readableBytes > 0 { pending.writeBuffer(&buffer) }
    }

    private func shakeHands(_ buffer: inout ByteBuffer) -> Bool {
        let view = buffer.readableBytesView
        let end = Array("\r\n\r\n".utf8)
        guard let range = view.firstRange(of: end) else { return false }
        guard view.starts(with: "HTTP/1.1 101".utf8) else {
            room.lost("the server answered \(String(decoding: view.prefix(64), as: UTF8.self))")
            return false
        }
        buffer.moveReaderIndex(to: range.upperBound)
        isOpen = true
        room.opened(self)
        return true
    }

    /// The next whole frame's payload.
    private func nextFrame(_ buffer: inout ByteBuffer) -> ByteBuffer? {
        guard let second: UInt8 = buffer.getInteger(at: buffer.readerIndex + 1) else { return nil }
        var header = 2
        var length = Int(second & 0x7F)
        if length == 126 {
            guard let long: UInt16 = buffer.getInteger(at: buffer.readerIndex + 2) else { return nil }
            header = 4
            length = Int(long)
        }
        guard buffer.readableBytes >= header + length else { return nil }
        buffer.moveReaderIndex(forwardBy: header)
        return buffer.readSlice(length: length)
    }

    /// A payload is `{"message":"0000000000000001…"}`: sixteen digits number the messages of a room.
    private func arrived(_ payload: ByteBuffer) {
        let start = Array("{\"message\":\"".utf8).count
        guard payload.readableBytes > start + 16,
            let digits = payload.getString(at: payload.readerIndex + start, length: 16), let number = UInt64(digits)
        else { return }
        room.arrived(inOrder: number == nextNumber)
        nextNumber = number + 1
    }

    /// Sends one message, masked with zeros as a client must mask.
    func send(_ text: String) {
        let payload = "{\"message\":\"\(text)\"}"
        var frame = ByteBuffer()
        frame.writeInteger(UInt8(0x81))
        if payload.utf8.count < 126 {
            frame.writeInteger(UInt8(payload.utf8.count) | 0x80)
        } else {
            frame.writeInteger(UInt8(126) | 0x80)
            frame.writeInteger(UInt16(payload.utf8.count))
        }
        frame.writeInteger(UInt32(0))
        frame.writeString(payload)
        context?.writeAndFlush(NIOAny(frame), promise: nil)
    }
}
