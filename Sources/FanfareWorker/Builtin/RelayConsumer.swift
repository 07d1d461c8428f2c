import FanfareModel
import FanfareProtocol

/// How a relay works; see ``Router/relay(_:name:_:)``.
public struct RelayOptions: Sendable {
    /// The group that hears the messages, with names of the address's captures in it: `relay_<room>`.
    public var group: String
    /// What one client may send.
    public var limits = ClientLimits()
    /// Whether senders hear their own messages.
    public var echo = true
    /// Whether members are told who comes and goes.
    public var presence = false

    /// - Parameter group: Letters, digits, `.`, `-`, `_` and `<names>`.
    public init(group: String) {
        self.group = group
    }
}

extension Router {
    /// Serves WebSockets whose messages go, as they are, to all members of the group that the address names.
    ///
    /// In the group a message is `{"type": "relay.text", "text": "…", "from": CHANNEL}` or
    /// `{"type": "relay.binary", "bytes": …, "from": CHANNEL}`; whoever sends such to the group, from Django or the
    /// command line, reaches the clients too. `docs/relay.md` has the details.
    ///
    /// At most once: what is sent while there is no broker is lost and counted.
    ///
    /// - Parameters:
    ///   - pattern: The address.
    ///   - name: What listings call the connections.
    ///   - options: What clients may do.
    /// - Throws: ``InvalidSetting`` for a group that names no capture of `pattern` or cannot be a group.
    public mutating func relay(
        _ pattern: PathPattern,
        name: String = "relay",
        _ options: RelayOptions
    ) throws(InvalidSetting) {
        let template = try GroupTemplate(options.group, of: pattern)
        socket(
            pattern,
            SocketRoute(service: { RelayConsumer(options, name: name) }) { _, context in
                let group = try template.name(context.captures)
                let user = context.identity?.user
                return SocketRoute.Plan(groups: [group]) { socket, _ in
                    socket.attachment = RelayConsumer.Seat(group: group, user: user, limits: options.limits)
                }
            }
        )
    }
}

/// Passes messages on to a group, untouched.
final class RelayConsumer: SocketService {
    let name: String
    private let options: RelayOptions

    /// What a socket of a relay remembers.
    final class Seat {
        let group: String
        let user: String?
        var gate: ClientGate
        /// Whether the others were told that it came.
        var wasAnnounced = false

        init(group: String, user: String?, limits: ClientLimits) {
            self.group = group
            self.user = user
            gate = ClientGate(limits)
        }
    }

    init(_ options: RelayOptions, name: String = "relay") {
        self.options = options
        self.name = name
    }

    // MARK: Messages

    func received(text: String, from socket: Socket) {
        relay(text.utf8.count, from: socket) { ["type": "relay.text", "text": .string(text), "from": .string($0)] }
    }

    func received(binary: [UInt8], from socket: Socket) {
        relay(binary.count, from: socket) { ["type": "relay.binary", "bytes": .binary(binary), "from": .string($0)] }
    }

    private func relay(_ bytes: Int, from socket: Socket, _ message: (String) -> MessageValue) {
        guard let seat = seat(socket), seat.gate.admit(bytes: bytes, from: socket) == .admitted else { return }
        let sender = socket.channelName
        let body = MessagePack.encode(message(sender))
        switch socket.worker.publish(body, to: seat.group, exclude: options.echo ? [] : [sender]) {
        // A message that no broker takes in time is lost and counted; a relay has no words of its own to say so.
        case .sent, .waits, .noBroker: break
        case .tooLarge(let limit):
            socket.worker.refused("message_bytes", peer: socket.remote)
            socket.close(.messageTooBig, reason: "the broker takes \(limit) bytes")
        case .badName: socket.close(.internalError, reason: "the broker does not take this group")
        }
    }

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering {
        switch message["type"]?.string {
        case "relay.text", "relay_text":
            guard var text = message["text"]?.string else { return .unknown }
            text.withUTF8 { ServerFrame.append(.text, $0, to: &frames) }
        case "relay.binary", "relay_binary":
            guard let bytes = message["bytes"]?.binary else { return .unknown }
            ServerFrame.append(.binary, bytes, to: &frames)
        case "relay.presence", "relay_presence":
            guard let event = message["event"]?.string, let id = message["id"]?.string else { return .unknown }
            // Another route may share the group and want notices; this one is silent then.
            guard options.presence else { return .frames }
            ServerFrame.append(.text, Self.notice(event, id, message["user"]?.string), to: &frames)
        default: return .unknown
        }
        return .frames
    }

    // MARK: Presence

    func opened(_ socket: Socket) {
        guard options.presence, socket.takesFrames, let seat = seat(socket) else { return }
        seat.wasAnnounced = true
        socket.send(text: Self.notice("welcome", socket.channelName, seat.user))
        announce("join", of: socket, seat)
    }

    func closed(_ socket: Socket, _ code: CloseCode, reason: String, done: @escaping () -> Void) {
        if let seat = seat(socket), seat.wasAnnounced { announce("leave", of: socket, seat) }
        done()
    }

    private func announce(_ event: String, of socket: Socket, _ seat: Seat) {
        let id = socket.channelName
        var message: [String: MessageValue] = ["type": "relay.presence", "event": .string(event), "id": .string(id)]
        if let user = seat.user { message["user"] = .string(user) }
        _ = socket.worker.publish(MessagePack.encode(.map(message)), to: seat.group, exclude: [id])
    }

    private static func notice(_ event: String, _ id: String, _ user: String?) -> [UInt8] {
        var object = JSONText()
        object.add("type", "presence")
        object.add("event", event)
        object.add("id", id)
        if let user { object.add("user", user) }
        return object.object()
    }

    private func seat(_ socket: Socket) -> Seat? {
        socket.attachment as? Seat
    }
}
