import FanfareModel
import HTTPTypes

/// Which groups a client of pubsub may use, as shell-style patterns over their names: `news.*`, `user_7`.
struct GroupPermissions: Sendable {
    private let subscribe: [Glob]
    private let publish: [Glob]

    /// Patterns of one list.
    static let patternsMaximum = 100
    /// Bytes of one pattern.
    static let patternBytesMaximum = 128

    /// - Throws: ``InvalidSetting`` for more patterns, or longer ones, than may be.
    init(subscribe: [String], publish: [String]) throws(InvalidSetting) {
        self.subscribe = try Self.globs(subscribe, "subscribe")
        self.publish = try Self.globs(publish, "publish")
    }

    private init(_ subscribe: [Glob], _ publish: [Glob]) {
        self.subscribe = subscribe
        self.publish = publish
    }

    /// These and those of a token's claims `subscribe` and `publish`, lists of patterns.
    ///
    /// - Throws: ``Denial`` 403 for claims that are something else: a mistake of whoever signed them.
    func adding(_ claims: [String: MessageValue]) throws -> GroupPermissions {
        do throws(InvalidSetting) {
            return GroupPermissions(
                subscribe + (try Self.globs(Self.patterns(claims, "subscribe"), "subscribe")),
                publish + (try Self.globs(Self.patterns(claims, "publish"), "publish"))
            )
        } catch {
            throw Denial(.forbidden, "The token's claims cannot be used: \(error.description).", reason: "bad_claims")
        }
    }

    func maySubscribe(_ group: String) -> Bool { subscribe.contains { $0.matches(group) } }

    func mayPublish(_ group: String) -> Bool { publish.contains { $0.matches(group) } }

    private static func patterns(_ claims: [String: MessageValue], _ name: String) throws(InvalidSetting) -> [String] {
        guard let claim = claims[name] else { return [] }
        let texts = claim.array?.compactMap(\.string)
        guard let texts, texts.count == claim.array?.count else { throw InvalidSetting("\(name) is no list of texts") }
        return texts
    }

    private static func globs(_ patterns: [String], _ name: String) throws(InvalidSetting) -> [Glob] {
        guard patterns.count <= patternsMaximum else {
            throw InvalidSetting("\(name) has \(patterns.count) patterns; at most \(patternsMaximum) are read")
        }
        if let long = patterns.first(where: { !(1...patternBytesMaximum).contains($0.utf8.count) }) {
            throw InvalidSetting(
                "the pattern \(InvalidSetting.quoted(long)) of \(name) must have 1 to \(patternBytesMaximum) bytes"
            )
        }
        return patterns.map { Glob($0) }
    }
}
