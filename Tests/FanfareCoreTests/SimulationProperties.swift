import FanfareCore
import FanfareModel

/// Promises checked from outside, from what was asked and what the core said alone: they hold the oracle honest too.
///
/// Bodies are unique numbers, so a message is known by its body, and one copy of a group message by body and channel.
struct Properties {
    private struct Copy: Hashable {
        var address: Oracle.Address
        var body: Body
    }

    private struct Session {
        var namespace: String
        var policy: Policy
    }

    private struct Waiting: Hashable {
        var session: SessionID
        var id: RequestID
    }

    private let limits: Limits
    private var sessions: [SessionID: Session] = [:]
    /// Which channel a receive reads.
    private var receives: [Waiting: Oracle.Address] = [:]
    /// How often a copy may still reach a reader: once, and once more each time it is given back.
    private var left: [Copy: Int] = [:]
    private var deadlines: [Body: Instant] = [:]
    private var roomiest: [Oracle.Address: Int] = [:]
    /// The largest capacity a group send of a namespace could bring into any one channel.
    private var roomiestOfGroups: [String: Int] = [:]
    private var givenBack: [Oracle.Address: Int] = [:]
    /// What was pushed, handed out and fanned out so far, for comparison with the counters.
    private(set) var delivers: UInt64 = 0
    private(set) var handOuts: UInt64 = 0
    private(set) var groupDeliverFrames: UInt64 = 0

    init(limits: Limits) {
        self.limits = limits
    }

    /// The process counts from 0 again.
    mutating func forgetCounts() {
        (delivers, handOuts, groupDeliverFrames) = (0, 0, 0)
    }

    /// Looks at one step.
    ///
    /// - Returns: The promise that was broken, or `nil`.
    mutating func check(_ event: Simulation.Event, _ effects: [Effects.Effect], _ now: Instant) -> String? {
        if case .open(let hello) = event { learn(hello, effects) }
        if case .apply(let request, let id) = event, let session = sessions[id] {
            learn(request, from: id, session, effects, now)
        }
        for effect in effects {
            switch effect {
            case .reply(.handOut(let id, let handOut), let session):
                handOuts += 1
                guard let address = receives[Waiting(session: session, id: id)] else {
                    return "a message was handed to \(session.value) under \(id), where nothing waits"
                }
                guard handOut.deadline > now, handOut.remaining.value > 0 else {
                    return "a message was handed out at or past its deadline"
                }
                if let complaint = reach(Copy(address: address, body: handOut.body), now) { return complaint }
            case .reply(.deliver(let channel, let body, let remaining, _), let session):
                delivers += 1
                guard remaining.value > 0 else { return "a message was delivered at or past its deadline" }
                let namespace = sessions[session]?.namespace ?? ""
                let address = Oracle.Address(namespace: namespace, name: channel)
                if let complaint = reach(Copy(address: address, body: body), now) { return complaint }
            case .fanOut(.groupDeliver, let range):
                groupDeliverFrames += UInt64(range.count)
            default:
                break
            }
        }
        return nil
    }

    private mutating func learn(_ hello: Hello, _ effects: [Effects.Effect]) {
        for effect in effects {
            guard case .reply(.welcome(let welcome), let id) = effect else { continue }
            sessions[id] = Session(namespace: hello.namespace, policy: welcome.policy)
        }
    }

    private mutating func learn(
        _ request: Request,
        from id: SessionID,
        _ session: Session,
        _ effects: [Effects.Effect],
        _ now: Instant
    ) {
        switch request {
        case .send(_, let channel, let body, let options):
            accept(body, options.expiry, session, now)
            let address = Oracle.Address(namespace: session.namespace, name: channel)
            roomiest[address] = max(roomiest[address] ?? 0, session.policy.capacity(of: channel))
        case .groupSend(_, _, let body, let options):
            accept(body, options.expiry, session, now)
            let capacities = session.policy.channelCapacity.map(\.capacity) + [session.policy.capacity]
            roomiestOfGroups[session.namespace] = max(
                roomiestOfGroups[session.namespace] ?? 0,
                capacities.max() ?? 0
            )
        case .receive(let receive, let channel, _):
            let isRefused = effects.contains {
                if case .reply(.error(receive, _), id) = $0 { true } else { false }
            }
            guard !isRefused else { return }
            receives[Waiting(session: id, id: receive)] = Oracle.Address(namespace: session.namespace, name: channel)
        case .giveBack(let given, let channel, let message):
            let isRefused = effects.contains {
                if case .reply(.error(given, _), id) = $0 { true } else { false }
            }
            guard !isRefused else { return }
            let address = Oracle.Address(namespace: session.namespace, name: channel)
            left[Copy(address: address, body: message.body), default: 1] += 1
            givenBack[address, default: 0] += 1
            let deadline = min(message.deadline, now.advanced(by: limits.expiryMaximum))
            deadlines[message.body] = max(deadlines[message.body] ?? deadline, deadline)
        default:
            break
        }
    }

    private mutating func accept(_ body: Body, _ expiry: Milliseconds?, _ session: Session, _ now: Instant) {
        deadlines[body] = now.advanced(by: min(expiry ?? session.policy.expiry, limits.expiryMaximum))
    }

    /// One copy reaches a reader.
    private mutating func reach(_ copy: Copy, _ now: Instant) -> String? {
        let name = copy.address.name
        guard left[copy, default: 1] > 0 else { return "a message of \(name) reached a second reader" }
        left[copy, default: 1] -= 1
        guard let deadline = deadlines[copy.body] else { return "a message of \(name) was never sent" }
        return deadline > now ? nil : "a message of \(name) reached a reader at or past its deadline"
    }

    /// Looks at one row of `channels`: a normal channel holds what the roomiest policy allowed, and what came back.
    ///
    /// - Returns: The promise that was broken, or `nil`.
    func checkDepth(_ row: [String: MessageValue]) -> String? {
        guard let namespace = row["namespace"]?.string, let name = row["channel"]?.string,
            let depth = row["depth"]?.int
        else { return "a row of channels lacks its name or depth: \(row)" }
        guard Names.node(of: name) == nil else { return nil }
        let address = Oracle.Address(namespace: namespace, name: name)
        let allowed = max(roomiest[address] ?? 0, roomiestOfGroups[namespace] ?? 0) + (givenBack[address] ?? 0)
        return depth <= Int64(allowed) ? nil : "\(name) holds \(depth) messages, at most \(allowed) were allowed"
    }
}
