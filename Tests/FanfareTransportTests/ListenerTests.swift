import FanfareModel
import FanfareTransport
import Glibc
import NIOCore
import Testing

struct ListenerTests {
    private let folder: TemporaryFolder
    private let path: String
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
        folder = try TemporaryFolder()
        path = folder.path + "/broker.sock"
    }

    private func bind(_ endpoint: Endpoint) async throws -> Listener {
        try await run.onLoop { loop in
            let turn = WriteTurn(loop: loop)
            return try Listener.bind(endpoint, on: loop) { _ in
                FrameConnection(receiver: Recorder(on: loop), turn: turn, frameBytes: 1_000)
            }
        }
    }

    private func bindUnix() async throws -> Listener {
        try await bind(.unix(path: path))
    }

    private func inode() -> ino_t? {
        var facts = stat()
        return lstat(path, &facts) == 0 ? facts.st_ino : nil
    }

    /// A socket file, with or without somebody behind it.
    private func plainSocket(isListening: Bool) throws -> CInt {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(result == 0)
        if isListening { try #require(listen(descriptor, 5) == 0) }
        return descriptor
    }

    @Test("a socket nobody listens on is replaced")
    func staleSocket() async throws {
        Glibc.close(try plainSocket(isListening: true))
        let stale = try #require(inode())
        #expect(try RawSocket.isRefused(path))
        let listener = try await bindUnix()
        #expect(try !RawSocket.isRefused(path))
        #expect(inode() != nil)
        try await run.onLoop { _ in listener.close() }
        _ = stale
    }

    @Test("a socket somebody listens on is refused and left alone")
    func liveSocket() async throws {
        let live = try plainSocket(isListening: true)
        defer { Glibc.close(live) }
        let before = inode()
        let failure = await #expect(throws: ProgramFailure.self) { try await bindUnix() }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.contains(path) == true)
        #expect(failure?.text.contains("listening") == true)
        #expect(inode() == before)
        #expect(try !RawSocket.isRefused(path))
    }

    @Test("anything but a socket is refused and left alone")
    func otherFile() async throws {
        Glibc.close(open(path, O_CREAT | O_WRONLY, 0o600))
        let failure = await #expect(throws: ProgramFailure.self) { try await bindUnix() }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.contains("no socket") == true)
        #expect(inode() != nil)
        unlink(path)
        // A link is no socket either, wherever it points.
        symlink("/tmp", path)
        await #expect(throws: ProgramFailure.self) { try await bindUnix() }
        #expect(inode() != nil)
    }

    @Test("a missing folder is refused with its name")
    func missingFolder() async throws {
        let failure = await #expect(throws: ProgramFailure.self) {
            try await bind(.unix(path: folder.path + "/missing/broker.sock"))
        }
        #expect(failure?.exit == .configuration)
        #expect(failure?.text.contains("\(folder.path)/missing/") == true)
        #expect(failure?.text.contains("make the folder") == true)
    }

    @Test("closing takes the socket away")
    func removesOwn() async throws {
        let listener = try await bindUnix()
        #expect(inode() != nil)
        try await run.onLoop { _ in listener.close() }
        #expect(inode() == nil)
    }

    @Test("closing leaves a socket that somebody put in the place of ours")
    func leavesOthers() async throws {
        let listener = try await bindUnix()
        unlink(path)
        let other = try plainSocket(isListening: true)
        defer { Glibc.close(other) }
        let before = inode()
        try await run.onLoop { _ in listener.close() }
        #expect(inode() == before)
        #expect(try !RawSocket.isRefused(path))
    }

    @Test("of many that start at once on one stale socket exactly one listens, and the socket is its own")
    func startsAtOnce() async throws {
        Glibc.close(try plainSocket(isListening: true))
        let listeners = await withTaskGroup(of: Listener?.self, returning: [Listener].self) { group in
            for _ in 0..<8 { group.addTask { try? await bindUnix() } }
            return await group.reduce(into: []) { if let listener = $1 { $0.append(listener) } }
        }
        #expect(listeners.count == 1)
        #expect(try !RawSocket.isRefused(path))
        for listener in listeners { try await run.onLoop { _ in listener.close() } }
        #expect(inode() == nil)
    }

    @Test("the socket is the owner's and the group's, and starting at once does not change the process's umask")
    func mode() async throws {
        let before = umask(0o022)
        umask(before)
        let folders = try (0..<8).map { _ in try TemporaryFolder() }
        let listeners = try await withThrowingTaskGroup(of: Listener.self, returning: [Listener].self) { group in
            for folder in folders {
                group.addTask { try await bind(.unix(path: folder.path + "/broker.sock")) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for folder in folders {
            var facts = stat()
            try #require(lstat(folder.path + "/broker.sock", &facts) == 0)
            #expect(facts.st_mode & 0o777 == 0o660)
        }
        for listener in listeners { try await run.onLoop { _ in listener.close() } }
        let after = umask(before)
        #expect(after == before)
    }

    @Test("port 0 becomes a port, a taken one is refused, a host that is none too")
    func tcp() async throws {
        let listener = try await bind(.tcp(host: "127.0.0.1", port: 0))
        guard case .tcp("127.0.0.1", let port) = listener.endpoint else {
            Issue.record("not the host it was given")
            return
        }
        #expect(port > 0)
        for endpoint in [listener.endpoint, .tcp(host: "203.0.113.1", port: 1)] {
            let failure = await #expect(throws: ProgramFailure.self) { try await bind(endpoint) }
            #expect(failure?.exit == .configuration)
            #expect(failure?.text.contains(endpoint.description) == true)
        }
        try await run.onLoop { _ in listener.close() }
    }
}
