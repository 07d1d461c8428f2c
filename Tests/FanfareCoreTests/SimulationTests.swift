import FanfareCore
import Foundation
import Synchronization
import Testing

/// What a run of the simulation is told from outside, by `scripts/simulate` or by hand.
///
/// - `FANFARE_SIMULATION_SEED`: the first seed; alone, the only one, with the invariants checked after each step.
/// - `FANFARE_SIMULATION_SEEDS`: how many seeds, counted up from the first.
/// - `FANFARE_SIMULATION_STEPS`: steps of each seed.
/// - `FANFARE_SIMULATION_SECONDS`: goes on with further seeds until that much time has passed, invariants after each step.
/// - `FANFARE_SIMULATION_TRACE`: writes each step to standard error, for crashes that leave no report.
enum Settings {
    static let firstSeed = number("SEED") ?? 1
    static let steps = Int(number("STEPS") ?? 2_000)
    static let seconds = number("SECONDS")
    static let seeds = number("SEEDS") ?? (number("SEED") != nil && seconds == nil ? 1 : 200)
    static let traces = number("TRACE") != nil
    /// How many steps pass between two looks at the core's invariants, which in a debug build cost more than all else.
    static let auditInterval = number("SEED") != nil || seconds != nil ? 1 : 8
    /// Tests that share the seeds among them and run in parallel.
    static let batches: UInt64 =
        seconds == nil ? min(seeds, 20) : UInt64(ProcessInfo.processInfo.activeProcessorCount)
    /// When a run bounded by time is over, counted from the first batch.
    static let end = seconds.map { ContinuousClock.now.advanced(by: .seconds($0)) }

    /// Set at the first difference of a run bounded by time: the other batches need not go on.
    static let hasDiffered = Mutex(false)

    static func trace(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }

    private static func number(_ name: String) -> UInt64? {
        let value = ProcessInfo.processInfo.environment["FANFARE_SIMULATION_" + name]
        guard let value, !value.isEmpty else { return nil }
        guard let number = UInt64(value) else {
            preconditionFailure("FANFARE_SIMULATION_\(name) must be a whole number, is '\(value)'")
        }
        return number
    }
}

@Suite("Simulation")
struct SimulationTests {
    @Test("the core does what the oracle does, whatever happens", arguments: 0..<Settings.batches)
    func coreEqualsOracle(batch: UInt64) {
        let end = Settings.end
        var steps = 0
        var seeds = 0
        var offset = batch
        while end.map({ ContinuousClock.now < $0 && !Settings.hasDiffered.withLock(\.self) })
            ?? (offset < Settings.seeds)
        {
            // What a crash leaves behind: the history it happened in.
            if end != nil { Settings.trace("simulation batch \(batch): seed \(Settings.firstSeed &+ offset)") }
            var simulation = Simulation(
                seed: Settings.firstSeed &+ offset,
                auditInterval: Settings.auditInterval,
                traces: Settings.traces
            )
            do throws(Simulation.Difference) {
                try simulation.run(steps: Settings.steps)
            } catch {
                Issue.record(Comment(rawValue: error.report))
                Settings.hasDiffered.withLock { $0 = true }
                return
            }
            steps += simulation.step
            seeds += 1
            offset += Settings.batches
        }
        if end != nil { Settings.trace("simulation batch \(batch): \(seeds) seeds, \(steps) steps, no difference") }
    }

    @Test("the same seed gives the same history")
    func seedDecides() throws {
        var sends: UInt64 = 0
        for seed in UInt64(5)..<10 {
            var first = Simulation(seed: seed)
            var second = Simulation(seed: seed)
            try first.run(steps: 300)
            try second.run(steps: 300)
            #expect(first.now == second.now)
            #expect(first.core.counters == second.core.counters)
            sends += first.core.counters.sends
        }
        #expect(sends > 0, "histories in which something happens")
    }
}
