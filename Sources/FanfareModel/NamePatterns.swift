/// A list of patterns over names: a name is allowed when one of them matches it. No pattern, no name.
package struct NamePatterns: Sendable, Equatable, CustomStringConvertible {
    /// Allows every name, and costs nothing to ask.
    package static let all = NamePatterns(globs: nil)

    /// `nil`: everything.
    private let globs: [Glob]?

    /// - Parameter patterns: As people write them, such as `jobs.*`; `*` alone allows everything.
    package init(_ patterns: [String]) {
        self.init(globs: patterns.contains("*") ? nil : patterns.map(Glob.init))
    }

    private init(globs: [Glob]?) {
        self.globs = globs
    }

    /// Whether no name is refused.
    package var allowsAll: Bool { globs == nil }

    package func allow(_ name: String) -> Bool {
        guard let globs else { return true }
        return globs.contains { $0.matches(name) }
    }

    /// Allows what either allows.
    package func union(_ other: NamePatterns) -> NamePatterns {
        guard let globs, let others = other.globs else { return .all }
        return NamePatterns(globs: globs + others)
    }

    /// Equal for equal lists only, whatever stands in the patterns.
    package var unambiguousText: String {
        globs?.map { "\($0.pattern.utf8.count):\($0.pattern)" }.joined() ?? "all"
    }

    /// The patterns, for errors.
    package var description: String {
        guard let globs else { return "*" }
        return globs.isEmpty ? "none" : globs.map(\.pattern).joined(separator: ", ")
    }
}

/// What of the broker's names a session may be shown by `INSPECT` and `TAIL`.
package struct Visibility: Sendable, Equatable {
    /// What a name belongs to.
    package enum Kind: Sendable {
        case channel
        case group
    }

    /// Everything in every namespace: a session whose credential has no patterns.
    package static let everything = Visibility()

    package var namespaces = NamePatterns.all
    package var channels = NamePatterns.all
    package var groups = NamePatterns.all
    /// The session's own process channels are shown to it whatever the patterns say.
    package var node: String?
    /// Where ``node`` is its own.
    package var ownNamespace = ""

    package init() {}

    package func shows(namespace: String) -> Bool { namespaces.allow(namespace) }

    /// Whether `name` of a namespace may be shown.
    package func shows(_ kind: Kind, _ name: String, in namespace: String) -> Bool {
        guard namespaces.allow(namespace) else { return false }
        switch kind {
        case .group: return groups.allow(name)
        case .channel: return channels.allow(name) || isOwn(name, in: namespace)
        }
    }

    private func isOwn(_ channel: String, in namespace: String) -> Bool {
        guard let node, namespace == ownNamespace, let owner = Names.node(of: channel) else { return false }
        return owner == node
    }
}
