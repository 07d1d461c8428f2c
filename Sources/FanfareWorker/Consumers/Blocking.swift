import NIOCore
import NIOPosix
import Synchronization

/// Runs code that blocks, such as a database call, on threads made for it, so that nothing else waits.
///
/// ```swift
/// let rows = try await blocking { try database.read { try Message.fetchAll($0) } }
/// ```
///
/// As many calls run at once as the machine has cores, at least four; 10 000 more may wait.
///
/// - Throws: What `body` throws; ``BlockingPool/Full``.
public func blocking<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await BlockingPool.shared.run(body)
}

/// Threads for code that blocks, and a bounded queue in front of them.
public final class BlockingPool: Sendable {
    /// More calls wait than may.
    public struct Full: Error, Sendable, CustomStringConvertible {
        /// The calls that wait.
        public let waiting: Int
        /// What happened, for people.
        public var description: String { "\(waiting) blocking calls wait already; the threads do not keep up" }
    }

    /// The pool behind ``blocking(_:)``.
    public static let shared = BlockingPool(threads: max(4, System.coreCount), waiting: 10_000)

    private let pool: NIOThreadPool
    private let calls = Atomic(0)
    private let callsMaximum: Int

    /// - Parameters:
    ///   - threads: Calls that run at once.
    ///   - waiting: Calls that may wait; one more is refused.
    public init(threads: Int, waiting: Int) {
        pool = NIOThreadPool(numberOfThreads: threads)
        callsMaximum = threads + waiting
        pool.start()
    }

    deinit {
        pool.shutdownGracefully { _ in }
    }

    /// Runs `body` on one of the threads.
    ///
    /// - Throws: What `body` throws; ``Full``.
    public func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        let count = calls.add(1, ordering: .relaxed).newValue
        defer { calls.subtract(1, ordering: .relaxed) }
        guard count <= callsMaximum else { throw Full(waiting: callsMaximum) }
        return try await pool.runIfActive(body)
    }
}
