import CLinux
import Glibc
package import NIOCore

/// A listening socket on an ``EpollLoop``. Not Sendable; on the loop.
package final class DescriptorListener: DescriptorHandler {
    private let descriptor: CInt
    private let loop: EpollLoop
    private let accepted: (CInt, SocketAddress?) -> Void
    private var isOpen = true
    private var isAccepting = false
    private var pause: Scheduled<Void>?

    /// Connections accepted in one turn; the next ones wait for the loop's other work.
    private static let acceptsPerTurn = 64
    /// How long nothing is accepted when the process or the system has no descriptor or memory left.
    private static let pauseWithout = TimeAmount.seconds(1)

    /// Takes over `descriptor`, which listens; nothing is accepted before ``start()``.
    ///
    /// - Parameter accepted: Gets each connection's descriptor, the callee's from then on, and where it comes from.
    package init(_ descriptor: CInt, on loop: EpollLoop, accepted: @escaping (CInt, SocketAddress?) -> Void) {
        self.descriptor = descriptor
        self.loop = loop
        self.accepted = accepted
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
    }

    /// The port it listens on, for TCP.
    package var port: Int? { Self.port(of: descriptor) }

    package func start() {
        guard isOpen, !isAccepting else { return }
        isAccepting = true
        loop.watch(descriptor, for: .readable, self)
    }

    /// Stops accepting and gives up the port.
    package func close() {
        guard isOpen else { return }
        isOpen = false
        pause?.cancel()
        stop()
        Glibc.close(descriptor)
    }

    package func loopEnded() { close() }

    private func stop() {
        guard isAccepting else { return }
        isAccepting = false
        loop.unwatch(descriptor)
    }

    package func ready(_ readiness: Readiness) {
        for _ in 0..<Self.acceptsPerTurn where isOpen {
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let connection = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { fanfare_accept(descriptor, $0, &length) }
            }
            guard connection >= 0 else { return failed(errno) }
            let peer = SocketAddress(address)
            if peer != nil { Self.sendAtOnce(connection) }
            accepted(connection, peer)
        }
    }

    private func failed(_ reason: CInt) {
        switch reason {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            stop()
            pause = loop.assumeIsolated().scheduleTask(in: Self.pauseWithout) { self.start() }
        default: break
        }
    }

    // MARK: Sockets

    /// Binds a TCP address and listens on it.
    ///
    /// - Parameters:
    ///   - sharesPort: Whether other processes may listen on the same port.
    /// - Throws: `IOError`.
    package static func listen(on address: SocketAddress, backlog: Int, sharesPort: Bool = false) throws -> CInt {
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.family, kind, 0)
        guard descriptor >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        set(SO_REUSEADDR, SOL_SOCKET, of: descriptor)
        if sharesPort { set(SO_REUSEPORT, SOL_SOCKET, of: descriptor) }
        guard address.withSockAddr({ bind(descriptor, $0, socklen_t($1)) }) == 0,
            Glibc.listen(descriptor, CInt(clamping: backlog)) == 0
        else {
            let failure = IOError(errnoCode: errno, reason: "bind")
            Glibc.close(descriptor)
            throw failure
        }
        return descriptor
    }

    /// Small frames must not wait for the acknowledgement of the ones before (Nagle's algorithm).
    static func sendAtOnce(_ descriptor: CInt) {
        set(TCP_NODELAY, CInt(IPPROTO_TCP), of: descriptor)
    }

    private static func set(_ option: CInt, _ level: CInt, of descriptor: CInt) {
        var one: CInt = 1
        setsockopt(descriptor, level, option, &one, socklen_t(MemoryLayout<CInt>.size))
    }

    /// The port a TCP socket is bound to.
    package static func port(of descriptor: CInt) -> Int? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return result == 0 ? SocketAddress(address)?.port : nil
    }
}

extension SocketAddress {
    /// For `socket(2)`.
    var family: CInt {
        switch self {
        case .v4: AF_INET
        case .v6: AF_INET6
        case .unixDomainSocket: AF_UNIX
        }
    }

    /// An internet address; `nil` for any other.
    init?(_ storage: sockaddr_storage) {
        let address: SocketAddress? = withUnsafePointer(to: storage) { storage in
            switch CInt(storage.pointee.ss_family) {
            case AF_INET:
                storage.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress($0.pointee) }
            case AF_INET6:
                storage.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress($0.pointee) }
            default: nil
            }
        }
        guard let address else { return nil }
        self = address
    }
}
