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
            let content = Content(body: body, trace: options.trace)
            try send(content, to: channel, expiry: options.expiry, isAnswered: id != nil, by: session)
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
        case .admin(let id, _, _):
            say(.result(id, .map([:])), to: session.id)
        case .hello, .pong, .inspect, .tail:
            break
        }
    }

    /// The table of roles, section 3.4.
    private static func may(_ role: Role, _ request: Request) -> Bool {
        switch request {
        case .hello, .ping, .pong, .cancel, .goodbye: true
        case .send, .groupSend: role != .inspect
        case .report(let report) where report.taken.isEmpty && report.dropped.isEmpty: true
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
        _ content: Content,
        to channel: String,
        expiry: Milliseconds?,
        isAnswered: Bool,
        by session: Session
    ) throws(Failure) {
        try requireChannel(channel)
        let address = Address(namespace: session.namespace, name: channel)
        guard content.body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, of: address)
            throw Failure(.messageTooLarge, "")
        }
        let deadline = now.advanced(by: min(expiry ?? session.policy.expiry, limits.expiryMaximum))
        guard deadline > now else { return drop(1, .expired, of: address) }
        try requireRow(address)
        if let owner = owner(of: channel, in: session.namespace) {
            try offer(content, in: address, of: owner, until: deadline, isAnswered: isAnswered)
        } else if enqueue(content, in: address, until: deadline, under: session.policy) == .refused {
            throw Failure(.channelFull, "")
        }
    }

    /// What became of a message for a channel nobody owns.
    enum Fate {
        case there
        /// Fallen by the overflow policy, and the sender need not know.
        case dropped
        case refused
    }

    /// Hands a message to the longest-waiting receive, or queues it, or does what the sender's overflow policy says.
    mutating func enqueue(
        _ content: Content,
        in address: Address,
        until deadline: Instant,
        under policy: Policy
    ) -> Fate {
        while isFull(address, for: content, under: policy) {
            let overflow = policy.overflow(of: address.name)
            drop(1, .full, of: address)
            if overflow == .dropNewest { return .dropped }
            guard overflow == .dropOldest, let index = index(of: address), !channels[index].queue.isEmpty else {
                return .refused
            }
            channels[index].queue.removeFirst()
        }
        lastOrder += 1
        let message = Message(content: content, order: lastOrder, deadline: deadline)
        let index = row(of: address)
        if !handToReader(message, of: index) { channels[index].queue.append(message) }
        return .there
    }

    /// Whether one more message would not fit a queue; where a receive waits there is always room.
    private func isFull(_ address: Address, for content: Content, under policy: Policy) -> Bool {
        let channel = channels.first { $0.address == address }
        guard channel?.receives.isEmpty ?? true else { return false }
        return channel?.queue.count ?? 0 >= policy.capacity(of: address.name) || !hasBytes(for: content, in: address)
    }

    /// Whether the byte bounds of the channel and of the broker leave room for a message.
    private func hasBytes(for content: Content, in address: Address) -> Bool {
        let here = channels.first { $0.address == address }?.queue.map(\.content.bytes).reduce(0, +) ?? 0
        let everywhere = channels.flatMap(\.queue).map(\.content.bytes).reduce(0, +)
        return here + content.bytes <= limits.channelBytes && everywhere + content.bytes <= limits.queuedBytes
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
            body: message.content.body,
            order: message.order,
            deadline: message.deadline,
            remaining: remaining,
            trace: message.content.trace
        )
        said.handOuts.append((receive.session, address, handOut))
        if let index = sessions.firstIndex(where: { $0.id == receive.session }) {
            forgetExpiredHandOuts()
            var handedOut = sessions[index].handedOut[address.name] ?? HandedOut()
            handedOut.count += 1
            handedOut.until = max(handedOut.until, message.deadline)
            sessions[index].handedOut[address.name] = handedOut
        }
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
        let address = Address(namespace: session.namespace, name: channel)
        guard given.body.count <= limits.bodyBytes else {
            drop(1, .tooLarge, of: address)
            throw Failure(.messageTooLarge, "")
        }
        forgetExpiredHandOuts()
        let handedOut = self.session(session.id)?.handedOut ?? [:]
        guard given.deadline > now else {
            takeBack(channel, from: session.id)
            return drop(1, .expired, of: address)
        }
        guard let until = (handedOut[channel] ?? handedOut[""])?.until else { throw Failure(.notFound, "") }
        let deadline = min(given.deadline, until)
        try requireRow(address)
        let index = row(of: address)
        let content = Content(body: given.body, trace: given.trace)
        let message = Message(content: content, order: min(given.order, lastOrder), deadline: deadline)
        if handToReader(message, of: index) { return takeBack(channel, from: session.id) }
        guard hasBytes(for: content, in: address) else {
            drop(1, .full, of: address)
            throw Failure(.channelFull, "")
        }
        takeBack(channel, from: session.id)
        let place = channels[index].queue.firstIndex { $0.order > message.order } ?? channels[index].queue.count
        channels[index].queue.insert(message, at: place)
    }

    /// One message of `channel` less may come back, or one of an earlier start.
    private mutating func takeBack(_ channel: String, from session: SessionID) {
        guard let index = sessions.firstIndex(where: { $0.id == session }) else { return }
        let source = sessions[index].handedOut[channel] == nil ? "" : channel
        sessions[index].handedOut[source]?.count -= 1
        if sessions[index].handedOut[source]?.count == 0 { sessions[index].handedOut[source] = nil }
    }

    /// What has been handed out may come back until the last message of its channel expires.
    private mutating func forgetExpiredHandOuts() {
        for index in sessions.indices {
            sessions[index].handedOut = sessions[index].handedOut.filter { $0.value.until > now }
        }
    }

    /// What a state file keeps of it.
    mutating func addUpHandOuts() {
        forgetExpiredHandOuts()
        for index in sessions.indices {
            var all = HandedOut()
            for handedOut in sessions[index].handedOut.values {
                all.count += handedOut.count
                all.until = max(all.until, handedOut.until)
            }
            sessions[index].handedOut = all.count == 0 ? [:] : ["": all]
        }
    }
}
