import Foundation

/// What a run gave, printed as one table or one JSON object.
struct Report: Encodable {
    var sent: UInt64
    var expected: UInt64
    var delivered: UInt64
    var outOfOrder: UInt64
    var seconds: Double
    var deliveriesPerSecond: Double
    var serverMicrosecondsPerDelivery: Double?
    var generatorMicrosecondsPerDelivery: Double
    /// Of one core: near 1 the generator is what was measured.
    var generatorShare: Double
    var latencyMilliseconds: Percentiles?
    var serverPSSKilobytes: Int?
    /// Members that read and were closed nevertheless.
    var readersClosed: Int?
    /// Frames that were no messages of the load.
    var unrecognized: UInt64?
    /// What came to members that read slowly, and how many of those were closed.
    var slowDelivered: UInt64?
    var slowClosed: Int?

    init(
        sent: UInt64,
        expected: UInt64,
        delivered: UInt64,
        outOfOrder: UInt64,
        _ measurement: Measurement,
        latencies: Latencies? = nil
    ) {
        self.sent = sent
        self.expected = expected
        self.delivered = delivered
        self.outOfOrder = outOfOrder
        seconds = measurement.seconds
        deliveriesPerSecond = Double(delivered) / max(seconds, 1e-9)
        let deliveries = Double(max(delivered, 1))
        serverMicrosecondsPerDelivery = measurement.serverNanoseconds.map { Double($0) / 1_000 / deliveries }
        generatorMicrosecondsPerDelivery = Double(measurement.generatorNanoseconds) / 1_000 / deliveries
        generatorShare = Double(measurement.generatorNanoseconds) / 1e9 / max(seconds, 1e-9)
        serverPSSKilobytes = measurement.serverPSSKilobytes
        latencyMilliseconds = latencies?.percentiles
    }

    /// Whether everything sent arrived once and in order.
    var isWhole: Bool { expected == delivered && outOfOrder == 0 && readersClosed ?? 0 == 0 }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("messages sent        \(sent)")
        print("deliveries           \(delivered) of \(expected) expected, \(outOfOrder) out of order")
        print("deliveries per s     \(Int(deliveriesPerSecond)) in \(text(seconds, 2)) s")
        if let server = serverMicrosecondsPerDelivery { print("server CPU           \(text(server)) us per delivery") }
        print(
            "generator CPU        \(text(generatorMicrosecondsPerDelivery)) us per delivery, "
                + "\(text(generatorShare * 100, 0)) % of a core"
        )
        if let latencyMilliseconds { print("latency, ms          \(latencyMilliseconds.line)") }
        if let memory = serverPSSKilobytes { print("server PSS           \(memory) KB") }
        if let readersClosed, readersClosed > 0 { print("readers closed       \(readersClosed)") }
        if let unrecognized, unrecognized > 0 { print("not of this load     \(unrecognized) frames") }
        if let slowDelivered { print("slow members         \(slowDelivered) deliveries, \(slowClosed ?? 0) closed") }
    }

    private func text(_ value: Double, _ digits: Int = 3) -> String {
        String(format: "%.\(digits)f", value)
    }
}

/// Prints a value as one line of JSON.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
