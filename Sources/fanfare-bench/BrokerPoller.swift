import CLinux
import FanfareModel
import Foundation

/// Gets what comes in on the links while it is the poller's receiver.
protocol BrokerReceiver: AnyObject {
    /// The numbers of messages of the load, in the order of the link.
    ///
    /// - Parameter time: When they were received, as ``BrokerPoller/now``.
    func delivered(_ sequences: UnsafeBufferPointer<UInt64>, at time: UInt64, on link: BrokerLink) throws
    /// The next `count` requests of the link have succeeded.
    func acknowledged(_ count: Int, on link: BrokerLink) throws
}

/// The generator's loop: epoll, one receive for each readable link, one send for each link that has something to say.
///
/// Everything runs on the thread that calls ``run(until:within:)``.
final class BrokerPoller {
    let endpoint: Endpoint
    let dialect: any BrokerDialect
    private(set) var links: [BrokerLink] = []
    var receiver: (any BrokerReceiver)?
    /// Nanoseconds of the monotonic clock when the last bytes came in.
    private(set) var now: UInt64 = 0

    private let epoll: Int32
    private var events = [epoll_event](repeating: epoll_event(), count: 1_024)
    private var dirty: [BrokerLink] = []
    private var flushing: [BrokerLink] = []
    /// Where links collect the numbers of what they have received, so that the receiver is called once for many.
    let sequences = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: 4_096)
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1_024, alignment: 16)

    private static let openingSeconds = 60.0
    private static let retryMicroseconds: UInt32 = 1_000

    init(_ endpoint: Endpoint, _ dialect: any BrokerDialect) throws {
        self.endpoint = endpoint
        self.dialect = dialect
        epoll = epoll_create1(0)
        guard epoll >= 0 else { throw LoadFailure("cannot make an epoll: \(String(cString: strerror(errno)))") }
        refreshClock()
    }

    deinit {
        close(epoll)
        sequences.deallocate()
        buffer.deallocate()
    }

    // MARK: Links

    /// Opens `count` more links and waits until the server has let all of them in.
    func open(_ count: Int) throws {
        let first = links.count
        for index in first..<(first + count) {
            let node = "b\(String(getpid(), radix: 36))-\(index)"
            links.append(try openLink(index, node: node))
        }
    }

    /// A node is free again when the broker has buried the session that had it: until then the link is tried again.
    private func openLink(_ index: Int, node: String) throws -> BrokerLink {
        let deadline = MonotonicClock.after(Self.openingSeconds)
        while true {
            do {
                let link = try BrokerLink(index: index, node: node, to: endpoint, dialect, poller: self)
                try run(until: { link.isOpen }, within: Self.openingSeconds)
                guard link.isOpen else { throw LoadFailure("\(endpoint) does not answer the hello of link \(index)") }
                return link
            } catch let failure as Failure where failure.code == .nodeTaken && MonotonicClock.now() < deadline {
                dirty.removeAll()
                usleep(Self.retryMicroseconds)
            }
        }
    }

    /// Closes every link at once, as a process that dies does.
    func closeAll() {
        dirty.removeAll()
        links.removeAll()
    }

    func watch(_ link: BrokerLink) {
        control(link, EPOLL_CTL_ADD, EPOLLIN.rawValue)
    }

    func watch(_ link: BrokerLink, forRoom: Bool) {
        control(link, EPOLL_CTL_MOD, forRoom ? EPOLLIN.rawValue | EPOLLOUT.rawValue : EPOLLIN.rawValue)
    }

    private func control(_ link: BrokerLink, _ operation: Int32, _ interest: UInt32) {
        var event = epoll_event()
        event.events = interest
        event.data.ptr = Unmanaged.passUnretained(link).toOpaque()
        guard epoll_ctl(epoll, operation, link.descriptor, &event) == 0 else {
            preconditionFailure("epoll does not take link \(link.index): \(String(cString: strerror(errno)))")
        }
    }

    func markDirty(_ link: BrokerLink) {
        dirty.append(link)
    }

    // MARK: Turns

    /// Runs turns until `isDone`, asked after each, or until `seconds` are over.
    func run(until isDone: () -> Bool, within seconds: Double) throws {
        let deadline = MonotonicClock.after(seconds)
        try flushDirty()
        while !isDone() {
            let time = MonotonicClock.now()
            guard time < deadline else { return }
            try turn(milliseconds: Int32(min((deadline - time) / 1_000_000 + 1, 1_000)))
        }
    }

    private func turn(milliseconds: Int32) throws {
        let count = epoll_wait(epoll, &events, Int32(events.count), milliseconds)
        guard count >= 0 || errno == EINTR else {
            throw LoadFailure("epoll_wait failed: \(String(cString: strerror(errno)))")
        }
        for index in 0..<Int(max(count, 0)) {
            let event = events[index]
            guard let pointer = event.data.ptr else { continue }
            let link = Unmanaged<BrokerLink>.fromOpaque(pointer).takeUnretainedValue()
            if event.events & EPOLLOUT.rawValue != 0 { try link.flush() }
            if event.events & ~EPOLLOUT.rawValue != 0 { try link.read(through: buffer) }
        }
        try flushDirty()
    }

    private func flushDirty() throws {
        guard !dirty.isEmpty else { return }
        swap(&dirty, &flushing)
        for link in flushing { try link.flush() }
        flushing.removeAll(keepingCapacity: true)
    }

    // MARK: Time

    func refreshClock() {
        now = MonotonicClock.now()
    }
}
