import FanfareModel
import FanfareTransport
import Glibc
import NIOCore

/// A connection that is no WebSocket yet, or never will be.
protocol Stranger: AnyObject {
    /// Whether the answer to its request is still being made.
    var isBusy: Bool { get }
    /// Closes whatever is going on.
    func abandon()
}

/// The connections that are no sockets yet, each with the tick at which it is given up.
struct Strangers {
    private var entries: [ObjectIdentifier: (stranger: any Stranger, deadline: Int)] = [:]

    var count: Int { entries.count }
    var isEmpty: Bool { entries.isEmpty }
    var all: [any Stranger] { entries.values.map(\.stranger) }

    mutating func insert(_ stranger: any Stranger, until deadline: Int) {
        entries[ObjectIdentifier(stranger)] = (stranger, deadline)
    }

    mutating func remove(_ stranger: any Stranger) {
        entries[ObjectIdentifier(stranger)] = nil
    }

    func contains(_ stranger: any Stranger) -> Bool { entries[ObjectIdentifier(stranger)] != nil }

    /// Those whose deadline is no later than `tick`.
    func due(at tick: Int) -> [any Stranger] {
        entries.values.filter { $0.deadline <= tick }.map(\.stranger)
    }
}

/// A connection on which nothing was said yet: a descriptor and a deadline. All that a handshake needs is made when its
/// first byte is there, so that thousands that say nothing cost next to nothing.
final class SilentConnection: DescriptorHandler, Stranger {
    private let descriptor: CInt
    private let loop: EpollLoop
    private let worker: WorkerLoop
    private let deadline: Int
    private let begin: (CInt, Int) -> Void
    private var isOpen = true

    /// Takes over a connected descriptor, and is kept by the loop until it has ended. On the loop.
    ///
    /// - Parameter begin: Gets the descriptor when there is something to read, and the tick at which the connection is
    ///   given up if it is no WebSocket by then.
    init(_ descriptor: CInt, on loop: EpollLoop, _ worker: WorkerLoop, begin: @escaping (CInt, Int) -> Void) {
        self.descriptor = descriptor
        self.loop = loop
        self.worker = worker
        self.begin = begin
        deadline = worker.handshakeDeadline
        worker.strangers.insert(self, until: deadline)
        loop.watch(descriptor, for: [.readable, .inputEnded], self)
    }

    var isBusy: Bool { false }

    func ready(_ readiness: Readiness) {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, CInt(MSG_PEEK))
        if count > 0 {
            leave()
            begin(descriptor, deadline)
        } else if count == 0 || errno != EAGAIN && errno != EINTR || !readiness.isDisjoint(with: .broken) {
            abandon()
        }
    }

    func abandon() {
        guard isOpen else { return }
        leave()
        Glibc.close(descriptor)
    }

    func loopEnded() { abandon() }

    private func leave() {
        isOpen = false
        loop.unwatch(descriptor)
        worker.strangers.remove(self)
    }
}

// Connections before their handshake is done.
extension WorkerLoop {
    /// The tick at which a connection that begins now is given up.
    var handshakeDeadline: Int { ticks + Self.ticks(limits.handshakeWithin) + 1 }

    /// Whether one more connection may begin a handshake.
    func admitsStranger() -> Bool {
        guard !isStopping, strangers.count < limits.handshakes else {
            counters.handshakesDropped += 1
            return false
        }
        return true
    }

    /// Lets go of connections that have asked for nothing a tick after they came: they hold nothing up.
    func dropIdleStrangers() {
        for stranger in strangers.due(at: handshakeDeadline - 2) where !stranger.isBusy { stranger.abandon() }
    }

    /// Lets go of connections that came to nothing in their time.
    func dropLateStrangers() {
        eventLoop.runForEach(strangers.due(at: ticks)[...], perTurn: Self.abandonedPerTurn) { [self] stranger in
            guard strangers.contains(stranger) else { return }
            counters.handshakesDropped += 1
            stranger.abandon()
        }
    }

    private static let abandonedPerTurn = 4
}
