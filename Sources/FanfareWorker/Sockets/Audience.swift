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
    /// Members that have their frames already while a fan-out is under way, and those that do not get them.
    struct Pass {
        /// The first member that has not got them yet.
        var next: Int
        /// The first one that came too late for them.
        var end: Int
    }

    /// Where the fan-out is that goes on in the next turn, if there is one.
    var pass: Pass?
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

    /// Removes the member at `position`. The last one takes its place; while a fan-out is under way the last one of each
    /// of its parts does, so that nobody gets the frames twice or not at all.
    ///
    /// - Parameter moved: Told of each member that has another position now.
    func remove(at position: Int, moved: (Socket, Int) -> Void) {
        var hole = position
        func fill(from index: Int) {
            guard index != hole else { return }
            sockets[hole] = sockets[index]
            descriptors[hole] = descriptors[index]
            moved(sockets[hole], hole)
            hole = index
        }
        if let pass, hole < pass.next {
            fill(from: pass.next - 1)
            self.pass?.next -= 1
        }
        if let pass, hole < pass.end {
            fill(from: pass.end - 1)
            self.pass?.end -= 1
        }
        fill(from: sockets.count - 1)
        sockets.removeLast()
        descriptors.removeLast()
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
        pass = nil
    }
}

/// A socket's place in an audience.
struct Membership {
    let audience: Audience
    /// Where in the audience's arrays; `nil` until the broker has acknowledged it.
    var position: Int?
}
