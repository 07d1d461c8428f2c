package import FanfareModel

/// What the shell must do after a call of the core, in order. One buffer, reused for every call.
package struct Effects {
    package enum Effect: Equatable {
        case reply(Reply, to: SessionID)
        /// One reply for several sessions: encode once, write to each of ``Effects/targets`` in the range.
        case fanOut(Reply, to: Range<Int>)
        /// The session is over; write what is pending, then close its connection.
        case close(SessionID, Failure?)
    }

    package private(set) var list: [Effect] = []
    /// The sessions fan-outs point at.
    package private(set) var targets: [SessionID] = []

    package init() {}

    /// Forgets everything and keeps the storage.
    package mutating func removeAll() {
        list.removeAll(keepingCapacity: true)
        targets.removeAll(keepingCapacity: true)
    }

    mutating func reply(_ reply: Reply, to session: SessionID) {
        list.append(.reply(reply, to: session))
    }

    mutating func fanOut(_ reply: Reply, to sessions: some Sequence<SessionID>) {
        let start = targets.count
        targets.append(contentsOf: sessions)
        if targets.count > start { list.append(.fanOut(reply, to: start..<targets.count)) }
    }

    mutating func close(_ session: SessionID, _ failure: Failure?) {
        list.append(.close(session, failure))
    }
}
