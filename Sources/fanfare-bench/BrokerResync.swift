import FanfareModel
import Foundation

/// All memberships of a few links, registered in batches, as clients do when a broker has restarted.
///
/// The first run meets a broker that knows none of them. Each further run first closes all links at once: the broker
/// buries what they had and the same nodes register again.
struct BrokerResync {
    private let command: BrokerCommand
    private let poller: BrokerPoller
    private let dialect: BrokerFanfareDialect

    private static let patienceSeconds = 120.0

    init(_ command: BrokerCommand, _ poller: BrokerPoller, _ dialect: BrokerFanfareDialect) {
        self.command = command
        self.poller = poller
        self.dialect = dialect
    }

    func run() throws -> BrokerResyncReport {
        var report = BrokerResyncReport(protocol: command.protocol.rawValue)
        let batches = try registrations()
        report.links = command.links
        report.memberships = command.memberships
        report.frames = batches.reduce(0) { $0 + $1.requests }
        for run in 0..<command.runs {
            var openSeconds = 0.0
            let whole = try Measurement.of(command.pid) { openSeconds = try register(batches) }
            report.runs.append(BrokerResyncReport.Run(isFresh: run == 0, openSeconds: openSeconds, whole))
            report.serverPSSKilobytes = whole.serverPSSKilobytes
        }
        return report
    }

    /// Drops all links, opens them anew and registers everything; returns how many seconds they took to open.
    private func register(_ batches: [(bytes: [UInt8], requests: Int)]) throws -> Double {
        let begin = MonotonicClock.now()
        poller.closeAll()
        try poller.open(command.links)
        let opened = MonotonicClock.now()
        let links = poller.links
        for (link, batch) in zip(links, batches) {
            link.asked = UInt64(batch.requests)
            link.append(batch.bytes)
        }
        try poller.run(until: { links.allSatisfy { $0.acknowledged == $0.asked } }, within: Self.patienceSeconds)
        let missing = links.reduce(0) { $0 + $1.asked - $1.acknowledged }
        guard missing == 0 else {
            throw LoadFailure("\(missing) registrations were not answered in \(Self.patienceSeconds) s")
        }
        return Double(opened - begin) / 1e9
    }

    /// What each link says, encoded before the clock starts: it is the broker that is measured.
    private func registrations() throws -> [(bytes: [UInt8], requests: Int)] {
        let memberships = BrokerMemberships(command, links: poller.links)
        var names = [[Int: [String]]](repeating: [:], count: command.links)
        for index in 0..<memberships.count {
            let (channel, group) = memberships.membership(index)
            names[memberships.link(ofChannel: channel)][group, default: []].append(memberships.channel(channel))
        }
        return names.map { groups in
            var bytes: [UInt8] = []
            var requests = 0
            for (group, channels) in groups.sorted(by: { $0.key < $1.key }) {
                for start in stride(from: 0, to: channels.count, by: command.batch) {
                    let id = BrokerTemplate.id(UInt64(requests))
                    let some = Array(channels[start..<min(start + command.batch, channels.count)])
                    let name = BrokerMemberships.group(group)
                    bytes += dialect.encode(.groupAdd(id: id, group: name, channels: some, groupExpiry: nil))
                    requests += 1
                }
            }
            return (bytes, requests)
        }
    }
}

/// How long it took until the broker knew everything again.
struct BrokerResyncReport: Encodable {
    struct Run: Encodable {
        /// Whether the broker knew nothing before.
        var isFresh: Bool
        /// Until all links were let in again; includes burying the sessions before.
        var openSeconds: Double
        /// From the loss of the links to the last acknowledgement.
        var seconds: Double
        var serverSeconds: Double?
        var generatorSeconds: Double

        init(isFresh: Bool, openSeconds: Double, _ measurement: Measurement) {
            self.isFresh = isFresh
            self.openSeconds = openSeconds
            seconds = measurement.seconds
            serverSeconds = measurement.serverNanoseconds.map { Double($0) / 1e9 }
            generatorSeconds = Double(measurement.generatorNanoseconds) / 1e9
        }
    }

    var mode = "resync"
    var `protocol`: String
    var links = 0
    var memberships = 0
    /// Requests they were registered in.
    var frames = 0
    var runs: [Run] = []
    var serverPSSKilobytes: Int?

    init(protocol: String) {
        self.protocol = `protocol`
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("\(memberships) memberships of \(links) links, \(frames) requests")
        for run in runs {
            let server = run.serverSeconds.map { String(format: ", server CPU %.2f s", $0) } ?? ""
            let kind = run.isFresh ? "fresh broker" : "after a loss"
            let times = String(format: "%.2f s, links open after %.2f s", run.seconds, run.openSeconds)
            print("\(kind): \(times)\(server), own CPU \(String(format: "%.2f s", run.generatorSeconds))")
        }
        if let serverPSSKilobytes { print("server memory \(serverPSSKilobytes) KiB PSS") }
    }
}
