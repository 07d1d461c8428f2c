import FanfareModel

extension Oracle {
    mutating func apply(_ request: Request, from id: SessionID, now: Instant) {
        advance(to: now)
        guard let session = session(id) else { return }
        do throws(Failure) {
            try perform(request, by: session)
        } catch {
            let isDrop = error.code == .channelFull || error.code == .messageTooLarge
            if !isDrop || request.id != nil { say(.error(request.id, error), to: id) }
        }
        tidy()
    }

    private mutating func perform(_ request: Request, by session: Session) throws(Failure) {
        if case .hello = request { throw Failure(.helloRepeated, "") }
        guard Self.may(session.role, request) else { throw Failure(.forbidden, "") }
        switch request {
        case .ping(let id):
            say(.pong(id), to: session.id)
        case .goodbye:
            end(session.id)
            said.closed.append(session.id)
        case .send(let id, let channel, let body, let options):
            try send(body, to: channel, expiry: options.expiry, by: session)
            acknowledge(id, to: session.id)
        case .receive(let id, let channel, let count):
            try receive(id, channel, count, by: session)
        case .cancel(let id, let target):
            for index in channels.indices {
                channels[index].receives.removeAll { $0.session == session.id && $0.id == target }
            }
            acknowledge(id, to: session.id)
        case .giveBack(let id, let channel, let message):
            try giveBack(message, to: channel, by: session)
            acknowledge(id, to: session.id)
        case .report(let report):
            accept(report, by: session)
        case .openChannels(let id, let opened):
            try declare(opened.map(\.name), by: session)
            acknowledge(id, to: session.id)
        case .closeChannels(let id, let names):
            try closeChannels(names, by: session)
            acknowledge(id, to: session.id)
        case .groupAdd(let id, let group, let names, let expiry):
            try add(names, to: group, expiry: expiry, by: session, isAnswered: id != nil)
            acknowledge(id, to: session.id)
        case .groupDiscard(let id, let group, let names):
            try discard(names, from: group, by: session, isAnswered: id != nil)
            acknowledge(id, to: session.id)
        case .groupSend(let id, let group, let body, let options):
            try groupSend(body, to: group, options, id, by: session)
        case .outcome(let token, let accepted, let dropped):
            let index = sessions.firstIndex { $0.id == session.id }!
            if sessions[index].unansweredFlush == token { sessions[index].unansweredFlush = nil }
            answer(token, by: session.id, accepted: accepted, dropped: dropped)
        case .flush(let id):
            try flush(id, by: session)
        case .admin:
            throw Failure(.notOffered, "")
        case .hello, .pong, .inspect, .tail:
            break
        }
    }

    /// The table of roles, section 3.4.
    private static func may(_ role: Role, _ request: Request) -> Bool {
        switch request {
        case .hello, .ping, .pong, .cancel, .goodbye: true
        case .send, .groupSend: role != .inspect
        case .inspect, .tail: role == .inspect || role == .admin
        case .admin: role == .admin
        default: role == .worker || role == .admin
        }
    }

    /// Whether `address` may have a row: it has one already, or there is room for one more.
    func requireRow(_ address: Address) throws(Failure) {
        guard index(of: address) != nil || channels.count < limits.channels else { throw Failure(.limitReached, "") }
    }

    func requireChannel(_ name: String) throws(Failure) {
        guard Names.isChannel(name, limits) else { throw Failure(.badName, "") }
    }

    // MARK: One channel

    private mutating func send(
        _ body: Body,
        to channel: String,
        expiry: Milliseconds?,
        by session: Session
    ) throws(Failure) {
        try requireChannel(channel)
        guard body.count <= limits.bodyBytes else {
            count(.tooLarge, 1)
            throw Failure(.messageTooLarge, "")
        }
        let deadline = now.advanced(by: min(expiry ?? session.policy.expiry, limits.expiryMaximum))
        guard deadline > now else { return count(.expired, 1) }
        let address = Address(namespace: session.namespace, name: channel)
        try requireRow(address)
        if let owner = owner(of: channel, in: session.namespace) {
            guard hasRoom(for: body, in: address, of: owner) else {
                count(.full, 1)
                throw Failure(.channelFull, "")
            }
            channels[row(of: address)].pushed.append(body.count)
            let remaining = now.milliseconds(until: deadline)
            say(.deliver(channel: channel, body: body, remaining: remaining), to: owner.id)
        } else {
            guard enqueue(body, in: address, until: deadline, under: session.policy) else {
                count(.full, 1)
                throw Failure(.channelFull, "")
            }
        }
    }

    /// Whether the owner of a process channel has room for one more pushed message.
    private func hasRoom(for body: Body, in address: Address, of owner: Session) -> Bool {
        let channel = channels.first { $0.address == address }
        var unread = channel?.unread ?? 0
        if owner.policy.capacityScope == .process {
            unread = channels.filter { owns(owner, $0) }.map(\.unread).reduce(0) { sum, next in
                let (total, overflows) = sum.addingReportingOverflow(next)
                return overflows ? .max : total
            }
        }
        let bytes = (channel?.pushed.reduce(0, +) ?? 0) + body.count
        return unread < UInt64(owner.policy.capacity(of: address.name)) && bytes <= limits.channelBytes
    }

