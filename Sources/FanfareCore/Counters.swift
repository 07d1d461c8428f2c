package import FanfareModel

/// What the core has done since it started. Only ever grows.
package struct Counters: Sendable, Equatable {
    /// Messages asked to be sent to a channel.
    package internal(set) var sends: UInt64 = 0
    /// Messages asked to be sent to a group.
    package internal(set) var groupSends: UInt64 = 0
    /// Frames a group send cost: one for each process that owns members.
    package internal(set) var groupDeliverFrames: UInt64 = 0
    /// Messages pushed to owners of process channels.
    package internal(set) var delivers: UInt64 = 0
    /// Messages handed to waiting receives.
    package internal(set) var handOuts: UInt64 = 0
    /// Holes sessions were told of.
    package internal(set) var gaps: UInt64 = 0
    /// Requests refused, and messages dropped, because the memory budget was used up.
    package internal(set) var memoryRefusals: UInt64 = 0
    /// Members of groups that were sent to; 0 where there was no such group.
    package internal(set) var fanOutMembers = Histogram.ofMembers
    private var drops = [UInt64](repeating: 0, count: (DropReason.allCases.count + 1) * DropClass.allCases.count)

    package init() {}

    /// Messages that reached fewer readers than they were sent to, by reason.
    package subscript(drop reason: DropReason) -> UInt64 {
        DropClass.allCases.reduce(0) { $0.addingClamped(self[drop: reason, $1]) }
    }

    /// The same, by reason and by what they were sent to.
    package internal(set) subscript(drop reason: DropReason, _ sentTo: DropClass) -> UInt64 {
        get { drops[Int(reason.rawValue) * DropClass.allCases.count + sentTo.rawValue] }
        set { drops[Int(reason.rawValue) * DropClass.allCases.count + sentTo.rawValue] = newValue }
    }
}

/// What a dropped message was sent to.
package enum DropClass: Int, Sendable, CaseIterable {
    case normal
    case process
    case group

    /// The name in `status`.
    package var name: String {
        switch self {
        case .normal: "normal"
        case .process: "process"
        case .group: "group"
        }
    }
}
