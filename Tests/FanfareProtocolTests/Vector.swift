import FanfareModel
import Foundation
import Testing

/// One entry of `proto/vectors`; the format is in the README there.
struct Vector: Sendable, CustomTestStringConvertible {
    enum Kind: String, Sendable {
        case request
        case reply
        case body
    }

    struct Expected: Sendable {
        var error: String
        var closes: Bool
        var id: RequestID?
    }

    var name: String
    var kind: Kind
    var bytes: [UInt8]
    /// What it means, or what is wrong with it: exactly one of the two.
    var meaning: MessageValue?
    var expected: Expected?
    var isCanonical: Bool
    var limit: Int

    var testDescription: String { name }

    static let files = ["opening", "requests", "replies", "bodies", "invalid-frames", "invalid-fields"]
    static let all = files.flatMap(load)
    static let valid = all.filter { $0.meaning != nil }
    static let invalid = all.filter { $0.expected != nil }

    /// Reads one file; a file that does not follow the format ends the test run.
    static func load(_ file: String) -> [Vector] {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("proto/vectors")
        guard let text = try? String(contentsOf: folder.appendingPathComponent(file + ".txt"), encoding: .utf8) else {
            fatalError("proto/vectors/\(file).txt cannot be read")
        }
        return text.split(separator: "\n\n").compactMap { block in
            var values: [String: String] = [:]
            for line in block.split(separator: "\n") where !line.hasPrefix("#") {
                guard let colon = line.firstRange(of: ": ") else { fatalError("\(file): no key in the line \(line)") }
                values[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
            }
            return values.isEmpty ? nil : Vector(values, file)
        }
    }

    private init(_ values: [String: String], _ file: String) {
        guard let name = values["name"], let kind = values["kind"].flatMap(Kind.init), let hex = values["hex"],
            let bytes = Self.bytes(hex: hex), (values["json"] == nil) != (values["error"] == nil)
        else {
            fatalError("\(file): a vector that does not follow the format: \(values)")
        }
        self.name = name
        self.kind = kind
        self.bytes = bytes
        meaning = values["json"].map { json in
            guard let value = try? JSONDecoder().decode(Meaning.self, from: Data(json.utf8)) else {
                fatalError("\(file): \(name): the meaning is no JSON: \(json)")
            }
            return value.value
        }
        expected = values["error"].map {
            Expected(error: $0, closes: values["closes"] == "yes", id: values["id"].flatMap(RequestID.init))
        }
        isCanonical = values["canonical"] != "no"
        limit = values["limit"].flatMap(Int.init) ?? 2_162_688
    }

    static func bytes(hex: String) -> [UInt8]? {
        let digits = hex.filter { $0 != " " }.compactMap(\.hexDigitValue)
        guard digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}

/// JSON with `$bytes` and `$double`, as a message value.
private struct Meaning: Decodable {
    var value: MessageValue

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            value = .null
        } else if let bool = try? container.decode(Bool.self) {
            value = .bool(bool)
        } else if let int = try? container.decode(Int64.self) {
            value = .int(int)
        } else if let string = try? container.decode(String.self) {
            value = .string(string)
        } else if let array = try? container.decode([Meaning].self) {
            value = .array(array.map(\.value))
        } else {
            let map = try container.decode([String: Meaning].self).mapValues(\.value)
            if let bytes = map["$bytes"]?.string.flatMap(Vector.bytes(hex:)) {
                value = .binary(bytes)
            } else if let double = map["$double"]?.string.flatMap(Double.init) {
                value = .double(double)
            } else {
                value = .map(map)
            }
        }
    }
}
