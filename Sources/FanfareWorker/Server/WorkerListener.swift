import FanfareModel
import FanfareTransport
import Glibc
import NIOCore
import NIOHTTP1
import NIOSSL

/// The port of a worker: accepts connections and makes the pipeline of each handshake. On the worker's loop.
final class WorkerListener {
    /// A socket that listens, before a loop has it.
    struct Port: Sendable {
        let descriptor: CInt
        /// For listings.
        let address: String
        /// The TCP port, or the one configured.
        let number: Int
        let socketFile: SocketFile?
        let tls: NIOSSLContext?
        /// Whether somebody else listens on it when this worker does no more.
        var isKept = false
    }

    /// What TLS handshakes show from now on; `nil` without TLS.
    private final class Certificate {
        var context: NIOSSLContext?

        init(_ context: NIOSSLContext?) {
            self.context = context
        }
    }

    private let listener: DescriptorListener
    private let certificate: Certificate
    private let socketFile: SocketFile?
    private let backlog: Int
    private let isKept: Bool

    /// Accepts for `worker`; not before ``start()``.
    init(_ port: Port, _ configuration: WorkerServer.Configuration, on loop: EpollLoop, _ worker: WorkerLoop) {
        socketFile = port.socketFile
        isKept = port.isKept
        let certificate = Certificate(port.tls)
        self.certificate = certificate
        let rate = AcceptRate(perSecond: configuration.workerLimits.acceptsPerSecond)
        backlog = Int(configuration.workerLimits.backlog)
        listener = DescriptorListener(port.descriptor, on: loop, rate: rate) { descriptor, address in
            guard worker.admitsStranger() else {
                Glibc.close(descriptor)
                return
            }
            _ = SilentConnection(descriptor, on: loop, worker) { descriptor, deadline in
                let channel = PipelineChannel(descriptor, on: loop, remoteAddress: address)
                do {
                    if let tls = certificate.context {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
                    }
                    try Self.addHandshake(to: channel, worker, until: deadline)
                    channel.activate()
                } catch {
                    channel.close(promise: nil)
                }
            }
        }
    }

    func start() {
        listener.start()
    }

    /// Shows another certificate in handshakes that begin from now on.
    func replace(_ context: NIOSSLContext) {
        certificate.context = context
    }

    /// How often accepting paused because connections came faster than the rate.
    var ratePauses: UInt64 { listener.ratePauses }

    /// Accepts what the kernel holds, unless that is for somebody else, and nothing more.
    func finish() {
        guard !isKept else { return close() }
        socketFile?.remove()
        listener.finish(backlog: backlog)
    }

    func close() {
        socketFile?.remove()
        listener.close()
    }

    /// Binds what the configuration names.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`.
    static func bind(_ configuration: WorkerServer.Configuration) throws -> Port {
        let backlog = configuration.workerLimits.backlog
        let tls = try configuration.tls.map { try context($0) }
        if let descriptor = configuration.listenDescriptor {
            // It may be bound only.
            guard BoundSocket.isStream(descriptor), Glibc.listen(descriptor, backlog) == 0 else {
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on fd:\(descriptor); it must be a bound stream socket that this process was given"
                )
            }
            let number = DescriptorListener.port(of: descriptor) ?? configuration.listenPort
            let address = configuration.listenPath.map { "unix:\($0)" } ?? "\(configuration.listenHost):\(number)"
            return Port(
                descriptor: descriptor,
                address: address,
                number: number,
                socketFile: nil,
                tls: tls,
                isKept: configuration.keepsListenDescriptor
            )
        }
        if let path = configuration.listenPath {
            let (descriptor, file) = try SocketFile.listen(on: path, backlog: backlog)
            let number = configuration.listenPort
            return Port(descriptor: descriptor, address: "unix:\(path)", number: number, socketFile: file, tls: tls)
        }
        do {
            let wanted = try SocketAddress.makeAddressResolvingHost(
                configuration.listenHost,
                port: configuration.listenPort
            )
            let descriptor = try DescriptorListener.listen(on: wanted, backlog: Int(backlog), sharesPort: true)
            let number = DescriptorListener.port(of: descriptor) ?? configuration.listenPort
            let address = "\(configuration.listenHost):\(number)"
            return Port(descriptor: descriptor, address: address, number: number, socketFile: nil, tls: tls)
        } catch {
            let address = "\(configuration.listenHost):\(configuration.listenPort)"
            throw ProgramFailure(
                .configuration,
                "cannot listen on \(address): \(reason(error)); choose another address or stop what uses it"
            )
        }
    }

    /// Makes the pipeline of a handshake.
    ///
    /// - Parameter deadline: The tick at which it is given up; as for a connection that comes now without it.
    static func addHandshake(to channel: any Channel, _ worker: WorkerLoop, until deadline: Int? = nil) throws {
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
        try channel.pipeline.syncOperations.addHandler(
            HTTPHandler(worker: worker, until: deadline ?? worker.handshakeDeadline)
        )
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
    static func context(_ files: WorkerServer.TLSFiles) throws(ProgramFailure) -> NIOSSLContext {
        let chain: [NIOSSLCertificate]
        do {
            chain = try NIOSSLCertificate.fromPEMFile(files.certificateFile)
        } catch {
            throw unreadable("certificate", files.certificateFile, error)
        }
        do {
            let key = try NIOSSLPrivateKey(file: files.keyFile, format: .pem)
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) },
                privateKey: .privateKey(key)
            )
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw unreadable("key", files.keyFile, error)
        }
    }

    private static func unreadable(_ what: String, _ file: String, _ error: any Error) -> ProgramFailure {
        ProgramFailure(
            .configuration,
            "cannot use the TLS \(what) in \(file): \(error); it must be PEM, readable, and the two must belong together"
        )
    }
}
