import FanfareModel
package import Logging
import Synchronization

/// Sets up logging for a program. The only place that knows where log lines go: standard error.
package enum Logs {
    /// Installs the log handler for the whole process. Call once, before the first `Logger` is made.
    ///
    /// - Parameters:
    ///   - format: The shape of the lines; `nil` chooses text on a terminal and JSON everywhere else.
    ///   - level: The least severe level that is written.
    package static func bootstrap(format: LogFormat?, level: Logger.Level) {
        let format = format ?? (StandardStream.error.isTerminal ? .text : .json)
        let write: @Sendable ([UInt8]) -> Void = { StandardStream.error.write($0) }
        let throttle = LogThrottle { write($0.line.bytes(format)) }
        LoggingSystem.bootstrap { label in
            LineLogHandler(label: label, level: level, format: format, throttle: throttle, write: write)
        }
        installed.withLock { $0 = throttle }
    }

    /// Writes how many lines were kept back and not told of yet, for a program that ends.
    package static func flush() {
        installed.withLock { $0 }?.flush(all: true)
    }

    private static let installed = Mutex<LogThrottle?>(nil)
}

/// Writes each log statement as one line with one `write`, so that lines of several threads do not mix.
package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let format: LogFormat
    private let throttle: LogThrottle?
    private let write: @Sendable ([UInt8]) -> Void

    /// - Parameters:
    ///   - label: The logger's name.
    ///   - level: The least severe level that is written.
    ///   - format: The shape of the lines.
    ///   - throttle: Decides which lines are written; `nil`: all.
    ///   - write: Takes each finished line. Called on any thread.
    package init(
        label: String,
        level: Logger.Level,
        format: LogFormat,
        throttle: LogThrottle? = nil,
        write: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.label = label
        logLevel = level
        self.format = format
        self.throttle = throttle
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        let source = LogRates.Source(logger: label, message: event.message.description)
        // A line may stand for others that its own place has kept back.
        let keptBack = event.metadata?["suppressed"].flatMap { UInt64("\($0)") } ?? 0
        guard throttle?.admits(source, event.level, count: keptBack.addingClamped(1)) ?? true else { return }
        // The statement knows best, then the surroundings, then the logger.
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let given = event.metadata { all.merge(given) { $1 } }
        if let error = event.error, all["error"] == nil { all["error"] = "\(error)" }
        let line = LogLine(
            time: .now,
            level: event.level,
            logger: label,
            message: event.message.description,
            metadata: all
        )
        write(line.bytes(format))
    }
}
