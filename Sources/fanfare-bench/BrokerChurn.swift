import FanfareModel
import Foundation

/// Group add and discard while the broker holds ever more memberships.
///
/// The set grows to 1 000, 10 000, ... memberships. At each size the same number of fresh channels joins groups that
/// exist and leaves them again, in rounds, so that only the size of the set differs between the rows.
struct BrokerChurn {
    private let command: BrokerCommand
    private let poller: BrokerPoller
    private let dialect: BrokerFanfareDialect
    private let memberships: BrokerMemberships
    private let pipeline: BrokerPipeline

    private static let roundSize = 500
    private static let sizeSmallest = 1_000
    /// A prime: the groups of the fresh channels lie all over the table.
    private static let spread = 7_919

    init(_ command: BrokerCommand, _ poller: BrokerPoller, _ dialect: BrokerFanfareDialect) {
        self.command = command
        self.poller = poller
        self.dialect = dialect
        memberships = BrokerMemberships(command, links: poller.links)
        pipeline = BrokerPipeline(poller, window: command.window)
    }

    func run() throws -> BrokerChurnReport {
        var report = BrokerChurnReport(protocol: command.protocol.rawValue, window: command.window)
        let empty = try memoryKilobytes()
        var size = 0
        var next = min(Self.sizeSmallest, command.memberships)
        while size < next {
            let fill = try Measurement.of(command.pid) {
                try pipeline.run(size..<next) { request(adds: true, memberships.membership($0)) }
            }
            var row = BrokerChurnReport.Row(memberships: next)
            row.fill = BrokerChurnReport.Cost([(fill, next - size)], pipeline.latencies)
            if let full = fill.serverPSSKilobytes {
                row.bytesPerMembership = Double(full - empty) * 1_024 / Double(next)
                row.nameBytesPerMembership = Double(memberships.nameBytes(ofFirst: next)) / Double(next)
            }
            try probe(&row)
            report.rows.append(row)
            (size, next) = (next, min(next * 10, command.memberships))
        }
        report.finish()
        return report
    }

    /// Fresh channels join and leave, `roundSize` of them at a time.
    private func probe(_ row: inout BrokerChurnReport.Row) throws {
        var costs: [Bool: [(Measurement, Int)]] = [:]
        var latencies: [Bool: Latencies] = [true: Latencies(), false: Latencies()]
        let size = row.memberships
        for round in 0..<max(1, command.operations / Self.roundSize) {
            for adds in [true, false] {
                let measurement = try Measurement.of(command.pid) {
                    try pipeline.run(0..<Self.roundSize) { index in
                        let number = round * Self.roundSize + index
                        let group = memberships.membership(number * Self.spread % size).group
                        return request(adds: adds, (memberships.channels + number, group))
                    }
                }
                costs[adds, default: []].append((measurement, Self.roundSize))
                latencies[adds]?.add(pipeline.latencies)
            }
        }
        row.add = BrokerChurnReport.Cost(costs[true] ?? [], latencies[true] ?? Latencies())
        row.discard = BrokerChurnReport.Cost(costs[false] ?? [], latencies[false] ?? Latencies())
    }

    private func memoryKilobytes() throws -> Int {
        try command.pid.reduce(0) { $0 + (try ProcessMemory.now(of: $1).proportional) }
    }

    private func request(adds: Bool, _ membership: (channel: Int, group: Int)) -> (link: BrokerLink, bytes: [UInt8]) {
        let link = poller.links[memberships.link(ofChannel: membership.channel)]
        let (channels, group) = ([memberships.channel(membership.channel)], BrokerMemberships.group(membership.group))
        let bytes = dialect.encode(
            adds
                ? .groupAdd(id: link.nextID(), group: group, channels: channels, groupExpiry: nil)
                : .groupDiscard(id: link.nextID(), group: group, channels: channels)
        )
        return (link, bytes)
    }
}

/// What a membership costs by how many there are.
struct BrokerChurnReport: Encodable {
    /// One kind of operation at one size.
    struct Cost: Encodable {
        /// The broker's CPU time, the median of the rounds; absent without `--pid`.
        var serverMicroseconds: Double?
        var generatorMicroseconds: Double
        var latencyMilliseconds: Percentiles?

        init(_ rounds: [(measurement: Measurement, operations: Int)], _ latencies: Latencies) {
            let server = rounds.compactMap { round in
                round.measurement.serverNanoseconds.map { Double($0) / 1_000 / Double(round.operations) }
            }
            serverMicroseconds = server.isEmpty ? nil : server.median
            generatorMicroseconds =
                rounds.map { Double($0.measurement.generatorNanoseconds) / 1_000 / Double($0.operations) }.median
            latencyMilliseconds = latencies.percentiles
        }
    }

    struct Row: Encodable {
        var memberships: Int
        /// Growing from the size of the row before to this one.
        var fill: Cost?
        /// At this size.
        var add: Cost?
        var discard: Cost?
        /// Memory the broker has taken since it was empty.
        var bytesPerMembership: Double?
        /// Of that, what the names themselves have, each name once.
        var nameBytesPerMembership: Double?
    }

    var mode = "churn"
    var `protocol`: String
    var window: Int
    var rows: [Row] = []
    /// CPU time at the largest size over that at the smallest.
    var addGrowth: Double?
    var discardGrowth: Double?

    init(protocol: String, window: Int) {
        self.protocol = `protocol`
        self.window = window
    }

    mutating func finish() {
        addGrowth = growth(\.add)
        discardGrowth = growth(\.discard)
    }

    private func growth(_ cost: KeyPath<Row, Cost?>) -> Double? {
        guard let first = rows.first?[keyPath: cost]?.serverMicroseconds,
            let last = rows.last?[keyPath: cost]?.serverMicroseconds
        else { return nil }
        return last / first
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        for row in rows {
            print("\(row.memberships) memberships")
            for (name, cost) in [("fill", row.fill), ("add", row.add), ("discard", row.discard)] {
                guard let cost else { continue }
                let server = cost.serverMicroseconds.map { String(format: "%.3f us", $0) } ?? "not measured"
                let latency = cost.latencyMilliseconds?.line ?? ""
                print("  \(name): server CPU \(server), own \(String(format: "%.3f us", cost.generatorMicroseconds))")
                print("    \(latency)")
            }
            if let bytes = row.bytesPerMembership, let names = row.nameBytesPerMembership {
                print(String(format: "  memory: %.0f bytes each, %.0f beyond the names", bytes, bytes - names))
            }
        }
        if let addGrowth, let discardGrowth {
            print(String(format: "largest over smallest: add %.3f, discard %.3f", addGrowth, discardGrowth))
        }
    }
}
