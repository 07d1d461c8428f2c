/// How much is said about settings that are printed.
enum SettingsDetail {
    /// Every setting with its explanation; what is not set stands there as a comment.
    case explained
    /// The same, and required keys have a value to begin with.
    case example
    /// Every setting with its explanation; what is not set stands there as a comment with an example.
    case sample
    /// Only what is set.
    case brief
}

extension Settings {
    /// Every setting with its explanation and its value now, as a configuration file that says the same, except that
    /// it hides secrets.
    ///
    /// A list of records explains its keys with the first record; without one, an example stands there as a comment.
    package func commentedYAML(title: String) -> String {
        (["# \(title)"] + Setting.lines(table, values, defaults, .explained, isSpaced: true)).joined(separator: "\n")
    }

    /// What of `values` is set, as a configuration file without explanations that reads back as the same values.
    ///
    /// - Parameters:
    ///   - values: What to print. None of it may be ``Setting/secret``: secrets are never printed.
    ///   - defaults: What holds where nothing is printed.
    ///   - table: Every setting of it.
    ///   - title: The comment at the top.
    package static func briefYAML(
        _ values: Values,
        _ defaults: Values,
        _ table: [Setting<Values>],
        title: String
    ) -> String {
        (["# \(title)"] + Setting.lines(table, values, defaults, .brief)).map { $0 + "\n" }.joined()
    }
}

extension Setting {
    /// `values` as lines of YAML.
    ///
    /// - Parameters:
    ///   - table: What to print, those of one section side by side.
    ///   - values: What to print of it.
    ///   - defaults: What holds where nothing is printed.
    ///   - detail: How much to print.
    ///   - isSpaced: Whether an empty line stands in front of every setting.
    static func lines(
        _ table: [Setting],
        _ values: Values,
        _ defaults: Values,
        _ detail: SettingsDetail,
        isSpaced: Bool = false
    ) -> [String] {
        var lines: [String] = []
        var section: String?
        for setting in table {
            let own = setting.lines(values, defaults, detail)
            if own.isEmpty { continue }
            if isSpaced { lines.append("") }
            if setting.section != section, let name = setting.section { lines.append("\(name):") }
            section = setting.section
            lines += section == nil ? own : own.indented(by: "  ")
        }
        return lines
    }

    private func lines(_ values: Values, _ defaults: Values, _ detail: SettingsDetail) -> [String] {
        let body: [String] =
            if let records { lines(records, values, defaults, detail) } else { [line(values, defaults, detail)] }
        guard detail != .brief else { return body.filter { !$0.isComment } }
        let value = yaml(values)
        let standard = isRequired ? nil : yaml(defaults)
        let note = standard == nil || standard == value || isSecret ? "" : " Default: \(standard ?? "")."
        let need = isRequired ? " Required." : ""
        let flag = flag.map { " On the command line: \($0)." } ?? ""
        return Self.wrapped("\(explanation) Takes \(kind.form).\(need)\(note)\(flag)").indented(by: "# ") + body
    }

    /// The line that sets a setting of one line, or the comment that stands for it.
    private func line(_ values: Values, _ defaults: Values, _ detail: SettingsDetail) -> String {
        if detail == .example && isRequired { return "\(name): \(kind.exampleYAML)" }
        if detail == .sample && (isSecret || yaml(values) == nil) { return "# \(name): \(kind.exampleYAML)" }
        if let value = yaml(values) { return isSecret ? "# \(name): \(value)" : "\(name): \(value)" }
        let isEmptied = read(values) == .list([]) && read(defaults) != .list([])
        return isEmptied ? "\(name): []" : "# \(name):"
    }

    /// The lines that set a list of records.
    private func lines(
        _ records: RecordList<Values>,
        _ values: Values,
        _ defaults: Values,
        _ detail: SettingsDetail
    ) -> [String] {
        let items = records.lines(values).map(Self.item)
        guard items.isEmpty else { return ["\(name):"] + items.joined() }
        let isEmptied = records.value(values) != records.value(defaults)
        let example = ["\(name):"] + Self.item(records.example())
        return (isEmptied ? ["\(name): []"] : []) + example.indented(by: "# ")
    }

    /// The lines of a record as an element of a list: the dash stands in front of its first key.
    private static func item(_ record: [String]) -> [String] {
        let comments = Array(record.prefix(while: \.isComment))
        let keys = record.dropFirst(comments.count)
        guard let first = keys.first else { return comments.indented(by: "  ") + ["  - {}"] }
        return comments.indented(by: "  ") + ["  - \(first)"] + keys.dropFirst().map { "    \($0)" }
    }

    /// `text` in lines that are comfortable to read in a terminal.
    private static func wrapped(_ text: String, columns: Int = 96) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            if lines[lines.count - 1].isEmpty {
                lines[lines.count - 1] = String(word)
            } else if lines[lines.count - 1].count + 1 + word.count <= columns {
                lines[lines.count - 1] += " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }
}

extension [String] {
    fileprivate func indented(by indentation: String) -> [String] {
        map { indentation + $0 }
    }
}

extension String {
    /// Whether a line of YAML says nothing.
    fileprivate var isComment: Bool {
        first { $0 != " " } == "#"
    }
}
