import FanfareModel
import FanfareProtocol
import Glibc

/// The far end of a connection, blocking and on no event loop: what it does is not what is measured.
final class PeerSocket {
    private let descriptor: CInt
    private var bytes = [UInt8](repeating: 0, count: 4_096)

    /// How long anything may take before the history counts as broken; callgrind is slow.
    private static let patienceSeconds = 60

    private init(_ descriptor: CInt) {
        self.descriptor = descriptor
        var patience = timeval(tv_sec: Self.patienceSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
    }

    // MARK: Unix sockets

    static func connect(to path: String) throws -> PeerSocket {
        let peer = PeerSocket(socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
        let result = withAddress(path) { Glibc.connect(peer.descriptor, $0, $1) }
        guard result == 0 else { throw broken("connect to \(path)") }
        return peer
    }

    static func listen(on path: String) throws -> PeerSocket {
        let peer = PeerSocket(socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0))
        guard withAddress(path, { bind(peer.descriptor, $0, $1) }) == 0, Glibc.listen(peer.descriptor, 16) == 0 else {
            throw broken("listen on \(path)")
        }
        return peer
    }

    func accept() throws -> PeerSocket {
        let connection = Glibc.accept(descriptor, nil, nil)
        guard connection >= 0 else { throw Self.broken("accept") }
        return PeerSocket(connection)
    }

    private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        precondition(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path), "\(path) is too long for a socket")
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func broken(_ what: String) -> ProgramFailure {
        ProgramFailure(.unavailable, "\(what): \(String(cString: strerror(errno)))")
    }

    // MARK: Bytes

    func write(_ bytes: [UInt8]) throws {
        let sent = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
        guard sent == bytes.count else { throw Self.broken("\(sent) of \(bytes.count) bytes sent") }
    }

    /// Reads exactly `count` bytes.
    private func read(_ count: Int) throws -> ArraySlice<UInt8> {
        let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, count, CInt(MSG_WAITALL)) }
        guard got == count else { throw Self.broken("\(got) of \(count) bytes received") }
        return bytes[..<count]
    }

    /// Reads the head of an HTTP answer and returns its status.
    func status() throws -> String {
        var head: [UInt8] = []
        while !head.ends(with: Array("\r\n\r\n".utf8)) { head += try read(1) }
        return String(decoding: head.dropFirst(9).prefix(3), as: UTF8.self)
    }

    // MARK: Frames

    /// The payload of the next frame of the broker's protocol that is an `operation`; others are passed over.
    @discardableResult
    func frame(_ operation: Operation) throws -> ArraySlice<UInt8> {
        while true {
            let length = try read(4).reduce(0) { $0 << 8 | Int($1) }
            let payload = try read(length)
            // A list of less than 16 elements, then the operation.
            if payload[1] == operation.rawValue { return payload }
        }
    }

    /// Reads a WebSocket frame of a server, with less than 126 bytes, when nothing follows it yet.
    ///
    /// - Returns: Its opcode.
    @discardableResult
    func webSocketFrame() throws -> UInt8 {
        let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
        guard got >= 2 else { throw Self.broken("\(got) bytes of a frame received") }
        guard got == 2 + Int(bytes[1]) else {
            throw ProgramFailure(.unavailable, "\(got) bytes received and not a frame of \(bytes[1]) bytes")
        }
        return bytes[0] & 0x0f
    }
}

extension Array<UInt8> {
    fileprivate func ends(with end: [UInt8]) -> Bool { count >= end.count && self[(count - end.count)...] == end[...] }

    /// A frame from a client.
    init(_ request: Request) {
        let buffer = FrameBuffer()
        buffer.append(request)
        self = buffer.withUnsafeBytes { Array($0) }
    }

    /// A frame from a broker.
    init(_ reply: Reply) {
        let buffer = FrameBuffer()
        buffer.append(reply)
        self = buffer.withUnsafeBytes { Array($0) }
    }

    /// A WebSocket frame of a client, masked.
    init(webSocket opcode: UInt8, _ text: String) {
        let mask: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        precondition(text.utf8.count < 126, "only short frames are made here")
        self = [0x80 | opcode, 0x80 | UInt8(text.utf8.count)] + mask
        for (index, byte) in text.utf8.enumerated() { append(byte ^ mask[index % 4]) }
    }
}
