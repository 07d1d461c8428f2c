import Glibc
package import NIOCore

/// Where an accepted connection comes from, as the kernel says, which the peer cannot forge.
package struct Arrival: Sendable {
    /// The peer's address; `nil` for a Unix socket.
    package var address: SocketAddress?
    /// Who holds the other end of a Unix socket.
    package var user: SocketUser?

    /// A connection within this process.
    package init() {}

    /// The same for people: address and port, or the user and the process behind a Unix socket.
    package var text: String {
        if let address {
            guard let host = address.ipAddress else { return "\(address)" }
            let port = address.port ?? 0
            return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
        guard let user else { return "unix" }
        return "unix uid \(user.user)" + (user.process.map { " pid \($0)" } ?? "")
    }

    init(descriptor: CInt, address: SocketAddress?) {
        self.address = address
        user = address == nil ? SocketUser(descriptor) : nil
    }
}

/// The user behind a Unix socket when it connected: `SO_PEERCRED` and `SO_PEERGROUPS` (`unix(7)`).
package struct SocketUser: Sendable, Equatable {
    package var user: UInt32
    /// The primary group first, then the others.
    package var groups: [UInt32]
    /// The process that connected; `nil` when it is in another PID namespace.
    package var process: Int32?

    // What Swift's Glibc module leaves out.
    private static let peerCredentials: CInt = 17
    private static let peerGroups: CInt = 59
    /// Groups that are looked at; the kernel allows 65 536, people have a dozen. Of who has more only the primary one
    /// counts.
    private static let groupsMaximum = 256

    package init(user: UInt32, groups: [UInt32]) {
        self.user = user
        self.groups = groups
    }

    /// - Returns: `nil` when the kernel does not know.
    init?(_ descriptor: CInt) {
        // struct ucred: pid, uid, gid.
        var facts: [UInt32] = [0, 0, 0]
        var length = socklen_t(facts.count * MemoryLayout<UInt32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, Self.peerCredentials, &facts, &length) == 0,
            length == facts.count * MemoryLayout<UInt32>.size
        else { return nil }
        process = facts[0] == 0 ? nil : Int32(exactly: facts[0])
        user = facts[1]
        groups = [facts[2]]
        var others = [gid_t](repeating: 0, count: Self.groupsMaximum)
        length = socklen_t(others.count * MemoryLayout<gid_t>.size)
        if getsockopt(descriptor, SOL_SOCKET, Self.peerGroups, &others, &length) == 0 {
            groups += others.prefix(Int(length) / MemoryLayout<gid_t>.size)
        }
    }
}
