import FanfareClient
import FanfareModel
import JWTKit

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Checks JSON Web Tokens (RFC 7519, RFC 7515) that another service signed.
///
/// Each key is for one algorithm, fixed when it is loaded; a token chooses among the keys and never how one is used
/// (RFC 8725, section 3.1). There is no `none`. Keys that a token brings along or points to are not looked at.
public struct JWTVerifier: TokenVerifier, CustomStringConvertible {
    /// The algorithms of signatures, by their names in tokens (RFC 7518, section 3.1; RFC 8037).
    public enum Algorithm: String, Sendable, Hashable, CaseIterable {
        /// HMAC with a shared secret.
        case hs256 = "HS256"
        /// HMAC with a shared secret.
        case hs384 = "HS384"
        /// HMAC with a shared secret.
        case hs512 = "HS512"
        /// RSA, PKCS #1.
        case rs256 = "RS256"
        /// RSA, PKCS #1.
        case rs384 = "RS384"
        /// RSA, PKCS #1.
        case rs512 = "RS512"
        /// RSA, PSS.
        case ps256 = "PS256"
        /// RSA, PSS.
        case ps384 = "PS384"
        /// RSA, PSS.
        case ps512 = "PS512"
        /// ECDSA on P-256.
        case es256 = "ES256"
        /// ECDSA on P-384.
        case es384 = "ES384"
        /// ECDSA on P-521.
        case es512 = "ES512"
        /// Ed25519.
        case eddsa = "EdDSA"
    }

    /// A file with one key or several. Of at most 1 MiB.
    public enum KeyFile: Sendable, Hashable {
        /// A shared secret for HMAC: all bytes of the file but one line break at its end. As long as the hash, 32, 48
        /// or 64 bytes, or longer (RFC 7518, section 3.2).
        case secret(path: String, algorithm: Algorithm = .hs256, keyID: String? = nil)
        /// A public key in PEM: RSA of 2 048 bits or more, EC on P-256, P-384 or P-521, Ed25519. For RSA the algorithm
        /// is RS256 unless another is given; for the others it is the curve's.
        case publicKey(path: String, algorithm: Algorithm? = nil, keyID: String? = nil)
        /// A JSON Web Key Set (RFC 7517). Each key's algorithm is its `alg`, or as for a PEM file. Keys for encryption
        /// and of kinds that are not known are left out.
        case keySet(path: String)
    }

    /// What the claims of a token must say.
    public struct Rules: Sendable, Hashable {
        /// Whether a token without `exp` is refused.
        public var requiresExpiry: Bool
        /// How far the clocks may be apart when `exp`, `nbf` and `iat` are checked. 0 to 600.
        public var leewaySeconds: Double
        /// Who we are: must be in the token's `aud`. `nil`: a token that has an `aud` is refused, as it is for
        /// somebody (RFC 7519, section 4.1.3).
        public var audience: String?
        /// Whose tokens are taken: must be the token's `iss`. `nil`: anybody's who has one of the keys.
        public var issuer: String?

        /// The documented defaults, or others.
        public init(
            requiresExpiry: Bool = true,
            leewaySeconds: Double = 30,
            audience: String? = nil,
            issuer: String? = nil
        ) {
            self.requiresExpiry = requiresExpiry
            self.leewaySeconds = leewaySeconds
            self.audience = audience
            self.issuer = issuer
        }
    }

    /// One key for one algorithm.
    struct Key: Sendable {
        /// `nil` fits every token.
        let keyID: String?
        let algorithm: any JWTAlgorithm
    }

    /// More keys are refused: a token without `kid` is tried with all of its algorithm.
    private static let keysMaximum = 64
    private static let leewayMaximum = 600.0

    /// What the claims must say.
    public let rules: Rules
    /// What is worth a line in the log after loading: secrets that others can read, keys that were left out.
    public let warnings: [String]
    private let keys: [Key]

