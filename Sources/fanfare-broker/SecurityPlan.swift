import FanfareBroker
import FanfareModel
import FanfareOps
import FanfareTransport
import Logging

/// The security settings, understood: files that are read when the broker starts and again on SIGHUP.
struct SecurityPlan: Sendable {
    /// Where certificates are.
    private struct TLSFiles: Sendable {
        var certificate: String
        var key: String
        var clientAuthorities: String?
    }

    private let credentials: String?
    private let tls: TLSFiles?
    private let socket: SocketFile.Access

    /// - Throws: `ProgramFailure(.configuration)` for settings that cannot be used or do not go together.
    init(
        _ values: SecurityValues,
        _ settings: Settings<BrokerValues>,
        for endpoints: [Endpoint]
    ) throws(ProgramFailure) {
        credentials = values.credentials
        let hasTLS = endpoints.contains { if case .tls = $0 { true } else { false } }
        switch (values.tlsCertificate, values.tlsKey) {
        case (let certificate?, let key?) where hasTLS:
            tls = TLSFiles(certificate: certificate, key: key, clientAuthorities: values.tlsClientCA)
        case (nil, nil) where !hasTLS && values.tlsClientCA == nil: tls = nil
        case _ where hasTLS:
            throw ProgramFailure(.configuration, "a tls:// endpoint needs both --tls-certificate and --tls-key")
        default:
            throw ProgramFailure(
                .configuration,
                "TLS files are set, but no endpoint would use them; add --listen tls://host:port or remove them"
            )
        }
        var socket = SocketFile.Access()
        socket.mode = try settings.locating("socket_mode") { () throws(ProgramFailure) in
            try Self.mode(values.socketMode)
        }
        if let name = values.socketGroup {
            guard let group = SystemID.group(name) else {
                throw ProgramFailure(.configuration, "socket_group: this machine knows no group \"\(name)\"")
            }
            socket.group = group
        }
        if socket.mode & 0o002 != 0, credentials == nil {
            throw ProgramFailure(
                .configuration,
                "socket_mode \(values.socketMode) lets everybody on this machine connect and do everything; "
                    + "use 0660, or say with --credentials who may do what"
            )
        }
        self.socket = socket
    }

    /// Three or four octal digits.
    private static func mode(_ text: String) throws(ProgramFailure) -> UInt32 {
        guard (3...4).contains(text.utf8.count), let mode = UInt32(text, radix: 8), mode <= 0o777 else {
            throw ProgramFailure(
                .configuration,
                "socket_mode \"\(text)\" is no mode; write octal digits such as \"0660\""
            )
        }
        return mode
    }

    /// Reads the files.
    ///
    /// - Throws: `ProgramFailure(.configuration)` for the first that cannot be used.
    func apply(to server: inout BrokerServer.Configuration) throws(ProgramFailure) {
        server.socket = socket
        server.credentials = try credentials.map { path throws(ProgramFailure) in try CredentialsFile.read(path) }
        server.tls = try tls.map { files throws(ProgramFailure) in try Self.identity(files) }
    }

    private static func identity(_ files: TLSFiles) throws(ProgramFailure) -> TLSIdentity {
        func read(_ path: String, _ what: String, isSecret: Bool = false) throws(ProgramFailure) -> PEMFile {
            PEMFile(path: path, text: try ConfigurationFile.read(path, what: what, isSecret: isSecret))
        }
        return try TLSIdentity(
            certificates: read(files.certificate, "TLS certificate"),
            key: read(files.key, "TLS key", isSecret: true),
            clientAuthorities: files.clientAuthorities.map { path throws(ProgramFailure) in
                try read(path, "client CA")
            }
        )
    }

    /// Refuses a Unix socket that somebody else has made for everybody, as one of our own.
    func checkInherited(_ server: BrokerServer.Configuration) throws(ProgramFailure) {
        guard credentials == nil else { return }
        for case .unix(let path) in server.inherited.keys where BoundSocket.isOpenToEverybody(path) {
            throw ProgramFailure(
                .configuration,
                "the socket unix:\(path) that was handed over lets everybody on this machine connect and do everything; "
                    + "give it SocketMode=0660, or say with --credentials who may do what"
            )
        }
    }

    /// Refuses to serve other machines without knowing who they are and without hiding what passes.
    func checkRemote(_ server: BrokerServer.Configuration) throws(ProgramFailure) {
        for endpoint in server.endpoints where endpoint.isRemote {
            if case .tcp = endpoint {
                throw ProgramFailure(
                    .configuration,
                    "other machines can reach \(endpoint), and everybody on the way can read and change what passes; "
                        + "use tls:// with --credentials, 127.0.0.1 or a Unix socket, or --allow-remote-tcp inside a "
                        + "trusted network"
                )
            }
            guard server.credentials != nil || server.tls?.asksClients == true else {
                throw ProgramFailure(
                    .configuration,
                    "other machines can reach \(endpoint), and everybody there could do everything; say who may with "
                        + "--credentials or --tls-client-ca, or --allow-remote-tcp inside a trusted network"
                )
            }
        }
    }

    /// What `--check-config` says.
    func summary(_ server: BrokerServer.Configuration) -> String {
        let who = server.credentials.map { "\($0.entries.count) credentials" } ?? "everybody who can connect"
        let hidden = tls.map { "TLS certificate \($0.certificate)" } ?? "no TLS"
        return "\(who), \(hidden)\(server.tls?.asksClients == true ? ", client certificates asked for" : "")"
    }

    /// Reads the files again. What cannot be used changes nothing: what was in force stays.
    func reload(_ broker: BrokerServer, _ logger: Logger) async {
        if let credentials { await reload(credentials, broker, logger) }
        guard let tls else { return }
        do {
            try await broker.replace(try Self.identity(tls))
            await broker.count(.tlsOK)
            logger.notice("TLS certificates read again", metadata: ["certificate": "\(tls.certificate)"])
        } catch {
            await broker.count(.tlsFailed)
            logger.error("TLS certificates cannot be used; those in force stay", metadata: ["error": "\(error)"])
        }
    }

    private func reload(_ path: String, _ broker: BrokerServer, _ logger: Logger) async {
        do {
            let credentials = try CredentialsFile.read(path)
            let ended = try await broker.replace(credentials)
            await broker.count(.credentialsOK)
            logger.notice(
                "credentials read again",
                metadata: ["credentials": "\(credentials.entries.count)", "sessions_ended": "\(ended)"]
            )
        } catch {
            await broker.count(.credentialsFailed)
            logger.error("credentials cannot be used; those in force stay", metadata: ["error": "\(error)"])
        }
    }
}

extension Endpoint {
    /// Whether the endpoint may be reachable from other machines. Names other than `localhost` count as remote:
    /// what they mean is decided elsewhere.
    var isRemote: Bool {
        switch self {
        case .unix: return false
        case .tcp(let host, _), .tls(let host, _):
            let quads = host.split(separator: ".", omittingEmptySubsequences: false)
            let isLoopback4 = quads.count == 4 && quads[0] == "127" && quads.allSatisfy { UInt8($0) != nil }
            return !(isLoopback4 || host == "::1" || host == "localhost")
        }
    }
}
