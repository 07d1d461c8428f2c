import FanfareModel
import FanfareProtocol
import FanfareTransport
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import Testing

/// A listener with TLS, made of NIO alone, that sends back what it gets.
private struct TLSPeer: Sendable {
    private final class Echo: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            context.writeAndFlush(data, promise: nil)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    /// What a web server says to bytes it does not understand.
    private final class WebServer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let answer = context.channel.allocator.buffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n")
            context.writeAndFlush(NIOAny(answer), promise: nil)
        }
    }

    let port: Int
    private let channel: any Channel

    /// - Parameters:
    ///   - certificate: What it shows; `nil` for no TLS at all.
    ///   - clientAuthority: Who must have signed the client's certificate.
    static func start(_ certificate: String?, clientAuthority: String? = nil) async throws -> TLSPeer {
        let context = try certificate.map { try Self.shown($0, clientAuthority) }
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandlers([
                            NIOSSLServerHandler(context: context), Echo(),
                        ])
                    } else {
                        try channel.pipeline.syncOperations.addHandler(WebServer())
                    }
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return TLSPeer(port: try #require(channel.localAddress?.port), channel: channel)
    }

    private static func shown(_ certificate: String, _ clientAuthority: String?) throws -> NIOSSLContext {
        func read(_ pem: String) throws -> NIOSSLCertificate {
            try NIOSSLCertificate(bytes: Array(pem.utf8), format: .pem)
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: [.certificate(try read(certificate))],
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(TLSGolden.key.utf8), format: .pem))
        )
        if let clientAuthority {
            configuration.certificateVerification = .noHostnameVerification
            configuration.trustRoots = .certificates([try read(clientAuthority)])
        }
        return try NIOSSLContext(configuration: configuration)
    }

    func stop() async throws { try await channel.close().get() }
}

