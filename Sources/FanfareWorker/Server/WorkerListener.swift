import FanfareModel
import FanfareTransport
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Binds the port of a worker and makes the pipeline of each connection.
enum WorkerListener {
    /// Binds what the configuration names; nothing is accepted before `autoRead` is set.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`.
    static func bind(
        _ configuration: WorkerServer.Configuration,
        on loop: any EventLoop,
        _ worker: NIOLoopBoundBox<WorkerLoop?>
    ) async throws -> (any Channel, SocketFile?) {
        let limits = configuration.workerLimits
        let tls = try configuration.tls.map { try context(certificateFile: $0.certificateFile, keyFile: $0.keyFile) }
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: limits.backlog)
            .serverChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: 16)
            .childChannelOption(.recvAllocator, value: receiveAllocator(limits))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let worker = worker.value, worker.admitsStranger() else { throw ChannelError.eof }
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
                    }
                    try addHandshake(to: channel, worker)
                }
            }
        if let descriptor = configuration.listenDescriptor {
            guard isStreamSocket(descriptor), let channel = try? await bootstrap.withBoundSocket(descriptor).get()
            else {
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on fd:\(descriptor); it must be a bound stream socket that this process was given"
                )
            }
            return (channel, nil)
        }
        if let path = configuration.listenPath {
            let (descriptor, file) = try SocketFile.listen(on: path, backlog: limits.backlog)
            do {
                return (try await bootstrap.withBoundSocket(descriptor).get(), file)
            } catch {
                file.remove()
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on unix:\(path): \(reason(error)); choose another path"
                )
            }
        }
        do {
            let channel =
                try await bootstrap
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .serverChannelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .bind(host: configuration.listenHost, port: configuration.listenPort).get()
            return (channel, nil)
        } catch {
            let address = "\(configuration.listenHost):\(configuration.listenPort)"
            throw ProgramFailure(
                .configuration,
                "cannot listen on \(address): \(reason(error)); choose another address or stop what uses it"
            )
        }
    }

    /// NIO takes it for granted that a descriptor is what one says it is.
    private static func isStreamSocket(_ descriptor: CInt) -> Bool {
        var kind: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 && kind == CInt(SOCK_STREAM.rawValue)
    }

    /// NIO keeps the buffer of a connection's last read, so that an idle socket costs what it starts with.
    private static func receiveAllocator(_ limits: WorkerLimits) -> AdaptiveRecvByteBufferAllocator {
        let least = min(limits.receiveBytes, receiveBytesAtFirst)
        return AdaptiveRecvByteBufferAllocator(minimum: least, initial: least, maximum: limits.receiveBytes)
    }

    private static let receiveBytesAtFirst = 512

    private static func addHandshake(to channel: any Channel, _ worker: WorkerLoop) throws {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = worker.limits.headerBytes
        limits.maxHeaderListSize = worker.limits.headerBytes
        limits.maxHeaderFieldCount = worker.limits.headerFields
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withPipeliningAssistance: false,
            withServerUpgrade: (upgraders: [SocketUpgrader()], completionHandler: { _ in }),
            withErrorHandling: true,
            withOutboundHeaderValidation: true,
            withEncoderConfiguration: HTTPResponseEncoder.Configuration(),
            withDecoderLimitConfiguration: limits
        )
        try channel.pipeline.syncOperations.addHandler(HTTPHandler(worker: worker))
    }

    private static func reason(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case is SocketAddressError.UnknownHost: "this host is not known"
        case SocketAddressError.unknown(let host, _): "the host \(host) is not known"
        default: "\(error)"
        }
    }

    /// TLS 1.2 and 1.3 with NIO's choice of ciphers. The worker asks clients for no certificate.
    private static func context(certificateFile: String, keyFile: String) throws(ProgramFailure) -> NIOSSLContext {
        let chain: [NIOSSLCertificate]
        do {
            chain = try NIOSSLCertificate.fromPEMFile(certificateFile)
        } catch {
            throw unreadable("certificate", certificateFile, error)
        }
        do {
            let key = try NIOSSLPrivateKey(file: keyFile, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) },
                privateKey: .privateKey(key)
            )
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw unreadable("key", keyFile, error)
        }
    }

    private static func unreadable(_ what: String, _ file: String, _ error: any Error) -> ProgramFailure {
        ProgramFailure(
            .configuration,
            "cannot use the TLS \(what) in \(file): \(error); it must be PEM, readable, and the two must belong together"
        )
    }
}
