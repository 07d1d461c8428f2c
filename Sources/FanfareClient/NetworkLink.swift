import FanfareModel
import FanfareProtocol
import FanfareTransport
import NIOCore

/// Dials brokers.
final class NetworkCarrier: LinkCarrier {
    private let endpoints: [Endpoint]
    private let security: BrokerSecurity
    private let limits: Limits
    private let loop: any EventLoop
    private let turn: WriteTurn
    private let reader: FrameReader

    /// The largest frame taken before `WELCOME`, which repeats the policy of the hello.
    private static let welcomeFrameBytes = 4 * Limits().helloFrameBytes

    init(endpoints: [Endpoint], security: BrokerSecurity, limits: Limits, loop: any EventLoop) {
        precondition(!endpoints.isEmpty, "a layer needs a broker")
        self.endpoints = endpoints
        self.security = security
        self.limits = limits
        self.loop = loop
        turn = WriteTurn(loop: loop)
        reader = FrameReader(limits: limits)
    }

    var endpointCount: Int { endpoints.count }

    func connect(to index: Int, for session: LayerSession) {
        let endpoint = endpoints[index]
        let made = NIOLoopBound(
            NetworkLink(session: session, reader: reader, limits: limits, loop: loop),
            eventLoop: loop
        )
        let turn = NIOLoopBound(turn, eventLoop: loop)
        Dialer.dial(endpoint, security: security, on: loop) { token in
            made.value.token = token
            return FrameConnection(receiver: made.value, turn: turn.value, frameBytes: Self.welcomeFrameBytes)
        }.assumeIsolated().whenFailure { error in
            session.linkClosed(nil, Failure(.silence, "\(endpoint): \(SystemReason.text(error))"))
        }
    }
}

/// A session's link over a socket: replies are decoded here, silence of the broker ends it.
final class NetworkLink: BrokerLink, FrameReceiver {
    /// What the hello of this link shows.
    fileprivate var token: String?
    private let session: LayerSession
    private let reader: FrameReader
    private let limits: Limits
    private let loop: any EventLoop
    private var connection: FrameConnection?
    private var failure: Failure?
    private var opened = NIODeadline.uptimeNanoseconds(0)
    private var isWelcome = false
    private var sweep: Sweep?

    init(session: LayerSession, reader: FrameReader, limits: Limits, loop: any EventLoop) {
        self.session = session
        self.reader = reader
        self.limits = limits
        self.loop = loop
    }

    func write(_ request: Request) {
        guard let connection else { return }
        if case .hello(var hello) = request, let token {
            hello.token = token
            connection.write(Request.hello(hello))
        } else {
            connection.write(request)
        }
        if connection.pendingBytes > limits.linkBytes {
            failure = Failure(.linkOverflow, "the broker does not read: \(connection.pendingBytes) bytes wait for it")
            connection.close()
        }
    }

    func close() {
        connection?.closeWhenWritten()
    }

    func connectionOpened(_ connection: FrameConnection) {
        self.connection = connection
        opened = loop.now
        sweep = Sweep(loop: loop, every: .seconds(1)) { [unowned self] in checkSilence() }
        session.linkOpened(self)
    }

    func connection(_ connection: FrameConnection, received payload: UnsafeRawBufferPointer) {
        session.linkRead(bytes: payload.count)
        do throws(Refusal) {
            for reply in try reader.reply(payload) {
                if case .welcome(let welcome) = reply {
                    // From here on the broker's limit holds, which may be larger than ours.
                    isWelcome = true
                    connection.raise(frameBytes: max(welcome.frameBytes, limits.frameBytes))
                }
                session.linkReceived(reply)
            }
        } catch {
            // A broker that speaks nonsense cannot be trusted with what follows.
            failure = Failure(.malformedFrame, "the broker sent what cannot be read: \(error.failure.text)")
            connection.close()
        }
    }

    func connectionFinishedBurst(_ connection: FrameConnection) {
        session.linkFinishedBurst()
    }

    func connectionDrained(_ connection: FrameConnection) {}

    func connection(_ connection: FrameConnection, failed failure: StreamFailure) {
        switch failure {
        case .frame(let failure): self.failure = failure
        case .http: self.failure = Failure(.malformedFrame, "the broker's address answers with HTTP")
        }
        connection.close()
    }

    func connectionClosed(_ connection: FrameConnection) {
        sweep?.cancel()
        self.connection = nil
        session.linkClosed(self, failure ?? Failure(.silence, "the broker closed the connection"))
    }

    /// Asks a quiet broker for a sign of life, then gives it up.
    private func checkSilence() {
        guard let connection else { return }
        let quiet = loop.now - connection.lastHeard
        // Bytes that never become a WELCOME are no sign of a broker.
        if !isWelcome, loop.now - opened >= Dialer.attemptWithin {
            failure = Failure(.silence, "something accepts connections there, but sends no WELCOME")
            connection.close()
        } else if quiet >= .milliseconds(Int64(clamping: limits.silenceMaximum.value)) {
            failure = Failure(.silence, "nothing was heard from the broker for \(limits.silenceMaximum.value) ms")
            connection.close()
        } else if quiet >= .milliseconds(Int64(clamping: limits.pingAfter.value)) {
            session.ping()
        }
    }
}
