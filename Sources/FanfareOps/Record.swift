package import FanfareModel
import Yams

/// One record of a list in a configuration file, with where it and its keys were given.
///
/// Records are equal when their values are; where they stand does not count.
package struct Record<Values: Sendable>: Sendable {
    package let values: Values
    /// Where it begins, such as `worker.yaml:12`; `nil` for one the program made itself.
    package let origin: String?
    /// Where each key that was given stands, by path within the record.
    package let origins: [String: String]

    /// - Parameters:
    ///   - values: What it says, defaults included.
    ///   - origin: Where it begins.
    ///   - origins: Where its keys stand, by path within the record.
    package init(_ values: Values, origin: String? = nil, origins: [String: String] = [:]) {
        self.values = values
        self.origin = origin
        self.origins = origins
    }

    /// Where the setting at `path` was given, else where the record begins.
    package func origin(of path: String) -> String? {
        origins[path] ?? origin
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
            throw ProgramFailure(error.exit, (origin(of: path).map { $0 + ": " } ?? "") + error.text)
        }
    }
}

extension Record: Equatable where Values: Equatable {
    package static func == (left: Record, right: Record) -> Bool {
        left.values == right.values
    }
}

/// A list of records as a property of `Values`; the type of the records is gone.
struct RecordList<Values: Sendable>: Sendable {
    /// Takes how errors call the list (`routes`) and the file.
    typealias Reading = @Sendable (inout Values, [Node], String, String) throws(ProgramFailure) -> Void

    /// How many records there may be.
    let most: Int
    /// The records, for comparing.
    let value: @Sendable (Values) -> SettingValue
    /// Replaces the records by what the nodes say.
    let read: Reading
    /// Each record as lines of YAML.
    let lines: @Sendable (Values) -> [[String]]
    /// A record to begin with, as lines of YAML that explain every key.
    let example: @Sendable () -> [String]
    /// What its keys are.
    let descriptions: @Sendable () -> [SettingDescription]

    init<Inner>(
        _ path: Setting<Values>.Path<[Record<Inner>]>,
        most: Int,
        defaults: Inner,
        table: [Setting<Inner>]
    ) {
        self.most = most
        value = { values in
            .records(
                values[keyPath: path].map { record in
                    Dictionary(uniqueKeysWithValues: table.map { ($0.path, $0.read(record.values)) })
                }
            )
        }
        read = { values, nodes, place, file throws(ProgramFailure) in
            var records: [Record<Inner>] = []
            for node in nodes {
                records.append(try Settings.record(node, defaults, table, place, file))
            }
            values[keyPath: path] = records
        }
        lines = { values in
            values[keyPath: path].enumerated().map { index, record in
                Setting.lines(table, record.values, defaults, index == 0 ? .explained : .brief)
            }
        }
        example = { Setting.lines(table, defaults, defaults, .example) }
        descriptions = { table.map { $0.description(defaults) } }
    }

    /// The list `inner` of a section.
    init<Inner>(_ path: Setting<Values>.Path<Inner>, _ inner: RecordList<Inner>) {
        most = inner.most
        value = { values in inner.value(values[keyPath: path]) }
        read = { values, nodes, place, file throws(ProgramFailure) in
            try inner.read(&values[keyPath: path], nodes, place, file)
        }
        lines = { values in inner.lines(values[keyPath: path]) }
        example = inner.example
        descriptions = inner.descriptions
    }
}
