import FanfareModel

// ADMIN: what an operator asks of sessions and of the broker; section 5.15.
extension Core {
    private static let drainWithinDefault = Milliseconds(10_000)
    /// The longest time a drain may be given.
    private static let drainWithinMaximum = Milliseconds(86_400_000)

    /// Carries out a command; the answer is told before it begins.
    ///
    /// - Throws: `bad_request` for an unknown command or a bad argument, `not_found` for a session that does not live.
    mutating func administer(
        _ id: RequestID,
        _ command: String,
        _ arguments: MessageValue,
        _ requester: SessionSlot,
        _ now: Instant,
        _ effects: inout Effects
    ) throws(Failure) {
        let requester = sessions[requester].id
        switch command {
        case "drain":
            let within = try withinMilliseconds(arguments)
            guard arguments["session"] != nil else {
                effects.reply(.result(id, .map([:])), to: requester)
                return effects.drain(within: within)
            }
            let slot = try administered(command, arguments)
            let session = sessions[slot].id
            sessions[slot].isDrained = true
            effects.reply(.result(id, ["session": .count(session.value)]), to: requester)
            effects.reply(.goAway(within: within, reason: "an operator drains this process", drains: true), to: session)
        case "kick":
            let slot = try administered(command, arguments)
            guard let reason = arguments["reason"]?.string else {
                throw Failure(.badRequest, "ADMIN kick: needs a reason, a text for people")
            }
            let session = sessions[slot].id
            let answer: MessageValue = ["session": .count(session.value), "name": .string(sessions[slot].hello.name)]
            effects.reply(.result(id, answer), to: requester)
            close(session, .refused(.kicked), reason, now: now, into: &effects)
            effects.close(session, Failure(.kicked, reason))
        default:
            throw Failure(.badRequest, "ADMIN: unknown command \"\(command)\"; one of: drain, kick")
        }
    }

    private func withinMilliseconds(_ arguments: MessageValue) throws(Failure) -> Milliseconds {
        guard let value = arguments["within_milliseconds"] else { return Self.drainWithinDefault }
        guard let within = value.int.flatMap({ UInt64(exactly: $0) }), within <= Self.drainWithinMaximum.value else {
            throw Failure(
                .badRequest,
                "ADMIN drain: within_milliseconds must be 0 to \(Self.drainWithinMaximum.value)"
            )
        }
        return Milliseconds(within)
    }

    /// The live session the arguments name.
    private func administered(_ command: String, _ arguments: MessageValue) throws(Failure) -> SessionSlot {
        guard let number = arguments["session"]?.int.flatMap({ UInt64(exactly: $0) }) else {
            throw Failure(.badRequest, "ADMIN \(command): needs the session's number, as INSPECT sessions shows it")
        }
        guard let slot = sessions.slots.first(where: { sessions[$0].id.value == number }) else {
            throw Failure(.notFound, "there is no session \(number)")
        }
        return slot
    }
}
