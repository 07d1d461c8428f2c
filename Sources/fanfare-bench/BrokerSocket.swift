import FanfareModel
import Glibc

/// Raw stream sockets: the broker load uses nothing between itself and the kernel.
enum BrokerSocket {
    /// Connects, waiting for it; the socket still blocks.
    ///
    /// - Parameter endpoint: A Unix socket, or an IPv4 address.
    /// - Throws: ``LoadFailure`` that names the address and the system's reason.
    static func connect(to endpoint: Endpoint) throws -> Int32 {
        let address =
            switch endpoint {
            case .unix(let path): try ServerAddress(unixPath: path)
            case .tcp(let host, let port): try ServerAddress("\(host):\(port)")
            case .tls: throw LoadFailure("\(endpoint): the load speaks no TLS; name a Unix socket or tcp://")
            }
        let descriptor = try address.makeSocket(isBlocking: true)
        do {
            try address.connect(descriptor)
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    static func makeNonblocking(_ descriptor: Int32) {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }
}
