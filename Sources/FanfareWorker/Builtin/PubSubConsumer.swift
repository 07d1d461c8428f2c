import FanfareClient
import FanfareModel
import FanfareProtocol

/// How pubsub works; see ``Router/pubSub(_:name:_:)``.
public struct PubSubOptions: Sendable {
    /// What stands in front of clients' groups in the broker, with names of the address's captures in it: it keeps
    /// clients out of all other groups.
    public var prefix = "pubsub_"
    /// Patterns of the groups that everybody may subscribe to: `news.*`. A token's claim `subscribe` adds more.
    public var subscribe: [String] = []
    /// Patterns of the groups that everybody may publish to. A token's claim `publish` adds more.
    public var publish: [String] = []
    /// Groups one connection may be subscribed to.
    public var subscriptions = 100
    /// What one client may send.
    public var limits = ClientLimits()
    /// Whether publishers that are subscribed hear their own messages.
    public var echo = true
    /// Whether messages of a group that come in one burst may share a frame, as a JSON array.
    public var batch = false

    /// The documented defaults. Nobody may do anything but with a token.
    public init() {}
}

extension Router {
    /// Serves WebSockets whose clients subscribe and publish with JSON commands; `docs/pubsub.md` has the format.
    ///
    /// What a client may do is what the options say and, behind ``TokenAuthentication``, what its token's claims say.
    ///
    /// - Parameters:
    ///   - pattern: The address.
    ///   - name: What listings call the connections.
    ///   - options: What clients may do.
    /// - Throws: ``InvalidSetting`` for a prefix or patterns that cannot be used.
    public mutating func pubSub(
        _ pattern: PathPattern,
        name: String = "pubsub",
        _ options: PubSubOptions = PubSubOptions()
    ) throws(InvalidSetting) {
        let prefix = try GroupTemplate(options.prefix, of: pattern)
        let permissions = try GroupPermissions(subscribe: options.subscribe, publish: options.publish)
        socket(
            pattern,
            SocketRoute(service: { PubSubConsumer(options, name: name) }) { _, context in
                let prefix = try prefix.name(context.captures)
                let permissions = try permissions.adding(context.identity?.claims ?? [:])
                return SocketRoute.Plan { socket, _ in
                    socket.attachment = PubSubConsumer.Seat(prefix, permissions, options.limits)
                }
            }
        )
    }
}

/// Carries out the commands of clients, one after the other for each of them.
final class PubSubConsumer: SocketService {
    let name: String
    private let options: PubSubOptions

    /// Malformed commands in a row after which a client is closed with 1008.
    static let malformedMaximum = 10
    /// Commands that wait for one before they keep a client from sending more; as many bytes as one message may have do
    /// the same.
    static let waitingMaximum = 64
    /// Commands that may come after reading was told to stop: what one read brings, and more only when the client leaves
    /// and the kernel hands over all it holds.
    private static let lateMaximum = 16_384

    /// What a socket of pubsub remembers.
    final class Seat {
        let prefix: String
        let permissions: GroupPermissions
        var gate: ClientGate
        /// Names without prefix.
        var subscriptions: Set<String> = []
        /// Malformed commands since the last good one.
        var malformed = 0
        /// Whether a command waits for the broker.
        var isBusy = false
        /// Commands behind it.
        var waiting: [String] = []
        var waitingBytes = 0
        var isReading = true
        /// Whether commands that waited are being carried out.
        var isCatchingUp = false

        init(_ prefix: String, _ permissions: GroupPermissions, _ limits: ClientLimits) {
            self.prefix = prefix
            self.permissions = permissions
            gate = ClientGate(limits)
        }
    }

    init(_ options: PubSubOptions, name: String = "pubsub") {
        self.options = options
        self.name = name
    }

    // MARK: In

    func received(text: String, from socket: Socket) {
        guard let seat = seat(socket) else { return }
        switch seat.gate.admit(bytes: text.utf8.count, from: socket) {
        case .closed: return
        case .dropped:
            let id = (try? PubSubCommand.read(text))?.id
            return answer(socket, PubSubError(.rateLimited, "too many commands; this one was dropped").about(id).reply)
        case .admitted: break
        }
        guard seat.isBusy else { return carryOut(text, socket, seat) }
        guard seat.waiting.count < Self.waitingMaximum + Self.lateMaximum,
            seat.waitingBytes <= socket.worker.limits.waitingBytes
        else {
            socket.worker.refused("waiting_commands", peer: socket.remote)
            return socket.close(.tryAgainLater, reason: "commands come faster than they are carried out")
        }
        seat.waiting.append(text)
        seat.waitingBytes += text.utf8.count
        let isFull = seat.waiting.count >= Self.waitingMaximum || seat.waitingBytes > socket.worker.limits.messageBytes
        if isFull { setReading(false, socket, seat) }
    }

