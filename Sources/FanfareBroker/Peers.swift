import FanfareModel

/// The peers with a session, found by the session's place without hashing.
struct Peers: Sequence {
    private var seats: ContiguousArray<(session: SessionID, peer: Peer)?> = []
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// The peer of a session; `nil` when it has gone, whoever has its place by now.
    subscript(session: SessionID) -> Peer? {
        let place = Int(session.place)
        guard place < seats.count, let seat = seats[place], seat.session == session else { return nil }
        return seat.peer
    }

    /// Seats a peer; the one that had the place before has been removed.
    mutating func insert(_ peer: Peer, _ session: SessionID) {
        let place = Int(session.place)
        while seats.count <= place { seats.append(nil) }
        precondition(seats[place] == nil, "the place \(place) is taken by session \(seats[place]?.session.value ?? 0)")
        seats[place] = (session, peer)
        count += 1
    }

    /// Seats another peer in the place of the one that has it.
    mutating func replace(_ session: SessionID, by peer: Peer) {
        guard self[session] != nil else { return }
        seats[Int(session.place)] = (session, peer)
    }

    mutating func remove(_ session: SessionID) -> Peer? {
        guard let peer = self[session] else { return nil }
        seats[Int(session.place)] = nil
        count -= 1
        return peer
    }

    func makeIterator() -> some IteratorProtocol<(session: SessionID, peer: Peer)> {
        seats.lazy.compactMap(\.self).makeIterator()
    }
}
