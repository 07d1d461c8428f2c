import FanfareModel
import Foundation

/// What was measured beside what is allowed.
struct BudgetTable {
    /// Whether nothing costs more than it may.
    private(set) var isKept = true
    /// For people: a line for each history.
    private(set) var text = ""

    /// - Throws: When a history has no budget, did not run, or is missing from the dump.
    init(_ measurements: Measurements, _ dump: CallgrindDump?) throws {
        guard measurements.all.map(\.history) == Budget.all.map(\.history), Budget.all.count == History.allCases.count
        else { throw ProgramFailure(.configuration, "every history must have run once and have one budget, in order") }
        if let dump, dump.instructions.count != Budget.all.count {
            let text = "callgrind counted \(dump.instructions.count) histories of \(Budget.all.count)"
            throw ProgramFailure(.configuration, text)
        }
        addLine("", ["allocations", "budget", "bytes", "instructions", "budget", ""])
        for (index, (measured, budget)) in zip(measurements.all, Budget.all).enumerated() {
            let instructions = dump.map { $0.instructions[index] / Double(measured.units) }
            add(measured, instructions, budget)
        }
    }

    private mutating func add(_ measured: Measurement, _ instructions: Double?, _ budget: Budget) {
        let isOver =
            measured.allocations > budget.allocationsMaximum || instructions ?? 0 > budget.instructionsMaximum
        let isUnder =
            measured.allocations < budget.allocations * 0.8 - 0.02
            || instructions ?? budget.instructions < budget.instructions * 0.75
        if isOver { isKept = false }
        addLine(
            budget.history.rawValue,
            [
                Self.number(measured.allocations, decimals: 3), Self.number(budget.allocationsMaximum, decimals: 3),
                Self.number(measured.bytes, decimals: 0), instructions.map { Self.number($0, decimals: 0) } ?? "",
                Self.number(budget.instructionsMaximum, decimals: 0),
                isOver ? "TOO MUCH" : isUnder ? "less: lower it" : "",
            ]
        )
    }

    private mutating func addLine(_ title: String, _ columns: [String]) {
        let cells = columns.map { String(repeating: " ", count: max(0, 13 - $0.count)) + $0 }
        text += title.padding(toLength: 72, withPad: " ", startingAt: 0) + cells.joined() + "\n"
    }

    private static func number(_ value: Double, decimals: Int) -> String {
        String(format: "%.\(decimals)f", value)
    }
}
