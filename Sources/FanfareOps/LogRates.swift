import Dispatch
package import FanfareModel
package import Logging
import NIOCore
import Synchronization

/// Which log lines are written: of each message the first few in a window of time. The others are counted, and the
/// count is a line of its own at the end of the window, so that nothing disappears unsaid.
///
/// Messages are fixed texts; what varies is in their metadata. So a fault that hits ten thousand connections writes a
/// few lines, and a disk is not filled by whoever can make a server refuse him. Pure: time is an argument.
package struct LogRates: Sendable {
    /// A message of a logger.
    package struct Source: Sendable, Hashable {
        package var logger: String
        package var message: String

        package init(logger: String, message: String) {
            self.logger = logger
            self.message = message
        }
    }

    /// Lines of one message that were not written.
    package struct Summary: Sendable, Equatable {
        package var source: Source
        package var level: Logger.Level
        package var suppressed: UInt64

        /// The line that says so: the message, with nothing but the count.
        var line: LogLine {
            LogLine(
                time: .now,
                level: level,
                logger: source.logger,
                message: source.message,
                metadata: ["suppressed": .stringConvertible(suppressed)]
            )
        }
    }

    /// What becomes of a line.
    package enum Verdict: Sendable, Equatable {
        case written
        /// Counted. `isFirst`: nobody has been told yet that there will be something to say at the window's end.
        case suppressed(isFirst: Bool)
    }

    private struct Window {
        let end: Instant
        var level: Logger.Level
        var written = 0
        var suppressed: UInt64 = 0
    }

    /// Lines of one message that are written in a window.
    package static let linesMaximum = 50
    /// How long a window is; it begins with its first line.
    package static let window = Milliseconds(10_000)
    /// Messages told apart at a time. Those beyond share one window.
    package static let sourcesMaximum = 256
    package static let others = Source(logger: "fanfare.logs", message: "further messages")

    private var windows: [Source: Window] = [:]

    package init() {}

    /// Whether a line is written.
    ///
    /// - Parameter count: How many lines it stands for, if it tells of others that were kept back before.
    package mutating func admit(
        _ source: Source,
        _ level: Logger.Level,
        count: UInt64 = 1,
        at now: Instant
    ) -> Verdict {
        let isKnown = windows[source] != nil || windows.count < Self.sourcesMaximum
        let source = isKnown ? source : Self.others
        var window = windows[source] ?? Window(end: now.advanced(by: Self.window), level: level)
        defer { windows[source] = window }
        window.level = max(window.level, level)
        guard window.written >= Self.linesMaximum else {
            window.written += 1
            return .written
        }
        let isFirst = window.suppressed == 0
        window.suppressed = window.suppressed.addingClamped(count)
        return .suppressed(isFirst: isFirst)
    }

    /// Ends the windows whose time is over, or all, and says what they kept back.
    package mutating func end(at now: Instant, all: Bool = false) -> [Summary] {
        var summaries: [Summary] = []
        for (source, window) in windows where all || window.end <= now {
            windows[source] = nil
            guard window.suppressed > 0 else { continue }
            summaries.append(Summary(source: source, level: window.level, suppressed: window.suppressed))
        }
        return summaries.sorted { ($0.source.logger, $0.source.message) < ($1.source.logger, $1.source.message) }
    }
}

/// The rates of a process, for loggers on any thread.
package final class LogThrottle: Sendable {
    /// Runs a body later; replaced in tests.
    package typealias Later = @Sendable (_ delay: Milliseconds, _ body: @escaping @Sendable () -> Void) -> Void

    private let rates = Mutex(LogRates())
    private let now: @Sendable () -> Instant
    private let later: Later
    private let write: @Sendable (LogRates.Summary) -> Void

    /// - Parameter write: Takes what was kept back, at the end of its window.
    package init(
        now: @escaping @Sendable () -> Instant = { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) },
        later: @escaping Later = { delay, body in
            let time = DispatchTime.now() + .milliseconds(Int(clamping: delay.value))
            DispatchQueue.global().asyncAfter(deadline: time, execute: body)
        },
        write: @escaping @Sendable (LogRates.Summary) -> Void
    ) {
        self.now = now
        self.later = later
        self.write = write
    }

    /// Whether a line is written. Lines below `info` always are: who asks for them wants them all.
    package func admits(_ source: LogRates.Source, _ level: Logger.Level, count: UInt64 = 1) -> Bool {
        guard level >= .info else { return true }
        let now = now()
        let (verdict, ended) = rates.withLock { rates in
            let ended = rates.end(at: now)
            return (rates.admit(source, level, count: count, at: now), ended)
        }
        for summary in ended { write(summary) }
        switch verdict {
        case .written: return true
        case .suppressed(let isFirst):
            if isFirst { later(LogRates.window) { [self] in flush(all: false) } }
            return false
        }
    }

    /// Writes what was kept back in windows that are over, or in all.
    package func flush(all: Bool) {
        let now = now()
        for summary in rates.withLock({ $0.end(at: now, all: all) }) { write(summary) }
    }
}
