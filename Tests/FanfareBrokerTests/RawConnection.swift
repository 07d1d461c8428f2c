import FanfareModel
import FanfareProtocol
import Glibc

/// A client without manners: a bare socket that writes any bytes and reads what comes, on no event loop.
///
/// Reads and writes give way while there is nothing to do, and end the test after ``patience``.
final class RawConnection {
    enum Ending: Error {
        case tooLate(String)
        case system(String)
    }

    static let patience = Duration.seconds(30)

    let descriptor: CInt
    private var isClosed = false
    private let decoder = FrameDecoder(limit: 64 * 1_048_576)
    private let reader = FrameReader(limits: Limits())
    private var replies: [Reply] = []
    private(set) var pingsAnswered = 0
    private(set) var framesReceived = 0
    private var hasEnded = false

    init(_ endpoint: Endpoint) throws {
        switch endpoint {
        case .unix(let path):
            descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            try connect(&address)
        case .tcp(_, let port), .tls(_, let port):
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(UInt16(port).bigEndian)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            try connect(&address)
        }
    }

    private func connect<Address>(_ address: inout Address) throws {
        let size = socklen_t(MemoryLayout<Address>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, size) }
        }
        guard result == 0 else { throw Ending.system("connect: \(String(cString: strerror(errno)))") }
    }

    deinit {
        close()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        Glibc.close(descriptor)
    }

    // MARK: Writing

    /// - Returns: Whether the peer took all of it.
    @discardableResult
    func write(_ bytes: [UInt8]) async throws -> Bool {
        let end = ContinuousClock.now + Self.patience
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if sent > 0 {
                rest = rest.dropFirst(sent)
            } else if errno == EAGAIN {
                guard ContinuousClock.now < end else { throw Ending.tooLate("the peer does not read") }
                try await Task.sleep(for: .milliseconds(1))
            } else {
                return false
            }
        }
        return true
    }

    func write(_ requests: Request...) async throws {
        try await write(requests)
    }

    func write(_ requests: [Request]) async throws {
        let buffer = FrameBuffer()
        for request in requests { buffer.append(request) }
        try await write(buffer.withUnsafeBytes { Array($0) })
    }

    /// Writes one frame with any payload.
    func write(payload: [UInt8]) async throws {
        try await write(withUnsafeBytes(of: UInt32(payload.count).bigEndian) { Array($0) } + payload)
    }

    // MARK: Reading

    /// The next bytes, `nil` at the end.
    func bytes() async throws -> [UInt8]? {
        let end = ContinuousClock.now + Self.patience
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = chunk.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT))
            }
            if count > 0 { return Array(chunk[..<count]) }
            // A reset after what was to be said is an end like any other.
            if count == 0 || errno == ECONNRESET { return nil }
            guard errno == EAGAIN || errno == EINTR else {
                throw Ending.system("recv: \(String(cString: strerror(errno)))")
            }
            guard ContinuousClock.now < end else { throw Ending.tooLate("nothing came") }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    func text() async throws -> String {
        var all: [UInt8] = []
        while let some = try await bytes() { all += some }
        return String(decoding: all, as: UTF8.self)
    }

    /// The next reply, `nil` when the peer has closed. Pings of the broker are answered and passed over.
    func reply() async throws -> Reply? {
        while true {
            while !replies.isEmpty {
                let reply = replies.removeFirst()
                guard case .ping(let id) = reply else { return reply }
                try await write(.pong(id))
                pingsAnswered += 1
            }
            guard !hasEnded, let some = try await bytes() else {
                hasEnded = true
                return nil
            }
            try some.withUnsafeBytes {
                try decoder.feed($0) {
                    framesReceived += 1
                    replies += try reader.reply($0)
                }
            }
        }
    }

    /// Everything until the peer closes.
    func repliesToEnd() async throws -> [Reply] {
        var all: [Reply] = []
        while let reply = try await reply() { all.append(reply) }
        return all
    }

    /// Asks for a `PONG` and returns what comes before it: everything the broker had to say until now.
    func settled(id: RequestID = 999_999) async throws -> [Reply] {
        try await write(.ping(id))
        var before: [Reply] = []
        while let reply = try await reply() {
            if reply == .pong(id) { return before }
            before.append(reply)
        }
        throw Ending.tooLate("the connection ended before the pong: \(before)")
    }
}
