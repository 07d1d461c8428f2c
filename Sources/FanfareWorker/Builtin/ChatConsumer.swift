import FanfareClient
import FanfareModel
import FanfareProtocol

/// The chat of the Channels tutorial: what one member of a room says, every member reads, the sender included.
///
/// Speaks `{"message": "..."}` both ways; in the group it is `{"type": "chat.message", "message": "..."}`, as the
/// tutorial's Python consumer sends it.
final class ChatConsumer: SocketService {
    let name: String

    init(name: String = "chat") {
        self.name = name
    }

    /// What a socket of the chat remembers.
    final class Seat {
        let room: String
        /// Whether the first frame tells who serves the socket.
        let wantsHello: Bool

        init(room: String, wantsHello: Bool) {
            self.room = room
            self.wantsHello = wantsHello
        }
    }

    func opened(_ socket: Socket) {
        guard let seat = seat(socket), seat.wantsHello else { return }
        var hello = JSONText()
        hello.add("type", "hello")
        hello.add("worker", socket.worker.name)
        hello.add("pid", socket.worker.processID)
        hello.add("room", seat.room)
        hello.add("channel", socket.channelName)
        socket.send(text: hello.object())
    }

    func received(text: String, from socket: Socket) {
        guard let seat = seat(socket) else { return }
        guard let message = Self.message(in: text) else {
            socket.worker.counters.invalidMessages += 1
            return answer(socket, "send a JSON object with a text \"message\"; nothing was sent")
        }
        let body = MessagePack.encode(["type": "chat.message", "message": .string(message)])
        let published = socket.worker.publish(body, to: Self.group(seat.room)) { [weak socket] failure in
            guard let failure, let socket else { return }
            let doubt = failure.isOutcomeKnown ? "" : "perhaps "
            self.answer(socket, "the broker was not reachable; message \(doubt)not sent")
        }
        switch published {
        case .sent, .waits: break
        case .badName: answer(socket, "the room has a name no group may have; message not sent")
        case .noBroker: answer(socket, "the broker is not reachable; message not sent")
        case .tooLarge(let limit): answer(socket, "the message is larger than \(limit) bytes; message not sent")
        }
    }

    func received(binary: [UInt8], from socket: Socket) {
        socket.close(.unsupportedData, reason: "the chat takes text only")
    }

    /// Only to a client that wants to know more than the tutorial's.
    func missed(_ missed: Missed, _ socket: Socket) {
        guard seat(socket)?.wantsHello == true else { return }
        var object = JSONText()
        object.add("type", "missed")
        object.add("reason", missed.reason)
        if let count = missed.count.flatMap({ Int(exactly: $0) }) { object.add("count", count) }
        socket.send(text: object.object())
    }

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering {
        guard let type = message["type"]?.string, type == "chat.message" || type == "chat_message",
            let text = message["message"]?.string
        else { return .unknown }
        var object = JSONText(reserving: text.utf8.count + 32)
        object.add("message", text)
        ServerFrame.append(.text, object.object(), to: &frames)
        return .frames
    }

    /// The group of a room.
    static func group(_ room: String) -> String {
        "chat_" + room
    }

    /// The text of `{"message": text}`; further members do not matter.
    static func message(in json: String) -> String? {
        (try? MessageValue(json: Array(json.utf8)))?["message"]?.string
    }

    private func seat(_ socket: Socket) -> Seat? {
        socket.attachment as? Seat
    }

    private func answer(_ socket: Socket, _ problem: String) {
        var object = JSONText()
        object.add("error", problem)
        socket.send(text: object.object())
    }
}
