import FanfareTransport
import NIOCore

/// Which sockets are in which groups, and the way of a group message to them.
///
/// Frames of one read burst are gathered per audience and sent with one `send(2)` a member. The order each socket
/// sees is that of the broker's stream: whatever could overtake gathered frames has them sent first.
final class FanOut {
    /// Audiences by group; nearly always one.
    private var groups: [String: [Audience]] = [:]
    private var dirty: ContiguousArray<Audience> = []
    /// Buffers of former bursts, so that an idle group keeps none.
    private var spare: [[UInt8]] = []
    /// Members of the fan-out under way that the kernel did not take everything for, with what it took.
    private var unfinished: [(socket: Socket, taken: Int)] = []
    private let mergedBytes: Int
    private let membersPerTurn: Int
    private let loop: any EventLoop
    /// Fan-outs to large audiences that go on in the next turns, each audience at most once.
    private var underWay = CircularBuffer<(audience: Audience, frames: [UInt8])>()

    /// Messages given to sockets.
    private(set) var messagesOut: UInt64 = 0
    /// Bytes given to sockets.
    private(set) var bytesOut: UInt64 = 0
    /// `send(2)` calls of fan-outs.
    private(set) var sends: UInt64 = 0

    private static let spareBuffers = 64
    private static let spareBytes = 65_536

    /// - Parameters:
    ///   - mergedBytes: Frames of one audience that are sent before the burst is over.
    ///   - membersPerTurn: Members of an audience that get their frames in one turn of the loop; the others wait for the
    ///     loop's other work.
    init(mergedBytes: Int, membersPerTurn: Int, on loop: any EventLoop) {
        self.mergedBytes = mergedBytes
        self.membersPerTurn = membersPerTurn
        self.loop = loop
    }

    /// Whether nothing is gathered or on its way.
    var isIdle: Bool { dirty.isEmpty && underWay.isEmpty }

    /// Groups with members here or on their way.
    var groupCount: Int { groups.count }

    /// The audiences of `group`; empty when no socket here is in it.
    func audiences(of group: String) -> [Audience] {
        groups[group] ?? []
    }

    // MARK: Membership

    /// Notes that `socket` is to be in `group`: nothing reaches it there before ``activate(_:in:)``.
    ///
    /// - Returns: False when that has been noted before.
    @discardableResult
    func want(_ socket: Socket, in group: String) -> Bool {
        guard socket.membershipIndex(group) == nil else { return false }
        let audience = audience(group, socket.service, takesCompressed: socket.windowBits == Audience.windowBits)
        audience.wanted += 1
        socket.memberships.append(Membership(audience: audience))
        if socket.memberships.count == 2 { socket.memberships[0].audience.shared += 1 }
        if socket.memberships.count >= 2 { audience.shared += 1 }
        return true
    }

    /// Makes a wanted membership count, from this place of the stream on.
    func activate(_ socket: Socket, in group: String) {
        guard let index = socket.membershipIndex(group), socket.memberships[index].position == nil else { return }
        let audience = socket.memberships[index].audience
        if audience.messages > 0 { flush() }
        socket.memberships[index].position = audience.append(socket)
    }

    /// Ends a membership, wanted or counting, at this place of the stream.
    func remove(_ socket: Socket, from group: String) {
        settle(socket)
        guard let index = socket.membershipIndex(group) else { return }
        remove(socket, at: index)
    }

    /// Ends all memberships of a socket that gets nothing any more.
    func removeAll(_ socket: Socket) {
        while !socket.memberships.isEmpty { remove(socket, at: socket.memberships.count - 1) }
    }

    /// The broker is gone or has forgotten: every membership waits to be acknowledged again.
    ///
    /// - Parameter sockets: All of them.
    func deactivate(_ sockets: some Sequence<Socket>) {
        flush()
        for audiences in groups.values { audiences.forEach { $0.removeAll() } }
        for socket in sockets {
            for index in socket.memberships.indices { socket.memberships[index].position = nil }
        }
    }

    private func audience(_ group: String, _ service: any SocketService, takesCompressed: Bool) -> Audience {
        let known = groups[group]?.first { $0.service === service && $0.takesCompressed == takesCompressed }
        if let known { return known }
        let audience = Audience(group: group, service: service, takesCompressed: takesCompressed)
        groups[group, default: []].append(audience)
        return audience
    }

    private func remove(_ socket: Socket, at index: Int) {
        let membership = socket.memberships.remove(at: index)
        let audience = membership.audience
        if let position = membership.position {
            audience.remove(at: position) { moved, position in moved.moved(to: position, in: audience) }
        }
        if socket.memberships.count == 1 { socket.memberships[0].audience.shared -= 1 }
        if socket.memberships.count >= 1 { audience.shared -= 1 }
        audience.wanted -= 1
        guard audience.wanted == 0 else { return }
        groups[audience.group]?.removeAll { $0 === audience }
        if groups[audience.group]?.isEmpty == true { groups[audience.group] = nil }
    }

    // MARK: Messages

