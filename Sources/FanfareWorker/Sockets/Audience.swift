/// The members of one group that one service serves: they get the same frames.
///
/// Descriptors and sockets stand in parallel arrays, so that a fan-out walks plain integers.
final class Audience {
    let group: String
    let service: any SocketService
    /// Whether its members have agreed to compressed messages, made once for all of them.
    let takesCompressed: Bool
    private(set) var descriptors: ContiguousArray<CInt> = []
    private(set) var sockets: ContiguousArray<Socket> = []
    /// Frames every member is still to get, in order.
    var frames: [UInt8] = []
    /// Messages in ``frames``.
    var messages = 0
    /// Sockets that are members or are about to be.
    var wanted = 0
    /// Those of ``wanted`` that belong to other audiences too. While it is 0, order against them does not matter.
    var shared = 0

    var count: Int { sockets.count }

    /// The window shared messages are compressed with. Sockets that agreed to a smaller one get them uncompressed.
    static let windowBits = 15

    init(group: String, service: any SocketService, takesCompressed: Bool) {
        self.group = group
        self.service = service
        self.takesCompressed = takesCompressed
    }

    /// Adds a member; returns its position.
    func append(_ socket: Socket) -> Int {
        descriptors.append(socket.directDescriptor)
        sockets.append(socket)
        return sockets.count - 1
    }

    /// Removes the member at `position`; the last one takes its place.
    ///
    /// - Returns: The member that moved to `position`.
    func remove(at position: Int) -> Socket? {
        let last = sockets.count - 1
        sockets.swapAt(position, last)
        descriptors.swapAt(position, last)
        sockets.removeLast()
        descriptors.removeLast()
        return position < last ? sockets[position] : nil
    }

    /// Follows the member at `position` between direct sends and waiting.
    func setDescriptor(_ descriptor: CInt, at position: Int) {
        descriptors[position] = descriptor
    }

    func removeAll() {
        descriptors = []
        sockets = []
        frames = []
        messages = 0
    }
}

/// A socket's place in an audience.
struct Membership {
    let audience: Audience
    /// Where in the audience's arrays; `nil` until the broker has acknowledged it.
    var position: Int?
}
