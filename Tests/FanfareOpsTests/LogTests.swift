import FanfareModel
import Foundation
import Logging
import Synchronization
import Testing

@testable import FanfareOps

/// Keeps what a handler writes.
private final class Written: Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func take(_ bytes: [UInt8]) { lines.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }
}

@Suite struct LogTests {
    private let time = WallTime(seconds: 1_763_683_442, milliseconds: 7)

    private func line(_ message: String, _ metadata: Logger.Metadata, _ format: LogFormat) -> String {
        let line = LogLine(time: time, level: .info, logger: "fanfare", message: message, metadata: metadata)
        return String(decoding: line.bytes(format), as: UTF8.self)
    }

    @Test func `a JSON line has its own keys first and metadata in the order of its keys`() {
        let metadata: Logger.Metadata = [
            "sockets": .stringConvertible(3), "broker": "unix:/x", "open": .stringConvertible(true),
            "list": ["a", .stringConvertible(0.5)], "map": ["b": "1", "a": "2"],
        ]
        #expect(
            line("ready", metadata, .json)
                == #"{"time":"2025-11-21T00:04:02.007Z","level":"info","logger":"fanfare","message":"ready","#
                + #""broker":"unix:/x","list":["a",0.5],"map":{"a":"2","b":"1"},"open":true,"sockets":3}"# + "\n"
        )
    }

    @Test(arguments: [
        "plain", "quo\"te", "back\\slash", "new\nline\r\ttab", "\u{0}\u{1}\u{1f}\u{7f}\u{9b}", "\u{2028}\u{2029}",
        "é 漢 👩‍👩‍👧", "\u{1b}[31mred", "</script>", "\u{fffd}\u{10ffff}",
    ])
    func `any text survives a JSON line and a JSON parser`(text: String) throws {
        let written = line(text, ["key \(text)": .string(text)], .json)
        #expect(written.filter(\.isNewline) == "\n")
        #expect(!written.unicodeScalars.dropLast().contains { $0.properties.generalCategory == .control })
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(written.utf8)) as? [String: Any])
        #expect(parsed["message"] as? String == text)
        #expect(parsed["key \(text)"] as? String == text)
        #expect(parsed.count == 5)
    }

    @Test func `metadata cannot overwrite the keys of the line`() throws {
        let written = line("true message", ["message": "forged", "_message": "other", "level": "x"], .json)
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(written.utf8)) as? [String: String])
        #expect(parsed["message"] == "true message")
        #expect(parsed["level"] == "info")
        #expect(parsed["_message"] == "other")
        #expect(parsed["__message"] == "forged")
        #expect(parsed["_level"] == "x")
    }

    @Test func `a text line is for people and cannot be broken by what it shows`() {
        #expect(line("ready now", ["a": "b"], .text) == "2025-11-21T00:04:02.007Z info     fanfare: ready now a=b\n")
        let forged = line("x\n2025 info fanfare: forged", ["k": "a b=\"c\"\n", "empty": ""], .text)
        #expect(forged.filter(\.isNewline) == "\n")
        #expect(forged.hasSuffix(#"empty="" k="a b=\"c\"\n""# + "\n"))
    }

    @Test(arguments: [
        (0, 0, "1970-01-01T00:00:00.000Z"), (951_827_696, 999, "2000-02-29T12:34:56.999Z"),
        (4_102_444_799, 50, "2099-12-31T23:59:59.050Z"),
    ])
    func `time is RFC 3339 in UTC with milliseconds`(seconds: Int, milliseconds: Int, text: String) {
        #expect(WallTime(seconds: seconds, milliseconds: milliseconds).rfc3339 == text)
    }

    @Test func `a statement's metadata wins over the logger's, and its error is shown`() throws {
        let written = Written()
        var logger = Logger(label: "fanfare") { label in
            LineLogHandler(label: label, level: .info, format: .json) { written.take($0) }
        }
        logger[metadataKey: "session"] = "1"
        logger[metadataKey: "peer"] = "a"
        logger.debug("not written")
        logger.warning("lost", error: ProgramFailure(.unavailable, "gone"), metadata: ["session": "2"])
        let line = try #require(written.all.first)
        #expect(written.all.count == 1)
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
        #expect(parsed["level"] == "warning")
        #expect(parsed["session"] == "2")
        #expect(parsed["peer"] == "a")
        #expect(parsed["error"]?.contains("gone") == true)
    }

    @Test func `JSON of any value parses and is the same each time`() throws {
        let value: MessageValue = [
            "null": nil, "int": .int(.min), "double": 0.1, "nan": .double(.nan), "bytes": .binary([0, 255]),
            "list": [1, "two", true], "map": ["b": [:], "a": []],
        ]
        let text = JSONText.render(value)
        #expect(
            text
                == #"{"bytes":{"$bytes":"AP8="},"double":0.1,"int":-9223372036854775808,"list":[1,"two",true],"#
                + #""map":{"a":[],"b":{}},"nan":null,"null":null}"#
        )
        _ = try JSONSerialization.jsonObject(with: Data(text.utf8))
    }
}

