import FanfareModel
import NIOCore

/// The connections without a session: their hello is due, has not been accepted, or they are being told why not.
///
/// Each counts until it is gone, also while it does not read what it was answered: what strangers can keep here is
/// bounded by their number, one frame in, and one error out.
struct Strangers {
    private var peers: [ObjectIdentifier: Peer] = [:]
    private var countOf: [String: Int] = [:]

    var count: Int { peers.count }
    var isEmpty: Bool { peers.isEmpty }
    var all: some Collection<Peer> { peers.values }

    /// Why one more cannot be one of them; `nil` when it can.
    func refusal(of peer: Peer, _ limits: Limits) -> Failure? {
        if count >= limits.strangers {
            let text = "\(limits.strangers) connections have not said hello yet, the limit \"strangers\"; try again"
            return Failure(.limitReached, text)
        }
        if let address = peer.address, countOf[address, default: 0] >= limits.strangersPerAddress {
            let text =
                "\(limits.strangersPerAddress) connections from \(address) have not said hello yet, the limit "
                + "\"strangers_per_address\"; try again"
            return Failure(.limitReached, text)
        }
        return nil
    }

    mutating func insert(_ peer: Peer) {
        guard peers.updateValue(peer, forKey: ObjectIdentifier(peer)) == nil else { return }
        if let address = peer.address { countOf[address, default: 0] += 1 }
    }

    /// Takes out one that has a session now or is gone.
    mutating func remove(_ peer: Peer) {
        guard peers.removeValue(forKey: ObjectIdentifier(peer)) != nil, let address = peer.address else { return }
        countOf[address, default: 0] -= 1
        if countOf[address] == 0 { countOf[address] = nil }
    }

    /// Those that have had the time a hello may take.
    func late(at now: NIODeadline, after within: TimeAmount) -> [Peer] {
        peers.values.filter { now - $0.arrivedAt >= within }
    }
}
