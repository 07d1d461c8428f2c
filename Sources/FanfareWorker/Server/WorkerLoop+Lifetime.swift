import FanfareModel
import NIOCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// How long sockets live: limits, silence, credentials.
extension WorkerLoop {
    /// Notes when a socket has to end.
    func limitLife(of socket: Socket, _ identity: Identity?) {
        socket.lifetime.lastMessage = ticks
        if limits.lifetime.value > 0 {
            // Spread over a tenth, so that sockets opened together do not come back together.
            let length = Self.longTicks(limits.lifetime)
            socket.lifetime.endsAt = ticks + max(1, length - Int.random(in: 0...(length / 10)))
        }
        if let left = identity?.expiresAt?.timeIntervalSinceNow, left < Double(Self.longTicksMaximum) {
            // One more, as this tick has begun: what has not expired yet would be taken again.
            let end = ticks + 1 + max(0, Int(exactly: left.rounded(.up)) ?? 0)
            if end < socket.lifetime.endsAt {
                socket.lifetime.endsAt = end
                socket.lifetime.ending = .credentials
            }
        }
        arm(socket)
    }

    /// Looks at a socket again when it may have to end; one that need not end is never looked at.
    private func arm(_ socket: Socket) {
        let next = min(idleEnd(of: socket), socket.lifetime.endsAt)
        guard next < Int.max else { return }
        socket.lifetime.nextLook = max(next, ticks + 1)
        deadlines.add(socket.number, at: socket.lifetime.nextLook)
    }

    /// When the client has been silent for too long; one that is not being read is not silent.
    private func idleEnd(of socket: Socket) -> Int {
        guard limits.idle.value > 0 else { return Int.max }
        // One more, as the last message came in the middle of a tick.
        return (socket.isReading ? socket.lifetime.lastMessage : ticks) + Self.longTicks(limits.idle) + 1
    }

    /// Ends a socket whose time is up, or looks at it again later.
    func checkLife(of socket: Socket) {
        if socket.lifetime.endsAt <= ticks {
            switch socket.lifetime.ending {
            case .lifetime: socket.close(.serviceRestart, reason: "connect again: this connection is old")
            case .credentials: socket.close(.unauthorized, reason: "the credentials have expired")
            }
        } else if idleEnd(of: socket) <= ticks {
            socket.close(.timeout, reason: "nothing was said for too long")
        } else {
            arm(socket)
        }
    }

    /// Of deadlines that may be far away, as they cost nothing until then.
    private static func longTicks(_ duration: Milliseconds) -> Int {
        Int(min(duration.value / UInt64(tick.nanoseconds / 1_000_000), longTicksMaximum))
    }

    /// A century.
    private static let longTicksMaximum: UInt64 = 3_155_760_000
}

/// Which sockets to look at in which tick.
struct DeadlineTable {
    private var numbers: [Int: Set<UInt64>] = [:]

    /// Sockets that are to be looked at.
    var count: Int { numbers.values.reduce(0) { $0 + $1.count } }

    mutating func add(_ number: UInt64, at tick: Int) {
        numbers[tick, default: []].insert(number)
    }

    /// Forgets a socket that has gone, so that those that come and go for a day do not pile up.
    mutating func remove(_ number: UInt64, at tick: Int) {
        guard numbers[tick]?.remove(number) != nil else { return }
        if numbers[tick]?.isEmpty == true { numbers[tick] = nil }
    }

    /// Takes out those of one tick. To be asked for every tick.
    mutating func due(at tick: Int) -> Set<UInt64> {
        numbers.isEmpty ? [] : numbers.removeValue(forKey: tick) ?? []
    }
}
