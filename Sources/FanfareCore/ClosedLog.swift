package import FanfareModel

/// Why a connection ended. A session that outlives its connection ends when nobody has come back for it.
package enum EndReason: Hashable, Sendable {
    case goodbye
    /// The connection broke, or was closed by the peer without a `GOODBYE`.
    case connectionLost
    /// The process behind a Unix socket has ended.
    case processEnded
    /// It went because an operator had asked it to.
    case drained
    /// The broker stops.
    case stopping
    /// By the broker, which named this error.
    case refused(ErrorCode)

    package var name: String {
        switch self {
        case .goodbye: "goodbye"
        case .connectionLost: "connection_lost"
        case .processEnded: "process_ended"
        case .drained: "drained"
        case .stopping: "stopping"
        case .refused(let code): code.name
        }
    }
}

/// A connection that has ended, with its session if it had one.
package struct ClosedConnection: Sendable {
    /// Grows with each connection that ends.
    package fileprivate(set) var number: UInt64 = 0
    /// `nil` for a connection that was never welcomed.
    package var session: SessionID?
    package var name = ""
    package var client = ""
    package var role: Role?
    package var namespace = ""
    package var node: String?
    package var remote = ""
    package var reason: EndReason
    /// What happened, for people; may be empty.
    package var detail = ""
    package var openedAt: Instant
    package var endedAt: Instant
    package var traffic = Traffic()
    /// Messages lost on their way to it.
    package var drops: UInt64 = 0

    /// - Parameter hello: What it said, if it said hello.
    package init(_ reason: EndReason, _ hello: Hello?, openedAt: Instant, endedAt: Instant) {
        self.reason = reason
        self.openedAt = openedAt
        self.endedAt = endedAt
        guard let hello else { return }
        (name, client, role) = (hello.name, hello.client, hello.role)
        (namespace, node) = (hello.namespace, hello.node)
    }
}

/// The connections that ended last: a ring.
package struct ClosedLog: Sendable {
    private let capacity: Int
    private let textBytes: Int
    private var last: UInt64 = 0
    private(set) var entries: [ClosedConnection] = []
    /// How many ended for each reason, since the start.
    private(set) var counts: [EndReason: UInt64] = [:]

    init(_ limits: Limits) {
        capacity = limits.closedConnections
        textBytes = limits.textBytes
    }

    /// Takes up a connection that has ended; the one that ended first is forgotten when there are too many.
    package mutating func add(_ connection: ClosedConnection) {
        var entry = connection
        last += 1
        entry.number = last
        // Texts of strangers, who may have said anything.
        entry.name = cut(entry.name)
        entry.client = cut(entry.client)
        entry.detail = cut(entry.detail)
        entry.namespace = cut(entry.namespace)
        entry.node = entry.node.map(cut)
        counts[entry.reason, default: 0] += 1
        if entries.count < capacity { entries.append(entry) } else { entries[place(last)] = entry }
    }

    /// Says of a session that has just ended what only the shell knows.
    package mutating func complete(_ session: SessionID, remote: String, _ traffic: Traffic) {
        // Effects are carried out soon after they were decided: it is one of the last.
        for number in (0...last).reversed().prefix(entries.count) where entries[place(number)].session == session {
            entries[place(number)].remote = remote
            entries[place(number)].traffic = traffic
            return
        }
    }

    private func place(_ number: UInt64) -> Int { Int((number - 1) % UInt64(capacity)) }

    private func cut(_ text: String) -> String {
        text.utf8.count <= textBytes ? text : String(decoding: text.utf8.prefix(textBytes), as: UTF8.self)
    }
}
