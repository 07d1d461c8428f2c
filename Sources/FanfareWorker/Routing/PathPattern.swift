#if canImport(FoundationEssentials)
    public import FoundationEssentials
#else
    public import Foundation
#endif

/// An address with typed gaps, in the style of Django's `path()`: `/ws/room/<int:room_id>/messages`.
///
/// | written | matches |
/// |---|---|
/// | `<str:name>` or `<name>` | one segment, not empty |
/// | `<int:name>` | digits, at most 9 223 372 036 854 775 807 |
/// | `<slug:name>` | letters, digits, `-` and `_` |
/// | `<uuid:name>` | a UUID in lower case with its dashes |
/// | `<path:name>` | everything that is left, slashes included; last in the pattern |
///
/// A gap may have fixed text around it in its segment: `/item-<int:id>.json`. Segments are percent-decoded before they
/// are compared. `/a` and `/a/` are two addresses.
public struct PathPattern: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
    enum Kind: String, Sendable { case str, int, slug, uuid, path }

    struct Segment: Sendable, Hashable {
        var before = ""
        var gap: Gap?
        var after = ""
    }

    struct Gap: Sendable, Hashable {
        let kind: Kind
        let name: String
    }

    /// Why a text is no pattern.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// What is wrong, for people.
        public let description: String
    }

    /// As it was written.
    public let description: String
    private(set) var segments: [Segment] = []

    /// Takes nothing off an address.
    static let nothing = PathPattern()

    private init() {
        description = ""
    }

    /// - Throws: ``Failure`` that says what is wrong with it.
    public init(_ text: String) throws(Failure) {
        description = text
        guard text.first == "/" else { throw Failure(description: "the pattern \"\(text)\" must begin with /") }
        var names: Set<String> = []
        for part in text.dropFirst().split(separator: "/", omittingEmptySubsequences: false) {
            guard segments.last?.gap?.kind != .path else {
                throw Failure(description: "in the pattern \"\(text)\" something follows <path:…>, which takes all")
            }
            let segment = try Self.segment(part, of: text)
            if let name = segment.gap?.name, !names.insert(name).inserted {
                throw Failure(description: "the pattern \"\(text)\" names <\(name)> twice")
            }
            segments.append(segment)
        }
    }

    /// For patterns in code; stops the program with the reason when it is none.
    public init(stringLiteral text: String) {
        do {
            try self.init(text)
        } catch {
            preconditionFailure(error.description)
        }
    }

    /// The pattern without the slash at its end, in front of other patterns: `/` is nothing, `/a/` is `/a`.
    var prefix: PathPattern {
        precondition(segments.last?.gap?.kind != .path, "nothing can follow \(description), which takes all")
        guard segments.last == Segment() else { return self }
        var prefix = self
        prefix.segments.removeLast()
        return prefix
    }

    /// The pattern of a route below this one.
    func joined(with below: String) -> String {
        description.last == "/" && below.first == "/" ? String(description.dropLast()) + below : description + below
    }

    /// The names of its gaps, in order.
    public var names: [String] { segments.compactMap(\.gap?.name) }

    private static func segment(_ part: Substring, of text: String) throws(Failure) -> Segment {
        guard let open = part.firstIndex(of: "<") else {
            guard !part.contains(">") else { throw Failure(description: "a > without < in the pattern \"\(text)\"") }
            return Segment(before: String(part))
        }
        guard let close = part[open...].firstIndex(of: ">") else {
            throw Failure(description: "a < without > in the pattern \"\(text)\"")
        }
        let after = part[part.index(after: close)...]
        guard !after.contains("<"), !after.contains(">") else {
            throw Failure(description: "two gaps in one segment of the pattern \"\(text)\"")
        }
        let inside = part[part.index(after: open)..<close].split(
            separator: ":",
            maxSplits: 1,
            omittingEmptySubsequences: false
        )
        let name = inside[inside.count - 1]
        guard let kind = inside.count == 1 ? .str : Kind(rawValue: String(inside[0])) else {
            throw Failure(
                description: "<\(inside[0]):…> in the pattern \"\(text)\" must be str, int, slug, uuid or path"
            )
        }
        guard let first = name.utf8.first, !(0x30...0x39).contains(first), name.utf8.allSatisfy(isNameByte) else {
            throw Failure(description: "\"\(name)\" in the pattern \"\(text)\" is no name: letters, digits and _")
        }
        guard kind != .path || after.isEmpty else {
            throw Failure(description: "in the pattern \"\(text)\" something follows <path:…>, which takes all")
        }
        return Segment(
            before: String(part[..<open]),
            gap: Gap(kind: kind, name: String(name)),
            after: String(after)
        )
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        Kind.isSlug(byte) && byte != UInt8(ascii: "-")
    }

    // MARK: Matching

    /// How an address and a pattern go together.
    enum Match: Equatable {
        case matches(Captures)
        /// It would, but for the type of a gap.
        case wrongType(String)
        case differs
        /// It would, and more of the address follows; for routers inside routers.
        case begins(Captures, rest: ArraySlice<String>)
    }

    /// - Parameters:
    ///   - path: The decoded segments of an address.
    ///   - captures: What outer routers have found.
    func match(_ path: ArraySlice<String>, _ captures: Captures) -> Match {
        var captures = captures
        var wrong: String?
        var rest = path
        for segment in segments {
            guard let part = rest.first else { return .differs }
            let whole = segment.gap?.kind == .path ? rest.joined(separator: "/") : part
            guard whole.hasPrefix(segment.before), whole.hasSuffix(segment.after),
                whole.utf8.count >= segment.before.utf8.count + segment.after.utf8.count
            else { return .differs }
            rest = segment.gap?.kind == .path ? [] : rest.dropFirst()
            guard let gap = segment.gap else {
                guard whole == segment.before else { return .differs }
                continue
            }
            let value = String(
                whole.dropFirst(segment.before.count).dropLast(segment.after.count)
            )
            guard !value.isEmpty else { return .differs }
            if !gap.kind.takes(value) { wrong = wrong ?? gap.kind.complaint(gap.name, value) }
            captures.add(gap.name, value)
        }
        guard rest.isEmpty else { return wrong == nil ? .begins(captures, rest: rest) : .differs }
        return wrong.map { .wrongType($0) } ?? .matches(captures)
    }
}

