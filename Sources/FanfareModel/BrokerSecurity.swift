/// How a program shows a broker who it is, and checks who answers.
///
/// All files are PEM, but for the token's, and read again at each dial: replaced, they hold from the next link on.
public struct BrokerSecurity: Sendable, Equatable {
    /// The certificate authorities one of which must have signed the broker's certificate, for `tls://`; a self-signed
    /// certificate is its own. `nil`: those the system trusts. There is no way not to check.
    public var caFile: String?
    /// This program's certificate with its chain, for a broker that asks for one (mutual TLS). Needs ``keyFile``.
    public var certificateFile: String?
    /// The private key of ``certificateFile``.
    public var keyFile: String?
    /// The name the broker's certificate must hold. `nil`: the host of the endpoint.
    public var serverName: String?
    /// A file with the token to show: one line, not readable by everybody. Goes before ``token``.
    public var tokenFile: String?
    /// The token to show, for programs that have it from elsewhere. 1 to 1 024 visible ASCII characters.
    public var token: String?
    /// Whether the token may go over `tcp://` to another machine, where everybody on the way can read it.
    public var allowsTokenInTheClear = false

    /// Bytes of a token, at most.
    package static let tokenBytesMaximum = 1_024

    /// Nothing to show; the system's authorities are trusted.
    public init() {}

    /// Fills what was not set from `$FANFARE_CA_FILE`, `$FANFARE_CERTIFICATE_FILE`, `$FANFARE_KEY_FILE`,
    /// `$FANFARE_TOKEN_FILE` and `$FANFARE_TOKEN`. Certificate and key go together, and so do the two ways to a token.
    package func completed(by environment: [String: String]) -> BrokerSecurity {
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        var completed = self
        completed.caFile = caFile ?? value("FANFARE_CA_FILE")
        if certificateFile == nil, keyFile == nil {
            completed.certificateFile = value("FANFARE_CERTIFICATE_FILE")
            completed.keyFile = value("FANFARE_KEY_FILE")
        }
        if tokenFile == nil, token == nil {
            completed.tokenFile = value("FANFARE_TOKEN_FILE")
            completed.token = value("FANFARE_TOKEN")
        }
        return completed
    }

    /// The environment variables ``completed(by:)`` reads.
    package static let environmentNames = [
        "FANFARE_CA_FILE", "FANFARE_CERTIFICATE_FILE", "FANFARE_KEY_FILE", "FANFARE_TOKEN_FILE", "FANFARE_TOKEN",
    ]

    /// - Throws: ``ProgramFailure`` with exit `configuration` when the settings do not fit together or no token has
    ///   such characters; files are not looked at.
    package func check() throws(ProgramFailure) {
        guard (certificateFile == nil) == (keyFile == nil) else {
            throw ProgramFailure(
                .configuration,
                "a client certificate needs both files, its certificate's and its key's; only "
                    + "\(certificateFile ?? keyFile ?? "") is given"
            )
        }
        if let token { try Self.check(token: token, from: "the token") }
    }

    /// - Throws: ``ProgramFailure``, which never shows the token.
    package static func check(token: String, from place: String) throws(ProgramFailure) {
        guard (1...tokenBytesMaximum).contains(token.utf8.count), token.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else {
            throw ProgramFailure(
                .configuration,
                "\(place) must be 1 to \(tokenBytesMaximum) visible ASCII characters without spaces in between; it has "
                    + "\(token.utf8.count) bytes"
            )
        }
    }
}
