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
    /// The value as it is in `Values`.
    package let read: @Sendable (Values) -> SettingValue
    /// Stores a value that `kind` has accepted.
    package let write: @Sendable (inout Values, SettingValue) -> Void

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
        read = { values in values[keyPath: path].settingValue }
        write = { values, value in
            guard let property = Property(settingValue: value) else {
                preconditionFailure("the kind of \(name) accepted a value its property cannot hold")
            }
            values[keyPath: path] = property
        }
    }

    private init<Inner>(_ section: String, _ path: Path<Inner>, _ inner: Setting<Inner>) {
        self.section = section
        name = inner.name
        kind = inner.kind
        flag = inner.flag
        explanation = inner.explanation
        read = { values in inner.read(values[keyPath: path]) }
        write = { values, value in inner.write(&values[keyPath: path], value) }
    }
}

extension Setting {
    /// A whole number.
    package static func integer(
        _ name: String,
        _ path: Path<Int>,
        _ range: ClosedRange<Int>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .integer(range), path, flag, explanation)
    }

    /// A number of bytes.
    package static func bytes(
        _ name: String,
        _ path: Path<Int>,
        _ range: ClosedRange<Int>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .bytes(range), path, flag, explanation)
    }

    /// A length of time; its key ends in `_seconds`.
    package static func seconds(
        _ name: String,
        _ path: Path<Milliseconds>,
        _ range: ClosedRange<UInt64>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        let range = Milliseconds(range.lowerBound)...Milliseconds(range.upperBound)
        return Setting(name, .seconds(range), path, flag, explanation)
    }

    /// Yes or no.
    package static func flag(
        _ name: String,
        _ path: Path<Bool>,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .flag, path, flag, explanation)
    }

    /// A text, or nothing.
    package static func text(
        _ name: String,
        _ path: Path<String?>,
        example: String,
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .text(example: example), path, flag, explanation)
    }

    /// One word of a few, or nothing.
    package static func choice(
        _ name: String,
        _ path: Path<String?>,
        _ words: [String],
        flag: String? = nil,
        _ explanation: String
    ) -> Setting {
        Setting(name, .choice(words), path, flag, explanation)
    }

    /// Several texts; an empty list is "not set".
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

    /// The value in `values` as YAML; `nil` when nothing is set.
    package func yaml(_ values: Values) -> String? {
        switch (read(values), kind) {
        case (.integer(let number), .bytes): SettingKind.shown(bytes: number)
        case (.integer(let number), _): String(number)
        case (.duration(let time), _): time.inSeconds
        case (.flag(let value), _): String(value)
        case (.text(let word), .choice): word
        case (.text(let text), _): text.map { JSONText.render(.string($0)) }
        case (.list(let texts), _): texts.isEmpty ? nil : JSONText.render(.array(texts.map { .string($0) }))
        }
    }

    /// What differs from the defaults, as `name=value` pairs, for the summary of `--check-config`.
    package static func changed(_ values: Values, _ defaults: Values, _ table: [Setting]) -> String {
        let changed = table.filter { $0.read(values) != $0.read(defaults) }
        guard !changed.isEmpty else { return "the defaults" }
        return changed.map { "\($0.name)=\($0.yaml(values) ?? "")" }.joined(separator: " ")
    }

    /// What `--help` says about the setting's flag: the explanation, what the value looks like, the default.
    package func help(defaults: Values) -> String {
        if case .flag = kind { return "\(explanation) Off unless given." }
        let standard = yaml(defaults).map { " Default: \($0)." } ?? ""
        return "\(explanation) Takes \(kind.form).\(standard)"
    }
}

/// A type of property that a setting can fill.
package protocol SettingProperty: Sendable {
    init?(settingValue: SettingValue)
    var settingValue: SettingValue { get }
}

extension Int: SettingProperty {
    package init?(settingValue: SettingValue) {
        guard case .integer(let number) = settingValue else { return nil }
        self = number
    }
    package var settingValue: SettingValue { .integer(self) }
}

extension Bool: SettingProperty {
    package init?(settingValue: SettingValue) {
        guard case .flag(let value) = settingValue else { return nil }
        self = value
    }
    package var settingValue: SettingValue { .flag(self) }
}

extension Milliseconds: SettingProperty {
    package init?(settingValue: SettingValue) {
        guard case .duration(let time) = settingValue else { return nil }
        self = time
    }
    package var settingValue: SettingValue { .duration(self) }
}

extension String?: SettingProperty {
    package init?(settingValue: SettingValue) {
        guard case .text(let text) = settingValue else { return nil }
        self = text
    }
    package var settingValue: SettingValue { .text(self) }
}

extension [String]: SettingProperty {
    package init?(settingValue: SettingValue) {
        guard case .list(let texts) = settingValue else { return nil }
        self = texts
    }
    package var settingValue: SettingValue { .list(self) }
}
