package import FanfareModel

/// How a program describes all of its settings, for `--describe-config`.
package enum SettingsForm: String, Sendable, CaseIterable {
    /// A configuration file of comments that says what holds without it.
    case sample
    /// A reference for people: a list of the settings of each section.
    case markdown
    /// The same for programs.
    case json

    /// The form a person named on the command line.
    package init(argument: String) throws(ProgramFailure) {
        guard let form = SettingsForm(rawValue: argument) else {
            let known = SettingsForm.allCases.map(\.rawValue).joined(separator: ", ")
            throw ProgramFailure(.usage, "\"\(argument)\" is no form; there are \(known)")
        }
        self = form
    }
}

extension Settings {
    /// Every setting with its explanation and its default.
    ///
    /// - Parameters:
    ///   - form: The shape. `sample` is a whole file; the others may be a part.
    ///   - section: The only section to describe; `nil` for all settings.
    ///   - title: The first line of a sample, and the heading of a reference.
    /// - Throws: `ProgramFailure(.usage)` for a section there is none of.
    package func described(
        as form: SettingsForm,
        section: String?,
        title: String
    ) throws(ProgramFailure) -> String {
        let described = table.filter { section == nil || $0.section == section }
        guard !described.isEmpty else {
            let known = Set(table.compactMap(\.section)).sorted().joined(separator: ", ")
            throw ProgramFailure(.usage, "there is no section \"\(section ?? "")\"; there are \(known)")
        }
        let descriptions = described.map { $0.description(defaults) }
        return switch form {
        case .sample: Setting.sample(described, defaults, title: title).joined(separator: "\n")
        case .markdown: SettingDescription.markdown(descriptions, title: title).joined(separator: "\n")
        case .json: JSONText.render(.array(descriptions.map(\.value)))
        }
    }
}

/// What people and programs are told about a setting, whatever its type.
struct SettingDescription: Sendable {
    var section: String?
    var name: String
    /// What a value looks like.
    var form: String
    /// What holds when nobody says anything, as YAML; `nil` for nothing.
    var standard: String?
    var explanation: String
    var flag: String?
    var isRequired: Bool
    /// The keys of a record, for a list of records.
    var keys: [SettingDescription]

    /// The description as a map.
    var value: MessageValue {
        var map: [String: MessageValue] = [
            "name": .string(name), "takes": .string(form), "explanation": .string(explanation),
            "required": .bool(isRequired),
        ]
        map["section"] = section.map { .string($0) }
        map["default"] = standard.map { .string($0) }
        map["flag"] = flag.map { .string($0) }
        if !keys.isEmpty { map["keys"] = .array(keys.map(\.value)) }
        return .map(map)
    }

    /// A reference: a heading for each section, an item for each setting.
    static func markdown(_ settings: [SettingDescription], title: String) -> [String] {
        var lines = ["# \(title)"]
        var section: String?
        for (index, setting) in settings.enumerated() {
            if let name = setting.section, name != section { lines += ["", "## \(name)", ""] }
            if index == 0, setting.section == nil { lines.append("") }
            section = setting.section
            lines += setting.item(indentation: "")
        }
        return lines
    }

    private func item(indentation: String) -> [String] {
        let facts = [
            "Takes \(form).", isRequired ? "Required." : standard.map { "Default: `\($0)`." },
            flag.map { "On the command line: `\($0)`." },
        ]
        let text = ([explanation] + facts.compactMap { $0 }).joined(separator: " ")
        return ["\(indentation)- **`\(name)`** \(text)"] + keys.flatMap { $0.item(indentation: indentation + "  ") }
    }
}

extension Setting {
    func description(_ defaults: Values) -> SettingDescription {
        SettingDescription(
            section: section,
            name: name,
            form: kind.form,
            standard: isRequired || isSecret ? nil : yaml(defaults),
            explanation: explanation,
            flag: flag,
            isRequired: isRequired,
            keys: records?.descriptions() ?? []
        )
    }

    /// A file of comments: `#key: value` is a default, `# key: value` an example of what has none.
    ///
    /// Taking away the first `#` of every line in front of which no blank follows leaves the defaults.
    static func sample(_ table: [Setting], _ defaults: Values, title: String) -> [String] {
        let head = [
            "# \(title)", "#", "# Everything here is a comment and says what holds without it. To change a setting,",
            "# take the # away from its line, and from the line of the section above it. Lines with a",
            "# blank behind the # are explanations, and examples of settings without a default.",
        ]
        return head + lines(table, defaults, defaults, .sample, isSpaced: true).map(commentedOut)
    }

    private static func commentedOut(_ line: String) -> String {
        guard let start = line.firstIndex(where: { $0 != " " }), line[start] != "#" else { return line }
        return "\(line[..<start])#\(line[start...])"
    }
}