    /// Reads keys from files.
    ///
    /// - Parameters:
    ///   - files: At least one. Together at most 64 keys; keys of the same `kid` and algorithm are all tried.
    ///   - rules: What the claims must say.
    /// - Throws: ``InvalidSetting`` that names the file and what is wrong in it.
    public static func load(_ files: [KeyFile], rules: Rules = Rules()) async throws(InvalidSetting) -> JWTVerifier {
        guard (0...leewayMaximum).contains(rules.leewaySeconds) else {
            throw InvalidSetting("a leeway of \(rules.leewaySeconds) s for tokens; give 0 to \(Int(leewayMaximum))")
        }
        var loader = JWTKeyLoader()
        for file in files { try await loader.load(file) }
        guard !loader.keys.isEmpty else {
            let left = loader.warnings.map { "; " + $0 }.joined()
            throw InvalidSetting("there is no key to check tokens with; give at least one key file\(left)")
        }
        guard loader.keys.count <= keysMaximum else {
            throw InvalidSetting("\(loader.keys.count) keys to check tokens with; give at most \(keysMaximum)")
        }
        return JWTVerifier(rules: rules, warnings: loader.warnings, keys: loader.keys)
    }

    private init(rules: Rules, warnings: [String], keys: [Key]) {
        self.rules = rules
        self.warnings = warnings
        self.keys = keys
    }

    /// The algorithms and names of the keys, never a key.
    public var description: String {
        "JWTVerifier(\(keys.map { $0.algorithm.name + ($0.keyID.map { " \($0)" } ?? "") }.joined(separator: ", ")))"
    }

    /// Checks one token. The signature comes first; a token that is not genuine is not told why its claims are wrong.
    ///
    /// - Parameters:
    ///   - token: As it came, of any length and content.
    ///   - now: The time to check it against.
    public func verify(_ token: String, now: Date) throws(TokenFailure) -> Identity {
        try TokenText.checkLength(token)
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .malformed("it does not have three parts with . between them") }
        let candidates = try keys(for: try Self.object(parts[0], "header"))
        let signature = try TokenText.signature(parts[2])
        let signed = Array(token[..<parts[1].endIndex].utf8)
        // A signature of the wrong length throws; it is as wrong as any other.
        guard candidates.contains(where: { (try? $0.algorithm.verify(signature, signs: signed)) == true }) else {
            throw .forged
        }
        let claims = try Self.object(parts[1], "payload")
        return try Identity(claims: claims, expiresAt: try check(claims, now: now))
    }

    private static func object(_ part: Substring, _ name: String) throws(TokenFailure) -> [String: MessageValue] {
        guard let json = Base64URL.decode(part.utf8) else { throw .malformed("its \(name) is not base64url") }
        guard let object = (try? MessageValue(json: json))?.map else {
            throw .malformed("its \(name) is not a JSON object")
        }
        return object
    }

    /// The keys a token may have been signed with, by its header (RFC 7515, section 4.1).
    private func keys(for header: [String: MessageValue]) throws(TokenFailure) -> [Key] {
        guard let algorithm = header["alg"]?.string else { throw .malformed("its header has no alg") }
        guard header["crit"] == nil else { throw .malformed("its header has crit, and no extension is known here") }
        let candidates = keys.filter { $0.algorithm.name == algorithm }
        guard !candidates.isEmpty else { throw .algorithmRefused(algorithm) }
        switch header["kid"] {
        case nil, .null:
            return candidates
        case .string(let keyID):
            let named = candidates.filter { $0.keyID == nil || $0.keyID == keyID }
            guard !named.isEmpty else { throw .unknownKey(keyID) }
            return named
        default:
            throw .malformed("its kid is not text")
        }
    }

    /// - Returns: When the token stops being valid here.
    private func check(_ claims: [String: MessageValue], now: Date) throws(TokenFailure) -> Date? {
        let leeway = rules.leewaySeconds
        let expiry = try claims.date("exp").map { $0.addingTimeInterval(leeway) }
        if let expiry {
            guard now < expiry else { throw .expired(since: expiry) }
        } else if rules.requiresExpiry {
            throw .claimMissing("exp")
        }
        for claim in ["nbf", "iat"] {
            guard let start = try claims.date(claim)?.addingTimeInterval(-leeway) else { continue }
            guard start <= now else { throw .notYetValid(until: start) }
        }
        try checkIssuer(claims["iss"])
        try checkAudience(claims["aud"])
        return expiry
    }

    private func checkIssuer(_ claim: MessageValue?) throws(TokenFailure) {
        guard let issuer = rules.issuer else { return }
        guard let claim else { throw .claimMissing("iss") }
        guard claim.string == issuer else { throw .claimRefused("iss") }
    }

    private func checkAudience(_ claim: MessageValue?) throws(TokenFailure) {
        guard let claim else {
            guard rules.audience == nil else { throw .claimMissing("aud") }
            return
        }
        let audiences = claim.array ?? [claim]
        guard let audience = rules.audience, audiences.contains(.string(audience)) else { throw .claimRefused("aud") }
    }
}
