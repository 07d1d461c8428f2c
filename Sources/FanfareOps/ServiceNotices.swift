import Glibc
package import Logging
import Synchronization

/// Tells the service manager how a program does, if there is one that asks.
package final class ServiceNotices: Sendable {
    private let address: NoticeAddress?
    private let watchdogMicroseconds: UInt64?
    private let logger: Logger
    private let hasStopped = Atomic(false)

    /// However long the watchdog's time is.
    private static let halfMicrosecondsMaximum: UInt64 = 3_600_000_000
    /// Bytes of a status that are shown.
    private static let statusBytes = 512

    package init(_ manager: ServiceManager, logger: Logger) {
        address = manager.noticeAddress
        watchdogMicroseconds = manager.watchdogMicroseconds
        self.logger = logger
    }

    /// The program serves; also what follows ``reloading()``.
    package func ready(_ status: String) {
        send("READY=1", status: status)
    }

    /// The program reads its files again; ``ready(_:)`` follows.
    package func reloading() {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let microseconds = UInt64(now.tv_sec) * 1_000_000 + UInt64(now.tv_nsec) / 1_000
        send("RELOADING=1\nMONOTONIC_USEC=\(microseconds)", status: "reads its files again")
    }

    /// The program takes its leave; told once.
    package func stopping() {
        guard !hasStopped.exchange(true, ordering: .relaxed) else { return }
        send("STOPPING=1", status: "stops")
    }

    /// Says twice in the watchdog's time that the program works, as long as it does: each time only after all that has a
    /// loop has turned it. Returns when one has ended; never while one is stuck, and at once without a watchdog.
    ///
    /// - Parameter turns: One for each loop; returns when it has turned, false when it has ended.
    package func watch(_ turns: [@Sendable () async -> Bool]) async {
        guard address != nil, let watchdogMicroseconds else { return }
        // The clock of the manager's watchdog: it stands still while the machine sleeps.
        let clock = SuspendingClock()
        let half = Duration.microseconds(max(1, min(watchdogMicroseconds / 2, Self.halfMicrosecondsMaximum)))
        var due = clock.now
        while !Task.isCancelled {
            for turn in turns { guard await turn() else { return } }
            send("WATCHDOG=1")
            due = max(due.advanced(by: half), clock.now)
            try? await clock.sleep(until: due)
        }
    }

    private func send(_ notice: String, status: String? = nil) {
        guard let address else { return }
        let problem = address.send(status.map { "\(notice)\nSTATUS=\(Self.line($0))" } ?? notice)
        guard problem != 0 else { return }
        logger.warning(
            "the service manager was not told",
            metadata: ["notice": "\(notice)", "error": "\(String(cString: strerror(problem)))"]
        )
    }

    /// A line end would begin another notice.
    private static func line(_ status: String) -> String {
        let bytes = status.utf8.prefix(statusBytes).map { $0 < 0x20 || $0 == 0x7f ? 0x20 : $0 }
        return String(decoding: bytes, as: UTF8.self)
    }
}
