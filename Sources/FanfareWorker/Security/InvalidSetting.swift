/// A security setting that cannot be used: a program must not start with it.
///
/// Thrown while a policy, a limit or a key is made, never while connections are served.
public struct InvalidSetting: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong with which value, and what to write instead, in one line.
    public let description: String

    init(_ description: String) {
        self.description = description
    }

    /// `text` in quotes, control characters escaped and cut to 80 characters: safe to show.
    static func quoted(_ text: some StringProtocol) -> String {
        let start = text.prefix(80)
        return (start.endIndex == text.endIndex ? String(start) : start + "…").debugDescription
    }
}
