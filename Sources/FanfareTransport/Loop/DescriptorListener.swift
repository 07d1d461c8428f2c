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
    private var rate: AcceptRate?
    /// Whether the last connection took a descriptor of the reserve.
    private var isShort = false
    /// How often accepting paused because connections came faster than the rate; they waited in the kernel.
    package private(set) var ratePauses: UInt64 = 0

    /// Connections accepted in one turn; the next ones wait for the loop's other work. Few: each costs a tenth of a
    /// millisecond with its handshake, and in a storm messages go out between one turn's and the next.
    private static let acceptsPerTurn = 2
    /// Descriptors that connections leave to everything else, a quarter of all at most. Without one the process could
    /// not answer on its operations port; and libdispatch ends it, as it reads `/proc` when its queues are busy.
    private static let reserve: CInt = 32
    /// The table of descriptors has room for so many from the start, or for as many as the process may have.
    private static let tableDescriptors: CInt = 65_536
    /// How long nothing is accepted when the process or the system has no descriptor or memory left.
    private static let pauseWithout = TimeAmount.seconds(1)
    /// The shortest pause of the rate: several connections are accepted after it, not one.
    private static let pauseNanoseconds: UInt64 = 10_000_000

    /// Takes over `descriptor`, which listens; nothing is accepted before ``start()``.
    ///
    /// - Parameters:
    ///   - rate: What is accepted at most; what comes faster waits in the kernel's backlog. No bound without it.
    ///   - accepted: Gets each connection's descriptor, the callee's from then on, and where it comes from.
    package init(
        _ descriptor: CInt,
        on loop: EpollLoop,
        rate: AcceptRate? = nil,
        accepted: @escaping (CInt, SocketAddress?) -> Void
    ) {
        self.descriptor = descriptor
        self.loop = loop
        self.rate = rate
        self.accepted = accepted
        let flags = fcntl(descriptor, F_GETFL)
        _ = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
        growDescriptorTable()
    }

    /// Makes room in the process's table of descriptors now. The kernel doubles a full table in the middle of an
    /// accept(2), which waits 5 to 20 ms for the other processors then when the process has threads: everybody on the
    /// loop would wait that long. A table does not shrink; it costs 8 bytes of the kernel's for each descriptor.
    private func growDescriptorTable() {
        let last = min(Self.openFilesMaximum, Self.tableDescriptors) - 1
        let highest = fcntl(descriptor, F_DUPFD_CLOEXEC, last)
        if highest >= 0 { Glibc.close(highest) }
    }

    /// The port it listens on, for TCP.
    package var port: Int? { Self.port(of: descriptor) }

    package func start() {
        guard isOpen, !isAccepting else { return }
        isAccepting = true
        loop.watch(descriptor, for: .readable, self)
    }

    /// Accepts what waits in the kernel, which a close would reset, then stops accepting and gives up the port.
    ///
    /// - Parameter backlog: The most the kernel keeps.
    package func finish(backlog: Int) {
        rate = nil
        for _ in 0..<max(1, backlog) where isOpen { guard acceptOne() else { break } }
        close()
    }

    /// Leaves who comes from now on to the kernel; the port stays taken until ``close()``.
    package func stopAccepting() {
        pause?.cancel()
        stop()
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
        if isShort {
            isShort = Self.isReserve(lowestFree)
            guard !isShort else { return pause(for: Self.pauseWithout) }
        }
        let now = NIODeadline.now().uptimeNanoseconds
        for _ in 0..<Self.acceptsPerTurn where isOpen {
            if let wait = rate?.take(at: now), wait > 0 {
                ratePauses += 1
                return pause(for: .nanoseconds(Int64(clamping: max(wait, Self.pauseNanoseconds))))
            }
            guard acceptOne() else { return }
        }
    }

    /// - Returns: Whether there may be another one.
    private func acceptOne() -> Bool {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let connection = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { fanfare_accept(descriptor, $0, &length) }
        }
        guard connection >= 0 else {
            failed(errno)
            return false
        }
        let peer = SocketAddress(address)
        if peer != nil { Self.sendAtOnce(connection) }
        isShort = Self.isReserve(connection)
        accepted(connection, peer)
        if isShort, isOpen { pause(for: Self.pauseWithout) }
        return !isShort
    }

    /// The descriptor the next connection would get; `CInt.max` when there is none.
    private var lowestFree: CInt {
        let free = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard free >= 0 else { return .max }
        Glibc.close(free)
        return free
    }

    private static func isReserve(_ descriptor: CInt) -> Bool {
        let most = openFilesMaximum
        return descriptor >= most - min(reserve, most / 4)
    }

    /// Descriptors this process may have.
    private static var openFilesMaximum: CInt {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return .max }
        return CInt(clamping: limit.rlim_cur)
    }

    private func failed(_ reason: CInt) {
        switch reason {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM: pause(for: Self.pauseWithout)
        default: break
        }
    }

    /// Leaves who comes now to the kernel's backlog.
    private func pause(for time: TimeAmount) {
        stop()
        pause = loop.assumeIsolated().scheduleTask(in: time) { self.start() }
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
