import Foundation

/// What a run of messages through a broker gave: what every load gives, and how it was loaded.
struct BrokerReport: Encodable {
    private let mode: BrokerCommand.Mode
    private let `protocol`: BrokerCommand.ProtocolName
    private let window: Int
    private let report: Report
    /// Of `members`: the broker's CPU time for a group send, by the number of members.
    var microsecondsPerGroupSend: [String: Double]?
    /// Of `members`: the dearest size over the cheapest.
    var ratio: Double?

    init(_ command: BrokerCommand, _ counts: BrokerCounts, _ measurement: Measurement) {
        mode = command.mode
        `protocol` = command.protocol
        window = command.window
        report = Report(
            sent: counts.sent,
            expected: counts.expected,
            delivered: counts.delivered,
            outOfOrder: counts.outOfOrder,
            measurement,
            latencies: counts.latencies
        )
    }

    private enum Key: CodingKey {
        case mode, `protocol`, window, microsecondsPerGroupSend, ratio
    }

    func encode(to encoder: any Encoder) throws {
        try report.encode(to: encoder)
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(mode.rawValue, forKey: .mode)
        try container.encode(`protocol`.rawValue, forKey: .protocol)
        try container.encode(window, forKey: .window)
        try container.encodeIfPresent(microsecondsPerGroupSend, forKey: .microsecondsPerGroupSend)
        try container.encodeIfPresent(ratio, forKey: .ratio)
    }

    /// Whether everything sent arrived once and in order.
    var isWhole: Bool { report.isWhole }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("\(`protocol`.rawValue) \(mode.rawValue), \(window) under way")
        try report.show(asJSON: false)
        for (size, cost) in (microsecondsPerGroupSend ?? [:]).sorted(by: { $0.value < $1.value }) {
            print("group send           \(String(format: "%.3f", cost)) us of server CPU with \(size) members")
        }
        if let ratio { print("dearest to cheapest  \(String(format: "%.3f", ratio))") }
    }
}

/// The two sides of the account.
struct BrokerCounts {
    var sent: UInt64 = 0
    var expected: UInt64 = 0
    var delivered: UInt64 = 0
    var outOfOrder: UInt64 = 0
    var latencies = Latencies()
}