    private func setReading(_ isReading: Bool, _ socket: Socket, _ seat: Seat) {
        guard seat.isReading != isReading else { return }
        seat.isReading = isReading
        socket.setReading(isReading)
    }

    func closed(_ socket: Socket, _ code: CloseCode, reason: String, done: @escaping () -> Void) {
        if let seat = seat(socket) {
            seat.waiting = []
            // The client's answer to a close frame is to be read.
            setReading(true, socket, seat)
        }
        done()
    }

    func received(binary: [UInt8], from socket: Socket) {
        socket.close(.unsupportedData, reason: "commands are text")
    }

    private func carryOut(_ text: String, _ socket: Socket, _ seat: Seat) {
        do {
            let (id, command) = try PubSubCommand.read(text)
            seat.malformed = 0
            do throws(PubSubError) {
                switch command {
                case .subscribe(let names): return try subscribe(names, id, socket, seat)
                case .unsubscribe(let names): return unsubscribe(names, id, socket, seat)
                case .publish(let group, let message): return try publish(message, to: group, id, socket, seat)
                case .ping: break
                }
                succeeded(id, socket)
            } catch {
                answer(socket, error.about(id).reply)
            }
        } catch {
            malformed(error, socket, seat)
        }
    }

    private func malformed(_ error: PubSubError, _ socket: Socket, _ seat: Seat) {
        socket.worker.counters.invalidMessages += 1
        answer(socket, error.reply)
        seat.malformed += 1
        if seat.malformed >= Self.malformedMaximum {
            socket.worker.refused("malformed", peer: socket.remote)
            socket.close(.policyViolation, reason: "\(seat.malformed) messages in a row were no commands")
        }
    }

    private func publish(
        _ message: MessageValue,
        to group: String,
        _ id: PubSubID?,
        _ socket: Socket,
        _ seat: Seat
    ) throws(PubSubError) {
        let name = try self.group(group, seat)
        guard seat.permissions.mayPublish(group) else { throw forbidden("publish to", group, socket) }
        let sender = socket.channelName
        let body = MessagePack.encode([
            "type": "pubsub.message", "group": .string(group), "message": message, "from": .string(sender),
        ])
        let published = socket.worker.publish(body, to: name, exclude: options.echo ? [] : [sender]) { failure in
            if let failure {
                let what = failure.isOutcomeKnown ? "the message was not sent" : "the message was perhaps not sent"
                self.answer(socket, PubSubError(.unavailable, "the broker was not reachable; \(what)").about(id).reply)
            } else {
                self.succeeded(id, socket)
            }
            seat.isBusy = false
            self.carryOutWaiting(socket, seat)
        }
        switch published {
        case .sent: succeeded(id, socket)
        // The commands behind it wait with it, so that the answers keep their order.
        case .waits: seat.isBusy = true
        case .noBroker: throw PubSubError(.unavailable, "the broker is not reachable; the message was not sent")
        case .tooLarge(let limit): throw PubSubError(.tooLarge, "the broker takes messages of \(limit) bytes")
        case .badName: throw PubSubError(.badGroup, "the name is longer than this worker allows")
        }
    }

    /// A client with subscriptions is told of messages that did not reach it.
    func missed(_ missed: Missed, _ socket: Socket) {
        guard let seat = seat(socket), !seat.subscriptions.isEmpty else { return }
        var hole = JSONText()
        hole.add("reason", missed.reason)
        if let count = missed.count.flatMap({ Int(exactly: $0) }) { hole.add("count", count) }
        var event = JSONText()
        event.add("missed", json: hole.object())
        answer(socket, event.object())
    }

    // MARK: Subscriptions

