import Glibc
import Testing

/// A folder that is gone when the test is.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/fanfare-test-XXXXXX".utf8CString)
        path = try template.withUnsafeMutableBufferPointer { buffer in
            String(cString: try #require(buffer.baseAddress.flatMap { mkdtemp($0) }))
        }
    }

    deinit {
        unlink("\(path)/broker.sock")
        rmdir(path)
    }
}

/// The other end of a connection: a descriptor without event loop. Gives way while there is nothing to do.
final class RawSocket {
    enum Ending: Error {
        case tooLate(String)
    }

    static let patience = Duration.seconds(30)
    let descriptor: CInt
    private var isClosed = false

    /// - Parameter descriptor: Closed with this object.
    init(descriptor: CInt) {
        self.descriptor = descriptor
    }

    /// A connected pair: a descriptor of ours that does not block, and the peer's end.
    ///
    /// - Parameter packets: Whether one read is one write.
    static func pair(packets: Bool = false) throws -> (CInt, RawSocket) {
        var ends: [CInt] = [0, 0]
        let kind = (packets ? SOCK_SEQPACKET : SOCK_STREAM).rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        try #require(socketpair(AF_UNIX, CInt(kind), 0, &ends) == 0)
        return (ends[0], RawSocket(descriptor: ends[1]))
    }

    /// - Throws: When nobody listens on `path`.
    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw Ending.tooLate(String(cString: strerror(errno))) }
    }

    /// Whether nobody answers at `path`.
    static func isRefused(_ path: String) throws -> Bool {
        (try? RawSocket(path: path)) == nil
    }

    deinit {
        close()
    }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        Glibc.close(descriptor)
    }

    /// - Returns: Whether the peer took all of it.
    @discardableResult
    func write(_ bytes: some Collection<UInt8>) async throws -> Bool {
        let end = ContinuousClock.now + Self.patience
        var rest = Array(bytes)[...]
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

    /// One read: what is there, `nil` at the end.
    func read(atMost count: Int = 65_536) async throws -> [UInt8]? {
        let end = ContinuousClock.now + Self.patience
        var chunk = [UInt8](repeating: 0, count: count)
        while true {
            let read = chunk.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT)) }
            if read > 0 { return Array(chunk[..<read]) }
            if read == 0 || errno == ECONNRESET { return nil }
            guard ContinuousClock.now < end else { throw Ending.tooLate("nothing came") }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    /// Reads until `count` bytes have come or the peer has closed.
    func read(exactly count: Int) async throws -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count, let some = try await read(atMost: count - all.count) { all += some }
        return all
    }

    func readToEnd() async throws -> [UInt8] {
        var all: [UInt8] = []
        while let some = try await read() { all += some }
        return all
    }
}

/// Waits for something that must come true, however long the machine takes.
func poll(_ what: String, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + RawSocket.patience
    while try await !condition() {
        guard ContinuousClock.now < end else { throw RawSocket.Ending.tooLate(what) }
        try await Task.sleep(for: .milliseconds(5))
    }
}
