import HeapModule
import NIOCore

/// What an ``EpollLoop`` does later: the earliest deadline first, equal ones in the order they were set.
struct LoopTimers {
    /// One thing to do, until it is cancelled.
    ///
    /// `@unchecked Sendable`: handed between threads only by tasks of the loop, and used on it alone.
    final class Timer: @unchecked Sendable {
        fileprivate var task: (() -> Void)?
        /// Tells that the timer's time will not come.
        let cancelled: () -> Void

        init(_ task: @escaping () -> Void, cancelled: @escaping () -> Void) {
            self.task = task
            self.cancelled = cancelled
        }
    }

    private struct Entry: Comparable {
        let deadline: NIODeadline
        let number: UInt64
        let timer: Timer

        static func < (left: Entry, right: Entry) -> Bool {
            (left.deadline, left.number) < (right.deadline, right.number)
        }

        static func == (left: Entry, right: Entry) -> Bool { left.number == right.number }
    }

    private var heap = Heap<Entry>()
    private var lastNumber: UInt64 = 0
    /// Cancelled timers that are still in the heap.
    private var cancelledCount = 0

    /// Cancelled timers are swept out when there are more than these and more than live ones.
    private static let sweptAbove = 64

    /// The earliest deadline.
    var next: NIODeadline? { heap.min?.deadline }

    mutating func add(_ timer: Timer, at deadline: NIODeadline) {
        lastNumber += 1
        heap.insert(Entry(deadline: deadline, number: lastNumber, timer: timer))
    }

    /// Takes away what a timer would have done; it is not told.
    ///
    /// - Returns: What it would have done, for the caller to let go of.
    mutating func cancel(_ timer: Timer) -> (() -> Void)? {
        guard let task = timer.task else { return nil }
        timer.task = nil
        cancelledCount += 1
        if cancelledCount > max(Self.sweptAbove, heap.count / 2) {
            heap = Heap(heap.unordered.filter { $0.timer.task != nil })
            cancelledCount = 0
        }
        return task
    }

    /// Takes out the next timer whose time has come.
    mutating func popDue(at now: NIODeadline) -> (() -> Void)? {
        while let entry = heap.min, entry.deadline <= now {
            heap.removeMin()
            guard let task = entry.timer.task else {
                cancelledCount -= 1
                continue
            }
            entry.timer.task = nil
            return task
        }
        return nil
    }

    /// Takes out every timer, for the caller to tell that its time will not come: who hears of that may set or cancel
    /// others.
    mutating func removeAll() -> [Timer] {
        let timers = heap.unordered.map(\.timer).filter { $0.task != nil }
        heap = Heap()
        cancelledCount = 0
        return timers
    }
}
