package import FanfareModel
import NIOCore
import NIOSSL
import NIOTLS

/// A PEM file that has been read, with its name for errors.
package struct PEMFile: Sendable {
    package var path: String
    package var text: String

    package init(path: String, text: String) {
        self.path = path
        self.text = text
    }
}

/// What a server shows to clients and asks of them, checked and ready: TLS 1.2 and 1.3 with BoringSSL's choice of
/// ciphers; no renegotiation, no compression.
package struct TLSIdentity: Sendable {
    let context: NIOSSLContext
    /// Whether clients must show a certificate.
    package let asksClients: Bool

    /// How long a connection that is closed waits for the peer's leave.
    private static let leaveWithin = TimeAmount.seconds(2)

    /// - Parameters:
    ///   - certificates: The server's, the chain behind it.
    ///   - key: Belongs to the first certificate.
    ///   - clientAuthorities: Who must have signed the certificate each client shows; `nil`: they need none.
    /// - Throws: ``ProgramFailure`` with exit `configuration` that names the file.
    package init(
        certificates: PEMFile,
        key: PEMFile,
        clientAuthorities: PEMFile?
    ) throws(ProgramFailure) {
        let chain = try Self.read("certificate", certificates) { try NIOSSLCertificate.fromPEMBytes($0) }
        let secret = try Self.read("key", key) { try NIOSSLPrivateKey(bytes: $0, format: .pem) }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(secret)
        )
        configuration.minimumTLSVersion = .tlsv12
        configuration.shutdownTimeout = Self.leaveWithin
        if let clientAuthorities {
            let authorities = try Self.read("client CA", clientAuthorities) { try NIOSSLCertificate.fromPEMBytes($0) }
            configuration.trustRoots = .certificates(authorities)
            // Demands a certificate. A client is known by who signed for it, not by the name of a host.
            configuration.certificateVerification = .noHostnameVerification
        }
        asksClients = clientAuthorities != nil
        do {
            context = try NIOSSLContext(configuration: configuration)
        } catch {
            throw ProgramFailure(
                .configuration,
                "the TLS key in \(key.path) cannot be used with the certificate in \(certificates.path): \(error); "
                    + "the two must belong together"
            )
        }
    }

    private static func read<Content>(
        _ what: String,
        _ file: PEMFile,
        _ body: ([UInt8]) throws -> Content
    ) throws(ProgramFailure) -> Content {
        do {
            return try body(Array(file.text.utf8))
        } catch {
            throw ProgramFailure(
                .configuration,
                "the TLS \(what) in \(file.path) cannot be used: \(error); it must be PEM"
            )
        }
    }
}

/// TLS in front of frame connections that come in. On the loop.
package final class TLSListening {
    /// What the next connections get. Those there are keep what they began with.
    package var identity: TLSIdentity
    /// Connections that ended in their handshake.
    package private(set) var failures: UInt64 = 0
    private let handshakeBytes: Int

    /// - Parameter handshakeBytes: What a client may send until its handshake is over.
    package init(_ identity: TLSIdentity, handshakeBytes: Int) {
        self.identity = identity
        self.handshakeBytes = handshakeBytes
    }

    /// Puts TLS between a descriptor and `connection`, which opens before the handshake and closes with it.
    func carry(_ connection: FrameConnection, _ descriptor: CInt, on loop: EpollLoop, address: SocketAddress?) {
        let channel = PipelineChannel(descriptor, on: loop, remoteAddress: address)
        let bound = HandshakeBound(bytes: handshakeBytes) { [self] in failures += 1 }
        do {
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(bound)
            try pipeline.addHandler(NIOSSLServerHandler(context: identity.context))
            try pipeline.addHandler(HandshakeEnd(bound))
            try pipeline.addHandler(connection)
            channel.activate()
        } catch {
            failures += 1
            channel.close(promise: nil)
        }
    }
}

/// Closes a connection whose handshake takes more bytes than it may. The time is bounded by who waits for the hello.
private final class HandshakeBound: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private var bytesLeft: Int
    /// `nil` when the handshake is over.
    private var failed: (() -> Void)?

    init(bytes: Int, failed: @escaping () -> Void) {
        bytesLeft = bytes
        self.failed = failed
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard failed != nil else { return context.fireChannelRead(data) }
        bytesLeft -= unwrapInboundIn(data).readableBytes
        guard bytesLeft >= 0 else { return context.close(promise: nil) }
        context.fireChannelRead(data)
    }

    func channelInactive(context: ChannelHandlerContext) {
        failed?()
        context.fireChannelInactive()
    }

    func isOver() {
        failed = nil
    }
}

/// Behind TLS: tells the bound in front of it that the handshake is done.
private final class HandshakeEnd: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let bound: HandshakeBound

    init(_ bound: HandshakeBound) {
        self.bound = bound
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted = event as? TLSUserEvent { bound.isOver() }
        context.fireUserInboundEventTriggered(event)
    }
}
