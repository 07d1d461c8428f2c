import FanfareModel

/// What was sent and what arrived, across all connections: holds the promises no single client can see.
///
/// A body is the number of its sending connection and its number among what that connection sent to one target, so
/// each copy is known and its order can be checked.
final class BurstLedger {
    /// What one connection sends to one channel or group; in order.
    private struct Stream: Hashable {
        var sender: UInt32
        var target: String
    }

    /// One message of a stream, of a group once for each connection that owns members.
    private struct Copy: Hashable {
        var stream: Stream
        var number: UInt32
        var reader: UInt32?
    }

    private struct Reading: Hashable {
        var stream: Stream
        var reader: UInt32
    }

    private var lastSent: [Stream: UInt32] = [:]
    private var lastRead: [Reading: UInt32] = [:]
    private var seen: Set<Copy> = []
    /// Messages sent to each channel or group.
    private(set) var sent: [String: UInt64] = [:]
    /// Messages that arrived, by channel or group; a group message once for each owner.
    private(set) var arrived: [String: UInt64] = [:]
    /// Messages of each channel whose sender heard `channel_full`.
    var refused: [String: UInt64] = [:]
    /// Messages owners were told they missed, by channel.
    var missed: [String: UInt64] = [:]
    /// Group messages owners were told they missed, a member at a time.
    var missedByGroups: UInt64 = 0
    var handOuts: UInt64 = 0
    var delivers: UInt64 = 0
    var groupDeliveries: UInt64 = 0
    /// What went wrong; empty when all promises were kept.
    private(set) var complaints: [String] = []

    func complain(_ text: String) {
        if complaints.count < 10 { complaints.append(text) }
    }

    /// The body of the next message of `sender` to `target`.
    func next(from sender: UInt32, to target: String, padding: Int) -> Body {
        let stream = Stream(sender: sender, target: target)
        let number = (lastSent[stream] ?? 0) + 1
        lastSent[stream] = number
        sent[target, default: 0] += 1
        let head = [sender, number].flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        return head + [UInt8](repeating: 0xA5, count: padding)
    }

    /// A message of `target` has reached `reader`.
    ///
    /// - Parameter isGroup: Whether each reader gets its own copy.
    func arrive(_ body: Body, at target: String, reader: UInt32, isGroup: Bool) {
        guard body.count >= 8, body.dropFirst(8).allSatisfy({ $0 == 0xA5 }) else {
            return complain("connection \(reader) read a body of \(target) that nobody sent: \(body.prefix(16))")
        }
        let numbers = [0, 4].map { start in (0..<4).reduce(UInt32(0)) { $0 | UInt32(body[start + $1]) << (8 * $1) } }
        let stream = Stream(sender: numbers[0], target: target)
        guard (1...(lastSent[stream] ?? 0)).contains(numbers[1]) else {
            return complain("\(target): message \(numbers[1]) of connection \(numbers[0]) was never sent")
        }
        arrived[target, default: 0] += 1
        let copy = Copy(stream: stream, number: numbers[1], reader: isGroup ? reader : nil)
        if !seen.insert(copy).inserted {
            complain("\(target): message \(numbers[1]) of connection \(numbers[0]) arrived twice")
        }
        let reading = Reading(stream: stream, reader: reader)
        if let last = lastRead[reading], last >= numbers[1] {
            complain("\(target): connection \(reader) read \(numbers[1]) of connection \(numbers[0]) after \(last)")
        }
        lastRead[reading] = numbers[1]
    }
}
