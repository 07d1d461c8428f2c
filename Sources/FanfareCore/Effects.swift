package import FanfareModel

/// What the shell must do after a call of the core, in order. One buffer, reused for every call.
package struct Effects {
    package enum Effect: Equatable {
        case reply(Reply, to: SessionID)
        /// One reply for several sessions: encode once, write to each of ``Effects/targets`` in the range.
        case fanOut(Reply, to: Range<Int>)
        /// The session is over; write what is pending, then close its connection.
        case close(SessionID, Failure?)
        /// The broker itself is to stop, as on SIGTERM, within that time.
        case drain(within: Milliseconds)
    }

    package private(set) var list: [Effect] = []
    /// The sessions fan-outs point at.
    package private(set) var targets: [SessionID] = []
    /// Where the targets of the next fan-out begin.
    private var aimed = 0

    package init() {}

    /// Forgets everything and keeps the storage.
    package mutating func removeAll() {
        list.removeAll(keepingCapacity: true)
        guard !targets.isEmpty else { return }
        targets.removeAll(keepingCapacity: true)
        aimed = 0
    }

    mutating func reply(_ reply: Reply, to session: SessionID) {
        list.append(.reply(reply, to: session))
    }

    /// Adds a session to those the next fan-out goes to.
    mutating func aim(at session: SessionID) {
        targets.append(session)
    }

    /// One reply for all sessions aimed at since the last fan-out, if there are any.
    mutating func fanOut(_ reply: Reply) {
        guard targets.count > aimed else { return }
        list.append(.fanOut(reply, to: aimed..<targets.count))
        aimed = targets.count
    }

    mutating func close(_ session: SessionID, _ failure: Failure?) {
        list.append(.close(session, failure))
    }

    mutating func drain(within: Milliseconds) {
        list.append(.drain(within: within))
    }
}
