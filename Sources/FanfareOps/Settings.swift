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
    let defaults: Values
    let table: [Setting<Values>]
    /// The list whose record this is, for errors; `nil` for a whole file.
    private let place: String?

    /// - Parameters:
    ///   - defaults: What holds when nobody says anything.
    ///   - table: Every setting there is, those of one section side by side.
    package init(defaults: Values, table: [Setting<Values>]) {
        precondition(!table.contains(where: \.isRequired), "only keys of records can be required")
        self.init(defaults, table, place: nil)
    }

    private init(_ defaults: Values, _ table: [Setting<Values>], place: String?) {
        values = defaults
        self.defaults = defaults
        self.table = table
        self.place = place
    }

    /// Reads one record of the list `place`.
    static func record(
        _ node: Node,
        _ defaults: Values,
        _ table: [Setting<Values>],
        _ place: String,
        _ file: String
    ) throws(ProgramFailure) -> Record<Values> {
        guard let mapping = node.mapping else {
            let example = table.first { $0.isRequired }?.name ?? table.first?.name ?? "key"
            throw refusal(file, node, "a record of \(place) must hold keys and values, such as \"\(example): …\"")
        }
        var settings = Settings(defaults, table, place: place)
        try settings.read(mapping, file)
        if let missing = table.first(where: { $0.isRequired && settings.origins[$0.path] == nil }) {
            let text = "\"\(missing.path)\" is missing in this record of \(place); give it \(missing.kind.form)"
            throw refusal(file, node, text)
        }
        return Record(settings.values, origin: "\(file):\(node.mark?.line ?? 1)", origins: settings.origins)
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
        precondition(setting.records == nil, "the records of \(path) come from files only")
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
        let candidates = table.filter { $0.section != nil && $0.records == nil }
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
        try read(mapping, file)
    }

    private mutating func read(_ mapping: Node.Mapping, _ file: String) throws(ProgramFailure) {
        for (key, value) in mapping {
            let name = key.scalar?.string ?? ""
            if let setting = table.first(where: { $0.section == nil && $0.name == name }) {
                try assign(setting, value, key, file)
            } else if table.contains(where: { $0.section == name }) {
                try read(section: name, value, file)
            } else if let setting = table.first(where: { $0.name == name }), let section = setting.section {
                let spaces = place == nil ? "two spaces" : "two more spaces"
                throw Self.refusal(file, key, "\"\(name)\" belongs below \"\(section):\", with \(spaces) in front")
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
        if let records = setting.records { return try assign(setting, records, node, key, file) }
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
        let origin = "\(file):\((node.mark ?? key.mark)?.line ?? 1)"
        try assign(setting, texts, from: origin, called: "\(origin): \(setting.name)")
    }

    private mutating func assign(
        _ setting: Setting<Values>,
        _ records: RecordList<Values>,
        _ node: Node,
        _ key: Node,
        _ file: String
    ) throws(ProgramFailure) {
        guard !node.isEmptyScalar else {
            throw Self.refusal(file, key, "\(setting.name) has no value: give it records, or [] for none")
        }
        guard let sequence = node.sequence else {
            let text = "\(setting.name) must be \(setting.kind.form): put \"- \" in front of each"
            throw Self.refusal(file, node, text)
        }
        guard sequence.count <= records.most else {
            let text = "\(setting.name) takes at most \(records.most) records, not \(sequence.count)"
            throw Self.refusal(file, key, text)
        }
        try records.read(&values, Array(sequence), (place.map { $0 + "." } ?? "") + setting.path, file)
        origins[setting.path] = "\(file):\(key.mark?.line ?? 1)"
    }

    /// The one place where a value of one line gets in.
    ///
    /// - Parameters:
    ///   - setting: Anything but records.
    ///   - texts: What was written; exactly one for anything but a list.
    ///   - origin: Where, for later checks.
    ///   - name: How an error about it begins.
    private mutating func assign(
        _ setting: Setting<Values>,
        _ texts: [(text: String, isQuoted: Bool)],
        from origin: String,
        called name: String
    ) throws(ProgramFailure) {
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
            let text = setting.isSecret ? "must be \(setting.kind.form)" : error.text
            throw ProgramFailure(.configuration, "\(name) \(text)")
        }
        origins[setting.path] = origin
    }

    private func unknown(_ name: String, _ key: Node, _ file: String, in section: String?) -> ProgramFailure {
        let place = place.map { " in \($0)" } ?? ""
        return Self.refusal(file, key, "unknown key \"\(name)\"\(place)" + hint(name, in: section, table))
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
