/// Which pages may open sockets here, by the `Origin` header of the handshake (RFC 6455, section 10.2).
///
/// A browser sends a user's cookies with a handshake from any page; the origin is what tells the pages apart. A policy
/// is made once, at start, and refuses to be made from patterns it cannot read.
public struct OriginPolicy: Sendable {
    /// What happens to a handshake without an `Origin`: it comes from a program that is no browser.
    public enum MissingOrigin: Sendable, Hashable {
        /// It is let in.
        case allowed
        /// It is refused.
        case refused
    }

    private enum Rule: Sendable {
        case everything
        case sameOrigin
        case matching([Pattern])
    }

    /// More patterns are refused: each handshake looks at all of them.
    private static let patternsMaximum = 1_000

    private let rule: Rule
    private let missing: MissingOrigin

    /// Admits pages of the host and port that the handshake goes to, and programs that are no browsers. The default.
    public static let sameOrigin = OriginPolicy.sameOrigin(missing: .allowed)

    /// Admits pages of the host and port that the handshake goes to.
    ///
    /// - Parameter missing: What happens without an `Origin` header.
    public static func sameOrigin(missing: MissingOrigin) -> OriginPolicy {
        OriginPolicy(.sameOrigin, missing)
    }

    private init(_ rule: Rule, _ missing: MissingOrigin) {
        self.rule = rule
        self.missing = missing
    }

    /// Admits the pages that one of the patterns describes. They are written as for Channels' `OriginValidator` and
    /// Django's `ALLOWED_HOSTS`:
    ///
    /// | pattern | admits |
    /// |---|---|
    /// | `https://shop.example` | this scheme, host and its default port |
    /// | `https://shop.example:8443` | this scheme, host and port |
    /// | `shop.example`, `shop.example:8443` | this host with any scheme, and any port or this port |
    /// | `.shop.example`, `*.shop.example` | the host and every host below it; also with scheme and port |
    /// | `*` | everything, also `Origin: null` |
    ///
    /// Case does not matter. A host outside ASCII is written as browsers send it, `xn--…`.
    ///
    /// - Parameters:
    ///   - patterns: 1 to 1 000.
    ///   - missing: What happens without an `Origin` header. `nil`: refused, unless `*` is among the patterns.
    /// - Throws: ``InvalidSetting`` that names the pattern that cannot be read, or says that there is none.
    public init(allowing patterns: [String], missing: MissingOrigin? = nil) throws(InvalidSetting) {
        guard !patterns.isEmpty else {
            throw InvalidSetting("no origins are allowed, so no page could connect; \(Pattern.allowed)")
        }
        guard patterns.count <= Self.patternsMaximum else {
            throw InvalidSetting("\(patterns.count) origins are allowed; write at most \(Self.patternsMaximum)")
        }
        var parsed: [Pattern] = []
        // Every pattern is read, also beside a `*`, so that a mistake shows before the `*` is taken away.
        for pattern in patterns where pattern != "*" { parsed.append(try Pattern(pattern)) }
        let admitsEverything = patterns.contains("*")
        rule = admitsEverything ? .everything : .matching(parsed)
        self.missing = missing ?? (admitsEverything ? .allowed : .refused)
    }

    /// Whether a handshake may go on. A request with several `Origin` headers must be refused before.
    ///
    /// - Parameters:
    ///   - origin: The `Origin` header as it came, `nil` when there is none.
    ///   - host: The `Host` header as it came, or what a trusted proxy says it was.
    /// - Returns: `false` also for an origin or host that cannot be read, and for `null` unless everything is admitted.
    public func admits(origin: String?, host: String) -> Bool {
        guard let origin else { return missing == .allowed }
        switch rule {
        case .everything:
            return true
        case .sameOrigin:
            guard let origin = Origin(origin), origin.scheme == "http" || origin.scheme == "https",
                let here = Authority(host)
            else { return false }
            return origin.authority.host == here.host && origin.port == here.port ?? Origin.portDefault(origin.scheme)
        case .matching(let patterns):
            guard let origin = Origin(origin) else { return false }
            return patterns.contains { $0.matches(origin) }
        }
    }
}

