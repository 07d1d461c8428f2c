package import FanfareModel
import Yams

/// The settings of one run of a program: the defaults, changed by a file, changed by the command line.
///
/// Everything that can be wrong with them ends as one `ProgramFailure(.configuration)` that names the file and the
/// line, or the flag, the value, and what would be right.
package struct Settings<Values: Sendable>: Sendable {
    /// The values so far.
    package private(set) var values: Values
    /// Which settings were given, by path, and where: `broker.yaml:7` or `--capacity`.
    package private(set) var origins: [String: String] = [:]
    private let defaults: Values
    private let table: [Setting<Values>]

    /// - Parameters:
    ///   - defaults: What holds when nobody says anything.
    ///   - table: Every setting there is, those of one section side by side.
    package init(defaults: Values, table: [Setting<Values>]) {
        values = defaults
        self.defaults = defaults
        self.table = table
    }

    /// Takes one setting from the command line.
    ///
    /// - Parameters:
    ///   - path: The setting, such as `ops` or `limits.frame_bytes`. Must be in the table.
    ///   - texts: The value; several only for a list, which they replace. Nothing happens when there is none.
    ///   - flag: How the person gave it, for errors.
    package mutating func set(_ path: String, to texts: [String], from flag: String) throws(ProgramFailure) {
        guard let setting = table.first(where: { $0.path == path }) else {
            preconditionFailure("\(path) is not in the table of settings")
        }
        guard let last = texts.last else { return }
        if case .list = setting.kind {
            try assign(setting, texts.map { ($0, false) }, from: flag, called: flag)
        } else {
            try assign(setting, [(last, false)], from: flag, called: flag)
        }
    }

    /// Takes `NAME=VALUE`, as `--limit` has it.
    ///
    /// - Parameters:
    ///   - assignment: What the person wrote. The name is a key of `section`, or `other_section.key`.
    ///   - section: The section whose keys need no more than their name.
    ///   - flag: How the person gave it, for errors.
    package mutating func set(assignment: String, in section: String, from flag: String) throws(ProgramFailure) {
        let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 else {
            let example = table.first { $0.section == section }?.name ?? "name"
            throw ProgramFailure(
                .configuration,
                "\(flag) \"\(assignment)\" must be NAME=VALUE, such as \(example)=VALUE"
            )
        }
        let candidates = table.filter { $0.section != nil }
        guard
            let setting = candidates.first(where: { $0.path == "\(section).\(parts[0])" || $0.path == parts[0] })
        else {
            throw ProgramFailure(
                .configuration,
                "\(flag): unknown name \"\(parts[0])\"" + hint(parts[0], in: section, candidates)
            )
        }
        try assign(setting, [(parts[1], false)], from: "\(flag) \(parts[0])", called: "\(flag) \(parts[0])")
    }

    /// Runs `body`, which makes something of the setting at `path`, and puts where it was given in front of its
    /// failure.
    package func locating<Result>(
        _ path: String,
        _ body: () throws(ProgramFailure) -> Result
    ) throws(ProgramFailure) -> Result {
        do {
            return try body()
        } catch {
            throw ProgramFailure(error.exit, (origins[path].map { $0 + ": " } ?? "") + error.text)
        }
    }

    /// Changes a setting that follows from others, unless somebody gave it.
    package mutating func derive(_ path: String, _ change: (inout Values) -> Void) {
        if origins[path] == nil { change(&values) }
    }

    /// Takes everything a configuration file says.
    ///
    /// - Parameters:
    ///   - yaml: The text of the file.
    ///   - file: What to call it in errors.
    package mutating func read(yaml: String, from file: String) throws(ProgramFailure) {
        guard let root = try Self.compose(yaml, file), !root.isEmptyScalar else { return }
        guard let mapping = root.mapping else {
            throw Self.refusal(file, root, "expected keys and values, such as \"\(table.first?.name ?? "key"): …\"")
        }
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            if let setting = table.first(where: { $0.section == nil && $0.name == name }) {
                try assign(setting, value, key, file)
            } else if table.contains(where: { $0.section == name }) {
                try read(section: name, value, file)
            } else if let setting = table.first(where: { $0.name == name }), let section = setting.section {
                throw Self.refusal(file, key, "\"\(name)\" belongs below \"\(section):\", with two spaces in front")
            } else {
                throw unknown(name, key, file, in: nil)
            }
        }
    }

    private mutating func read(section: String, _ node: Node, _ file: String) throws(ProgramFailure) {
        if node.isEmptyScalar { return }
        guard let mapping = node.mapping else {
            throw Self.refusal(file, node, "\"\(section)\" must hold keys and values, indented by two spaces")
        }
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            guard let setting = table.first(where: { $0.section == section && $0.name == name }) else {
                throw unknown(name, key, file, in: section)
            }
            try assign(setting, value, key, file)
        }
    }

    private mutating func assign(
        _ setting: Setting<Values>,
        _ node: Node,
        _ key: Node,
        _ file: String
    ) throws(ProgramFailure) {
        let items: [Node] =
            if case .list = setting.kind, let sequence = node.sequence { Array(sequence) } else { [node] }
        var texts: [(String, Bool)] = []
        for item in items {
            guard let scalar = item.scalar else {
                throw Self.refusal(file, item, "\(setting.name) must be \(setting.kind.form)")
            }
            guard !item.isEmptyScalar else {
                throw Self.refusal(file, key, "\(setting.name) has no value: give it one or remove the line")
            }
            texts.append((scalar.string, scalar.style != .plain && scalar.style != .any))
        }
        try assign(setting, texts, from: "\(file):\((node.mark ?? key.mark)?.line ?? 1)", called: setting.name)
    }

    /// The one place where a value gets in.
    private mutating func assign(
        _ setting: Setting<Values>,
        _ texts: [(text: String, isQuoted: Bool)],
        from origin: String,
        called name: String
    ) throws(ProgramFailure) {
        let prefix = origin.hasPrefix(name) ? "" : origin + ": "
        do throws(WrongValue) {
            if case .list(_, let most) = setting.kind {
                guard texts.count <= most else {
                    throw WrongValue(text: "takes at most \(most) values, not \(texts.count)")
                }
                setting.write(&values, .list(texts.map(\.text)))
            } else {
                setting.write(&values, try setting.kind.value(of: texts[0].text, isQuoted: texts[0].isQuoted))
            }
        } catch {
            throw ProgramFailure(.configuration, "\(prefix)\(name) \(error.text)")
        }
        origins[setting.path] = origin
    }

    /// Every setting with its explanation and its value now, as a configuration file that says the same.
    package func commentedYAML(title: String) -> String {
        var lines = ["# \(title)"]
        var section: String?
        for setting in table {
            lines.append("")
            if setting.section != section, let name = setting.section { lines += ["\(name):"] }
            section = setting.section
            let indentation = section == nil ? "" : "  "
            let value = setting.yaml(values)
            let standard = setting.yaml(defaults)
            let note = standard == nil || standard == value ? "" : " Default: \(standard ?? "")."
            let flag = setting.flag.map { " On the command line: \($0)." } ?? ""
            let comment = "\(setting.explanation) Takes \(setting.kind.form).\(note)\(flag)"
            lines += Self.wrapped(comment).map { "\(indentation)# \($0)" }
            lines.append(value.map { "\(indentation)\(setting.name): \($0)" } ?? "\(indentation)# \(setting.name):")
        }
        return lines.joined(separator: "\n")
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

    private func unknown(_ name: String, _ key: Node, _ file: String, in section: String?) -> ProgramFailure {
        Self.refusal(file, key, "unknown key \"\(name)\"" + hint(name, in: section, table))
    }

    /// What was probably meant by `name` in `section`. What may stand there wins over what is equally close but
    /// stands elsewhere, and the latter is shown with its section.
    private func hint(_ name: String, in section: String?, _ settings: [Setting<Values>]) -> String {
        let here = settings.filter { $0.section == section }.map(\.name)
        let sections = section == nil ? settings.compactMap(\.section) : []
        guard let meant = Suggestion.closest(to: name, among: here + sections + settings.map(\.name)) else {
            return "; --print-config shows all of them"
        }
        let isHere = here.contains(meant) || sections.contains(meant)
        let path = isHere ? meant : settings.first { $0.name == meant }?.path ?? meant
        return "; did you mean \"\(path)\"?"
    }

    private static func refusal(_ file: String, _ node: Node, _ text: String) -> ProgramFailure {
        ProgramFailure(.configuration, "\(file):\(node.mark?.line ?? 1): \(text)")
    }

    /// Reads the YAML itself.
    private static func compose(_ text: String, _ file: String) throws(ProgramFailure) -> Node? {
        do {
            return try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw refusal(file, error)
        } catch {
            throw ProgramFailure(.configuration, "\(file): not valid YAML: \(error)")
        }
    }

    private static func refusal(_ file: String, _ error: YamlError) -> ProgramFailure {
        let (line, text): (Int, String) =
            switch error {
            case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
                .composer(_, let problem, let mark, _):
                (mark.line, "not valid YAML: \(problem)")
            case .duplicatedKeysInMapping(let names, let context):
                (context.mark.line, "key \"\(names.first ?? "")\" is given twice; keep one of them")
            case .reader(let problem, _, _, _): (1, "not valid YAML: \(problem)")
            default: (1, "not valid YAML: \(error)")
            }
        return ProgramFailure(.configuration, "\(file):\(line): \(text)")
    }
}

extension Node {
    /// Whether this is what YAML reads where nothing stands: `key:`, `key: ~`, `key: null`, an empty file.
    fileprivate var isEmptyScalar: Bool {
        guard let scalar, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }
}
