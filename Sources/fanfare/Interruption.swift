@preconcurrency import Dispatch
import Glibc

/// Ctrl-C and SIGTERM as an orderly end of commands that go on by themselves.
enum Interruption {
    private enum Event<R: Sendable>: Sendable {
        case finished(R)
        case interrupted
    }

    /// What an interrupted command may take to say goodbye.
    private static let patience = DispatchTimeInterval.seconds(1)

    /// Does `work`; SIGINT or SIGTERM cancels it, and ends the process if that takes longer than a second.
    ///
    /// More signals change nothing: shells and supervisors often send the same one twice.
    ///
    /// - Throws: What `work` throws: `CancellationError` when it was cancelled and has nothing to say.
    @discardableResult
    static func cancels<R: Sendable>(_ work: @escaping @Sendable () async throws -> R) async throws -> R {
        let (signals, continuation) = AsyncStream.makeStream(of: Never.self)
        let sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler {
                continuation.finish()
                DispatchQueue.global().asyncAfter(deadline: .now() + patience) { _exit(0) }
            }
            source.resume()
            return source
        }
        defer { sources.forEach { $0.cancel() } }
        return try await withThrowingTaskGroup(of: Event<R>.self) { group in
            group.addTask { .finished(try await work()) }
            group.addTask {
                for await _ in signals {}  // ends with the first signal
                return .interrupted
            }
            while let event = try await group.next() {
                group.cancelAll()
                if case .finished(let result) = event { return result }
            }
            throw CancellationError()
        }
    }
}