    private func subscribe(
        _ names: [String],
        _ id: PubSubID?,
        _ socket: Socket,
        _ seat: Seat
    ) throws(PubSubError) {
        let added = names.filter { !seat.subscriptions.contains($0) }
        guard seat.subscriptions.count + added.count <= options.subscriptions else {
            throw PubSubError(
                .tooManySubscriptions,
                "a connection may have \(options.subscriptions) subscriptions; this has \(seat.subscriptions.count)"
            )
        }
        var groups: [String] = []
        for name in names {
            groups.append(try group(name, seat))
            guard seat.permissions.maySubscribe(name) else { throw forbidden("subscribe to", name, socket) }
        }
        seat.subscriptions.formUnion(added)
        change(groups, socket, seat, { socket.worker.link.join(socket, $0, $1) }) { [self] failure in
            guard let failure else { return succeeded(id, socket) }
            // All or nothing: a client that is told of a failure has what it had before.
            seat.subscriptions.subtract(added)
            for name in added { socket.worker.link.leave(socket, seat.prefix + name) { _ in } }
            answer(socket, Self.error(failure).about(id).reply)
        }
    }

    private func unsubscribe(_ names: [String], _ id: PubSubID?, _ socket: Socket, _ seat: Seat) {
        let left = names.filter { seat.subscriptions.remove($0) != nil }
        guard !left.isEmpty else { return succeeded(id, socket) }
        // Whatever the broker says, nothing more is sent from here on, and no new link registers it again.
        change(left.map { seat.prefix + $0 }, socket, seat, { socket.worker.link.leave(socket, $0, $1) }) { [self] _ in
            succeeded(id, socket)
        }
    }

    /// Changes memberships, and goes on with the next command when the broker has answered for all of them.
    private func change(
        _ groups: [String],
        _ socket: Socket,
        _ seat: Seat,
        _ one: (String, @escaping (Result<Void, any Error>) -> Void) -> Void,
        then: @escaping ((any Error)?) -> Void
    ) {
        seat.isBusy = true
        var left = groups.count
        var failure: (any Error)?
        for group in groups {
            one(group) { [self] result in
                if case .failure(let error) = result { failure = failure ?? error }
                left -= 1
                guard left == 0 else { return }
                then(failure)
                seat.isBusy = false
                carryOutWaiting(socket, seat)
            }
        }
    }

    private func carryOutWaiting(_ socket: Socket, _ seat: Seat) {
        guard !seat.isCatchingUp, !seat.waiting.isEmpty else { return }
        seat.isCatchingUp = true
        var waiting = seat.waiting[...]
        while !seat.isBusy, socket.takesFrames, let text = waiting.popFirst() {
            seat.waitingBytes -= text.utf8.count
            carryOut(text, socket, seat)
        }
        seat.isCatchingUp = false
        guard socket.takesFrames else { return }
        seat.waiting = Array(waiting)
        if waiting.isEmpty { setReading(true, socket, seat) }
    }

    /// The broker's name of a client's group.
    private func group(_ name: String, _ seat: Seat) throws(PubSubError) -> String {
        let group = seat.prefix + name
        guard !name.isEmpty, Names.isGroup(group, Limits()) else {
            throw PubSubError(
                .badGroup,
                "a group has 1 to \(Limits().nameBytes - seat.prefix.utf8.count) letters, digits, . - and _, not "
                    + InvalidSetting.quoted(name)
            )
        }
        return group
    }

    private func forbidden(_ what: String, _ group: String, _ socket: Socket) -> PubSubError {
        socket.worker.refused("forbidden_group", peer: socket.remote)
        return PubSubError(.forbidden, "you may not \(what) \(group)")
    }

    private static func error(_ failure: any Error) -> PubSubError {
        switch failure {
        case ChannelLayerError.notConnected:
            PubSubError(.unavailable, "the broker is not reachable; nothing was subscribed")
        default: PubSubError(.refused, "the broker refused; nothing was subscribed")
        }
    }

    // MARK: Out

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering {
        guard let type = message["type"]?.string, type == "pubsub.message" || type == "pubsub_message",
            let group = message["group"]?.string, let content = try? message["message"]?.json()
        else { return .unknown }
        var object = JSONText()
        object.add("group", group)
        object.add("message", json: content)
        if options.batch {
            JSONBatch.append(object.object(), to: &frames)
        } else {
            ServerFrame.append(.text, object.object(), to: &frames)
        }
        return .frames
    }

    private func succeeded(_ id: PubSubID?, _ socket: Socket) {
        guard let id else { return }
        var object = JSONText()
        id.add(to: &object)
        object.add("ok", true)
        answer(socket, object.object())
    }

    /// Replies stand in order with messages: what was gathered before leaves first.
    private func answer(_ socket: Socket, _ json: [UInt8]) {
        var frames: [UInt8] = []
        ServerFrame.append(.text, json, to: &frames)
        socket.send(message: frames)
    }

    private func seat(_ socket: Socket) -> Seat? {
        socket.attachment as? Seat
    }
}
