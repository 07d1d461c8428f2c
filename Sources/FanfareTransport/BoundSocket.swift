package import FanfareModel
import Glibc
import NIOCore

/// What the kernel says about a socket that somebody else has bound and handed over.
package enum BoundSocket {
    /// Whether the descriptor is open and a stream socket: who hands one over may be wrong about what it is.
    package static func isStream(_ descriptor: CInt) -> Bool {
        var kind: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 && kind == CInt(SOCK_STREAM.rawValue)
    }

    /// Where the socket is reached: `unix:` or `tcp://` with the address as numbers.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration` for anything but a TCP socket and a Unix stream socket
    ///   with an absolute path.
    package static func endpoint(of descriptor: CInt) throws(ProgramFailure) -> Endpoint {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isNamed = withUnsafeMutablePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) == 0 }
        }
        guard isStream(descriptor), isNamed else {
            throw ProgramFailure(.configuration, "descriptor \(descriptor) that was handed over is no stream socket")
        }
        if let address = SocketAddress(storage), let host = address.ipAddress, let port = address.port {
            return .tcp(host: host, port: port)
        }
        guard CInt(storage.ss_family) == AF_UNIX else {
            throw ProgramFailure(
                .configuration,
                "descriptor \(descriptor) that was handed over is no TCP or Unix socket"
            )
        }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
        let path = withUnsafeBytes(of: &storage) { bytes in
            let end = max(start, min(Int(length), bytes.count))
            return String(decoding: bytes[start..<end].prefix { $0 != 0 }, as: UTF8.self)
        }
        return try Endpoint("unix:" + path)
    }

    /// Whether everybody on this machine may connect to a Unix socket.
    package static func isOpenToEverybody(_ path: String) -> Bool {
        var facts = stat()
        return lstat(path, &facts) == 0 && facts.st_mode & 0o002 != 0
    }
}
