import FanfareTransport
import NIOCore
import NIOPosix
import Testing

struct SweepTests {
    private final class Count {
        var value = 0
        var sweep: Sweep?
    }

    @Test("a sweep runs again and again until it is cancelled, also by itself")
    func runsUntilCancelled() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let count = try await loop.submit {
            let count = Count()
            count.sweep = Sweep(loop: loop, every: .milliseconds(1)) { [unowned count] in
                count.value += 1
                if count.value == 5 { count.sweep?.cancel() }
            }
            return NIOLoopBound(count, eventLoop: loop)
        }.get()
        try await poll("five runs") { try await loop.submit { count.value.value == 5 }.get() }
        // Everything due within the next turns has run when this has.
        try await loop.scheduleTask(in: .milliseconds(20)) {}.futureResult.get()
        #expect(try await loop.submit { count.value.value }.get() == 5)
    }
}
