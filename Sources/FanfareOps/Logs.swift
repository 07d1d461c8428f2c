package import Logging

/// Sets up logging for a program. The only place that knows where log lines go: standard error.
package enum Logs {
    /// Installs the log handler for the whole process. Call once, before the first `Logger` is made.
    ///
    /// - Parameters:
    ///   - format: The shape of the lines; `nil` chooses text on a terminal and JSON everywhere else.
    ///   - level: The least severe level that is written.
    package static func bootstrap(format: LogFormat?, level: Logger.Level) {
        let format = format ?? (StandardStream.error.isTerminal ? .text : .json)
        LoggingSystem.bootstrap { label in
            LineLogHandler(label: label, level: level, format: format) { StandardStream.error.write($0) }
        }
    }
}

/// Writes each log statement as one line with one `write`, so that lines of several threads do not mix.
package struct LineLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let format: LogFormat
    private let write: @Sendable ([UInt8]) -> Void

    /// - Parameters:
    ///   - label: The logger's name.
    ///   - level: The least severe level that is written.
    ///   - format: The shape of the lines.
    ///   - write: Takes each finished line. Called on any thread.
    package init(
        label: String,
        level: Logger.Level,
        format: LogFormat,
        write: @escaping @Sendable ([UInt8]) -> Void
    ) {
        self.label = label
        logLevel = level
        self.format = format
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
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
