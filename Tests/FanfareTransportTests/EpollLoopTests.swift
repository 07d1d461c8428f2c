import FanfareTransport
import Glibc
import NIOCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct EpollLoopTests {
    private let run: LoopRun

    init() throws {
        run = try LoopRun()
    }

    private struct Broken: Error {}

    // MARK: Tasks

    @Test func `tasks of many threads run once each and in the order of their thread`() async throws {
        let heard = NIOLoopBoundBox.makeBoxSendingValue([[Int]](repeating: [], count: 8), eventLoop: run.loop)
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<8 {
                group.addTask { [loop = run.loop] in
                    for number in 0..<5_000 { loop.execute { heard.value[thread].append(number) } }
                }
            }
        }
        #expect(try await run.onLoop { _ in heard.value } == Array(repeating: Array(0..<5_000), count: 8))
    }

    @Test func `what handlers hand in runs when every descriptor that is ready has been handled`() async throws {
        let pairs = try (0..<100).map { _ in try RawSocket.pair() }
        let ours = pairs.map(\.0)
        let theirs = pairs.map(\.1.descriptor)
        let order = NIOLoopBoundBox.makeBoxSendingValue([String](), eventLoop: run.loop)
        try await run.onLoop { loop in
            for descriptor in ours {
                let handler = Watcher(descriptor) { watcher, _ in
                    watcher.drain()
                    order.value.append("ready")
                    loop.execute { order.value.append("task") }
                    loop.onNextTurn { order.value.append("task") }
                }
                loop.watch(descriptor, for: .readable, handler)
            }
        }
        // All of them become readable while the loop is busy.
        try await run.onLoop { _ in
            for descriptor in theirs { send(descriptor, "x", 1, 0) }
        }
        try await poll("all tasks") { try await run.onLoop { _ in order.value.count == 300 } }
        let seen = try await run.onLoop { _ in order.value }
        #expect(seen == Array(repeating: "ready", count: 100) + Array(repeating: "task", count: 200))
        try await unwatch(ours)
    }

    @Test func `what is left for later runs behind the descriptors that are ready then`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let theirs = peer.descriptor
        let order = NIOLoopBoundBox.makeBoxSendingValue([String](), eventLoop: run.loop)
        try await run.onLoop { loop in
            let handler = Watcher(ours) { watcher, _ in
                watcher.drain()
                order.value.append("ready")
            }
            loop.watch(ours, for: .readable, handler)
            loop.afterOthers {
                order.value.append("part 1")
                send(theirs, "x", 1, 0)
                loop.afterOthers {
                    order.value.append("part 2")
                    send(theirs, "x", 1, 0)
                    loop.afterOthers { order.value.append("part 3") }
                }
            }
        }
        try await poll("all parts") { try await run.onLoop { _ in order.value.contains("part 3") } }
        #expect(try await run.onLoop { _ in order.value } == ["part 1", "ready", "part 2", "ready", "part 3"])
        try await unwatch([ours])
    }

    @Test func `tasks that beget tasks do not keep descriptors waiting`() async throws {
        let (ours, peer) = try RawSocket.pair()
        let isOver = NIOLoopBoundBox.makeBoxSendingValue(false, eventLoop: run.loop)
        try await run.onLoop { loop in
            let handler = Watcher(ours) { watcher, _ in
                watcher.drain()
                isOver.value = true
            }
            loop.watch(ours, for: .readable, handler)
            @Sendable func again() { if !isOver.value { loop.execute(again) } }
            again()
        }
        try await peer.write([1])
        try await poll("the descriptor's turn") { try await run.onLoop { _ in isOver.value } }
        try await unwatch([ours])
    }

    @Test func `a result, an error and a value bound to the loop come back`() async throws {
        #expect(try await run.loop.submit { 7 }.get() == 7)
        await #expect(throws: Broken.self) { try await run.loop.submit { throw Broken() }.get() }
        let bound = try await run.onLoop { NIOLoopBound([1, 2], eventLoop: $0) }
        #expect(try await run.onLoop { _ in bound.value } == [1, 2])
        #expect(!run.loop.inEventLoop)
        #expect(try await run.onLoop { $0.inEventLoop })
    }

    @Test func `a descriptor closed and its number used again in one batch does not get the old event`() async throws {
        let first = try RawSocket.pair()
        let second = try RawSocket.pair()
        let third = try RawSocket.pair()
        let numbers = [first.0, second.0]
        let peers = [first.1.descriptor, second.1.descriptor]
        let events = NIOLoopBoundBox.makeBoxSendingValue([CInt](), eventLoop: run.loop)
        let stranger = third.0
        try await run.onLoop { loop in
            let successor = Watcher(-1) { _, _ in events.value.append(-1) }
            for number in numbers {
                let handler = Watcher(number) { watcher, _ in
                    watcher.drain()
                    events.value.append(number)
                    guard events.value.count == 1 else { return }
                    // The other one's number goes to a connection on which nothing has come.
                    let other = numbers.first { $0 != number }!
                    loop.unwatch(other)
                    dup2(stranger, other)
                    loop.watch(other, for: .readable, successor)
                }
                loop.watch(number, for: .readable, handler)
            }
        }
        try await run.onLoop { _ in
            for peer in peers { send(peer, "x", 1, 0) }
        }
        try await poll("the first event") { try await run.onLoop { _ in !events.value.isEmpty } }
        let seen = try await run.onLoop { _ in events.value }
        #expect(seen.count == 1 && seen[0] > 0)
        try await third.1.write([1])
        try await poll("the successor's own event") { try await run.onLoop { _ in events.value.contains(-1) } }
        try await unwatch(numbers)
        close(stranger)
    }

    private func unwatch(_ descriptors: [CInt]) async throws {
        try await run.onLoop { loop in
            for descriptor in descriptors {
                loop.unwatch(descriptor)
                close(descriptor)
            }
        }
    }

    // MARK: Timers

    @Test func `timers go off in order of their deadlines, equal ones in the order they were set`() async throws {
        let order = NIOLoopBoundBox.makeBoxSendingValue([Int](), eventLoop: run.loop)
        var random = SplitMix64(seed: 11)
        let delays = (0..<500).map { _ in Int64.random(in: 0..<20, using: &random) }
        let last = try await run.onLoop { loop in
            let now = NIODeadline.now()
            for (index, delay) in delays.enumerated() {
                loop.scheduleTask(deadline: now + .milliseconds(delay)) { order.value.append(index) }
            }
            return loop.scheduleTask(deadline: now + .milliseconds(20)) {}
        }
        try await last.futureResult.get()
        let expected = delays.indices.sorted { (delays[$0], $0) < (delays[$1], $1) }
        #expect(try await run.onLoop { _ in order.value } == expected)
    }

    @Test("a cancelled timer does not go off, whoever cancels it", arguments: [true, false])
    func cancel(isOnLoop: Bool) async throws {
        let ran = NIOLoopBoundBox.makeBoxSendingValue(false, eventLoop: run.loop)
        let timer = run.loop.scheduleTask(in: .hours(1)) { ran.value = true }
        if isOnLoop { try await run.onLoop { _ in timer.cancel() } } else { timer.cancel() }
        await #expect(throws: EventLoopError.self) { try await timer.futureResult.get() }
        let atOnce = try await run.onLoop { loop in
            let timer = loop.scheduleTask(in: .zero) { ran.value = true }
            timer.cancel()
            return timer
        }
        await #expect(throws: EventLoopError.self) { try await atOnce.futureResult.get() }
        try await run.loop.scheduleTask(in: .milliseconds(5)) {}.futureResult.get()
        #expect(try await run.onLoop { _ in !ran.value })
    }

    @Test func `cancelled timers are let go of long before their time`() async throws {
        let live = run.loop.scheduleTask(in: .hours(1)) {}
        let futures = WeakFutures()
        for _ in 0..<20_000 {
            let timer = run.loop.scheduleTask(in: .hours(2)) {}
            timer.futureResult.whenComplete { _ in }
            futures.add(timer.futureResult)
            timer.cancel()
        }
        // Tasks keep what they captured until their turn is over.
        for _ in 0..<2 { try await run.onLoop { _ in } }
        #expect(futures.aliveCount < 200)
        live.cancel()
    }

    @Test func `cancelling from what a cancelled timer held is nothing special`() async throws {
        try await run.onLoop { loop in
            let other = loop.scheduleTask(in: .hours(1)) {}
            let held = AtEnd { other.cancel() }
            let timer = loop.scheduleTask(in: .hours(1)) { withExtendedLifetime(held) {} }
            timer.cancel()
        }
    }

    @Test func `a repeated task goes on until it is cancelled`() async throws {
        let count = NIOLoopBoundBox.makeBoxSendingValue(0, eventLoop: run.loop)
        let task = run.loop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(1)) { _ in count.value += 1 }
        try await poll("five times") { try await run.onLoop { _ in count.value >= 5 } }
        let stopped = run.loop.makePromise(of: Void.self)
        task.cancel(promise: stopped)
        try await stopped.futureResult.get()
        let then = try await run.onLoop { _ in count.value }
        try await run.loop.scheduleTask(in: .milliseconds(10)) {}.futureResult.get()
        #expect(try await run.onLoop { _ in count.value } == then)
    }

    // MARK: The end

    @Test func `shutting down runs what was handed in and fails timers`() async throws {
        let loop = try EpollLoop(name: "fanfare-test")
        let count = Count()
        let timer = loop.scheduleTask(in: .hours(1)) {}
        // One that sets another when it fails, as a retry does.
        let failures = Count()
        timer.futureResult.whenFailure { _ in
            failures.increment()
            loop.scheduleTask(in: .hours(1)) {}.futureResult.whenFailure { _ in failures.increment() }
        }
        let repeated = loop.scheduleRepeatedTask(initialDelay: .hours(1), delay: .hours(1)) { _ in }
        for _ in 0..<1_000 { loop.execute { loop.execute { count.increment() } } }
        async let first: Void = loop.shutdownGracefully()
        async let second: Void = loop.shutdownGracefully()
        _ = try await (first, second)
        #expect(failures.value == 2)
        #expect(count.value == 1_000)
        try await loop.shutdownGracefully()
        withExtendedLifetime(repeated) {}
        loop.execute { Issue.record("the loop is over") }
        #expect(!loop.inEventLoop)
    }

    @Test func `a thread that comes after a loop's is not taken for it`() async throws {
        for _ in 0..<20 {
            let past = try EpollLoop(name: "fanfare-test")
            try await past.shutdownGracefully()
            let present = try EpollLoop(name: "fanfare-test")
            #expect(try await present.submit { !past.inEventLoop }.get())
            try await present.shutdownGracefully()
        }
    }

    @Test func `shutting down closes what is still connected and says so`() async throws {
        let loop = try EpollLoop(name: "fanfare-test")
        let (ours, peer) = try RawSocket.pair()
        let disconnects = try await loop.submit {
            let inbox = Inbox()
            _ = DescriptorConnection(ours, on: loop, receiver: inbox)
            return inbox.disconnects
        }.get()
        try await loop.shutdownGracefully()
        #expect(try await peer.readToEnd().isEmpty)
        #expect(disconnects.value == 1)
    }
}
