/// Where a broker listens or is dialled: `unix:/path`, `tcp://host:port` or `tls://host:port`.
package enum Endpoint: Sendable, Hashable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: Int)
    /// TCP with TLS inside.
    case tls(host: String, port: Int)

    /// Bytes of a Unix socket's path that fit `sockaddr_un`.
    package static let unixPathBytes = 107
    /// The port of `tcp://host` and `tls://host`.
    package static let portDefault = 7_411

    /// Reads an endpoint as people write it. IPv6 hosts stand in brackets: `tcp://[::1]:7411`.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration` that shows the text and the accepted forms.
    package init(_ text: String) throws(ProgramFailure) {
        if let path = text.dropPrefix("unix:") {
            let path = path.dropPrefix("//") ?? path
            guard path.first == "/" else {
                throw Self.unusable(text, "a Unix socket needs an absolute path, such as unix:/run/fanfare/broker.sock")
            }
            guard path.utf8.count <= Self.unixPathBytes else {
                throw Self.unusable(
                    text,
                    "the path has \(path.utf8.count) bytes, a Unix socket takes at most \(Self.unixPathBytes)"
                )
            }
            self = .unix(path: String(path))
        } else if let address = text.dropPrefix("tcp://") {
            let (host, port) = try Self.hostAndPort(String(address), portDefault: Self.portDefault)
            self = .tcp(host: host, port: port)
        } else if let address = text.dropPrefix("tls://") {
            let (host, port) = try Self.hostAndPort(String(address), portDefault: Self.portDefault)
            self = .tls(host: host, port: port)
        } else {
            throw Self.unusable(text, "write unix:/path, tcp://host:port or tls://host:port")
        }
    }

    /// The endpoint used when none is given: `$FANFARE_BROKER`, else `$XDG_RUNTIME_DIR/fanfare/broker.sock`,
    /// else `/run/fanfare/broker.sock` for root, else a folder of the user's own under `/tmp`.
    ///
    /// - Parameters:
    ///   - environment: The process environment.
    ///   - userID: The effective user id.
    package static func standard(environment: [String: String], userID: UInt32) throws(ProgramFailure) -> Endpoint {
        if let named = environment["FANFARE_BROKER"], !named.isEmpty {
            return try named.first == "/" ? Endpoint("unix:" + named) : Endpoint(named)
        }
        if let folder = environment["XDG_RUNTIME_DIR"], folder.first == "/" {
            return try Endpoint("unix:\(folder)/fanfare/broker.sock")
        }
        return .unix(path: userID == 0 ? "/run/fanfare/broker.sock" : "/tmp/fanfare-\(userID)/broker.sock")
    }

    /// Splits `host:port`; brackets around the host are removed.
    package static func hostAndPort(_ text: String, portDefault: Int?) throws(ProgramFailure) -> (
        host: String, port: Int
    ) {
        var host = Substring(text)
        var port = portDefault
        let colon = text.lastIndex(of: ":")
        if let colon, text.first != "[" || text[..<colon].last == "]" {
            let digits = text[text.index(after: colon)...]
            guard let number = Int(digits), (0...65_535).contains(number),
                digits.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 })
            else {
                throw unusable(text, "the port must be a number from 0 to 65535")
            }
            port = number
            host = text[..<colon]
        }
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        guard !host.contains(where: { $0 == "[" || $0 == "]" }) else {
            throw unusable(text, "brackets stand around a whole IPv6 address, such as [::1]:8000")
        }
        guard !host.isEmpty, let port else { throw unusable(text, "write host:port, such as 127.0.0.1:8000") }
        return (String(host), port)
    }

    /// The endpoint as ``init(_:)`` reads it.
    package var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port): "tcp://\(Self.bracketed(host)):\(port)"
        case .tls(let host, let port): "tls://\(Self.bracketed(host)):\(port)"
        }
    }

    private static func bracketed(_ host: String) -> String {
        host.contains(":") ? "[\(host)]" : host
    }

    private static func unusable(_ text: String, _ why: String) -> ProgramFailure {
        ProgramFailure(.configuration, "endpoint \"\(text)\" cannot be used: \(why)")
    }
}

extension StringProtocol {
    fileprivate func dropPrefix(_ prefix: String) -> SubSequence? {
        starts(with: prefix) ? dropFirst(prefix.count) : nil
    }
}
