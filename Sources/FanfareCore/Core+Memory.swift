import FanfareModel

// The memory budget: one number over all that grows with what others send. Beyond it new things are refused in good
// order; what is promised already goes on.
extension Core {
    /// Bytes of everything the budget counts: queued bodies, what the shell holds, and the tables as an estimate.
    package var memoryInUse: Int {
        let names = channels.count * Self.channelBytes + groups.count * Self.groupBytes
        let peers = memberships.count * Self.membershipBytes + sessions.count * Self.sessionBytes
        return queuedBytes + outsideBytes + names + peers + handedOutChannels * Self.handedOutBytes
    }

    // What an entry takes with its name, its place in the table of names and the room tables keep to grow.
    private static var channelBytes: Int { 2 * MemoryLayout<Channel>.stride + 128 }
    private static var groupBytes: Int { 2 * MemoryLayout<Group>.stride + 256 }
    private static var membershipBytes: Int { 2 * MemoryLayout<Membership>.stride + 32 }
    private static var handedOutBytes: Int { 64 }
    private static var sessionBytes: Int { 2 * MemoryLayout<Session>.stride + 2_048 }

    /// Whether `bytes` more would go beyond the budget.
    @inline(__always)
    func exceedsMemory(with bytes: Int) -> Bool {
        memoryInUse + bytes > limits.memoryBytes
    }

    var whyNoMemory: String {
        "the broker holds \(memoryInUse) bytes, its limit \"memory_bytes\" is \(limits.memoryBytes)"
    }

    /// - Throws: `limit_reached`, counted, when the budget is used up.
    mutating func checkMemory() throws(Failure) {
        guard exceedsMemory(with: 0) else { return }
        counters.memoryRefusals += 1
        throw Failure(.limitReached, whyNoMemory)
    }
}
