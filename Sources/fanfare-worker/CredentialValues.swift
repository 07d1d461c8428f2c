import FanfareModel
import FanfareOps
import FanfareWorker

/// The section `tokens`: signed tokens that expire, as Django makes them.
struct TokenValues: Sendable, Equatable {
    var secretFile: String?
    var salt: String? = "fanfare.socket"
    var maximumAge = Milliseconds(3_600_000)
    var sources = TokenSource.standard

    static let table: [Setting<TokenValues>] = [
        .text(
            "secret_file",
            \.secretFile,
            example: "/etc/fanfare/secret",
            "A file with the secret that signs tokens, such as Django's SECRET_KEY; further lines are older secrets "
                + "that still count. Read again on SIGHUP. Without it: $FANFARE_TOKEN_SECRET."
        ),
        .text(
            "salt",
            \.salt,
            example: "fanfare.socket",
            "What the tokens are for: the salt of signing.dumps in Django."
        ),
        .seconds(
            "max_age_seconds",
            \.maximumAge,
            1_000...31_536_000_000,
            "How long after signing a token is good. Then its connections are closed with 3000."
        ),
        .tokenSources(\.sources),
    ]
}

/// The section `jwt`: JSON Web Tokens of another service.
struct JWTValues: Sendable, Equatable {
    var keyFiles: [Record<KeyFileValues>] = []
    var audience: String?
    var issuer: String?
    var leeway = Milliseconds(30_000)
    var requiresExpiry = true
    var sources = TokenSource.standard

    static let table: [Setting<JWTValues>] = [
        .records(
            "key_files",
            \.keyFiles,
            most: 64,
            defaults: KeyFileValues(),
            table: KeyFileValues.table,
            "The keys that tokens are checked with. Read again on SIGHUP."
        ),
        .text(
            "audience",
            \.audience,
            example: "https://live.example",
            "Who we are: must be in a token's aud. Without it: a token that has an aud is refused."
        ),
        .text(
            "issuer",
            \.issuer,
            example: "https://login.example",
            "Whose tokens count: must be a token's iss. Without it: everybody's who has one of the keys."
        ),
        .seconds("leeway_seconds", \.leeway, 0...600_000, "How far the clocks of issuer and worker may be apart."),
        .flag("expiry_required", \.requiresExpiry, "Whether a token without exp is refused."),
        .tokenSources(\.sources),
    ]
}

/// One record of `jwt.key_files`.
struct KeyFileValues: Sendable, Equatable {
    var path = ""
    var kind: String?
    var algorithm: String?
    var keyID: String?

    enum Kind: String, CaseIterable {
        case secret
        case publicKey = "public_key"
        case keySet = "key_set"
    }

    static let table: [Setting<KeyFileValues>] = [
        .text("path", \.path, example: "/etc/fanfare/issuer.pem", "The file.").required,
        .choice(
            "kind",
            \.kind,
            Kind.allCases.map(\.rawValue),
            "What is in it: a shared secret, a public key in PEM, or a JSON Web Key Set."
        ).required,
        .choice(
            "algorithm",
            \.algorithm,
            JWTVerifier.Algorithm.allCases.map(\.rawValue),
            "What it signs with. Without it: HS256 for a secret, RS256 for an RSA key; the others have only one."
        ),
        .text("key_id", \.keyID, example: "2026-01", "The kid of tokens it is for. Without it: any."),
    ]
}

extension TokenSource {
    /// Where a token is looked for unless the configuration says otherwise.
    static let standard = ["query:token", "subprotocol", "bearer"]

    /// Reads a source as the configuration has it.
    init(setting text: String) throws(ProgramFailure) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        switch (parts[0], parts.count == 2 ? parts[1] : nil) {
        case ("bearer", nil): self = .bearer
        case ("subprotocol", nil): self = .subprotocol
        case ("query", let name?) where !name.isEmpty: self = .query(name)
        case ("cookie", let name?) where !name.isEmpty: self = .cookie(name)
        default:
            throw ProgramFailure(
                .configuration,
                "\"\(text)\" is no place for tokens; write query:NAME, subprotocol, bearer or cookie:NAME"
            )
        }
    }
}

extension Setting {
    /// Where clients put their tokens.
    fileprivate static func tokenSources(_ path: Path<[String]>) -> Setting {
        .list(
            "sources",
            path,
            example: "query:token",
            most: 8,
            "Where clients put the token, the first that has one decides: query:NAME, subprotocol (as token.TOKEN), "
                + "bearer (a header, for programs) and cookie:NAME."
        )
    }
}
