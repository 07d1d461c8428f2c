import FanfareCore
import FanfareModel
import FanfareTransport
import NIOCore

// What the loop has counted and the core cannot know.
extension BrokerLoop: Observations {
    func observation(of session: SessionID) -> SessionObservation {
        guard let peer = peers[session] else { return SessionObservation() }
        var seen = SessionObservation()
        seen.traffic = peer.traffic
        seen.rateIn = peer.rates.messagesIn
        seen.rateOut = peer.rates.messagesOut
        seen.remote = peer.remote
        if let connection = peer.connection {
            seen.lagMilliseconds = peer.lag(at: loop.now).map { Double($0.nanoseconds) / 1_000_000 }
            seen.linkBytes = connection.pendingBytes
        } else {
            seen.linkBytes = peer.retained?.bytes ?? 0
            let away = loop.now - peer.awaySince
            seen.away = Milliseconds(UInt64(clamping: away.nanoseconds / 1_000_000))
        }
        return seen
    }

    var status: [String: MessageValue] {
        var total = ended
        var detached = 0
        for (_, peer) in peers {
            total += peer.traffic
            if peer.connection == nil { detached += 1 }
        }
        var status = facts
        if let resilience { status["resilience_testing"] = resilience.status }
        status.merge(security.status) { $1 }
        status["uptime_milliseconds"] = .count(startedAt.milliseconds(until: look()).value)
        status["detached"] = .count(detached)
        status["resumed"] = .count(resumeCounts.resumed)
        status["resume_refused"] = .count(resumeCounts.refused)
        status["accept_pauses"] = .count(acceptPauses())
        status["strangers"] = .count(strangers.count)
        status["frames_in"] = .count(total.framesIn)
        status["frames_out"] = .count(total.framesOut)
        status["bytes_in"] = .count(total.bytesIn)
        status["bytes_out"] = .count(total.bytesOut)
        status["inspections"] = .count(inspections.running.count)
        status["inspections_refused"] = .count(inspections.refused)
        status["fan_out_seconds"] = links.fanOutSeconds.value
        status["loop_lag_seconds"] = (loop as? EpollLoop)?.turnSeconds.value
        status["round_trip_seconds"] = roundTripSeconds.value
        status["inspection_seconds"] = inspections.seconds.value
        status["errors"] = .count(links.refused.values.reduce(0, +))
        status["refused"] = .map(
            Dictionary(uniqueKeysWithValues: links.refused.map { ($0.key.name, MessageValue.count($0.value)) })
        )
        return status
    }
}

extension Traffic {
    static func += (total: inout Traffic, more: Traffic) {
        total.framesIn += more.framesIn
        total.framesOut += more.framesOut
        total.bytesIn += more.bytesIn
        total.bytesOut += more.bytesOut
        total.messagesIn += more.messagesIn
        total.messagesOut += more.messagesOut
    }
}

/// Messages of a session a second, each way, from looking at its counts once a second: counting costs a message
/// nothing more.
struct MessageRates {
    private(set) var messagesIn = Rate()
    private(set) var messagesOut = Rate()
    private var seenIn: UInt64 = 0
    private var seenOut: UInt64 = 0

    mutating func look(at traffic: Traffic, _ now: Instant) {
        messagesIn.count(traffic.messagesIn - seenIn, at: now)
        messagesOut.count(traffic.messagesOut - seenOut, at: now)
        (seenIn, seenOut) = (traffic.messagesIn, traffic.messagesOut)
    }
}
