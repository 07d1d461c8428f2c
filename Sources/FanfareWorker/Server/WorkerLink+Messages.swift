import FanfareClient
import FanfareModel
import FanfareProtocol
import FanfareTransport

/// Messages from the broker, on their way to sockets.
extension WorkerLink {
    /// Passes a message of a group to its members here.
    func deliver(_ delivery: GroupDelivery) {
        worker.counters.groupMessages += 1
        var accepted = 0
        var dropped = 0
        defer {
            worker.counters.deliveries += UInt64(accepted)
            worker.tally.fanOutSockets.record(Double(accepted + dropped))
            if let token = delivery.outcome {
                _ = port.post(.outcome(token: token, accepted: UInt64(accepted), dropped: UInt64(dropped)))
            }
        }
        let audiences = worker.fanOut.audiences(of: delivery.group)
        guard !audiences.isEmpty else { return }
        let arrival = worker.tracing?.arrival(delivery.trace, at: delivery.group)
        let message = delivery.remaining.value > 0 ? try? reader.value(delivery.body) : nil
        let excluded = Set(delivery.exclude.compactMap { worker.socket(named: $0)?.number })
        for audience in audiences where audience.count > 0 {
            guard let message, let reached = send(message, delivery.group, arrival, to: audience, excluded) else {
                dropped += drop(delivery, audience, excluded)
                continue
            }
            accepted += reached.accepted
            dropped += reached.dropped
        }
    }

    /// - Returns: The members it reached and those that had no room, `nil` when the service does not know such messages.
    private func send(
        _ message: MessageValue,
        _ group: String,
        _ arrival: MessageTracing.Arrival?,
        to audience: Audience,
        _ excluded: Set<UInt64>
    ) -> (accepted: Int, dropped: Int)? {
        guard !excluded.isEmpty else {
            let members = audience.count
            switch worker.fanOut.gather(for: audience, { render(message, for: audience, into: &$0) }) {
            case .frames:
                arrival?.handled()
                return (members, 0)
            case .each: return handle(message, group, arrival, for: Array(audience.sockets), audience.service)
            case .unknown: return nil
            }
        }
        var frames: [UInt8] = []
        let rendering = render(message, for: audience, into: &frames)
        let members = audience.sockets.filter { !excluded.contains($0.number) }
        switch rendering {
        case .unknown: return nil
        case .each: return handle(message, group, arrival, for: members, audience.service)
        case .frames:
            arrival?.handled()
            worker.fanOut.flush()
            worker.fanOut.countSent(members.count)
            frames.withUnsafeBytes { bytes in
                var lent = LentFrames(bytes)
                for member in members { member.send(&lent) }
            }
            return (members.count, 0)
        }
    }

    /// Writes a message as the members of an audience get it.
    private func render(_ message: MessageValue, for audience: Audience, into frames: inout [UInt8]) -> Rendering {
        guard audience.takesCompressed else { return audience.service.render(message, into: &frames) }
        var plain: [UInt8] = []
        let rendering = audience.service.render(message, into: &plain)
        worker.compressor.append(frames: plain, windowBits: Audience.windowBits, to: &frames)
        return rendering
    }

    /// Hands a message to the handlers of each of `members`.
    private func handle(
        _ message: MessageValue,
        _ group: String,
        _ arrival: MessageTracing.Arrival?,
        for members: [Socket],
        _ service: any SocketService
    ) -> (accepted: Int, dropped: Int) {
        var accepted = 0
        for member in members {
            if service.handle(message, for: member, from: arrival, taken: nil) {
                accepted += 1
            } else {
                worker.counters.handlersFull += 1
                reports.dropped(channel: member.channelName, group: group, count: 1, reason: .full)
            }
        }
        return (accepted, members.count - accepted)
    }

    /// - Returns: The members it was for, all of whom miss it.
    private func drop(_ delivery: GroupDelivery, _ audience: Audience, _ excluded: Set<UInt64>) -> Int {
        let members = audience.sockets.count { !excluded.contains($0.number) }
        guard members > 0 else { return 0 }
        let reason = delivery.remaining.value > 0 ? DropReason.undecodable : .expired
        count(reason, members)
        reports.dropped(channel: nil, group: delivery.group, count: UInt64(members), reason: reason)
        return members
    }

    /// Passes a message of a channel to its socket.
    func deliver(_ body: Body, to channel: String, remaining: Milliseconds, _ trace: TraceContext?) {
        worker.counters.directMessages += 1
        guard let socket = worker.socket(named: channel) else {
            // Its consumer's last handler still runs, or the channel was closed while this was on its way; only the
            // first is not counted by the broker.
            guard worker.isEnding(channel) else { return }
            worker.counters.ownerGone += 1
            reports.took(channel: channel)
            return reports.dropped(channel: channel, group: nil, count: 1, reason: .ownerGone)
        }
        let arrival = worker.tracing?.arrival(trace, at: channel)
        var frames: [UInt8] = []
        var rendering = Rendering.unknown
        if remaining.value > 0, let message = try? reader.value(body) {
            rendering = socket.service.render(message, into: &frames)
            if case .each = rendering {
                let taken: () -> Void = { [weak self] in self?.took(channel) }
                guard !socket.service.handle(message, for: socket, from: arrival, taken: taken) else {
                    worker.counters.deliveries += 1
                    return
                }
                worker.counters.handlersFull += 1
                reports.took(channel: channel)
                return reports.dropped(channel: channel, group: nil, count: 1, reason: .full)
            }
        }
        reports.took(channel: channel)
        guard case .frames = rendering else {
            let reason = remaining.value > 0 ? DropReason.undecodable : .expired
            count(reason, 1)
            return reports.dropped(channel: channel, group: nil, count: 1, reason: reason)
        }
        worker.counters.deliveries += 1
        arrival?.handled()
        guard !frames.isEmpty else { return }
        socket.send(message: frames)
    }

    /// Messages waited for the handlers of a socket that has ended.
    func gaveUp(_ count: Int, of socket: Socket) {
        worker.counters.ownerGone += UInt64(count)
        reports.dropped(channel: socket.channelName, group: nil, count: UInt64(count), reason: .ownerGone)
        scheduleReports()
    }

    /// A handler begins with a message of a channel: it waits no more.
    private func took(_ channel: String) {
        reports.took(channel: channel)
        scheduleReports()
    }

    /// Messages given to a socket did not reach its peer, which does not read.
    func dropped(_ messages: Int, of socket: Socket, _ reason: DropReason) {
        reports.dropped(channel: socket.channelName, group: nil, count: UInt64(messages), reason: reason)
        scheduleReports()
    }

    /// Reports that came up outside of a burst leave at the end of the turn.
    private func scheduleReports() {
        guard !isReportScheduled else { return }
        isReportScheduled = true
        worker.onNextTurn { [weak self] in
            self?.isReportScheduled = false
            self?.writeReports()
        }
    }

    private func count(_ reason: DropReason, _ members: Int) {
        if reason == .expired {
            worker.counters.expired += UInt64(members)
        } else {
            worker.counters.undecodable += UInt64(members)
        }
    }
}
