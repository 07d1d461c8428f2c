import Crypto
import FanfareClient
public import FanfareModel

#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// Signs and checks short-lived tokens that Django makes and reads without code of its own:
///
/// ```python
/// token = django.core.signing.dumps({"sub": user.pk}, salt="fanfare.socket")   # the same SECRET_KEY and salt
/// ```
///
/// The format is `PAYLOAD:TIME:SIGNATURE` of `django.core.signing.TimestampSigner.sign_object`: JSON in base64url,
/// seconds since 1970 in base 62, HMAC-SHA256. Tokens can be read by whoever holds them; they cannot be changed.
public struct TokenSigner: TokenVerifier, CustomStringConvertible {
    /// A secret of fewer bytes is refused: it could be found by trying.
    private static let secretBytesMinimum = 16
    /// As many digits as 64 bits have in base 62.
    private static let timestampDigits = 11

    /// The salt, which keeps tokens of one purpose from being taken for another.
    public let salt: String
    /// How long after signing a token is taken. A claim `exp` can only shorten it.
    public let maximumAgeSeconds: Double
    private let keys: [SymmetricKey]

    /// - Parameters:
    ///   - secrets: The newest first; it signs, all of them verify: Django's `SECRET_KEY` and `SECRET_KEY_FALLBACKS`.
    ///     1 to 16, at least 16 bytes each.
    ///   - salt: What the tokens are for, such as `fanfare.socket`: the `salt` argument in Django. Not empty.
    ///   - maximumAgeSeconds: How long after signing a token is taken. More than 0, finite.
    /// - Throws: ``InvalidSetting``, without any part of a secret.
    public init(secrets: [String], salt: String, maximumAgeSeconds: Double) throws(InvalidSetting) {
        guard (1...16).contains(secrets.count) else {
            throw InvalidSetting("\(secrets.count) secrets for signed tokens; give 1 to 16, the newest first")
        }
        for (place, secret) in secrets.enumerated() where secret.utf8.count < Self.secretBytesMinimum {
            throw InvalidSetting(
                "secret \(place + 1) for signed tokens has \(secret.utf8.count) bytes; give at least 16 random ones"
            )
        }
        guard !salt.isEmpty else {
            throw InvalidSetting("the salt of signed tokens is empty; name what they are for, like fanfare.socket")
        }
        guard maximumAgeSeconds > 0, maximumAgeSeconds.isFinite else {
            throw InvalidSetting("signed tokens cannot live \(maximumAgeSeconds) seconds; give more than 0, like 60")
        }
        self.salt = salt
        self.maximumAgeSeconds = maximumAgeSeconds
        keys = secrets.map { SymmetricKey(data: SHA256.hash(data: Array((salt + "signer" + $0).utf8))) }
    }

    /// Salt and age, never a secret.
    public var description: String { "TokenSigner(salt: \(salt), maximumAgeSeconds: \(maximumAgeSeconds))" }

    /// Signs claims with the newest secret.
    ///
    /// - Parameters:
    ///   - claims: `sub` or `user_id` become ``Identity/user``; `exp` ends the token earlier than its age does.
    ///   - now: When the token's life begins, to whole seconds.
    /// - Throws: `MessageValue.JSONFailure` for what JSON cannot say; ``TokenFailure/tooLong(bytes:)`` beyond
    ///   8 192 bytes; ``TokenFailure/malformed(_:)`` for a time before 1970.
    public func sign(_ claims: [String: MessageValue], now: Date = Date()) throws -> String {
        guard let seconds = UInt64(exactly: now.timeIntervalSince1970.rounded(.down)) else {
            throw TokenFailure.malformed("the clock stands before 1970")
        }
        let json = try MessageValue.map(claims).json(sortedKeys: true)
        let value = Base64URL.encode(Self.ascii(json)) + ":" + Self.base62(seconds)
        let signature = HMAC<SHA256>.authenticationCode(for: Array(value.utf8), using: keys[0])
        let token = value + ":" + Base64URL.encode(signature)
        try TokenText.checkLength(token)
        return token
    }

    /// Checks one token. The signature is compared in constant time, before anything it covers is read.
    ///
    /// - Parameters:
    ///   - token: As it came, of any length and content.
    ///   - now: The time to check it against.
    public func verify(_ token: String, now: Date) throws(TokenFailure) -> Identity {
        try TokenText.checkLength(token)
        let parts = token.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 3 else { throw .malformed("it does not have three parts with : between them") }
        guard parts[0].utf8.first != UInt8(ascii: ".") else {
            throw .malformed("it is compressed; sign with compress=False")
        }
        let signature = try TokenText.signature(parts[2])
        let value = Array(token[..<parts[1].endIndex].utf8)
        let isGenuine = keys.contains {
            HMAC<SHA256>.isValidAuthenticationCode(signature, authenticating: value, using: $0)
        }
        guard isGenuine else { throw .forged }
        guard let seconds = Self.number(base62: parts[1]) else { throw .malformed("its time is not base 62") }
        guard let json = Base64URL.decode(parts[0].utf8), let claims = Self.claims(json) else {
            throw .malformed("its payload is not a JSON object in base64url")
        }
        var expiry = Date(timeIntervalSince1970: Double(seconds) + maximumAgeSeconds)
        if let claimed = try claims.date("exp") { expiry = min(expiry, claimed) }
        guard now < expiry else { throw .expired(since: expiry) }
        return try Identity(claims: claims, expiresAt: expiry)
    }

    private static func claims(_ json: [UInt8]) -> [String: MessageValue]? {
        // Django reads other bytes as Latin-1, the JSON standard as UTF-8: what two readers read differently is refused.
        guard json.allSatisfy({ $0 < 0x80 }) else { return nil }
        return (try? MessageValue(json: json))?.map
    }

    /// JSON in ASCII, as Python writes and reads it here. Outside of ASCII there are only characters of texts.
    private static func ascii(_ json: [UInt8]) -> [UInt8] {
        guard !json.allSatisfy({ $0 < 0x80 }) else { return json }
        var escaped: [UInt8] = []
        for unit in String(decoding: json, as: UTF8.self).utf16 {
            if unit < 0x80 {
                escaped.append(UInt8(unit))
            } else {
                let digits = String(unit, radix: 16)
                escaped.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).utf8)
            }
        }
        return escaped
    }

    private static let base62Alphabet = Array("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)

    private static func base62(_ number: UInt64) -> String {
        var digits: [UInt8] = []
        var rest = number
        repeat {
            digits.append(base62Alphabet[Int(rest % 62)])
            rest /= 62
        } while rest > 0
        return String(decoding: digits.reversed(), as: UTF8.self)
    }

    private static func number(base62 text: Substring) -> UInt64? {
        guard (1...timestampDigits).contains(text.utf8.count) else { return nil }
        var number: UInt64 = 0
        for character in text.utf8 {
            guard let digit = base62Alphabet.firstIndex(of: character) else { return nil }
            let (product, productOverflows) = number.multipliedReportingOverflow(by: 62)
            let (sum, sumOverflows) = product.addingReportingOverflow(UInt64(digit))
            guard !productOverflows, !sumOverflows else { return nil }
            number = sum
        }
        return number
    }
}
