import FanfareTransport
import Glibc
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct DescriptorListenerTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    /// A listener whose connections `accepted` gets, and its address.
    private static func listen(
        on run: LoopRun,
        rate: AcceptRate? = nil,
        accepted: @escaping @Sendable (CInt, SocketAddress?) -> Void
    ) async throws -> (NIOLoopBound<DescriptorListener>, SocketAddress) {
        let (descriptor, address) = try bound()
        let listener = try await run.onLoop { loop in
            NIOLoopBound(DescriptorListener(descriptor, on: loop, rate: rate, accepted: accepted), eventLoop: loop)
        }
        return (listener, address)
    }

    /// A socket that listens on a port the system gives to nobody by itself: once it is closed, nobody is there.
    private static func bound() throws -> (CInt, SocketAddress) {
        var failure: (any Error)?
        for _ in 0..<100 {
            let address = try SocketAddress(ipAddress: "127.0.0.1", port: Int.random(in: 12_000..<20_000))
            do {
                return (try DescriptorListener.listen(on: address, backlog: 1_024), address)
            } catch {
                failure = error
            }
        }
        throw try #require(failure)
    }

    private static func connect(to address: SocketAddress) -> RawSocket? {
        let peer = RawSocket(descriptor: socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0))
        let result = address.withSockAddr { Glibc.connect(peer.descriptor, $0, socklen_t($1)) }
        return result == 0 ? peer : nil
    }

    /// The port of our end of a client's connection.
    private static func port(of peer: RawSocket) -> Int? { DescriptorListener.port(of: peer.descriptor) }

    @Test func `a burst larger than one turn takes is accepted whole, each once`() async throws {
        let accepted = NIOLoopBoundBox.makeBoxSendingValue([Int](), eventLoop: run.loop)
        let (listener, address) = try await Self.listen(on: run) { descriptor, peer in
            #expect(fcntl(descriptor, F_GETFL) & O_NONBLOCK != 0)
            #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
            accepted.value.append(peer?.port ?? -1)
            close(descriptor)
        }
        let peers = try (0..<300).map { _ in try #require(Self.connect(to: address)) }
        #expect(try await run.onLoop { _ in accepted.value.isEmpty })
        // Starting twice is starting.
        try await run.onLoop { _ in
            listener.value.start()
            listener.value.start()
        }
        try await poll("all of them") { try await run.onLoop { _ in accepted.value.count >= 300 } }
        #expect(try await run.onLoop { _ in accepted.value.sorted() } == peers.compactMap(Self.port).sorted())
        try await run.onLoop { _ in
            listener.value.close()
            listener.value.close()
        }
        #expect(Self.connect(to: address) == nil)
    }

    @Test func `a listener closed from inside accepted accepts no more`() async throws {
        let listener = NIOLoopBoundBox.makeEmptyBox(valueType: DescriptorListener.self, eventLoop: run.loop)
        let count = NIOLoopBoundBox.makeBoxSendingValue(0, eventLoop: run.loop)
        let (made, address) = try await Self.listen(on: run) { descriptor, _ in
            count.value += 1
            close(descriptor)
            listener.value?.close()
        }
        let peers = (0..<10).map { _ in Self.connect(to: address) }
        try await run.onLoop { _ in
            listener.value = made.value
            made.value.start()
        }
        try await poll("the first") { try await run.onLoop { _ in count.value > 0 } }
        for _ in 0..<10 { try await run.onLoop { _ in } }
        #expect(try await run.onLoop { _ in count.value } == 1)
        #expect(Self.connect(to: address) == nil)
        try await run.onLoop { _ in listener.value = nil }
        withExtendedLifetime(peers) {}
    }

    @Test func `what comes faster than the rate waits in the kernel, and all of it is accepted`() async throws {
        let accepted = NIOLoopBoundBox.makeBoxSendingValue([Int](), eventLoop: run.loop)
        let rate = AcceptRate(perSecond: 1_000, burst: 5)
        let (listener, address) = try await Self.listen(on: run, rate: rate) { descriptor, peer in
            accepted.value.append(peer?.port ?? -1)
            close(descriptor)
        }
        let peers = try (0..<100).map { _ in try #require(Self.connect(to: address)) }
        let first = try await run.onLoop { _ in
            listener.value.start()
            for _ in 0..<3 { listener.value.ready(.readable) }
            return (accepted.value.count, listener.value.ratePauses)
        }
        #expect(first == (5, 1))
        try await poll("all of them") { try await run.onLoop { _ in accepted.value.count == 100 } }
        #expect(try await run.onLoop { _ in accepted.value.sorted() } == peers.compactMap(Self.port).sorted())
        #expect(try await run.onLoop { _ in listener.value.ratePauses } > 1)
        try await run.onLoop { _ in listener.value.close() }
    }

    @Test func `one that finishes accepts what the kernel holds before it gives up the port`() async throws {
        let count = NIOLoopBoundBox.makeBoxSendingValue(0, eventLoop: run.loop)
        let rate = AcceptRate(perSecond: 1, burst: 1)
        let (listener, address) = try await Self.listen(on: run, rate: rate) { descriptor, _ in
            count.value += 1
            close(descriptor)
        }
        let peers = try (0..<100).map { _ in try #require(Self.connect(to: address)) }
        try await run.onLoop { _ in listener.value.finish(backlog: 1_024) }
        #expect(try await run.onLoop { _ in count.value } == 100)
        #expect(Self.connect(to: address) == nil)
        withExtendedLifetime(peers) {}
    }

    @Test func `an address that is taken is an error and leaves no descriptor`() throws {
        let wanted = try SocketAddress(ipAddress: "127.0.0.1", port: 0)
        let descriptor = try DescriptorListener.listen(on: wanted, backlog: 1)
        defer { close(descriptor) }
        let port = try #require(DescriptorListener.port(of: descriptor))
        let taken = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        let failure = #expect(throws: IOError.self) { try DescriptorListener.listen(on: taken, backlog: 1) }
        #expect(failure?.errnoCode == EADDRINUSE)
    }

    @Test func `it leaves a reserve of descriptors to others, and goes on when there are more again`() async {
        await #expect(processExitsWith: .success) {
            let run = try LoopRun()
            let count = NIOLoopBoundBox.makeBoxSendingValue(0, eventLoop: run.loop)
            let (listener, address) = try await Self.listen(on: run) { _, _ in count.value += 1 }
            let peers = try (0..<20).map { _ in try #require(Self.connect(to: address)) }
            var before = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
            var low = before
            // Above whatever this process was started with: other tests have descriptors open as well.
            let open = (0..<before.rlim_cur).last { fcntl(CInt($0), F_GETFD) >= 0 } ?? 0
            low.rlim_cur = open + 100
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &low)
            // Never all of them: Swift's threads die of no descriptor at all.
            func takeAll(but left: Int) {
                let free = (0..<low.rlim_cur).count { fcntl(CInt($0), F_GETFD) < 0 }
                for _ in 0..<max(0, free - left) { _ = dup(0) }
            }
            // The 32 of the reserve, and five.
            takeAll(but: 37)
            try await run.onLoop { _ in listener.value.start() }
            // One of the reserve shows that it has come to that.
            try await poll("six") { try await run.onLoop { _ in count.value >= 6 } }
            for _ in 0..<10 { try await run.onLoop { _ in } }
            #expect(try await run.onLoop { _ in count.value } == 6)
            // Nor does it take what is left when the reserve cannot be had whole.
            takeAll(but: 8)
            try await run.onLoop { _ in listener.value.start() }
            for _ in 0..<10 { try await run.onLoop { _ in } }
            #expect(try await run.onLoop { _ in count.value } == 6)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
            try await poll("all of them") { try await run.onLoop { _ in count.value == 20 } }
            withExtendedLifetime(peers) {}
        }
    }
}
