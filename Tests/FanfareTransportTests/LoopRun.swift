import Dispatch
import FanfareTransport
import Glibc
import NIOCore
import Synchronization

/// An ``EpollLoop`` that is stopped with this object.
final class LoopRun: Sendable {
    let loop: EpollLoop

    init() throws {
        loop = try EpollLoop(name: "fanfare-test")
    }

    deinit {
        loop.shutdownGracefully(queue: .global()) { _ in }
    }

    func onLoop<R: Sendable>(_ body: @escaping @Sendable (EpollLoop) throws -> R) async throws -> R {
        try await loop.submit { [loop] in try body(loop) }.get()
    }
}

/// Handles a descriptor as a test says.
final class Watcher: DescriptorHandler {
    private let descriptor: CInt
    private let onReady: (Watcher, Readiness) -> Void

    init(_ descriptor: CInt, onReady: @escaping (Watcher, Readiness) -> Void) {
        self.descriptor = descriptor
        self.onReady = onReady
    }

    func ready(_ readiness: Readiness) { onReady(self, readiness) }

    /// Takes what there is off the descriptor.
    func drain() {
        var part = [UInt8](repeating: 0, count: 1_000)
        while recv(descriptor, &part, part.count, CInt(MSG_DONTWAIT)) > 0 {}
    }
}

/// A number that any thread may read.
final class Count: Sendable {
    private let number = Atomic(0)

    var value: Int { number.load(ordering: .sequentiallyConsistent) }

    func increment() { number.add(1, ordering: .sequentiallyConsistent) }
}

/// What a ``DescriptorConnection`` brought.
final class Inbox: ByteReceiver {
    var bytes: [UInt8] = []
    var bursts = 0
    let disconnects = Count()
    /// The connection, until it is gone.
    weak var connection: DescriptorConnection?
    /// Runs inside the call that brings bytes.
    var onReceived: (([UInt8]) -> Void)?

    func received(_ bytes: UnsafeRawBufferPointer) {
        self.bytes += bytes
        onReceived?(Array(bytes))
    }

    func finishedBurst() { bursts += 1 }

    func disconnected() { disconnects.increment() }
}

/// Does something when it is let go of.
final class AtEnd: Sendable {
    private let body: @Sendable () -> Void

    init(_ body: @escaping @Sendable () -> Void) { self.body = body }

    deinit { body() }
}

/// Futures, not kept.
final class WeakFutures {
    private struct Reference {
        weak var future: EventLoopFuture<Void>?
    }

    private var references: [Reference] = []

    var aliveCount: Int { references.count { $0.future != nil } }

    func add(_ future: EventLoopFuture<Void>) { references.append(Reference(future: future)) }
}

/// A seeded source of random numbers, so that a failure can be repeated.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
