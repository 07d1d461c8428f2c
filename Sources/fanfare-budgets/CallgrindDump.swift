import FanfareModel
import Foundation

/// The instructions of each history, as callgrind has written them: one file at the beginning of each, which holds what
/// came before, and one at the end.
struct CallgrindDump {
    /// Of a whole history, in the order they ran in.
    let instructions: [Double]

    /// - Parameter prefix: What callgrind's option `--callgrind-out-file` said.
    init(_ prefix: String) throws {
        var instructions: [Double] = []
        for number in 1... {
            guard let text = try? String(contentsOfFile: "\(prefix).\(number)", encoding: .utf8) else { break }
            let lines = text.split(separator: "\n")
            guard lines.contains(where: { $0.hasSuffix("fanfare_history_ends") && $0.hasPrefix("desc: Trigger") })
            else { continue }
            let total = lines.last { $0.hasPrefix("totals: ") }
            guard let count = total.flatMap({ Double($0.dropFirst(8)) }) else {
                throw ProgramFailure(.configuration, "\(prefix).\(number) has no totals")
            }
            instructions.append(count)
        }
        guard !instructions.isEmpty else {
            throw ProgramFailure(.configuration, "\(prefix).2 is no dump of callgrind; run scripts/budgets")
        }
        self.instructions = instructions
    }
}