    /// Lets `render` append one message for `audience` to what its members get at the end of the burst.
    ///
    /// - Returns: What `render` returned.
    func gather(for audience: Audience, _ render: (inout [UInt8]) -> Rendering) -> Rendering {
        let othersAreDirty = dirty.count > (dirty.last === audience ? 1 : 0)
        if audience.shared > 0, othersAreDirty || underWay.contains(where: { $0.audience !== audience }) { flush() }
        if audience.messages == 0, let buffer = spare.popLast() { audience.frames = buffer }
        let bytes = audience.frames.count
        let rendering = render(&audience.frames)
        guard audience.frames.count > bytes else {
            if audience.messages == 0 { recycle(&audience.frames) }
            return rendering
        }
        if audience.messages == 0 { dirty.append(audience) }
        audience.messages += 1
        if audience.frames.count >= mergedBytes { flush() }
        return rendering
    }

    /// Sends what was gathered for a socket that is about to get something else.
    func settle(_ socket: Socket) {
        guard !dirty.isEmpty || !underWay.isEmpty else { return }
        if socket.memberships.contains(where: { $0.audience.messages > 0 || $0.audience.pass != nil }) { flush() }
    }

    /// Counts messages that went to sockets one by one.
    func countSent(_ messages: Int) {
        messagesOut += UInt64(messages)
    }

    /// Counts bytes that went to sockets one by one.
    func countSent(bytes: Int) {
        bytesOut += UInt64(bytes)
    }

    /// The burst is over: sends what was gathered, to large audiences a part in each turn. What comes for one of them meanwhile waits for
    /// the next pass, gathered; what could overtake it has everything sent first.
    func burstEnded() {
        let burst = dirty
        dirty.removeAll()
        for audience in burst {
            if audience.pass != nil {
                dirty.append(audience)
            } else if audience.count <= membersPerTurn {
                send(audience)
            } else {
                begin(audience)
            }
        }
    }

    /// Sends everything that was gathered, to the last member.
    ///
    /// Nothing in it calls into NIO: a write that fails closes its socket after the caller has returned.
    func flush() {
        while !underWay.isEmpty { goOn(atMost: .max) }
        while !dirty.isEmpty {
            let burst = dirty
            dirty.removeAll()
            for audience in burst { send(audience) }
        }
    }

    private func send(_ audience: Audience) {
        var frames = take(audience)
        send(&frames, to: audience, audience.descriptors.indices)
        recycle(&frames)
    }

    /// The frames of an audience; from here on it gathers others.
    private func take(_ audience: Audience) -> [UInt8] {
        var frames: [UInt8] = []
        swap(&frames, &audience.frames)
        messagesOut += UInt64(audience.messages * audience.count)
        bytesOut += UInt64(frames.count * audience.count)
        sends += UInt64(audience.count)
        audience.messages = 0
        return frames
    }

    private func send(_ frames: inout [UInt8], to audience: Audience, _ members: Range<Int>) {
        frames.withUnsafeBytes { bytes in
            send(bytes, to: audience, members)
            if !unfinished.isEmpty { finish(bytes) }
        }
    }

    // MARK: Large audiences

    private func begin(_ audience: Audience) {
        audience.pass = Audience.Pass(next: 0, end: audience.count)
        underWay.append((audience, take(audience)))
        if underWay.count == 1 { goOn(atMost: membersPerTurn) }
    }

    /// Sends the next part of what is under way; then it is the other audiences' turn.
    private func goOn(atMost members: Int) {
        guard case (let audience, var frames)? = underWay.popFirst(), let pass = audience.pass else { return }
        let part = pass.next..<(pass.end - pass.next <= members ? pass.end : pass.next + members)
        if part.upperBound < pass.end {
            audience.pass?.next = part.upperBound
            underWay.append((audience, frames))
        } else {
            audience.pass = nil
        }
        send(&frames, to: audience, part)
        if part.upperBound == pass.end { recycle(&frames) }
        guard members < .max, !underWay.isEmpty || !dirty.isEmpty else { return }
        let next = { [self] in
            if underWay.isEmpty { burstEnded() } else { goOn(atMost: membersPerTurn) }
        }
        loop.runAfterOthers(next)
    }

    /// Has the members that fell short keep the rest, all of them before any may leave or call others.
    private func finish(_ bytes: UnsafeRawBufferPointer) {
        var frames = LentFrames(bytes)
        var members: [(socket: Socket, taken: Int)] = []
        swap(&members, &unfinished)
        var troubled: [(socket: Socket, outcome: SocketWriter.Outcome)] = []
        for (socket, taken) in members {
            let outcome = socket.fanOutFellShort(&frames, taken: taken)
            if outcome != .pending { troubled.append((socket, outcome)) }
        }
        for (socket, outcome) in troubled { socket.settle(outcome) }
        members.removeAll(keepingCapacity: true)
        if unfinished.isEmpty { swap(&members, &unfinished) }
    }

    private func recycle(_ frames: inout [UInt8]) {
        var buffer: [UInt8] = []
        swap(&buffer, &frames)
        guard spare.count < Self.spareBuffers, buffer.capacity <= Self.spareBytes else { return }
        buffer.removeAll(keepingCapacity: true)
        spare.append(buffer)
    }

    private func send(_ bytes: UnsafeRawBufferPointer, to audience: Audience, _ members: Range<Int>) {
        audience.descriptors.withUnsafeBufferPointer { descriptors in
            SocketWriter.send(bytes, toEach: UnsafeBufferPointer(rebasing: descriptors[members])) { index, taken in
                unfinished.append((audience.sockets[members.lowerBound + index], taken))
            }
        }
    }
}
