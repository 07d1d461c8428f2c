import FanfareCore
import FanfareModel
import FanfareTransport
import NIOCore

// What the loop has counted and the core cannot know.
extension BrokerLoop {
    func status() -> MessageValue {
        core.observed = observe()
        let answer = try? core.inspect(InspectionQuery(.status), now: look())
        return answer ?? .null
    }

    func observe() -> Observed {
        var observed = Observed()
        var total = ended
        var detached = 0
        for (session, peer) in peers {
            var traffic = Observed.Traffic()
            add(peer.traffic, to: &traffic)
            add(peer.traffic, to: &total)
            if let connection = peer.connection {
                traffic.linkBytes = connection.pendingBytes
            } else {
                traffic.linkBytes = peer.retained?.bytes ?? 0
                let away = loop.now - peer.awaySince
                traffic.away = Milliseconds(UInt64(clamping: away.nanoseconds / 1_000_000))
                detached += 1
            }
            observed.traffic[session] = traffic
        }
        observed.status = facts
        if let resilience { observed.status["resilience_testing"] = resilience.status }
        observed.status.merge(security.status) { $1 }
        observed.status["uptime_milliseconds"] = .count(startedAt.milliseconds(until: look()).value)
        observed.status["detached"] = .count(detached)
        observed.status["resumed"] = .count(resumeCounts.resumed)
        observed.status["resume_refused"] = .count(resumeCounts.refused)
        observed.status["strangers"] = .count(strangers.count)
        observed.status["frames_in"] = .count(total.framesIn)
        observed.status["frames_out"] = .count(total.framesOut)
        observed.status["bytes_in"] = .count(total.bytesIn)
        observed.status["bytes_out"] = .count(total.bytesOut)
        observed.status["errors"] = .count(links.refused.values.reduce(0, +))
        observed.status["refused"] = .map(
            Dictionary(uniqueKeysWithValues: links.refused.map { ($0.key.name, MessageValue.count($0.value)) })
        )
        return observed
    }

    func add(_ traffic: FrameConnection.Traffic, to total: inout Observed.Traffic) {
        total.framesIn += traffic.framesIn
        total.framesOut += traffic.framesOut
        total.bytesIn += traffic.bytesIn
        total.bytesOut += traffic.bytesOut
    }
}