/// `scheme://host[:port]`, the text of an origin (RFC 6454, section 6.2), in lower case.
private struct Origin {
    let scheme: String
    let authority: Authority

    init?(_ text: String) {
        guard let separator = text.firstRange(of: "://"), Self.isScheme(text[..<separator.lowerBound]),
            let authority = Authority(text[separator.upperBound...])
        else { return nil }
        scheme = text[..<separator.lowerBound].lowercased()
        self.authority = authority
    }

    /// The port, written or not; `nil` for schemes that have none.
    var port: UInt16? { authority.port ?? Self.portDefault(scheme) }

    static func portDefault(_ scheme: String) -> UInt16? {
        switch scheme {
        case "http", "ws": 80
        case "https", "wss": 443
        default: nil
        }
    }

    /// A letter, then letters, digits, `+`, `-` and `.` (RFC 3986, section 3.1).
    static func isScheme(_ text: Substring) -> Bool {
        guard let first = text.utf8.first, (1...32).contains(text.utf8.count) else { return false }
        return isLetter(first)
            && text.utf8.allSatisfy { byte in
                isLetter(byte) || (0x30...0x39).contains(byte) || "+-.".utf8.contains(byte)
            }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}

/// One line of an allow list.
private struct Pattern: Sendable {
    /// `nil` admits any.
    private let scheme: String?
    private let host: String
    private let admitsSubdomains: Bool
    /// `nil` admits any port, or with a scheme its default.
    private let port: UInt16?

    static let allowed = """
        write https://shop.example, https://shop.example:8443, shop.example, .shop.example (with all hosts below it) \
        or * for everything
        """

    init(_ text: String) throws(InvalidSetting) {
        func invalid(_ problem: String) -> InvalidSetting {
            InvalidSetting("origin \(InvalidSetting.quoted(text)) \(problem); \(Self.allowed)")
        }
        var rest = text[...]
        if let separator = text.firstRange(of: "://") {
            guard Origin.isScheme(text[..<separator.lowerBound]) else { throw invalid("has an unreadable scheme") }
            scheme = text[..<separator.lowerBound].lowercased()
            rest = text[separator.upperBound...]
        } else {
            scheme = nil
        }
        guard !rest.contains(where: { "/?#\\".contains($0) }) else { throw invalid("has a path; an origin has none") }
        guard !rest.contains("@") else { throw invalid("has credentials; an origin has none") }
        guard Authority.lowercased(rest) != nil else { throw invalid("is not ASCII: write its host as xn--…") }
        if rest.hasPrefix("*.") { rest = rest.dropFirst() }
        admitsSubdomains = rest.hasPrefix(".")
        if admitsSubdomains { rest = rest.dropFirst() }
        guard let authority = Authority(rest) else { throw invalid("has an unreadable host or port") }
        guard !authority.host.hasSuffix(".") else { throw invalid("has a host that ends in a dot") }
        guard !admitsSubdomains || !Self.isAddress(authority.host) else {
            throw invalid("is an address, which has no subdomains")
        }
        host = authority.host
        port = authority.port
    }

    func matches(_ origin: Origin) -> Bool {
        if let scheme {
            guard scheme == origin.scheme, port ?? Origin.portDefault(scheme) == origin.port else { return false }
        } else if let port {
            guard port == origin.port else { return false }
        }
        let candidate = origin.authority.host
        return candidate == host || admitsSubdomains && candidate.hasSuffix("." + host)
    }

    /// Whether URLs read the host as an address: it is in brackets or its last label is a number.
    private static func isAddress(_ host: String) -> Bool {
        host.hasPrefix("[")
            || host.split(separator: ".").last?.utf8.allSatisfy { (0x30...0x39).contains($0) } == true
    }
}
