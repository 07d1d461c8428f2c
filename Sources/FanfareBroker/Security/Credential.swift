import Crypto
package import FanfareModel
package import FanfareTransport

/// One entry of the credentials file: how a client proves who it is, and what it may do then.
package struct Credential: Sendable, Equatable {
    /// What errors, logs and the revocation of a session call it. Unique in a file.
    package var name: String
    /// Any one of these tokens proves it; several while a token is being replaced.
    package var tokens: [TokenHash] = []
    /// Users of this machine who prove it by connecting over a Unix socket.
    package var users: [UInt32] = []
    /// The same for all users of these groups.
    package var userGroups: [UInt32] = []
    /// Whether whoever asks the operations port from this machine itself needs no other proof.
    package var coversLoopback = false
    package var roles: [Role] = []
    package var permissions = Permissions()

    package init(name: String) {
        self.name = name
    }

    /// Whether it may see without acting.
    package var mayLook: Bool { roles.contains(.inspect) || roles.contains(.admin) }

    func covers(_ user: SocketUser) -> Bool {
        users.contains(user.user) || userGroups.contains(where: user.groups.contains)
    }

    func covers(_ proof: Access.Proof) -> Bool {
        switch proof {
        case .token(let hash): tokens.contains(hash)
        case .user(let user): covers(user)
        case .loopback: coversLoopback
        }
    }

    /// Why a session may not be what its hello wants to be; `nil` when it may.
    func refusal(of hello: Hello) -> Failure? {
        guard roles.contains(hello.role) else {
            let known = roles.map(\.rawValue).joined(separator: ", ")
            return Failure(
                .unauthorized,
                "the credential \"\(name)\" has no role \"\(hello.role.rawValue)\", only: \(known)"
            )
        }
        guard permissions.namespaces.allow(hello.namespace) else {
            return Failure(
                .unauthorized,
                "the credential \"\(name)\" is not for the namespace \"\(hello.namespace)\", only: \(permissions.namespaces)"
            )
        }
        if let node = hello.node, !permissions.nodes.allow(node) {
            return Failure(
                .unauthorized,
                "the credential \"\(name)\" is not for the node \"\(node)\", only: \(permissions.nodes)"
            )
        }
        return nil
    }
}

/// Who a session has proved to be.
package struct Access: Sendable, Equatable {
    /// What the proof was, kept to see later whether it still holds.
    package enum Proof: Sendable, Equatable {
        case token(TokenHash)
        case user(SocketUser)
        case loopback
    }

    /// The name of the credential.
    package var name: String
    package var proof: Proof
    package var permissions: Permissions

    package init(name: String, proof: Proof, permissions: Permissions) {
        self.name = name
        self.proof = proof
        self.permissions = permissions
    }

    /// Tells this credential, with what it allows, from every other: for a session that outlives the broker.
    package var seal: String { Self.seal(name, permissions) }

    static func seal(_ name: String, _ permissions: Permissions) -> String {
        let lists = permissions.lists.map(\.unambiguousText).joined(separator: "\n")
        return "\(TokenHash(of: lists)) \(name)"
    }
}

/// Everybody a broker lets in.
package struct Credentials: Sendable, Equatable {
    /// Entries of one file at most: a hello looks at all of them.
    package static let entriesMaximum = 1_024

    package let entries: [Credential]

    /// - Parameter entries: With names and tokens that are not repeated. In order: a user over a Unix socket gets the
    ///   first that fits.
    package init(_ entries: [Credential]) {
        self.entries = entries
    }

    /// Finds out who says hello.
    ///
    /// - Parameters:
    ///   - hello: What it wants to be, with a token or without.
    ///   - user: Who holds the other end of a Unix socket. Counts only when there is no token.
    /// - Throws: `unauthorized`.
    package func access(for hello: Hello, from user: SocketUser?) throws(Failure) -> Access {
        if let token = hello.token {
            let hash = TokenHash(of: token)
            guard let entry = entry(with: hash) else {
                throw Failure(.unauthorized, "the token is not known here; `fanfare token` makes one")
            }
            if let refusal = entry.refusal(of: hello) { throw refusal }
            return Access(name: entry.name, proof: .token(hash), permissions: entry.permissions)
        }
        guard let user else { throw Failure(.unauthorized, "this broker asks for a token, and the hello has none") }
        let entries = entries.filter { $0.covers(user) }
        guard let first = entries.first else {
            throw Failure(.unauthorized, "no token was given, and no credential is for user \(user.user)")
        }
        let entry = entries.first { $0.refusal(of: hello) == nil } ?? first
        if let refusal = entry.refusal(of: hello) { throw refusal }
        return Access(name: entry.name, proof: .user(user), permissions: entry.permissions)
    }

    /// Finds out who looks without a session.
    ///
    /// - Throws: `unauthorized`.
    func access(for viewer: Viewer) throws(Failure) -> Access {
        let (entry, proof): (Credential?, Access.Proof)
        if let token = viewer.token {
            let hash = TokenHash(of: token)
            (entry, proof) = (self.entry(with: hash), .token(hash))
        } else {
            let isCovered = viewer.isLocal
            (entry, proof) = (entries.first { isCovered && $0.coversLoopback && $0.mayLook }, .loopback)
        }
        guard let entry else {
            let what = viewer.token == nil ? "this broker asks for a token" : "the token is not known here"
            throw Failure(.unauthorized, "\(what); `fanfare token --role inspect` makes one")
        }
        guard entry.mayLook else {
            throw Failure(.unauthorized, "the credential \"\(entry.name)\" has neither the role inspect nor admin")
        }
        return Access(name: entry.name, proof: proof, permissions: entry.permissions)
    }

    /// Looks at every token, found or not: how long it takes says nothing about which is near.
    private func entry(with hash: TokenHash) -> Credential? {
        var found: Credential?
        for entry in entries {
            for token in entry.tokens where token == hash { found = entry }
        }
        return found
    }

    /// What has become of a session that was let in earlier.
    ///
    /// - Throws: `unauthorized` when it would not be let in now, or may do something else now: it has to say hello, and
    ///   register everything, again.
    package func check(_ access: Access, of hello: Hello) throws(Failure) {
        guard let entry = entries.first(where: { $0.name == access.name }), entry.covers(access.proof),
            entry.refusal(of: hello) == nil
        else { throw Failure(.unauthorized, "the credential \"\(access.name)\" has been revoked") }
        guard entry.permissions == access.permissions else {
            throw Failure(.unauthorized, "the permissions of \"\(access.name)\" have changed; connect again")
        }
    }
}

extension Credentials {
    /// Whether a credential has this seal and lets in such a session.
    package func hold(_ seal: String, for hello: Hello) -> Bool {
        entries.contains { Access.seal($0.name, $0.permissions) == seal && $0.refusal(of: hello) == nil }
    }
}

extension TokenHash {
    /// The hash of a token as a client sends it.
    package init(of token: String) {
        // SHA-256 has 32 bytes, which is what this takes.
        self.init(bytes: Array(SHA256.hash(data: Array(token.utf8))))!
    }
}
