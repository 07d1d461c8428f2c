import Foundation
import NIOCore
import Testing

@testable import FanfareTransport

/// Processes behind Unix sockets.
struct ProcessWatchTests {
    private final class Call: @unchecked Sendable {
        // Touched on the loop only; the test reads it through `submit`.
        var watch: ProcessWatch?
        var count = 0
    }

    private func sleeper() throws -> Process {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sleep")
        process.arguments = ["600"]
        try process.run()
        return process
    }

    private func begin(_ process: Int32, _ loop: EpollLoop, _ call: Call) async throws -> Bool {
        try await loop.submit {
            call.watch = ProcessWatch(of: process, on: loop) { call.count += 1 }
            return call.watch != nil
        }.get()
    }

    @Test func `the end of a process is told once`() async throws {
        let loop = try EpollLoop(name: "processes")
        let (process, call) = (try sleeper(), Call())
        #expect(try await begin(process.processIdentifier, loop, call))
        #expect(try await loop.submit { call.count }.get() == 0)
        kill(process.processIdentifier, SIGKILL)
        while try await loop.submit({ call.count }).get() == 0 { try await Task.sleep(for: .milliseconds(5)) }
        #expect(try await loop.submit { call.count }.get() == 1)
        try await loop.shutdownGracefully()
    }

    @Test func `nothing is told when the watch was cancelled`() async throws {
        let loop = try EpollLoop(name: "processes")
        let (process, cancelled, other) = (try sleeper(), Call(), Call())
        #expect(try await begin(process.processIdentifier, loop, cancelled))
        #expect(try await begin(process.processIdentifier, loop, other))
        try await loop.submit { cancelled.watch?.cancel() }.get()
        kill(process.processIdentifier, SIGKILL)
        while try await loop.submit({ other.count }).get() == 0 { try await Task.sleep(for: .milliseconds(5)) }
        #expect(try await loop.submit { cancelled.count }.get() == 0)
        try await loop.shutdownGracefully()
    }

    @Test func `a process that does not exist cannot be watched`() async throws {
        let loop = try EpollLoop(name: "processes")
        let process = try sleeper()
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        #expect(try await begin(process.processIdentifier, loop, Call()) == false)
        try await loop.shutdownGracefully()
    }
}