@Suite struct LogRatesTests {
    private let source = LogRates.Source(logger: "l", message: "refused")

    private func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    @Test func `the first lines of a message pass, the others are counted, and the count is told once`() {
        var rates = LogRates()
        let written = (0..<1_000).count { _ in rates.admit(source, .warning, at: at(0)) == .written }
        #expect(written == LogRates.linesMaximum)
        #expect(rates.end(at: at(9_999)).isEmpty)
        let kept = UInt64(1_000 - LogRates.linesMaximum)
        #expect(rates.end(at: at(10_000)) == [.init(source: source, level: .warning, suppressed: kept)])
        #expect(rates.end(at: at(30_000), all: true).isEmpty)
        #expect(rates.admit(source, .warning, at: at(10_000)) == .written)
    }

    @Test func `messages and loggers are told apart`() {
        var rates = LogRates()
        for _ in 0...LogRates.linesMaximum { _ = rates.admit(source, .error, at: at(0)) }
        #expect(rates.admit(source, .error, at: at(0)) == .suppressed(isFirst: false))
        #expect(rates.admit(.init(logger: "l", message: "other"), .error, at: at(0)) == .written)
        #expect(rates.admit(.init(logger: "m", message: "refused"), .error, at: at(0)) == .written)
    }

    @Test func `ever new messages share one window when there are too many`() {
        var rates = LogRates()
        let count = 100_000
        var written = 0
        for number in 0..<count {
            let source = LogRates.Source(logger: "l", message: "\(number)")
            if rates.admit(source, .info, at: at(0)) == .written { written += 1 }
        }
        #expect(written == LogRates.sourcesMaximum + LogRates.linesMaximum)
        let kept = rates.end(at: at(0), all: true)
        #expect(kept.map(\.source) == [LogRates.others])
        #expect(kept.map(\.suppressed) == [UInt64(count - written)])
    }

    @Test func `a line that stands for others counts as many, and the sum does not overflow`() {
        var rates = LogRates()
        for _ in 0..<LogRates.linesMaximum { _ = rates.admit(source, .error, at: at(0)) }
        #expect(rates.admit(source, .error, count: 5, at: at(0)) == .suppressed(isFirst: true))
        #expect(rates.admit(source, .error, count: .max, at: at(0)) == .suppressed(isFirst: false))
        #expect(rates.end(at: at(0), all: true).map(\.suppressed) == [.max])
    }

    @Test func `a handler writes the first lines and, when the time has come, one with the count of the others`() throws
    {
        let written = Written()
        let times = Mutex<[@Sendable () -> Void]>([])
        let clock = Mutex(at(0))
        let throttle = LogThrottle(
            now: { clock.withLock { $0 } },
            later: { delay, body in
                #expect(delay == LogRates.window)
                times.withLock { $0.append(body) }
            },
            write: { written.take($0.line.bytes(.json)) }
        )
        let logger = Logger(label: "fanfare") { label in
            LineLogHandler(label: label, level: .debug, format: .json, throttle: throttle) { written.take($0) }
        }
        for number in 0..<300 {
            logger.notice("refused", metadata: ["number": "\(number)", "suppressed": .stringConvertible(1)])
            logger.debug("detail")
        }
        let lines = LogRates.linesMaximum
        #expect(written.all.count == lines + 300)
        clock.withLock { $0 = at(10_000) }
        let due = times.withLock { $0 }
        #expect(due.count == 1)
        for body in due { body() }
        let last = try #require(written.all.last)
        let parsed = try #require(try JSONSerialization.jsonObject(with: Data(last.utf8)) as? [String: Any])
        #expect(parsed["message"] as? String == "refused" && parsed["level"] as? String == "notice")
        #expect(parsed["suppressed"] as? Int == 2 * (300 - lines))
        throttle.flush(all: true)
        #expect(written.all.count == lines + 301)
    }
}
