import FanfareModel
import FanfareOps
import FanfareWorker
import FoundationEssentials
import Synchronization

/// How signed tokens are checked, before the secret is read.
struct TokenPlan: Sendable {
    enum Secret: Sendable {
        case file(String)
        case value(String)
    }

    static let secretVariable = "FANFARE_TOKEN_SECRET"

    let secret: Secret
    let salt: String
    let maximumAgeSeconds: Double
    let sources: [TokenSource]
    private let origin: String

    /// - Returns: `nil` when there is no secret.
    init?(_ settings: Settings<WorkerValues>, environment: [String: String]) throws(ProgramFailure) {
        let values = settings.values.tokens
        let inherited = environment[Self.secretVariable].flatMap { $0.isEmpty ? nil : $0 }
        sources = try TokenSource.read(values.sources, "tokens.sources", settings)
        salt = values.salt ?? ""
        maximumAgeSeconds = Double(values.maximumAge.value) / 1_000
        switch (values.secretFile, inherited) {
        case (nil, nil): return nil
        case (let file?, nil):
            secret = .file(file)
            origin = (settings.origins["tokens.secret_file"].map { $0 + ": " } ?? "") + "tokens.secret_file: "
        case (nil, let value?):
            secret = .value(value)
            origin = "$\(Self.secretVariable): "
        case (_?, _?):
            throw settings.failure(
                "tokens.secret_file",
                "there are two secrets, tokens.secret_file and $\(Self.secretVariable); give one of them"
            )
        }
    }

    /// Reads the secret.
    func signer() throws(ProgramFailure) -> TokenSigner {
        do {
            let text =
                switch secret {
                case .value(let text): text
                case .file(let path): try ConfigurationFile.read(path, what: "the file")
                }
            return try TokenSigner(
                secrets: text.split(whereSeparator: \.isNewline).map(String.init),
                salt: salt,
                maximumAgeSeconds: maximumAgeSeconds
            )
        } catch let error as InvalidSetting {
            throw ProgramFailure(.configuration, origin + error.description)
        } catch let error as ProgramFailure {
            throw ProgramFailure(.configuration, origin + error.text)
        } catch {
            throw ProgramFailure(.configuration, origin + "\(error)")
        }
    }

    var isInFile: Bool { if case .file = secret { true } else { false } }

    var summary: String {
        let place =
            switch secret {
            case .file(let path): path
            case .value: "$\(Self.secretVariable)"
            }
        return "secret=\(place) salt=\(salt) max_age_seconds=\(maximumAgeSeconds)"
    }
}

/// How JSON Web Tokens are checked, before the keys are read.
struct JWTPlan: Sendable {
    let files: [JWTVerifier.KeyFile]
    let rules: JWTVerifier.Rules
    let sources: [TokenSource]
    private let origin: String

    /// - Returns: `nil` when there are no keys.
    init?(_ settings: Settings<WorkerValues>) throws(ProgramFailure) {
        let values = settings.values.jwt
        sources = try TokenSource.read(values.sources, "jwt.sources", settings)
        var rules = JWTVerifier.Rules()
        rules.audience = values.audience
        rules.issuer = values.issuer
        rules.leewaySeconds = Double(values.leeway.value) / 1_000
        rules.requiresExpiry = values.requiresExpiry
        self.rules = rules
        var files: [JWTVerifier.KeyFile] = []
        for record in values.keyFiles { files.append(try Self.file(record)) }
        guard !files.isEmpty else { return nil }
        self.files = files
        origin = (settings.origins["jwt.key_files"].map { $0 + ": " } ?? "") + "jwt.key_files: "
    }

    private static func file(_ record: Record<KeyFileValues>) throws(ProgramFailure) -> JWTVerifier.KeyFile {
        let values = record.values
        let algorithm = values.algorithm.flatMap(JWTVerifier.Algorithm.init(rawValue:))
        switch values.kind.flatMap(KeyFileValues.Kind.init(rawValue:)) {
        case .secret: return .secret(path: values.path, algorithm: algorithm ?? .hs256, keyID: values.keyID)
        case .publicKey: return .publicKey(path: values.path, algorithm: algorithm, keyID: values.keyID)
        case .keySet, nil:
            let foreign = ["algorithm", "key_id"].first { record.origins[$0] != nil }
            guard let foreign else { return .keySet(path: values.path) }
            return try record.locating(foreign) { () throws(ProgramFailure) in
                throw ProgramFailure(.configuration, "jwt.key_files: a key set says \(foreign) itself; remove the line")
            }
        }
    }

    /// Reads the keys.
    func verifier() async throws(ProgramFailure) -> JWTVerifier {
        do throws(InvalidSetting) {
            return try await JWTVerifier.load(files, rules: rules)
        } catch {
            throw ProgramFailure(.configuration, origin + error.description)
        }
    }

    var summary: String {
        "key_files=\(files.count) audience=\(rules.audience ?? "none") issuer=\(rules.issuer ?? "any")"
    }
}

/// Secrets and keys, read. Copies share them.
struct Credentials: Sendable {
    let tokens: Replaceable<TokenSigner>?
    let jwt: Replaceable<JWTVerifier>?

    init(tokens: TokenSigner? = nil, jwt: JWTVerifier? = nil) {
        self.tokens = tokens.map { Replaceable($0) }
        self.jwt = jwt.map { Replaceable($0) }
    }

    /// Reads what a plan needs.
    ///
    /// - Throws: `ProgramFailure(.configuration)` for what cannot be read or used.
    static func read(_ plan: SitePlan) async throws(ProgramFailure) -> Credentials {
        Credentials(tokens: try plan.tokens?.signer(), jwt: try await plan.jwt?.verifier())
    }

    /// Reads it again, for tokens that are shown from now on: all of it or, when something cannot be used, nothing.
    func readAgain(_ plan: SitePlan) async throws(ProgramFailure) {
        let fresh = try await Self.read(plan)
        if let signer = fresh.tokens?.current { tokens?.replace(by: signer) }
        if let verifier = fresh.jwt?.current { jwt?.replace(by: verifier) }
    }
}

/// A verifier whose place another of its kind can take while it is in use.
final class Replaceable<Verifier: TokenVerifier>: TokenVerifier {
    private let verifier: Mutex<Verifier>

    init(_ verifier: Verifier) {
        self.verifier = Mutex(verifier)
    }

    var current: Verifier { verifier.withLock { $0 } }

    func replace(by other: Verifier) {
        verifier.withLock { $0 = other }
    }

    func verify(_ token: String, now: Date) throws(TokenFailure) -> Identity {
        try current.verify(token, now: now)
    }
}

extension TokenSource {
    fileprivate static func read(
        _ texts: [String],
        _ path: String,
        _ settings: Settings<WorkerValues>
    ) throws(ProgramFailure) -> [TokenSource] {
        try settings.locating(path) { () throws(ProgramFailure) in
            guard !texts.isEmpty else {
                throw ProgramFailure(.configuration, "\(path) is empty; name a place for tokens")
            }
            var sources: [TokenSource] = []
            for text in texts { sources.append(try TokenSource(setting: text)) }
            return sources
        }
    }
}
