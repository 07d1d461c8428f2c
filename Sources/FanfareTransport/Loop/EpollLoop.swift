import CLinux
package import FanfareModel
import Glibc
package import NIOCore
import Synchronization

/// Somebody whose descriptor an ``EpollLoop`` watches. Called on the loop.
package protocol DescriptorHandler: AnyObject {
    /// What was watched for has come about, or the connection is over.
    func ready(_ readiness: Readiness)
    /// The loop ends with this descriptor still watched: it is to be unwatched and closed.
    func loopEnded()
}

extension DescriptorHandler {
    package func loopEnded() {}
}

/// What a descriptor is watched for, and what became of it.
package struct Readiness: OptionSet, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    package static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    package static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
    /// The peer sends nothing more.
    package static let inputEnded = Readiness(rawValue: EPOLLRDHUP.rawValue)
    /// The connection is broken; always watched for.
    package static let broken = Readiness(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
}

/// One thread that waits for descriptors, timers and tasks: a NIO event loop for whatever is written against NIO's
/// protocols, without a NIO channel for each descriptor.
///
/// One turn handles every descriptor that is ready, then the tasks that gave; so what is gathered with
/// ``execute(_:)`` goes out once for all a turn has read. Descriptors are reported as long as they are ready
/// (level-triggered): a handler that reads one piece a turn leaves none behind and keeps nobody waiting.
///
/// `@unchecked Sendable`: everything but `incoming` and the constants is used on the loop's own thread only, which
/// every function that is not declared by NIO checks or says; `incoming` has its lock.
package final class EpollLoop: EventLoop, @unchecked Sendable {
    /// Tasks of other threads, and whether the loop has been told of them.
    private struct Incoming {
        var tasks: [() -> Void] = []
        var isWoken = false
        var isOver = false
    }

    private struct Watch {
        var handler: (any DescriptorHandler)?
        /// Tells this watch from an earlier one of the same number, whose event may still be in the batch.
        var generation: UInt32 = 0
    }

    /// Descriptors looked at in one turn; the others' turn comes with the next.
    private static let eventsPerTurn = 512
    /// Tasks run before descriptors are looked at again.
    private static let tasksPerTurn = 4_096
    /// At the end: what ends may begin something else, a retry for one, that has to end as well.
    private static let endRounds = 4
    /// The most one read takes: whoever sends more waits for the others' turn.
    package static let readBytes = 65_536

    private let epoll: CInt
    private let wakeUp: CInt
    private let incoming = Mutex(Incoming())
    private let thread = Atomic<UInt>(0)
    private var watches: ContiguousArray<Watch> = []
    private var tasks: ContiguousArray<() -> Void> = []
    private var running: ContiguousArray<() -> Void> = []
    private var postponed: ContiguousArray<() -> Void> = []
    private var resuming: ContiguousArray<() -> Void> = []
    var timers = LoopTimers()
    /// How long turns took: from the wake-up to the end of all that was ready then. On the loop.
    package private(set) var turnSeconds = Histogram.ofWorkSeconds
    private var turnWatch: TurnWatch?
    private var isStopping = false
    private var onStopped: [@Sendable () -> Void] = []
    /// Where reads go: one for all descriptors, as none keeps what it read.
    let readBuffer = UnsafeMutableRawBufferPointer.allocate(byteCount: EpollLoop.readBytes, alignment: 16)

    /// Starts the loop on a thread of its own.
    ///
    /// - Parameter name: For the system's listings of threads, at most 15 bytes.
    /// - Throws: `IOError` when the process has no descriptor or thread left.
    package init(name: String = "fanfare-loop") throws {
        epoll = epoll_create1(CInt(EPOLL_CLOEXEC))
        wakeUp = eventfd(0, CInt(EFD_CLOEXEC) | CInt(EFD_NONBLOCK))
        guard epoll >= 0, wakeUp >= 0 else { throw IOError(errnoCode: errno, reason: "epoll_create1") }
        guard control(EPOLL_CTL_ADD, wakeUp, .readable, generation: 0) else {
            throw IOError(errnoCode: errno, reason: "epoll_ctl")
        }
        try startThread(name)
    }

    /// Only now: another thread may be about to write to `wakeUp` when the loop has ended already.
    deinit {
        readBuffer.deallocate()
        for descriptor in [epoll, wakeUp] where descriptor >= 0 { Glibc.close(descriptor) }
    }

    /// Whether the caller runs on this loop.
    package var inEventLoop: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    // MARK: Descriptors

    /// Watches a descriptor that is not watched yet; the handler is kept until ``unwatch(_:)``. When the system has no
    /// room for one more watch, the handler hears in the next turn that its descriptor is broken.
    package func watch(_ descriptor: CInt, for readiness: Readiness, _ handler: any DescriptorHandler) {
        let index = Int(descriptor)
        while watches.count <= index { watches.append(Watch()) }
        watches[index].handler = handler
        watches[index].generation &+= 1
        let generation = watches[index].generation
        guard !control(EPOLL_CTL_ADD, descriptor, readiness, generation: generation) else { return }
        onNextTurn { [self] in
            guard watches[index].generation == generation else { return }
            watches[index].handler?.ready([.readable, .broken])
        }
    }

    /// Watches for something else from now on.
    package func rewatch(_ descriptor: CInt, for readiness: Readiness) {
        _ = control(EPOLL_CTL_MOD, descriptor, readiness, generation: watches[Int(descriptor)].generation)
    }

    /// Ends the watch; must come before the descriptor is closed.
    package func unwatch(_ descriptor: CInt) {
        watches[Int(descriptor)].handler = nil
        _ = control(EPOLL_CTL_DEL, descriptor, [], generation: 0)
    }

    /// - Returns: False when the system has no room for it (`ENOSPC`, `ENOMEM`), or it was not watched for that reason.
    private func control(_ operation: CInt, _ descriptor: CInt, _ readiness: Readiness, generation: UInt32) -> Bool {
        var event = epoll_event()
        event.events = readiness.rawValue
        event.data.u64 = UInt64(generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
        guard epoll_ctl(epoll, operation, descriptor, &event) != 0 else { return true }
        precondition(
            [ENOSPC, ENOMEM, ENOENT].contains(errno),
            "epoll_ctl(\(operation)) of descriptor \(descriptor): errno \(errno)"
        )
        return false
    }

    // MARK: Tasks

    /// Runs `task` when everything that is ready now has been handled. On the loop.
    package func onNextTurn(_ task: @escaping () -> Void) {
        tasks.append(task)
    }

    /// Runs `task` in the next turn, behind everything that is ready then: for work that is done in parts, so that who
    /// has much of it does not keep the loop. On the loop.
    package func afterOthers(_ task: @escaping () -> Void) {
        postponed.append(task)
    }

    /// Runs `task` on the loop, from any thread; in order among those of one caller. Dropped once the loop has ended.
    package func execute(_ task: @escaping @Sendable () -> Void) {
        _ = accept(task)
    }

    /// - Returns: Whether the task will run: the loop has not ended.
    private func accept(_ task: @escaping @Sendable () -> Void) -> Bool {
        if inEventLoop {
            tasks.append(task)
            return true
        }
        let (isAccepted, wakes) = incoming.withLock { incoming in
            guard !incoming.isOver else { return (false, false) }
            incoming.tasks.append(task)
            defer { incoming.isWoken = true }
            return (true, !incoming.isWoken)
        }
        if wakes {
            var one: UInt64 = 1
            write(wakeUp, &one, MemoryLayout<UInt64>.size)
        }
        return isAccepted
    }

    private func takeIncoming() {
        var count: UInt64 = 0
        read(wakeUp, &count, MemoryLayout<UInt64>.size)
        incoming.withLock { incoming in
            incoming.isWoken = false
            // No task is let go of here, under the lock.
            tasks.append(contentsOf: incoming.tasks)
            incoming.tasks.removeAll(keepingCapacity: true)
        }
    }

    private func runTasks() {
        var count = 0
        while !tasks.isEmpty, count < Self.tasksPerTurn {
            swap(&tasks, &running)
            count += running.count
            for task in running { timed("task", \.tasks, task) }
            running.removeAll(keepingCapacity: true)
        }
    }

    // MARK: The thread

    private func startThread(_ name: String) throws {
        let loop = Unmanaged.passRetained(self)
        var identifier = pthread_t()
        let result = pthread_create(
            &identifier,
            nil,
            { argument in
                let loop = Unmanaged<EpollLoop>.fromOpaque(argument!).takeRetainedValue()
                loop.thread.store(UInt(pthread_self()), ordering: .relaxed)
                loop.run()
                return nil
            },
            loop.toOpaque()
        )
        guard result == 0 else {
            loop.release()
            throw IOError(errnoCode: result, reason: "pthread_create")
        }
        thread.store(UInt(identifier), ordering: .relaxed)
        fanfare_name_thread(identifier, name)
        pthread_detach(identifier)
    }

    private func run() {
        let events = UnsafeMutableBufferPointer<epoll_event>.allocate(capacity: Self.eventsPerTurn)
        defer { events.deallocate() }
        var now = NIODeadline.now()
        while !isStopping {
            let count = fanfare_epoll_wait(epoll, events.baseAddress, CInt(events.count), waitNanoseconds(from: now))
            let wokenAt = NIODeadline.now()
            // Taken before the others' turn: what they postpone is for the next one.
            swap(&postponed, &resuming)
            for event in events.prefix(Int(max(0, count))) { dispatch(event) }
            while let task = timers.popDue(at: wokenAt) { timed("timer", \.timers, task) }
            if !resuming.isEmpty {
                for task in resuming { timed("task", \.tasks, task) }
                resuming.removeAll(keepingCapacity: true)
            }
            runTasks()
            now = .now()
            turnSeconds.record(Double((now - wokenAt).nanoseconds) / 1e9)
            turnWatch?.ended(now - wokenAt, at: now)
        }
        end()
    }

    /// Tells of turns that took long, at most once a second, and what in them did. On the loop; costs a look at the
    /// clock for everything the loop does from now on.
    package func watchTurns(longerThan longest: TimeAmount, _ report: @escaping (LoopTurn) -> Void) {
        turnWatch = TurnWatch(longest, report)
    }

    private func timed(_ name: @autoclosure () -> String, _ count: WritableKeyPath<LoopTurn, Int>, _ work: () -> Void) {
        guard turnWatch != nil else { return work() }
        let begunAt = NIODeadline.now()
        work()
        turnWatch?.did(name(), count, since: begunAt)
    }

    /// Until the next timer; less than 0 when there is none, and not at all when tasks wait.
    private func waitNanoseconds(from now: NIODeadline) -> Int64 {
        guard tasks.isEmpty, postponed.isEmpty else { return 0 }
        guard let deadline = timers.next else { return -1 }
        return max(0, (deadline - now).nanoseconds)
    }

    private func dispatch(_ event: epoll_event) {
        let descriptor = CInt(bitPattern: UInt32(truncatingIfNeeded: event.data.u64))
        guard descriptor != wakeUp else { return takeIncoming() }
        let watch = watches[Int(descriptor)]
        guard watch.generation == UInt32(event.data.u64 >> 32) else { return }
        guard turnWatch != nil, let handler = watch.handler else {
            watch.handler?.ready(Readiness(rawValue: event.events))
            return
        }
        timed(handler.name, \.descriptors) { handler.ready(Readiness(rawValue: event.events)) }
    }

    // MARK: The end

    /// Ends the loop: what has been handed to it runs, timers fail, and connections still open are closed.
    ///
    /// - Parameter onStopped: Called when the loop does nothing any more: on its thread, or at once if it has ended.
    func stop(_ onStopped: @escaping @Sendable () -> Void) {
        let isAccepted = accept { [self] in
            isStopping = true
            self.onStopped.append(onStopped)
        }
        if !isAccepted { onStopped() }
    }

    private func end() {
        let last = incoming.withLock { incoming in
            incoming.isOver = true
            defer { incoming.tasks = [] }
            return incoming.tasks
        }
        tasks.append(contentsOf: last)
        while !tasks.isEmpty { runTasks() }
        for _ in 0..<Self.endRounds {
            for watch in watches { watch.handler?.loopEnded() }
            for timer in timers.removeAll() { timer.cancelled() }
            while !tasks.isEmpty { runTasks() }
        }
        let left = (watches, postponed)
        watches = []
        postponed = []
        // A later thread may get the same number.
        thread.store(0, ordering: .relaxed)
        withExtendedLifetime(left) {}
        for callback in onStopped { callback() }
        onStopped = []
    }
}
