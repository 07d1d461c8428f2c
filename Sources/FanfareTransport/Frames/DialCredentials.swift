package import FanfareModel
import Glibc
import NIOSSL

/// What one dial shows and checks, as the files said when it began.
package struct DialCredentials: Sendable {
    /// For the hello.
    package let token: String?
    let tls: NIOSSLContext?

    /// Whether ``read(_:for:)`` may take its time.
    static func needsFiles(_ security: BrokerSecurity, for endpoint: Endpoint) -> Bool {
        if case .tls = endpoint { return true }
        return security.tokenFile != nil
    }

    /// Reads the files `endpoint` needs. Blocks.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`: a file that cannot be used, or a token that would go to
    ///   another machine unprotected.
    package static func read(_ security: BrokerSecurity, for endpoint: Endpoint) throws(ProgramFailure)
        -> DialCredentials
    {
        try security.check()
        let token: String?
        if let file = security.tokenFile { token = try Self.token(in: file) } else { token = security.token }
        if token != nil, !endpoint.keepsSecrets, !security.allowsTokenInTheClear {
            throw ProgramFailure(
                .configuration,
                "the token is not sent over plain TCP to another machine: write \(endpoint.overTLS), use a Unix socket, "
                    + "or allow tokens in the clear"
            )
        }
        guard case .tls = endpoint else { return DialCredentials(token: token, tls: nil) }
        return DialCredentials(token: token, tls: try context(security))
    }

    /// TLS 1.2 and 1.3 with NIO's choice of ciphers; the broker's certificate and name are always checked.
    private static func context(_ security: BrokerSecurity) throws(ProgramFailure) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.certificateVerification = .fullVerification
        if let file = security.caFile {
            configuration.trustRoots = .certificates(
                try reading("CA certificates", file) { try NIOSSLCertificate.fromPEMFile(file) }
            )
        }
        if let certificateFile = security.certificateFile, let keyFile = security.keyFile {
            let chain = try reading("client certificate", certificateFile) {
                try NIOSSLCertificate.fromPEMFile(certificateFile)
            }
            let key = try reading("client key", keyFile) { try NIOSSLPrivateKey(file: keyFile, format: .pem) }
            configuration.certificateChain = chain.map { .certificate($0) }
            configuration.privateKey = .privateKey(key)
        }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            let files = [security.certificateFile, security.keyFile].compactMap { $0 }.joined(separator: " and ")
            throw ProgramFailure(.configuration, "TLS cannot be set up: \(error); do \(files) belong together?")
        }
    }

    private static func reading<Value>(
        _ what: String,
        _ file: String,
        _ read: () throws -> Value
    ) throws(ProgramFailure) -> Value {
        do {
            return try read()
        } catch {
            let reason =
                access(file, R_OK) == 0 ? "no PEM that can be used (\(error))" : String(cString: strerror(errno))
            throw ProgramFailure(.configuration, "cannot use the \(what) in \(file): \(reason)")
        }
    }

    private static func token(in file: String) throws(ProgramFailure) -> String {
        func unusable(_ reason: String) -> ProgramFailure {
            ProgramFailure(.configuration, "cannot use the token file \(file): \(reason)")
        }
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw unusable(String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var facts = stat()
        guard fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else {
            throw unusable("it is no regular file")
        }
        guard facts.st_mode & (S_IROTH | S_IWOTH) == 0 else {
            let mode = String(facts.st_mode & 0o7777, radix: 8)
            throw unusable("everybody on this machine may open it (mode \(mode)); chmod 640, or 600")
        }
        // More than a token and its line's end is too long whatever follows.
        var bytes = [UInt8](repeating: 0, count: BrokerSecurity.tokenBytesMaximum + 3)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw unusable(String(cString: strerror(errno))) }
        var text = bytes[..<count]
        while let last = text.last, last == 0x0a || last == 0x0d || last == 0x20 { text.removeLast() }
        let token = String(decoding: text, as: UTF8.self)
        try BrokerSecurity.check(token: token, from: "the token in \(file)")
        return token
    }
}

extension Endpoint {
    /// Whether nobody on the way can read what is sent there.
    fileprivate var keepsSecrets: Bool {
        switch self {
        case .unix, .tls: true
        case .tcp(let host, _): Self.isLoopback(host)
        }
    }

    fileprivate var overTLS: String {
        guard case .tcp(let host, let port) = self else { return "\(self)" }
        return "\(Endpoint.tls(host: host, port: port))"
    }

    /// Whether `host` is this machine. Names other than `localhost` are not: what they mean is decided elsewhere.
    private static func isLoopback(_ host: String) -> Bool {
        let quads = host.split(separator: ".", omittingEmptySubsequences: false)
        let isLoopback4 = quads.count == 4 && quads[0] == "127" && quads.allSatisfy { UInt8($0) != nil }
        return isLoopback4 || host == "::1" || host == "localhost"
    }
}