extension PathPattern.Kind {
    static func isSlug(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    func takes(_ value: String) -> Bool {
        switch self {
        case .str, .path: true
        case .int: value.utf8.allSatisfy { (0x30...0x39).contains($0) } && Int64(value) != nil
        case .slug: value.utf8.allSatisfy(Self.isSlug)
        case .uuid: value == value.lowercased() && UUID(uuidString: value) != nil
        }
    }

    func complaint(_ name: String, _ value: String) -> String {
        let form =
            switch self {
            case .int: "a whole number"
            case .slug: "letters, digits, - and _ only"
            case .uuid: "a UUID in lower case"
            case .str, .path: "text"
            }
        let shown = value.count <= 64 ? value : value.prefix(64) + "…"
        return "\(name) must be \(form), not \"\(shown)\""
    }
}

/// The named parts of an address.
public struct Captures: Sendable, Equatable {
    private var values: [(name: String, value: String)] = []

    /// A name that the route's pattern does not have, or asked for as a type it is not.
    public struct Missing: Error, Sendable, CustomStringConvertible {
        /// What is wrong, for people.
        public let description: String
    }

    /// Whether both have the same names and values in the same order.
    public static func == (left: Captures, right: Captures) -> Bool {
        left.values.elementsEqual(right.values) { $0 == $1 }
    }

    mutating func add(_ name: String, _ value: String) {
        values.append((name, value))
    }

    /// The text of a capture; of equal names in nested routers the innermost.
    public subscript(name: String) -> String? {
        values.last { $0.name == name }?.value
    }

    /// The text of a capture.
    public func string(_ name: String) throws(Missing) -> String {
        guard let value = self[name] else { throw Missing(description: "the address has no part named \(name)") }
        return value
    }

    /// A capture of `<int:…>`.
    public func int(_ name: String) throws(Missing) -> Int {
        guard let value = Int(try string(name)) else { throw Missing(description: "\(name) is not an <int:…>") }
        return value
    }

    /// A capture of `<uuid:…>`.
    public func uuid(_ name: String) throws(Missing) -> UUID {
        guard let value = UUID(uuidString: try string(name)) else {
            throw Missing(description: "\(name) is not a <uuid:…>")
        }
        return value
    }
}
