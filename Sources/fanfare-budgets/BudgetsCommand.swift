import ArgumentParser
import CAllocations
import FanfareModel
import Foundation
import NIOCore
import NIOPosix

/// Runs fixed histories and tells what they cost. Counts, unlike times, are the same on a busy machine.
@main
struct BudgetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fanfare-budgets",
        abstract: "Counts the allocations and instructions of the hot paths and exits with 1 when there are too many.",
        discussion: """
            scripts/budgets runs this twice: once as it is, for the allocations, and once under callgrind, for the \
            instructions, which --callgrind then reads. The budgets are in Sources/fanfare-budgets/Budgets.swift.
            """
    )

    @Option(help: "What callgrind's --callgrind-out-file said for a run of this: its instructions are compared too.")
    var callgrind: String?

    func run() throws {
        #if DEBUG
            throw ProgramFailure(.configuration, "a debug build allocates more; build with -c release")
        #else
            guard fanfare_allocations_are_counted() else {
                throw ProgramFailure(.configuration, "allocations are counted with the GNU C library only, unsanitized")
            }
            let dump = try callgrind.map { try CallgrindDump($0) }
            let table = try BudgetTable(try Self.measure(), dump)
            print(table.text)
            if !table.isKept { throw ExitCode(1) }
        #endif
    }

    private static func measure() throws -> Measurements {
        var template = Array("/tmp/fanfare-budgets-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw ProgramFailure(.configuration, "no folder can be made in /tmp: \(String(cString: strerror(errno)))")
        }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var measurements = Measurements()
        try CoreHistories.run(into: &measurements)
        try ProtocolHistories.run(into: &measurements)
        try BrokerHistories.run(in: folder, into: &measurements)
        try WorkerHistories.run(in: folder, into: &measurements)
        return measurements
    }
}

/// Waits on this thread for what others do. An asynchronous `main` would give its thread to the dispatch library, which
/// valgrind does not survive.
func wait<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
    try MultiThreadedEventLoopGroup.singleton.any().makeFutureWithTask(body).wait()
}
