/// What is measured: fixed sequences of operations, the same ones every time. In the order they run in.
enum History: String, CaseIterable {
    case coreHandOut = "core: a receive, and the send that ends it"
    case coreDeliver = "core: a send to an owned channel, and the report that it was taken"
    case coreGroupSend = "core: a group send to 100 owners"
    case coreGroupAdd = "core: a group add"
    case coreGroupDiscard = "core: a group discard"
    case decodeSend = "protocol: decode SEND"
    case decodeGroupSend = "protocol: decode GROUP_SEND"
    case decodeGroupDeliver = "protocol: decode GROUP_DELIVER"
    case encodeDeliver = "protocol: encode DELIVER"
    case encodeGroupDeliver = "protocol: encode GROUP_DELIVER"
    case encodeAck = "protocol: encode ACK"
    case brokerSend = "broker: an acknowledged send handed to a receive of another link"
    case brokerDeliver = "broker: a send to a channel another link owns, and its report"
    case brokerGroupSend = "broker: a group send to 100 links, per link"
    case workerTextIn = "worker: a text frame in, a group send out"
    case workerFanOut = "worker: a group message to 100 sockets, per socket"
    case workerDeliver = "worker: a message to one socket, and its report"
    case workerPing = "worker: a ping of an idle socket, and its pong"
}

/// What one unit of a history may cost.
struct Budget {
    let history: History
    /// As measured when this was last written.
    let allocations: Double
    /// As measured when this was last written, with the system's libraries included and the kernel not.
    let instructions: Double

    /// A fifth for other libraries and compilers, and a little for timers that fire and tables that grow meanwhile.
    var allocationsMaximum: Double { allocations * 1.2 + 0.02 }
    /// A quarter: instructions move more with the versions of libraries.
    var instructionsMaximum: Double { instructions * 1.25 }

    /// Of release builds. Lower what became cheaper; raise something only with the reason in the commit.
    static let all = [
        Budget(.coreHandOut, allocations: 1, instructions: 7_810),
        Budget(.coreDeliver, allocations: 0, instructions: 3_400),
        Budget(.coreGroupSend, allocations: 0, instructions: 12_550),
        Budget(.coreGroupAdd, allocations: 1.1, instructions: 6_590),
        Budget(.coreGroupDiscard, allocations: 0.05, instructions: 3_940),
        Budget(.decodeSend, allocations: 1, instructions: 1_280),
        Budget(.decodeGroupSend, allocations: 1, instructions: 1_270),
        Budget(.decodeGroupDeliver, allocations: 2, instructions: 3_237),
        Budget(.encodeDeliver, allocations: 0, instructions: 785),
        Budget(.encodeGroupDeliver, allocations: 0, instructions: 829),
        Budget(.encodeAck, allocations: 0, instructions: 412),
        Budget(.brokerSend, allocations: 5, instructions: 32_000),
        Budget(.brokerDeliver, allocations: 4, instructions: 21_000),
        Budget(.brokerGroupSend, allocations: 0.08, instructions: 2_130),
        Budget(.workerTextIn, allocations: 14, instructions: 27_000),
        Budget(.workerFanOut, allocations: 0.07, instructions: 280),
        Budget(.workerDeliver, allocations: 11.4, instructions: 29_200),
        Budget(.workerPing, allocations: 0.3, instructions: 2_270),
    ]

    private init(_ history: History, allocations: Double, instructions: Double) {
        self.history = history
        self.allocations = allocations
        self.instructions = instructions
    }
}
