import FanfareModel
import Glibc
import Logging
import Synchronization
import Testing

@testable import FanfareOps

@Suite struct ServiceManagerTests {
    private func manager(_ environment: [String: String]) throws -> ServiceManager {
        try ServiceManager(environment: environment, process: 77)
    }

    @Test func `without its variables there is no manager`() throws {
        #expect(try manager([:]) == ServiceManager())
        #expect(try manager(["NOTIFY_SOCKET": "", "PATH": "/bin"]) == ServiceManager())
    }

    @Test func `all that systemd tells is understood`() throws {
        let manager = try manager([
            "NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77",
            "LISTEN_PID": "77", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "fanfare-broker.socket:tls",
        ])
        #expect(try manager.noticeAddress == NoticeAddress("/run/systemd/notify"))
        #expect(manager.watchdogMicroseconds == 30_000_000)
        #expect(
            manager.sockets == [
                .init(descriptor: 3, name: "fanfare-broker.socket"), .init(descriptor: 4, name: "tls"),
            ]
        )
    }

    @Test func `what is meant for another process is not ours`() throws {
        let manager = try manager([
            "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78", "LISTEN_PID": "78", "LISTEN_FDS": "2",
        ])
        #expect(manager == ServiceManager())
        // Without a process the watchdog is for whoever is told, sockets are for nobody.
        #expect(try self.manager(["WATCHDOG_USEC": "1"]).watchdogMicroseconds == 1)
        #expect(try self.manager(["LISTEN_FDS": "1"]).sockets.isEmpty)
    }

    @Test func `sockets may have no names, and none may be given`() throws {
        let nameless = try manager(["LISTEN_PID": "77", "LISTEN_FDS": "1"])
        #expect(nameless.sockets == [.init(descriptor: 3, name: "unknown")])
        #expect(try manager(["LISTEN_PID": "77", "LISTEN_FDS": "0", "LISTEN_FDNAMES": ""]).sockets.isEmpty)
    }

    @Test(arguments: [
        ("NOTIFY_SOCKET", "relative"), ("NOTIFY_SOCKET", "/"), ("NOTIFY_SOCKET", "@"), ("NOTIFY_SOCKET", "vsock:2:1"),
        ("NOTIFY_SOCKET", "/" + String(repeating: "n", count: 107)), ("WATCHDOG_USEC", ""), ("WATCHDOG_USEC", "0"),
        ("WATCHDOG_USEC", "-1"), ("WATCHDOG_USEC", "+1"), ("WATCHDOG_USEC", "1 s"),
        ("WATCHDOG_USEC", "18446744073709551616"), ("LISTEN_FDS", "17"), ("LISTEN_FDS", "-1"), ("LISTEN_FDS", ""),
        ("LISTEN_FDS", "99999999999999999999"), ("LISTEN_PID", "self"), ("WATCHDOG_PID", "-77"),
        ("LISTEN_FDNAMES", "one:two"), ("LISTEN_FDNAMES", "one:"),
    ])
    func `a value that cannot be used is named`(variable: String, value: String) {
        var environment = ["LISTEN_PID": "77", "LISTEN_FDS": "1", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "77"]
        environment[variable] = value
        do {
            _ = try manager(environment)
            Issue.record("\(variable)=\(value) was taken")
        } catch let failure as ProgramFailure {
            #expect(failure.exit == .configuration)
            #expect(failure.text.hasPrefix("$\(variable) \"\(value)\" cannot be used: "))
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func `variables are taken away from children`() throws {
        setenv("NOTIFY_SOCKET", "/run/nobody", 1)
        setenv("LISTEN_PID", "1", 1)
        setenv("LISTEN_FDS", "1", 1)
        #expect(try ServiceManager.take().noticeAddress == NoticeAddress("/run/nobody"))
        for name in ["NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS"] { #expect(getenv(name) == nil) }
    }
}

@Suite struct ServiceNoticesTests {
    private static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    /// Listens as a service manager does.
    private final class Manager: Sendable {
        let name: String
        private let descriptor: CInt

        /// - Parameter isAbstract: Whether the socket has no file.
        init(isAbstract: Bool = true) throws {
            let number = UInt64.random(in: 0...UInt64.max)
            name = isAbstract ? "@fanfare-test-\(number)" : "/tmp/fanfare-notify-\(number)"
            descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) {
                $0.copyBytes(from: name.utf8)
                if isAbstract { $0[0] = 0 }
            }
            let length = 2 + name.utf8.count + (isAbstract ? 0 : 1)
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(length)) }
            }
            try #require(descriptor >= 0 && result == 0)
        }

        deinit {
            close(descriptor)
            if name.hasPrefix("/") { unlink(name) }
        }

        /// Waits for the next notice.
        func next() -> String {
            var bytes = [UInt8](repeating: 0, count: 4_096)
            let count = recv(descriptor, &bytes, bytes.count, 0)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }

        /// Whether a notice waits.
        var hasNext: Bool {
            var byte: UInt8 = 0
            return recv(descriptor, &byte, 1, CInt(MSG_PEEK | MSG_DONTWAIT)) > 0
        }
    }

    private func notices(_ manager: Manager, watchdogMicroseconds: UInt64? = nil) throws -> ServiceNotices {
        var told = ServiceManager()
        told.noticeAddress = try NoticeAddress(manager.name)
        told.watchdogMicroseconds = watchdogMicroseconds
        return ServiceNotices(told, logger: Self.logger)
    }

    @Test(arguments: [true, false])
    func `a manager hears of ready, reload and stop`(isAbstract: Bool) throws {
        let manager = try Manager(isAbstract: isAbstract)
        let notices = try notices(manager)
        notices.ready("serves on unix:/x")
        #expect(manager.next() == "READY=1\nSTATUS=serves on unix:/x")
        notices.reloading()
        let reloading = manager.next().split(separator: "\n")
        try #require(reloading.count == 3)
        #expect(reloading[0] == "RELOADING=1" && reloading[2] == "STATUS=reads its files again")
        #expect(UInt64(reloading[1].dropFirst("MONOTONIC_USEC=".count)) != nil)
        notices.stopping()
        notices.stopping()
        #expect(manager.next() == "STOPPING=1\nSTATUS=stops")
        #expect(!manager.hasNext)
    }

    @Test func `a status is one line and bounded`() throws {
        let manager = try Manager()
        try notices(manager).ready("a\nSTOPPING=1\u{7f}" + String(repeating: "n", count: 10_000))
        let notice = manager.next()
        #expect(notice.hasPrefix("READY=1\nSTATUS=a STOPPING=1 n"))
        #expect(notice.utf8.count == "READY=1\nSTATUS=".utf8.count + 512)
    }

    @Test func `a manager that has gone costs nothing but a warning`() throws {
        var told = ServiceManager()
        told.noticeAddress = try NoticeAddress("/nonexistent/notify")
        ServiceNotices(told, logger: Self.logger).ready("serves")
    }

    @Test func `the watchdog hears as long as every loop turns`() async throws {
        let manager = try Manager()
        let notices = try notices(manager, watchdogMicroseconds: 2_000)
        let turns = Atomic(0)
        await notices.watch([
            { true },
            { turns.add(1, ordering: .relaxed).newValue <= 5 },
        ])
        for _ in 1...5 { #expect(manager.next() == "WATCHDOG=1") }
        #expect(!manager.hasNext, "nothing is said for a loop that has ended")
    }

    @Test func `a loop that is stuck silences the watchdog for all`() async throws {
        let manager = try Manager()
        let notices = try notices(manager, watchdogMicroseconds: 2)
        let (stuck, release) = AsyncStream.makeStream(of: Void.self)
        let looks = Atomic(0)
        let watching = Task {
            await notices.watch([
                {
                    looks.add(1, ordering: .relaxed)
                    return true
                },
                {
                    for await _ in stuck {}
                    return true
                },
            ])
        }
        while looks.load(ordering: .relaxed) == 0 { await Task.yield() }
        for _ in 0..<1_000 { await Task.yield() }
        #expect(!manager.hasNext && looks.load(ordering: .relaxed) == 1)
        release.finish()
        // On another thread than the task that is to say it may need.
        let heard = await Task.detached { manager.next() }.value
        #expect(heard == "WATCHDOG=1")
        watching.cancel()
        await watching.value
    }

    @Test func `without a watchdog nothing is said`() async throws {
        let manager = try Manager()
        await (try notices(manager)).watch([{ true }])
        #expect(!manager.hasNext)
    }
}
