import FanfareModel
import Glibc
package import Logging

/// The shape of a line of log.
package enum LogFormat: String, Sendable, CaseIterable {
    /// For people: time, level, logger, message, `key=value`.
    case text
    /// For machines: one JSON object per line.
    case json
}

/// A moment of the wall clock, as log lines show it.
package struct WallTime: Sendable, Equatable {
    /// Seconds since 1970 in UTC, without leap seconds.
    package var seconds: Int
    /// 0 to 999.
    package var milliseconds: Int

    package init(seconds: Int, milliseconds: Int) {
        self.seconds = seconds
        self.milliseconds = milliseconds
    }

    /// The moment of the call.
    package static var now: WallTime {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: time.tv_sec, milliseconds: time.tv_nsec / 1_000_000)
    }

    /// RFC 3339 in UTC with milliseconds: `2026-11-21T09:30:00.042Z`.
    package var rfc3339: String {
        var seconds = seconds
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func digits(_ number: Int32, _ width: Int = 2) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
        }
        let date = "\(digits(parts.tm_year + 1_900, 4))-\(digits(parts.tm_mon + 1))-\(digits(parts.tm_mday))"
        let time = "\(digits(parts.tm_hour)):\(digits(parts.tm_min)):\(digits(parts.tm_sec))"
        return "\(date)T\(time).\(digits(Int32(milliseconds), 3))Z"
    }
}

/// One log statement, ready to be written down. Pure: the same statement is always the same line.
package struct LogLine: Sendable {
    package var time: WallTime
    package var level: Logger.Level
    package var logger: String
    package var message: String
    package var metadata: Logger.Metadata

    /// Keys the line itself uses; metadata that has one of them gets a `_` in front.
    private static let ownKeys: Set<String> = ["time", "level", "logger", "message"]

    package init(time: WallTime, level: Logger.Level, logger: String, message: String, metadata: Logger.Metadata) {
        self.time = time
        self.level = level
        self.logger = logger
        self.message = message
        self.metadata = metadata
    }

    /// The line in `format`, with its line feed. No value can break the line or start another.
    package func bytes(_ format: LogFormat) -> [UInt8] {
        switch format {
        case .json: json
        case .text: text
        }
    }

    private var json: [UInt8] {
        var line = JSONText()
        line.append(verbatim: "{\"time\":")
        line.append(text: time.rfc3339)
        line.append(verbatim: ",\"level\":")
        line.append(text: level.rawValue)
        line.append(verbatim: ",\"logger\":")
        line.append(text: logger)
        line.append(verbatim: ",\"message\":")
        line.append(text: message)
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            line.append(verbatim: ",")
            line.append(text: unused(key))
            line.append(verbatim: ":")
            line.append(Self.plain(value))
        }
        line.append(verbatim: "}\n")
        return line.bytes
    }

    private var text: [UInt8] {
        let level = level.rawValue + String(repeating: " ", count: max(0, 8 - level.rawValue.utf8.count))
        var line = "\(time.rfc3339) \(level) \(logger): \(Self.shown(message, spacesAllowed: true))"
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            let shown =
                switch Self.plain(value) {
                case .string(let text): Self.shown(text, spacesAllowed: false)
                case let other: JSONText.render(other)
                }
            line += " \(Self.shown(key, spacesAllowed: false))=\(shown)"
        }
        return Array((line + "\n").utf8)
    }

    /// `key`, or the first of `_key`, `__key` … that nothing else in this line is called.
    private func unused(_ key: String) -> String {
        guard Self.ownKeys.contains(key) else { return key }
        var name = "_" + key
        while metadata[name] != nil { name = "_" + name }
        return name
    }

    /// `text` as it is when nothing in it could be taken for something else, in JSON quotes otherwise.
    private static func shown(_ text: String, spacesAllowed: Bool) -> String {
        let isPlain = text.unicodeScalars.allSatisfy { scalar in
            switch scalar {
            case " ", "=", "\"": spacesAllowed
            case "\u{00}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}": false
            default: true
            }
        }
        return isPlain && !text.isEmpty ? text : JSONText.render(.string(text))
    }

    private static func plain(_ value: Logger.MetadataValue) -> MessageValue {
        switch value {
        case .string(let text): .string(text)
        case .stringConvertible(let value): number(value) ?? .string(value.description)
        case .array(let values): .array(values.map(plain))
        case .dictionary(let entries): .map(entries.mapValues(plain))
        }
    }

    /// Numbers and truth values stay what they are, so that a log store can compare them.
    private static func number(_ value: any CustomStringConvertible) -> MessageValue? {
        switch value {
        case let value as Bool: .bool(value)
        case let value as Double: .double(value)
        case let value as any BinaryInteger: .count(value)
        default: nil
        }
    }
}
