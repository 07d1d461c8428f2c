import FanfareModel
import HTTPTypes

/// The name of a group with parts of the address in it: `relay_<room>`.
struct GroupTemplate: Sendable, CustomStringConvertible {
    private enum Part: Sendable {
        case text(String)
        case capture(String)
    }

    /// As written.
    let description: String
    private let parts: [Part]

    /// - Parameters:
    ///   - text: Letters, digits, `.`, `-`, `_`, and names of captures between `<` and `>`.
    ///   - pattern: The address whose captures may stand in it.
    /// - Throws: ``InvalidSetting`` for anything else.
    init(_ text: String, of pattern: PathPattern) throws(InvalidSetting) {
        var parts: [Part] = []
        var rest = text[...]
        while !rest.isEmpty {
            guard rest.first == "<" else {
                let plain = rest.prefix { $0 != "<" }
                guard Names.isGroup(String(plain), Limits()) else {
                    throw InvalidSetting(
                        "the group \(InvalidSetting.quoted(text)) may have letters, digits, . - _ and <names> only, "
                            + "at most \(Limits().nameBytes)"
                    )
                }
                parts.append(.text(String(plain)))
                rest = rest[plain.endIndex...]
                continue
            }
            guard let end = rest.firstIndex(of: ">") else {
                throw InvalidSetting("a < without > in the group \(InvalidSetting.quoted(text))")
            }
            let name = String(rest[..<end].dropFirst())
            guard pattern.names.contains(name) else {
                let names = pattern.names.map { "<\($0)>" }.joined(separator: ", ")
                throw InvalidSetting(
                    "the group \(InvalidSetting.quoted(text)) names <\(name)>, which \(pattern) does not have; "
                        + (names.isEmpty ? "it has no names" : "it has \(names)")
                )
            }
            parts.append(.capture(name))
            rest = rest[end...].dropFirst()
        }
        guard !parts.isEmpty else {
            throw InvalidSetting("the name of a group is empty; write one such as relay_<room>")
        }
        description = text
        self.parts = parts
    }

    /// The name for one address.
    ///
    /// - Throws: ``Denial`` 404 when what the client wrote makes no name of a group.
    func name(_ captures: Captures) throws -> String {
        var name = ""
        for part in parts {
            switch part {
            case .text(let text): name += text
            case .capture(let capture): name += try captures.string(capture)
            }
        }
        guard Names.isGroup(name, Limits()) else {
            throw Denial(
                .notFound,
                "There is no group for this address: a name has letters, digits, . - and _, at most "
                    + "\(Limits().nameBytes) with what stands around it.",
                reason: "bad_group"
            )
        }
        return name
    }
}
