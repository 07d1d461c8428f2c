import FanfareBroker
import FanfareModel
import FanfareProtocol
import Logging

/// A whole broker on its loop, its peers on Unix sockets: what is counted is all the broker does for an operation.
struct BrokerHistories {
    private let path: String
    private static let body = Body(repeating: 0x61, count: 128)

    /// - Parameter folder: For its socket.
    static func run(in folder: String, into measurements: inout Measurements) throws {
        let path = folder + "/broker.sock"
        let server = try wait {
            var configuration = BrokerServer.Configuration()
            configuration.endpoints = [.unix(path: path)]
            return try await BrokerServer.start(configuration, logger: .quiet)
        }
        let histories = BrokerHistories(path: path)
        try histories.channels(into: &measurements)
        try histories.groups(into: &measurements)
        try wait { await server.stop(within: Milliseconds(5_000)) }
    }

    /// A connection that has said hello and been welcomed.
    private func link(node: String? = nil) throws -> PeerSocket {
        let link = try PeerSocket.connect(to: path)
        var hello = Hello(client: "budgets/1", name: "budgets", role: .worker, policy: Policy(Limits()))
        hello.node = node
        try link.write(Array(Request.hello(hello)))
        try link.frame(.welcome)
        return link
    }

    private func channels(into measurements: inout Measurements) throws {
        let (sender, reader) = (try link(), try link(node: "reader"))
        let receive = Array(Request.receive(id: 7, channel: "work", count: 1))
        let send = Array(Request.send(id: 8, channel: "work", body: Self.body, SendOptions()))
        let ping = Array(Request.ping(9))
        try measurements.recordOthers(.brokerSend) { _ in
            try reader.write(receive + ping)
            try reader.frame(.pong)
            try sender.write(send)
            try reader.frame(.handOut)
            try sender.frame(.ack)
        }
        let channel = "ws.reader!1"
        try reader.write(Array(Request.openChannels(id: 3, [OpenedChannel(name: channel)])))
        try reader.frame(.ack)
        let push = Array(Request.send(id: nil, channel: channel, body: Self.body, SendOptions()))
        let taken = [Report.Taken(channel: channel, taken: 1, held: 0)]
        let report = Array(Request.report(Report(received: 1, taken: taken, dropped: [])))
        try measurements.recordOthers(.brokerDeliver) { _ in
            try sender.write(push)
            try reader.frame(.deliver)
            try reader.write(report)
        }
    }

    private func groups(into measurements: inout Measurements) throws {
        let sender = try link()
        let members = try (0..<100).map { index in
            let member = try link(node: "owner\(index)")
            let channels = ["ws.owner\(index)!1"]
            try member.write(Array(Request.groupAdd(id: 3, group: "room", channels: channels, groupExpiry: nil)))
            try member.frame(.ack)
            return member
        }
        let send = Array(Request.groupSend(id: nil, group: "room", body: Self.body, GroupSendOptions()))
        try measurements.recordOthers(.brokerGroupSend, operations: 300, units: members.count) { _ in
            try sender.write(send)
            // The last one first: when it has its frame, all have. Callgrind is slow to change threads.
            for member in members.reversed() { try member.frame(.groupDeliver) }
        }
    }
}

extension Logger {
    /// Says nothing.
    static var quiet: Logger { Logger(label: "fanfare-budgets") { _ in SwiftLogNoOpLogHandler() } }
}
