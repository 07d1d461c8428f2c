import FanfareModel

/// What a session was handed of normal channels and may give back: as many messages of each channel as it was handed
/// there, until the last of them expires.
///
/// Without it `GIVE_BACK` would be a `SEND` that needs no permission and knows no capacity.
struct HandedOut {
    /// Messages that may come back, and when the last of them expires.
    private struct Share {
        var count: UInt64 = 0
        var until = Instant(nanoseconds: 0)

        mutating func add(_ more: UInt64, until deadline: Instant, _ now: Instant) {
            if until <= now { count = 0 }
            count = count.addingClamped(more)
            until = max(until, deadline)
        }
    }

    /// By the hash of the channel's name, which costs less than the name; two that meet share.
    private var shares: [UInt32: Share] = [:]
    /// Of any channel: what an earlier start handed out, and what had to be added up for want of room.
    private var others = Share()
    /// Beyond so many shares those are looked for that have expired.
    private var sweptBeyond = Self.sharesKept

    private static var sharesKept: Int { 64 }

    /// Channels that are told apart.
    var channelCount: Int { shares.count }

    /// Takes note of messages that were handed out.
    ///
    /// - Parameters:
    ///   - channelsMaximum: How many channels are told apart; with more all are added up.
    mutating func add(_ channel: UInt32, until deadline: Instant, _ now: Instant, channelsMaximum: Int) {
        shares[channel, default: Share()].add(1, until: deadline, now)
        if shares.count > sweptBeyond { sweep(now, channelsMaximum) }
    }

    /// As often as there are twice as many as last time: each of them costs no more for it.
    private mutating func sweep(_ now: Instant, _ channelsMaximum: Int) {
        shares = shares.filter { $0.value.until > now }
        if shares.count > channelsMaximum {
            let (count, until) = total(now)
            self = HandedOut()
            addOfEarlierStart(count, until: until, now)
        }
        sweptBeyond = max(Self.sharesKept, min(2 * shares.count, channelsMaximum))
    }

    /// Takes note of messages of whatever channels that an earlier start handed out.
    mutating func addOfEarlierStart(_ count: UInt64, until deadline: Instant, _ now: Instant) {
        if count > 0 { others.add(count, until: deadline, now) }
    }

    /// Until when a message of `channel` that comes back may live; `nil` when none may come back.
    func limit(of channel: UInt32, _ now: Instant) -> Instant? {
        if let share = shares[channel], share.until > now { return share.until }
        return others.count > 0 && others.until > now ? others.until : nil
    }

    /// A message of `channel` has come back, if one might.
    mutating func remove(_ channel: UInt32, _ now: Instant) {
        if let share = shares[channel], share.until > now {
            shares[channel] = share.count > 1 ? Share(count: share.count - 1, until: share.until) : nil
        } else if others.count > 0 {
            others.count -= 1
        }
    }

    /// All messages that may still come back, and when the last of them expires.
    func total(_ now: Instant) -> (count: UInt64, until: Instant) {
        var total = Share()
        for share in Array(shares.values) + [others] where share.count > 0 && share.until > now {
            total.add(share.count, until: share.until, now)
        }
        return (total.count, total.until)
    }
}

extension Core {
    /// Takes note that a message of `channel` is at `session` now.
    @inline(__always)
    mutating func noteHandOut(
        of channel: ChannelSlot,
        until deadline: Instant,
        to session: SessionSlot,
        _ now: Instant
    ) {
        let (hash, most) = (channels[channel].hash, limits.receivesPerSession)
        let before = sessions[session].handedOut.channelCount
        sessions[session].handedOut.add(hash, until: deadline, now, channelsMaximum: most)
        handedOutChannels += sessions[session].handedOut.channelCount - before
    }

    /// Takes note that a message of the channel with that hash has come back from `session`.
    mutating func noteGivenBack(_ hash: UInt32, from session: SessionSlot, _ now: Instant) {
        let before = sessions[session].handedOut.channelCount
        sessions[session].handedOut.remove(hash, now)
        handedOutChannels += sessions[session].handedOut.channelCount - before
    }
}
