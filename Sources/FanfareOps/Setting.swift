package import FanfareModel

/// One row of a program's table of settings.
///
/// The table is the only place that knows a setting: reading files, refusing unknown keys, `--limit`,
/// `--print-config` and the texts of `--help` all come from it.
package struct Setting<Values: Sendable>: Sendable {
    /// A property of the values; the literals are free of captures and so Sendable.
    package typealias Path<Property> = any WritableKeyPath<Values, Property> & Sendable

    /// The key above this one in the file, or `nil` for a key of the first level.
    package let section: String?
    /// The key: snake_case, unit last.
    package let name: String
    package let kind: SettingKind
    /// The flag of the command line that sets the same, such as `--capacity`.
    package let flag: String?
    /// One sentence: what it is for and what happens at the bound.
    package let explanation: String
    /// Whether a record without this key is refused.
    package private(set) var isRequired = false
    /// Whether the value is kept out of everything that is printed, errors included.
    package private(set) var isSecret = false
    /// The value as it is in `Values`.
    package let read: @Sendable (Values) -> SettingValue
    /// Stores a value that `kind` has accepted. Records have no such value; they come from files only.
    package let write: @Sendable (inout Values, SettingValue) -> Void
    /// How to read and print records; `nil` for every other kind.
    let records: RecordList<Values>?

    /// A setting whose property has the type that goes with `kind`.
    private init<Property: SettingProperty>(
        _ name: String,
        _ kind: SettingKind,
        _ path: Path<Property>,
        _ flag: String?,
        _ explanation: String
    ) {
        section = nil
        self.name = name
        self.kind = kind
        self.flag = flag
        self.explanation = explanation
        records = nil
        read = { values in values[keyPath: path].settingValue }
        write = { values, value in
            guard let property = Property(settingValue: value) else {
                preconditionFailure("the kind of \(name) accepted a value its property cannot hold")
            }
            values[keyPath: path] = property
        }
    }

    /// A list of records.
    init(_ name: String, _ records: RecordList<Values>, _ explanation: String) {
        section = nil
        self.name = name
        kind = .records(most: records.most)
        flag = nil
        self.explanation = explanation
        self.records = records
        read = records.value
        write = { _, _ in preconditionFailure("the records of \(name) come from files only") }
    }

    private init<Inner>(_ section: String, _ path: Path<Inner>, _ inner: Setting<Inner>) {
        precondition(inner.section == nil, "sections have one level; \(inner.path) cannot be below \(section)")
        self.section = section
        name = inner.name
        kind = inner.kind
        flag = inner.flag
        explanation = inner.explanation
        isRequired = inner.isRequired
        isSecret = inner.isSecret
        records = inner.records.map { RecordList(path, $0) }
        read = { values in inner.read(values[keyPath: path]) }
        write = { values, value in inner.write(&values[keyPath: path], value) }
    }

    /// The same setting, but a record without it is refused. Only for tables of records: what the first level needs
    /// may also come from the command line.
    package var required: Setting {
        var copy = self
        copy.isRequired = true
        return copy
    }

    /// The same setting, but its value is never printed: not by `--print-config`, not in errors. A configuration
    /// that is printed and read again therefore lacks it.
    package var secret: Setting {
        precondition(records == nil, "mark the keys of \(name) as secret, not the list")
        var copy = self
        copy.isSecret = true
        return copy
    }
}

// Every kind takes a property of its type, or an optional one, which holds nil until it is set.
extension Setting {
    /// A whole number.
    package static func integer<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ range: ClosedRange<Int>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Int {
        Setting(name, .integer(range), path, flag, explanation)
    }

    /// A number of bytes.
    package static func bytes<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ range: ClosedRange<Int>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Int {
        Setting(name, .bytes(range), path, flag, explanation)
    }

    /// A number that need not be whole.
    package static func number<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ range: ClosedRange<Double>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Double {
        Setting(name, .number(range), path, flag, explanation)
    }

    /// A length of time; its key ends in `_seconds`. The range is in milliseconds.
    package static func seconds<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ range: ClosedRange<UInt64>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Milliseconds {
        let range = Milliseconds(range.lowerBound)...Milliseconds(range.upperBound)
        return Setting(name, .seconds(range), path, flag, explanation)
    }

    /// So many in so much time. The range is that of the number and of the burst.
    package static func rate<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ range: ClosedRange<Int>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Rate {
        Setting(name, .rate(range), path, flag, explanation)
    }

    /// Yes or no.
    package static func flag<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == Bool {
        Setting(name, .flag, path, flag, explanation)
    }

    /// A text.
    package static func text<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        example: String,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == String {
        Setting(name, .text(example: example), path, flag, explanation)
    }

    /// One word of a few.
    package static func choice<Property: SettingProperty>(
        _ name: String,
        _ path: Path<Property>,
        _ words: [String],
        flag: String? = nil,
        _ explanation: String
    ) -> Setting where Property.Content == String {
        Setting(name, .choice(words), path, flag, explanation)
    }

    /// Several texts. What is given replaces the default.
    package static func list(
        _ name: String,
        _ path: Path<[String]>,
        example: String,
        most: Int,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .list(example: example, most: most), path, flag, explanation)
    }

    /// Records of one shape, each read by a table of its own. What is given replaces the default.
    ///
    /// - Parameters:
    ///   - name: The key of the list.
    ///   - path: Where the records go, in the order of the file.
    ///   - most: How many there may be.
    ///   - defaults: What a record says that says nothing.
    ///   - table: Every key of a record, those of one section side by side.
    ///   - explanation: One sentence: what a record is for.
    package static func records<Inner>(
        _ name: String,
        _ path: Path<[Record<Inner>]>,
        most: Int,
        defaults: Inner,
        table: [Setting<Inner>],
        _ explanation: String
    ) -> Setting {
        Setting(name, RecordList(path, most: most, defaults: defaults, table: table), explanation)
    }

    /// A table of its own as the section `section` of a larger one.
    package static func section<Inner>(
        _ section: String,
        _ path: Path<Inner>,
        _ inner: [Setting<Inner>]
    ) -> [Setting] {
        inner.map { Setting(section, path, $0) }
    }

    /// The key as it stands in the file, below its section: `limits.frame_bytes`.
    package var path: String { section.map { "\($0).\(name)" } ?? name }

    /// The value in `values` as YAML, or `<hidden>` for a secret; `nil` when nothing is set, and for records, which
    /// take more than a line.
    package func yaml(_ values: Values) -> String? {
        kind.yaml(read(values)).map { isSecret ? "<hidden>" : $0 }
    }

    /// What differs from the defaults, as `name=value` pairs, for the summary of `--check-config`.
    package static func changed(_ values: Values, _ defaults: Values, _ table: [Setting]) -> String {
        let changed = table.filter { $0.read(values) != $0.read(defaults) }
        guard !changed.isEmpty else { return "the defaults" }
        return changed.map { setting in
            if case .records(let records) = setting.read(values) { return "\(setting.name)=\(records.count)" }
            return "\(setting.name)=\(setting.yaml(values) ?? "")"
        }.joined(separator: " ")
    }

    /// What `--help` says about the setting's flag: the explanation, what the value looks like, the default.
    package func help(defaults: Values) -> String {
        if case .flag = kind { return "\(explanation) Off unless given." }
        let standard = yaml(defaults).map { " Default: \($0)." } ?? ""
        return "\(explanation) Takes \(kind.form).\(standard)"
    }
}
