import FanfareModel
import Glibc
import NIOCore
import NIOSSL
import NIOTLS

/// The TLS handshake of a dialled connection: puts the frames behind TLS when the broker has shown who it is, and
/// stays to say what TLS has to report later, such as a client certificate that is refused.
final class DialHandshake: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let endpoint: Endpoint
    /// The name the certificate must hold; `nil` where it must hold the address.
    private let name: String?
    /// What it must hold, for people.
    private let expectedName: String
    private let make: () -> FrameConnection
    private let promise: EventLoopPromise<Void>
    private var timeout: Scheduled<Void>?
    private var connection: FrameConnection?
    private var isOver = false

    /// Shakes hands on a connected channel whose pipeline is empty. On its loop.
    ///
    /// - Parameter make: Makes the connection when the handshake is over.
    /// - Returns: Completes when the connection is open; fails with ``ProgramFailure`` that says why it is not.
    static func begin(
        on channel: any Channel,
        _ tls: NIOSSLContext,
        _ endpoint: Endpoint,
        serverName: String?,
        make: @escaping () -> FrameConnection
    ) -> EventLoopFuture<Void> {
        guard case .tls(let host, _) = endpoint else { preconditionFailure("\(endpoint) is not dialled with TLS") }
        // An address is compared with the addresses in the certificate; it cannot be asked for by name.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        let name = serverName ?? (isAddress ? nil : host)
        let promise = channel.eventLoop.makePromise(of: Void.self)
        let handshake = DialHandshake(endpoint, name: name, expecting: name ?? host, make, promise)
        do {
            let client = try NIOSSLClientHandler(context: tls, serverHostname: name)
            try channel.pipeline.syncOperations.addHandlers([client, handshake])
        } catch {
            handshake.fail("\(error)", channel)
        }
        return promise.futureResult
    }

    private init(
        _ endpoint: Endpoint,
        name: String?,
        expecting expectedName: String,
        _ make: @escaping () -> FrameConnection,
        _ promise: EventLoopPromise<Void>
    ) {
        self.endpoint = endpoint
        self.name = name
        self.expectedName = expectedName
        self.make = make
        self.promise = promise
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timeout = context.eventLoop.assumeIsolated().scheduleTask(in: Dialer.attemptWithin) {
            self.fail("no answer to the TLS handshake in time", channel)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        fail("the connection was closed during the TLS handshake", context.channel)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent, !isOver {
            let client = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
            if let name, client?.peerCertificate?.holds(name) != true {
                return fail(TLSReason.otherName(expectedName), context.channel)
            }
            end()
            let connection = make()
            self.connection = connection
            // Before it is in the pipeline: bytes go by way of TLS, never to the descriptor.
            connection.open(SocketWriter(channel: context.channel, isTransformed: true), remote: "\(endpoint)")
            do {
                try context.pipeline.syncOperations.addHandler(connection)
                promise.succeed()
            } catch {
                promise.fail(error)
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        fail("the broker closed the connection during the TLS handshake", context.channel)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let connection {
            // Under TLS 1.3 a broker refuses a client's certificate when its own handshake is over already. Whatever
            // else ends a connection does so as without TLS.
            if let refusal = TLSReason.refusal(in: error) { connection.fail(Failure(.unauthorized, refusal)) }
            return context.fireErrorCaught(error)
        }
        let client = try? context.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
        fail(TLSReason.text(error, expecting: expectedName, certificate: client?.peerCertificate), context.channel)
    }

    private func fail(_ reason: String, _ channel: any Channel) {
        guard !isOver else { return }
        end()
        promise.fail(ProgramFailure(.unavailable, reason))
        channel.close(promise: nil)
    }

    private func end() {
        isOver = true
        timeout?.cancel()
    }
}

/// What TLS did not like, for people.
enum TLSReason {
    /// By what BoringSSL calls it.
    private static let mismatches = [
        ("WRONG_VERSION_NUMBER", "what listens there speaks no TLS; is it meant to be tcp://?"),
        ("HTTP_REQUEST", "what listens there speaks no TLS; is it meant to be tcp://?"),
        ("UNSUPPORTED_PROTOCOL", "the broker speaks only versions before TLS 1.2"),
        ("ALERT_PROTOCOL_VERSION", "the broker and this program have no version of TLS in common"),
        ("ALERT_HANDSHAKE_FAILURE", "the broker refused the TLS handshake; does it ask for a client certificate?"),
    ]
    private static let refusals = [
        ("ALERT_CERTIFICATE_REQUIRED", "the broker asks for a client certificate, and none was shown"),
        ("CERTIFICATE_REQUIRED", "the broker asks for a client certificate, and none was shown"),
        ("ALERT_UNKNOWN_CA", "the broker does not know the CA of this client's certificate"),
        ("ALERT_CERTIFICATE_EXPIRED", "the broker says that this client's certificate has expired"),
        ("ALERT_CERTIFICATE_REVOKED", "the broker says that this client's certificate was revoked"),
        ("ALERT_BAD_CERTIFICATE", "the broker does not accept this client's certificate"),
        ("ALERT_CERTIFICATE_UNKNOWN", "the broker does not accept this client's certificate"),
        ("ALERT_ACCESS_DENIED", "the broker denies access to this client's certificate"),
    ]

    /// - Parameters:
    ///   - error: Of NIOSSL.
    ///   - name: What the certificate should have held.
    ///   - certificate: What the broker has shown, if it came so far.
    static func text(_ error: any Error, expecting name: String, certificate: NIOSSLCertificate?) -> String {
        if let error = error as? NIOSSLExtraError, error == .failedToValidateHostname {
            return otherName(name)
        }
        switch error as? NIOSSLError {
        case .uncleanShutdown?, .handshakeFailed(.zeroReturn)?, .handshakeFailed(.syscallError)?:
            return "the broker closed the connection during the TLS handshake"
        case .unableToValidateCertificate?, .noCertificateToValidate?: return unverified(certificate)
        default: break
        }
        if let error = error as? BoringSSLError, error == .zeroReturn { return "the broker closed the connection" }
        let text = "\(error)"
        if text.contains("CERTIFICATE_VERIFY_FAILED") { return unverified(certificate) }
        return refusal(in: error) ?? mismatches.first { text.contains($0.0) }?.1 ?? "TLS failed: \(text)"
    }

    /// What the broker has against this client's certificate, if that is what it says.
    static func refusal(in error: any Error) -> String? {
        let text = "\(error)"
        return refusals.first { text.contains($0.0) }?.1
    }

    static func otherName(_ name: String) -> String {
        "the broker's certificate is not for \"\(name)\"; dial a name it holds, or set the server name"
    }

    private static func unverified(_ certificate: NIOSSLCertificate?) -> String {
        let now = time(nil)
        if let certificate, certificate.notValidAfter < now {
            return "the broker's certificate has expired \((now - certificate.notValidAfter) / 3_600) hours ago"
        }
        if let certificate, certificate.notValidBefore > now {
            return "the broker's certificate is not valid yet; is this machine's clock right?"
        }
        return "no known CA has signed the broker's certificate; name its CA file"
    }
}

extension NIOSSLCertificate {
    /// Whether it is for this name, also by a wildcard for its first label (RFC 6125, section 6.4). NIOSSL is content
    /// with a certificate for the address, which whoever answers the lookup of the name chooses.
    fileprivate func holds(_ name: String) -> Bool {
        var name = name.lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        let parent = name.drop { $0 != "." }
        return _subjectAlternativeNames().contains { held in
            guard held.nameType == .dnsName else { return false }
            let text = String(decoding: held.contents, as: UTF8.self).lowercased()
            return text == name || (text.hasPrefix("*.") && parent.count > 1 && text.dropFirst() == parent)
        }
    }
}
