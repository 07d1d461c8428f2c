import CLinux
import Glibc

/// Where a server is: an IPv4 address or a Unix socket, as the kernel wants it.
struct ServerAddress {
    private var storage = sockaddr_storage()
    private let length: socklen_t
    private let family: Int32
    private let text: String

    /// - Parameter text: `HOST:PORT`, the host an IPv4 address or `localhost`.
    /// - Throws: ``LoadFailure`` when it is not.
    init(_ text: String) throws {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw LoadFailure("\"\(text)\" is not HOST:PORT")
        }
        try self.init(host: String(text[..<colon]), port: port)
    }

    /// - Parameter host: An IPv4 address or `localhost`.
    init(host: String, port: UInt16) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        guard inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &address.sin_addr) == 1 else {
            throw LoadFailure("\"\(host)\" is not an IPv4 address")
        }
        family = AF_INET
        text = "\(host):\(port)"
        length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutableBytes(of: &storage) { storage in
            withUnsafeBytes(of: address) { storage.copyMemory(from: $0) }
        }
    }

    init(unixPath path: String) throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw LoadFailure("the path \(path) is too long for a Unix socket")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        family = AF_UNIX
        text = "unix:\(path)"
        length = socklen_t(MemoryLayout<sockaddr_un>.size)
        withUnsafeMutableBytes(of: &storage) { storage in
            withUnsafeBytes(of: address) { storage.copyMemory(from: $0) }
        }
    }

    /// Whether it is an address of this machine's loopback, which has sixteen million of them.
    var isLoopback: Bool {
        family == AF_INET && withUnsafeBytes(of: storage) { $0[4] == 127 }
    }

    /// Number `index` of the loopback addresses to connect from, any port of it.
    static func loopbackSource(_ index: Int) throws -> ServerAddress {
        try ServerAddress(host: "127.0.\(index / 250 % 250).\(index % 250 + 1)", port: 0)
    }

    private func failure(_ verb: String) -> LoadFailure {
        LoadFailure("cannot \(verb) \(text): \(String(cString: strerror(errno)))")
    }

    /// A socket of the address's family.
    ///
    /// - Parameter isBlocking: Whether its calls wait.
    func makeSocket(isBlocking: Bool = false) throws -> Int32 {
        let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(family, isBlocking ? type : type | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw failure("open a socket for") }
        if family == AF_INET { Self.set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }
        return descriptor
    }

    /// Begins to connect, or connects when the socket blocks.
    ///
    /// - Parameter source: Where from; anywhere when nil.
    func connect(_ descriptor: Int32, from source: ServerAddress? = nil) throws {
        if let source {
            // The port is chosen when both ends are known, so that one is free as long as the pair is.
            Self.set(descriptor, Int32(IPPROTO_IP), 24, 1)  // IP_BIND_ADDRESS_NO_PORT
            guard source.withAddress({ bind(descriptor, $0, $1) }) == 0 else { throw source.failure("connect from") }
        }
        let result = withAddress { Glibc.connect(descriptor, $0, $1) }
        guard result == 0 || errno == EINPROGRESS else { throw failure("connect to") }
    }

    /// A non-blocking socket that listens here; a Unix socket nobody listens on any more is replaced.
    func listen() throws -> Int32 {
        let descriptor = try makeSocket()
        if family == AF_INET { Self.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1) }
        if family == AF_UNIX, !answers { unlink(String(text.dropFirst("unix:".count))) }
        guard withAddress({ bind(descriptor, $0, $1) }) == 0, Glibc.listen(descriptor, 4_096) == 0 else {
            throw failure("listen on")
        }
        return descriptor
    }

    private var answers: Bool {
        guard let descriptor = try? makeSocket(isBlocking: true) else { return false }
        defer { close(descriptor) }
        return withAddress { Glibc.connect(descriptor, $0, $1) } == 0
    }

    /// Makes a peer that does not read take little before the sender notices: a small window, and segments as on
    /// Ethernet. Over loopback's segments of 64 KiB the kernel would keep megabytes for it.
    static func takeLittle(_ descriptor: Int32) {
        set(descriptor, SOL_SOCKET, SO_RCVBUF, 4_096)
        set(descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, 1_460)
    }

    /// Lets close() reset the connection.
    static func resetWhenClosed(_ descriptor: Int32) {
        let option = linger(l_onoff: 1, l_linger: 0)
        withUnsafeBytes(of: option) {
            _ = setsockopt(descriptor, SOL_SOCKET, SO_LINGER, $0.baseAddress, socklen_t($0.count))
        }
    }

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        withUnsafeBytes(of: value) {
            _ = setsockopt(descriptor, level, option, $0.baseAddress, socklen_t($0.count))
        }
    }

    private func withAddress<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: storage) { storage in
            storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