    /// Hands a message to the longest-waiting receive, or queues it; false when the queue is full.
    mutating func enqueue(
        _ body: Body,
        in address: Address,
        until deadline: Instant,
        under policy: Policy
    ) -> Bool {
        let channel = channels.first { $0.address == address }
        if channel?.receives.isEmpty ?? true {
            let queue = channel?.queue ?? []
            let bytes = queue.map(\.body.count).reduce(0, +) + body.count
            let all = channels.flatMap(\.queue).map(\.body.count).reduce(0, +) + body.count
            guard queue.count < policy.capacity(of: address.name), bytes <= limits.channelBytes,
                all <= limits.queuedBytes
            else { return false }
        }
        lastOrder += 1
        let message = Message(body: body, order: lastOrder, deadline: deadline)
        let index = row(of: address)
        if !handToReader(message, of: index) { channels[index].queue.append(message) }
        return true
    }

    /// Gives `message` to the receive that waits longest, if one waits.
    private mutating func handToReader(_ message: Message, of index: Int) -> Bool {
        guard !channels[index].receives.isEmpty else { return false }
        var receive = channels[index].receives.removeFirst()
        hand(message, of: channels[index].address, to: receive)
        receive.count -= 1
        if receive.count > 0 { channels[index].receives.append(receive) }
        return true
    }

    private mutating func hand(_ message: Message, of address: Address, to receive: Receive) {
        let remaining = now.milliseconds(until: message.deadline)
        let handOut = HandOut(
            body: message.body,
            order: message.order,
            deadline: message.deadline,
            remaining: remaining
        )
        said.handOuts.append((address, handOut))
        say(.handOut(receive.id, handOut), to: receive.session)
    }

    private mutating func receive(
        _ id: RequestID,
        _ channel: String,
        _ count: Int,
        by session: Session
    ) throws(Failure) {
        try requireChannel(channel)
        guard (1...65_535).contains(count) else { throw Failure(.badRequest, "") }
        if let node = Names.node(of: channel) {
            throw Failure(session.node == String(node) ? .badRequest : .notOwner, "")
        }
        let waiting = channels.flatMap(\.receives).filter { $0.session == session.id }
        guard !waiting.contains(where: { $0.id == id }) else { throw Failure(.duplicateID, "") }
        guard waiting.count < limits.receivesPerSession else { throw Failure(.limitReached, "") }
        let address = Address(namespace: session.namespace, name: channel)
        try requireRow(address)
        let index = row(of: address)
        var receive = Receive(session: session.id, id: id, count: count)
        while receive.count > 0, !channels[index].queue.isEmpty {
            hand(channels[index].queue.removeFirst(), of: address, to: receive)
            receive.count -= 1
        }
        if receive.count > 0 { channels[index].receives.append(receive) }
    }

    private mutating func giveBack(_ given: GivenBack, to channel: String, by session: Session) throws(Failure) {
        try requireChannel(channel)
        guard Names.node(of: channel) == nil else { throw Failure(.badRequest, "") }
        let deadline = min(given.deadline, now.advanced(by: limits.expiryMaximum))
        guard deadline > now else { return count(.expired, 1) }
        let address = Address(namespace: session.namespace, name: channel)
        try requireRow(address)
        let index = row(of: address)
        let message = Message(body: given.body, order: min(given.order, lastOrder), deadline: deadline)
        if handToReader(message, of: index) { return }
        let place = channels[index].queue.firstIndex { $0.order > message.order } ?? channels[index].queue.count
        channels[index].queue.insert(message, at: place)
    }

    // MARK: What owners say

    private mutating func accept(_ report: Report, by session: Session) {
        guard session.unansweredFlush == nil else { return }
        for entry in report.taken {
            let address = Address(namespace: session.namespace, name: entry.channel)
            guard let index = index(of: address), owns(session, channels[index]) else { continue }
            let taken = min(entry.taken, UInt64(channels[index].pushed.count))
            channels[index].pushed.removeFirst(Int(taken))
            // More than any capacity is as full as full can be.
            channels[index].held = min(entry.held, UInt64(limits.capacityMaximum))
            tidy()
        }
        for entry in report.dropped {
            guard Names.isChannel(entry.channel, limits) else { continue }
            guard owner(of: entry.channel, in: session.namespace)?.id == session.id else { continue }
            count(entry.reason, entry.count)
        }
    }

    private func requireOwned(_ names: [String], by session: Session) throws(Failure) {
        for name in names {
            try requireChannel(name)
            guard owner(of: name, in: session.namespace)?.id == session.id else { throw Failure(.notOwner, "") }
        }
    }

    private mutating func declare(_ names: [String], by session: Session) throws(Failure) {
        try requireOwned(names, by: session)
        let addresses = names.map { Address(namespace: session.namespace, name: $0) }
        let missing = Set(addresses.filter { index(of: $0) == nil })
        guard channels.count + missing.count <= limits.channels else { throw Failure(.limitReached, "") }
        for address in addresses { channels[row(of: address)].isDeclared = true }
    }

    private mutating func closeChannels(_ names: [String], by session: Session) throws(Failure) {
        try requireOwned(names, by: session)
        for name in names {
            let address = Address(namespace: session.namespace, name: name)
            memberships.removeAll { $0.channelAddress == address }
            guard let index = index(of: address) else { continue }
            count(.ownerGone, UInt64(channels[index].pushed.count))
            channels.remove(at: index)
        }
    }
}
