public import FanfareModel

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Who a client is, as a verified token or a program's own check found.
public struct Identity: Sendable, Hashable {
    /// Of a token the claim `sub`, or `user_id` when there is no `sub`; an integer as its digits. `nil`: not known.
    public let user: String?
    /// All claims of a token, numbers as they were written.
    public let claims: [String: MessageValue]
    /// From then on the token is refused: what was opened with it must be closed. `nil`: never. At latest in the
    /// year 9999, so that whole seconds and milliseconds do not overflow.
    public let expiresAt: Date?

    /// An identity that was checked in another way, such as a session cookie.
    ///
    /// - Parameters:
    ///   - user: Who it is; `nil` when that is not known.
    ///   - claims: What else is known.
    ///   - expiresAt: From when on this identity is not valid any more; `nil` for never.
    public init(user: String?, claims: [String: MessageValue] = [:], expiresAt: Date? = nil) {
        self.user = user
        self.claims = claims
        self.expiresAt = expiresAt.map { min($0, Self.latest) }
    }

    /// What a genuine token says.
    ///
    /// - Throws: ``TokenFailure/malformed(_:)`` when `sub` or `user_id` is neither text nor an integer, or empty.
    init(claims: [String: MessageValue], expiresAt: Date?) throws(TokenFailure) {
        self.init(user: try Self.user(claims), claims: claims, expiresAt: expiresAt)
    }

    /// The last second of the year 9999.
    private static let latest = Date(timeIntervalSince1970: 253_402_300_799)

    private static func user(_ claims: [String: MessageValue]) throws(TokenFailure) -> String? {
        for name in ["sub", "user_id"] {
            switch claims[name] {
            case nil, .null: continue
            case .string(let text) where !text.isEmpty: return text
            case .int(let number): return String(number)
            default: throw .malformed("the claim \(name) is neither text nor an integer")
            }
        }
        return nil
    }
}

/// Checks tokens and says whom they speak for: ``TokenSigner`` and ``JWTVerifier``.
public protocol TokenVerifier: Sendable {
    /// Checks one token. Pure: the same token at the same time always has the same answer.
    ///
    /// - Parameters:
    ///   - token: As it came, of any length and content.
    ///   - now: The time to check it against.
    /// - Throws: ``TokenFailure``.
    func verify(_ token: String, now: Date) throws(TokenFailure) -> Identity
}

extension TokenVerifier {
    /// Checks one token now.
    public func verify(_ token: String) throws(TokenFailure) -> Identity {
        try verify(token, now: Date())
    }
}

/// Why a token is refused. Its `description` is for logs; tell a client no more than that the token was refused.
public enum TokenFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// More bytes than a token may have. It was not looked at.
    case tooLong(bytes: Int)
    /// It is no token of this kind; the text says where.
    case malformed(String)
    /// The signature was not made with a key that is known here.
    case forged
    /// It names a key that is not known here: the keys may have been changed at the issuer.
    case unknownKey(String)
    /// It asks for an algorithm that none of the keys is for.
    case algorithmRefused(String)
    /// It is genuine, and has been invalid since then.
    case expired(since: Date)
    /// It is genuine, and becomes valid only then.
    case notYetValid(until: Date)
    /// It is genuine, and lacks this claim.
    case claimMissing(String)
    /// It is genuine, and this claim (`aud`, `iss`) says it is meant for others.
    case claimRefused(String)

    /// One word without values, to count failures by.
    public var reason: String {
        switch self {
        case .tooLong: "too_long"
        case .malformed: "malformed"
        case .forged: "forged"
        case .unknownKey: "unknown_key"
        case .algorithmRefused: "algorithm_refused"
        case .expired: "expired"
        case .notYetValid: "not_yet_valid"
        case .claimMissing: "claim_missing"
        case .claimRefused: "claim_refused"
        }
    }

    /// What is wrong, in one line. Words of the token are quoted and cut.
    public var description: String {
        switch self {
        case .tooLong(let bytes): "the token has \(bytes) bytes; at most \(TokenText.bytesMaximum) are read"
        case .malformed(let problem): "the token cannot be read: \(problem)"
        case .forged: "the token was not signed with a key that is known here"
        case .unknownKey(let name): "the token was signed with the key \(InvalidSetting.quoted(name)), unknown here"
        case .algorithmRefused(let name):
            "the token was signed with the algorithm \(InvalidSetting.quoted(name)), which no key here is for"
        case .expired(let date): "the token expired at \(date.timeIntervalSince1970) (seconds since 1970)"
        case .notYetValid(let date): "the token is not valid before \(date.timeIntervalSince1970) (seconds since 1970)"
        case .claimMissing(let name): "the token has no claim \(name)"
        case .claimRefused(let name): "the token is meant for others: its claim \(name) does not match"
        }
    }
}

/// What both kinds of tokens have in common as texts.
enum TokenText {
    /// Bytes of one token. More: ``TokenFailure/tooLong(bytes:)``. Half of what a request's headers may have.
    static let bytesMaximum = 8_192

    static func checkLength(_ token: String) throws(TokenFailure) {
        let count = token.utf8.count
        guard count <= bytesMaximum else { throw .tooLong(bytes: count) }
    }

    /// The bytes of a signature.
    static func signature(_ part: Substring) throws(TokenFailure) -> [UInt8] {
        guard let bytes = Base64URL.decode(part.utf8) else { throw .malformed("its signature is not base64url") }
        return bytes
    }
}

extension [String: MessageValue] {
    /// The point in time a claim names in seconds since 1970 (`NumericDate`, RFC 7519, section 2).
    func date(_ claim: String) throws(TokenFailure) -> Date? {
        switch self[claim] {
        case nil: nil
        case .int(let seconds): Date(timeIntervalSince1970: Double(seconds))
        case .double(let seconds): Date(timeIntervalSince1970: seconds)
        default: throw .malformed("the claim \(claim) is no number of seconds")
        }
    }
}
