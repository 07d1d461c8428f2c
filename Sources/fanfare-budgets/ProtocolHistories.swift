import FanfareModel
import FanfareProtocol

/// Bytes to values and back.
enum ProtocolHistories {
    private static let body = Body(repeating: 0x61, count: 128)

    static func run(into measurements: inout Measurements) throws {
        let reader = FrameReader(limits: Limits())
        let send = payload { $0.append(Request.send(id: 7, channel: "ws.node!1a", body: body, SendOptions())) }
        try measurements.record(.decodeSend) { _ in _ = try send.withUnsafeBytes { try reader.request($0) } }
        let groupSend = payload {
            $0.append(Request.groupSend(id: nil, group: "chat_lobby", body: body, GroupSendOptions()))
        }
        try measurements.record(.decodeGroupSend) { _ in _ = try groupSend.withUnsafeBytes { try reader.request($0) } }
        let delivery = GroupDelivery(group: "chat_lobby", body: body, remaining: Milliseconds(60_000))
        let groupDeliver = payload { $0.append(Reply.groupDeliver(delivery)) }
        try measurements.record(.decodeGroupDeliver) { _ in
            _ = try groupDeliver.withUnsafeBytes { try reader.reply($0) }
        }
        encode(.deliver(channel: "ws.node!1a", body: body, remaining: Milliseconds(60_000)), .encodeDeliver)
        encode(.groupDeliver(delivery), .encodeGroupDeliver)
        encode(.ack(70_000), .encodeAck)

        func encode(_ reply: Reply, _ history: History) {
            let buffer = FrameBuffer()
            measurements.record(history) { _ in
                buffer.append(reply)
                buffer.removeAll()
            }
        }
    }

    private static func payload(_ write: (FrameBuffer) -> Void) -> [UInt8] {
        let buffer = FrameBuffer()
        write(buffer)
        return buffer.withUnsafeBytes { Array($0.dropFirst(4)) }
    }
}
