import FanfareModel
import Glibc
import NIOCore
import Testing

@testable import FanfareTransport

@Suite(.timeLimit(.minutes(1))) struct ConnectAttemptTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    private static let unblocking = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)

    /// A loopback port that is bound: refused until somebody listens.
    private func bound() throws -> (descriptor: CInt, address: SocketAddress) {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        let any = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        try #require(any.withSockAddr { bind(descriptor, $0, socklen_t($1)) } == 0)
        let port = try #require(DescriptorListener.port(of: descriptor))
        return (descriptor, try SocketAddress(ipAddress: "127.0.0.1", port: port))
    }

    private func dial(_ endpoint: Endpoint) async throws {
        let loop = run.loop
        try await Dialer.dial(endpoint, on: loop) { _ in
            FrameConnection(receiver: Recorder(on: loop), turn: WriteTurn(loop: loop), frameBytes: 1_000)
        }.get()
    }

    private func reason(_ endpoint: Endpoint) async -> String? {
        do {
            try await dial(endpoint)
            return nil
        } catch {
            return SystemReason.text(error)
        }
    }

    @Test func `nobody there is refused with the system's words`() async throws {
        let (descriptor, address) = try bound()
        defer { close(descriptor) }
        #expect(await reason(.tcp(host: "127.0.0.1", port: address.port!)) == "Connection refused")
        #expect(await reason(.unix(path: "/tmp/fanfare-nobody.sock")) == "No such file or directory")
    }

    @Test func `a name that nobody has is said to be unknown`() async throws {
        // Never asked of a server: a label may not be empty.
        #expect(await reason(.tcp(host: "no..name", port: 1)) == "no address found for \"no..name\"")
    }

    @Test func `no answer in time is an error, and the descriptor is closed`() async throws {
        let (descriptor, address) = try bound()
        defer { close(descriptor) }
        try #require(listen(descriptor, 0) == 0)
        // The queue of connections nobody accepts: once it is full the kernel does not answer.
        var fillers: [RawSocket] = []
        while fillers.count < 100 {
            let filler = RawSocket(descriptor: socket(AF_INET, Self.unblocking, 0))
            fillers.append(filler)
            _ = address.withSockAddr { connect(filler.descriptor, $0, socklen_t($1)) }
            var fact = pollfd(fd: filler.descriptor, events: Int16(POLLOUT), revents: 0)
            if Glibc.poll(&fact, 1, 100) == 0 { break }
        }
        let attempt = try await run.onLoop { ConnectAttempt.begin(address, on: $0, within: .milliseconds(50)) }
        let failure = await #expect(throws: IOError.self) { try await attempt.get() }
        #expect(failure?.errnoCode == ETIMEDOUT)
    }

    @Test func `of several addresses the second answers when the first refuses`() async throws {
        let (refused, first) = try bound()
        let (answered, second) = try bound()
        defer { for descriptor in [refused, answered] { close(descriptor) } }
        try #require(listen(answered, 1) == 0)
        let made = try await run.onLoop { Dialer.connect(to: [first, second], on: $0) }.get()
        let ours = accept(answered, nil, nil)
        #expect(ours >= 0)
        #expect(fcntl(made, F_GETFL) & O_NONBLOCK != 0)
        for descriptor in [ours, made] { close(descriptor) }
        // What the last one said counts.
        let failure = await #expect(throws: IOError.self) {
            try await run.onLoop { Dialer.connect(to: [first, first], on: $0) }.get()
        }
        #expect(failure?.errnoCode == ECONNREFUSED)
    }

    @Test func `names are resolved to addresses that can be dialled`() async throws {
        let (descriptor, address) = try bound()
        defer { close(descriptor) }
        try #require(listen(descriptor, 5) == 0)
        try await dial(.tcp(host: "localhost", port: address.port!))
        try await dial(.tcp(host: "127.0.0.1", port: address.port!))
        #expect(try HostName.resolve("127.0.0.1", port: 9).map(\.port) == [9])
    }

    @Test func `an attempt fails when the loop ends before the peer has answered`() async throws {
        let (descriptor, address) = try bound()
        defer { close(descriptor) }
        try #require(listen(descriptor, 0) == 0)
        var fillers: [RawSocket] = []
        for _ in 0..<20 {
            let filler = RawSocket(descriptor: socket(AF_INET, Self.unblocking, 0))
            fillers.append(filler)
            _ = address.withSockAddr { connect(filler.descriptor, $0, socklen_t($1)) }
        }
        let loop = try EpollLoop(name: "fanfare-test")
        let attempt = try await loop.submit { ConnectAttempt.begin(address, on: loop, within: .hours(1)) }.get()
        let failures = Count()
        attempt.whenFailure { _ in failures.increment() }
        try await loop.shutdownGracefully()
        #expect(failures.value == 1)
        withExtendedLifetime(fillers) {}
    }
}
