import Glibc
import NIOCore

/// One connection being made without blocking.
final class ConnectAttempt: DescriptorHandler {
    private let descriptor: CInt
    private let loop: EpollLoop
    private let promise: EventLoopPromise<CInt>
    private var timeout: Scheduled<Void>?
    private var isOver = false

    private init(_ descriptor: CInt, _ loop: EpollLoop) {
        self.descriptor = descriptor
        self.loop = loop
        promise = loop.makePromise()
    }

    /// Connects to `address`. On the loop.
    ///
    /// - Returns: A descriptor that is the caller's from then on.
    static func begin(_ address: SocketAddress, on loop: EpollLoop, within: TimeAmount) -> EventLoopFuture<CInt> {
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = socket(address.family, kind, 0)
        guard descriptor >= 0 else { return loop.makeFailedFuture(IOError(errnoCode: errno, reason: "socket")) }
        if address.protocol != .unix { DescriptorListener.sendAtOnce(descriptor) }
        let result = address.withSockAddr { Glibc.connect(descriptor, $0, socklen_t($1)) }
        if result == 0 { return loop.makeSucceededFuture(descriptor) }
        guard errno == EINPROGRESS else {
            let failure = IOError(errnoCode: errno, reason: "connect")
            close(descriptor)
            return loop.makeFailedFuture(failure)
        }
        let attempt = ConnectAttempt(descriptor, loop)
        loop.watch(descriptor, for: .writable, attempt)
        attempt.timeout = loop.assumeIsolated().scheduleTask(in: within) { attempt.finish(ETIMEDOUT) }
        return attempt.promise.futureResult
    }

    func ready(_ readiness: Readiness) {
        var reason: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &reason, &length)
        finish(reason)
    }

    func loopEnded() { finish(ECANCELED) }

    private func finish(_ reason: CInt) {
        guard !isOver else { return }
        isOver = true
        timeout?.cancel()
        loop.unwatch(descriptor)
        guard reason != 0 else { return promise.succeed(descriptor) }
        close(descriptor)
        promise.fail(IOError(errnoCode: reason, reason: "connect"))
    }
}

/// Names of hosts, looked up with the system's resolver.
enum HostName {
    /// Every address of `host` for a stream socket, in the order the system prefers. Blocks.
    ///
    /// - Throws: ``UnknownHost``.
    static func resolve(_ host: String, port: Int) throws -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &found) == 0 else {
            throw UnknownHost(host: host)
        }
        defer { freeaddrinfo(found) }
        var addresses: [SocketAddress] = []
        var next = found
        while let info = next?.pointee {
            next = info.ai_next
            switch info.ai_family {
            case AF_INET:
                info.ai_addr.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    addresses.append(SocketAddress($0.pointee, host: host))
                }
            case AF_INET6:
                info.ai_addr.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    addresses.append(SocketAddress($0.pointee, host: host))
                }
            default: break
            }
        }
        guard !addresses.isEmpty else { throw UnknownHost(host: host) }
        return addresses
    }
}

/// A name that no resolver knows.
struct UnknownHost: Error, CustomStringConvertible {
    let host: String

    var description: String { "no address found for \"\(host)\"" }
}
