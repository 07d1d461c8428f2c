import FanfareModel
import FanfareTransport

/// What a broker knows of who may come in. On its loop.
final class Security {
    /// `nil`: everybody who can connect may do everything.
    private(set) var credentials: Credentials?
    /// `nil` without a `tls://` endpoint.
    let tls: TLSListening?
    /// How often what was read again, by outcome: `credentials_ok`, `tls_failed`.
    private(set) var reloads: [String: UInt64] = [:]

    init(credentials: Credentials? = nil, tls: TLSListening? = nil) {
        self.credentials = credentials
        self.tls = tls
    }

    /// Who says hello; `nil` when nobody is asked.
    ///
    /// - Throws: `unauthorized`.
    func access(for hello: Hello, from user: SocketUser?) throws(Failure) -> Access? {
        // Of another version only its number counts, and the core refuses it for that.
        guard let credentials, hello.protocolVersion == Protocol.version else { return nil }
        return try credentials.access(for: hello, from: user)
    }

    /// Who looks without a session; `nil` when nobody is asked.
    ///
    /// - Throws: `unauthorized`, or `forbidden` when there is no way to be let in.
    func access(for viewer: Viewer) throws(Failure) -> Access? {
        if let credentials { return try credentials.access(for: viewer) }
        guard viewer.isLocal else {
            throw Failure(
                .forbidden,
                "this broker has no credentials, so it shows itself on its own machine only; use "
                    + "`ssh -L`, or start it with --credentials"
            )
        }
        return nil
    }

    /// Whether a session that was let in still would be.
    ///
    /// - Throws: `unauthorized`.
    func check(_ peer: Peer) throws(Failure) {
        guard let credentials, let hello = peer.hello else { return }
        if let access = peer.access { return try credentials.check(access, of: hello) }
        // It began with an earlier start and has not come back: its seal is all that is known.
        guard let seal = peer.credential, !credentials.hold(seal, for: hello) else { return }
        throw Failure(.unauthorized, "its credential has been revoked, or its permissions have changed")
    }

    /// Whether a session of an earlier start may go on as it is: by a credential that says the same now.
    ///
    /// - Parameter seal: Of the credential then; `nil` when nobody was asked.
    func holds(_ seal: String?, for hello: Hello) -> Bool {
        guard let credentials, let seal else { return (credentials == nil) == (seal == nil) }
        return credentials.hold(seal, for: hello)
    }

    func replace(_ credentials: Credentials) {
        self.credentials = credentials
    }

    func count(_ reload: Reload) {
        reloads[reload.rawValue, default: 0] += 1
    }

    /// For `status`, PROTOCOL.md section 9.
    var status: [String: MessageValue] {
        var counts: [String: MessageValue] = [:]
        for reload in Reload.allCases { counts[reload.rawValue] = .count(reloads[reload.rawValue] ?? 0) }
        return ["reloads": .map(counts), "tls_failures": .count(tls?.failures ?? 0)]
    }
}

/// What can come of reading a file again.
package enum Reload: String, Sendable, CaseIterable {
    case credentialsOK = "credentials_ok"
    case credentialsFailed = "credentials_failed"
    case tlsOK = "tls_ok"
    case tlsFailed = "tls_failed"
}
