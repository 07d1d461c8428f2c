import FanfareModel
import Foundation
import Testing

/// The tables of `proto/PROTOCOL.md` and the enumerations say the same.
struct ProtocolTableTests {
    private struct Row: Hashable {
        var code: UInt16
        var name: String
        var isRetryable: Bool
        var isFatal: Bool
    }

    private static let text: String = {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("proto/PROTOCOL.md")
        guard let text = try? String(contentsOf: file, encoding: .utf8) else {
            fatalError("\(file.path) cannot be read")
        }
        return text
    }()

    /// The text between two headings.
    private func section(_ heading: String) throws -> Substring {
        let start = try #require(Self.text.range(of: "\n## \(heading)\n")).upperBound
        let end = Self.text.range(of: "\n## ", range: start..<Self.text.endIndex)?.lowerBound
        return Self.text[start..<(end ?? Self.text.endIndex)]
    }

    /// Rows of the error table: `| 9 | `node_taken` | yes | ✕ ... |`.
    private func errorRows() throws -> [Row] {
        try section("4. Errors").split(separator: "\n").compactMap { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
            guard cells.count == 6, let code = UInt16(cells[1]) else { return nil }
            let name = cells[2].trimmingCharacters(in: ["`"])
            return Row(code: code, name: name, isRetryable: cells[3] == "yes", isFatal: cells[4].hasPrefix("✕"))
        }
    }

    @Test("the table of error codes is the protocol's")
    func errorCodes() throws {
        let rows = try errorRows()
        let codes = ErrorCode.allCases.map {
            Row(code: $0.rawValue, name: $0.name, isRetryable: $0.isRetryable, isFatal: $0.isFatal)
        }
        #expect(rows.count == Set(rows.map(\.code)).count)
        #expect(Set(rows) == Set(codes))
    }

    @Test("the list of drop reasons is the protocol's")
    func dropReasons() throws {
        let listed = try section("7. Reasons").matches(of: /(\d+) `([a-z_]+)`/).map { "\($0.1) \($0.2)" }
        #expect(listed == DropReason.allCases.map { "\($0.rawValue) \($0.name)" })
    }

    @Test("names of errors and reasons are used once each")
    func uniqueNames() {
        #expect(Set(ErrorCode.allCases.map(\.name)).count == ErrorCode.allCases.count)
        #expect(Set(DropReason.allCases.map(\.name)).count == DropReason.allCases.count)
    }

    @Test("the roles of the model are those of section 3.4")
    func roles() throws {
        let start = try #require(Self.text.range(of: "### 3.4 Roles")).upperBound
        let end = try #require(Self.text.range(of: "### 3.5", range: start..<Self.text.endIndex)).lowerBound
        let listed = Self.text[start..<end].matches(of: /\n\| `([a-z]+)` \|/).map { String($0.1) }
        #expect(listed == Role.allCases.map(\.rawValue))
    }

    @Test("the reason numbers index the counters without a hole")
    func contiguousReasons() {
        #expect(DropReason.allCases.map(\.rawValue) == Array(1...UInt8(DropReason.allCases.count)))
    }
}