@Suite(.timeLimit(.minutes(1))) struct SecureDialTests {
    private let folder: TemporaryFiles
    private var security = BrokerSecurity()

    init() throws {
        folder = try TemporaryFiles()
        security.caFile = try folder.file("ca.pem", TLSGolden.authority)
    }

    /// Dials, sends a frame and waits for it to come back.
    ///
    /// - Returns: Why that did not come about, or `nil`.
    private func problem(_ endpoint: Endpoint, _ security: BrokerSecurity, _ carrier: Carrier) async throws -> String? {
        let run = carrier == .descriptor ? try LoopRun() : nil
        defer { withExtendedLifetime(run) {} }
        let loop: any EventLoop = run?.loop ?? MultiThreadedEventLoopGroup.singleton.next()
        let recorder = try await loop.submit { NIOLoopBound(Recorder(on: loop), eventLoop: loop) }.get()
        do {
            try await Dialer.dial(endpoint, security: security, on: loop) { _ in
                FrameConnection(receiver: recorder.value, turn: WriteTurn(loop: loop), frameBytes: 65_536)
            }.get()
        } catch {
            #expect(try await loop.submit { recorder.value.events }.get() == [], "\(error)")
            try await loop.submit { recorder.value.closed.succeed() }.get()
            return SystemReason.text(error)
        }
        try await loop.submit { recorder.value.connection?.write(Request.ping(7)) }.get()
        try await poll("an echo or an end") {
            try await loop.submit { recorder.value.events.contains { $0 == .burst || $0 == .closed } }.get()
        }
        let events = try await loop.submit { recorder.value.events }.get()
        if events.contains(.frame([0x92, 0x02, 0x07])) {
            try await loop.submit { recorder.value.connection?.close() }.get()
            try await loop.submit { recorder.value.closed.futureResult }.get().get()
            return nil
        }
        let reasons = events.compactMap { if case .failed(.frame(let failure)) = $0 { failure.text } else { nil } }
        return reasons.first ?? "closed"
    }

    @Test("a broker with a certificate of the CA is dialled by name and by address", arguments: Carrier.allCases)
    func trusted(carrier: Carrier) async throws {
        let peer = try await TLSPeer.start(TLSGolden.server)
        for host in ["localhost", "127.0.0.1"] {
            #expect(try await problem(.tls(host: host, port: peer.port), security, carrier) == nil)
        }
        var named = security
        for name in ["broker.test", "BROKER.test."] {
            named.serverName = name
            #expect(try await problem(.tls(host: "127.0.0.1", port: peer.port), named, carrier) == nil)
        }
        // That it holds the address is not enough.
        named.serverName = "elsewhere.test"
        let found = try await problem(.tls(host: "127.0.0.1", port: peer.port), named, carrier)
        #expect(found?.contains("not for \"elsewhere.test\"") == true, "\(found ?? "no problem")")
        try await peer.stop()
    }

    @Test("what is wrong with a broker's certificate is said", arguments: Carrier.allCases)
    func untrusted(carrier: Carrier) async throws {
        var stranger = security
        stranger.caFile = try folder.file("stranger.pem", TLSGolden.stranger)
        var system = security
        system.caFile = nil
        let cases: [(String?, BrokerSecurity, String)] = [
            (TLSGolden.server, stranger, "no known CA has signed the broker's certificate"),
            (TLSGolden.server, system, "no known CA has signed the broker's certificate"),
            (TLSGolden.expired, security, "the broker's certificate has expired"),
            (TLSGolden.nameless, security, "the broker's certificate is not for \"localhost\""),
            (nil, security, "speaks no TLS"),
        ]
        for (certificate, security, expected) in cases {
            let peer = try await TLSPeer.start(certificate)
            let found = try await problem(.tls(host: "localhost", port: peer.port), security, carrier)
            #expect(found?.contains(expected) == true, "\(found ?? "no problem") for \(expected)")
            try await peer.stop()
        }
    }

    @Test("a client certificate is shown, and what a broker says against it is told", arguments: Carrier.allCases)
    func mutual(carrier: Carrier) async throws {
        let strict = try await TLSPeer.start(TLSGolden.server, clientAuthority: TLSGolden.authority)
        let other = try await TLSPeer.start(TLSGolden.server, clientAuthority: TLSGolden.stranger)
        let found = try await problem(.tls(host: "localhost", port: strict.port), security, carrier)
        #expect(found == "the broker asks for a client certificate, and none was shown")
        var shown = security
        shown.certificateFile = try folder.file("client.pem", TLSGolden.client)
        shown.keyFile = try folder.file("client.key", TLSGolden.key)
        #expect(try await problem(.tls(host: "localhost", port: strict.port), shown, carrier) == nil)
        let refused = try await problem(.tls(host: "localhost", port: other.port), shown, carrier)
        #expect(refused == "the broker does not know the CA of this client's certificate")
        try await strict.stop()
        try await other.stop()
    }

    @Test func `files are read again at each dial`() async throws {
        let peer = try await TLSPeer.start(TLSGolden.server)
        let endpoint = Endpoint.tls(host: "localhost", port: peer.port)
        var rotated = security
        rotated.caFile = try folder.file("rotated.pem", TLSGolden.stranger)
        #expect(try await problem(endpoint, rotated, .descriptor)?.contains("no known CA") == true)
        _ = try folder.file("rotated.pem", TLSGolden.authority)
        #expect(try await problem(endpoint, rotated, .descriptor) == nil)
        try await peer.stop()
    }

    @Test("files that cannot be used are named", arguments: Carrier.allCases)
    func unusable(carrier: Carrier) async throws {
        let endpoint = Endpoint.tls(host: "localhost", port: 1)
        let damaged = try folder.file("damaged.pem", "no certificate")
        let client = try folder.file("client.pem", TLSGolden.client)
        let cases: [((inout BrokerSecurity) -> Void, String)] = [
            ({ $0.caFile = "/nowhere/ca.pem" }, "CA certificates in /nowhere/ca.pem: No such file or directory"),
            ({ $0.caFile = damaged }, "CA certificates in \(damaged): no PEM"),
            ({ $0.certificateFile = client }, "needs both files"),
            ({ ($0.certificateFile, $0.keyFile) = (client, damaged) }, "client key in \(damaged)"),
            ({ $0.tokenFile = "/nowhere/token" }, "token file /nowhere/token: No such file"),
            ({ $0.tokenFile = "/dev/zero" }, "no regular file"),
        ]
        for (change, expected) in cases {
            var changed = security
            change(&changed)
            let found = try await problem(endpoint, changed, carrier)
            #expect(found?.contains(expected) == true, "\(found ?? "no problem")")
        }
    }

    private func token(_ security: BrokerSecurity, _ endpoint: Endpoint = .unix(path: "/x")) -> Result<
        String?, ProgramFailure
    > {
        Result { () throws(ProgramFailure) in try DialCredentials.read(security, for: endpoint).token }
    }

    @Test func `a token comes from its file, unless everybody may read that`() throws {
        var security = BrokerSecurity()
        #expect(try token(security).get() == nil)
        security.token = "from-environment"
        #expect(try token(security).get() == "from-environment")
        for mode: mode_t in [0o600, 0o640, 0o400] {
            security.tokenFile = try folder.file("token", "s3cret\n", mode: mode)
            #expect(try token(security).get() == "s3cret")
        }
        for mode: mode_t in [0o644, 0o604, 0o602] {
            security.tokenFile = try folder.file("token", "s3cret\n", mode: mode)
            #expect(throws: ProgramFailure.self) { try token(security).get() }
        }
        for content in ["", "\n", "two words", "t\u{e9}", String(repeating: "x", count: 1_025), "a\nb"] {
            security.tokenFile = try folder.file("token", content, mode: 0o600)
            guard case .failure(let failure) = token(security) else {
                Issue.record("\(content.debugDescription) was taken for a token")
                continue
            }
            #expect(content.count < 3 || !failure.text.contains(content), "an error shows a secret")
        }
        security.tokenFile = try folder.file("token", String(repeating: "x", count: 1_024) + "\r\n", mode: 0o600)
        #expect(try token(security).get()?.count == 1_024)
    }

    @Test func `a token goes over plain TCP to this machine only`() throws {
        var security = BrokerSecurity()
        security.token = "s3cret"
        let local: [Endpoint] = ["127.0.0.1", "127.9.8.7", "::1", "localhost"].map { .tcp(host: $0, port: 1) }
        for endpoint in local + [.unix(path: "/x")] { #expect(try token(security, endpoint).get() == "s3cret") }
        for host in ["10.0.0.1", "example.org", "127.0.0.1.example.org", "0.0.0.0", "127.0.0"] {
            guard case .failure(let failure) = token(security, .tcp(host: host, port: 1)) else {
                Issue.record("the token goes to \(host)")
                continue
            }
            #expect(failure.text.contains("tls://\(host):1") && !failure.text.contains("s3cret"))
        }
        security.allowsTokenInTheClear = true
        #expect(try token(security, .tcp(host: "10.0.0.1", port: 1)).get() == "s3cret")
    }
}

/// A folder of files that is gone when the test is.
private final class TemporaryFiles: Sendable {
    private let path: String

    init() throws {
        var template = Array("/tmp/fanfare-test-XXXXXX".utf8CString)
        path = try template.withUnsafeMutableBufferPointer { buffer in
            String(cString: try #require(buffer.baseAddress.flatMap { mkdtemp($0) }))
        }
    }

    /// Writes a file, in the place of one that is there.
    func file(_ name: String, _ content: String, mode: mode_t = 0o600) throws -> String {
        let file = "\(path)/\(name)"
        unlink(file)
        let descriptor = open(file, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(content.utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
        try #require(fchmod(descriptor, mode) == 0)
        return file
    }

    deinit {
        for name in ["ca.pem", "stranger.pem", "rotated.pem", "damaged.pem", "client.pem", "client.key", "token"] {
            unlink("\(path)/\(name)")
        }
        rmdir(path)
    }
}
