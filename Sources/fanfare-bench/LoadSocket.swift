/// One WebSocket of a load; ``SocketLoop`` drives it.
final class LoadSocket {
    /// How it reads after its handshake.
    enum Reading {
        case always
        /// A few KB now and then: less than comes.
        case slowly
        case never
    }

    /// How far it has come.
    enum Stage {
        case waiting, connecting, shakingHands, subscribing, open, closed
    }

    let path: String
    /// Its room's name, the topic of MQTT.
    let room: String
    /// Which of the owner's rooms and which of its members it is.
    let (roomIndex, memberIndex): (Int, Int)
    let reading: Reading
    /// What the owner's loop knows it by.
    var index = 0
    var descriptor: Int32 = -1
    var stage = Stage.waiting
    /// Nanoseconds of ``MonotonicClock`` at which it began to connect.
    var begunAt: UInt64 = 0
    /// The beginning of a frame whose end has not come.
    var pending: [UInt8] = []
    /// What the kernel has not taken.
    var outgoing: [UInt8] = []
    /// The code of the close frame that came.
    var closeCode: UInt16?

    init(path: String, room: String, roomIndex: Int = 0, memberIndex: Int = 0, reading: Reading = .always) {
        self.path = path.replacing("{room}", with: room)
        self.room = room
        self.roomIndex = roomIndex
        self.memberIndex = memberIndex
        self.reading = reading
    }
}

/// Whoever is told what comes to the sockets of a loop, on its thread.
protocol LoadSocketOwner: AnyObject {
    /// The payload of a text or binary frame came at `now`; the bytes are valid during the call only.
    func received(_ payload: UnsafeRawBufferPointer, on socket: LoadSocket, now: UInt64)
    /// The handshake is through.
    func opened(_ socket: LoadSocket, now: UInt64)
    /// An open socket was closed; see ``LoadSocket/closeCode``.
    func closed(_ socket: LoadSocket)
}

extension LoadSocketOwner {
    func opened(_ socket: LoadSocket, now: UInt64) {}
}

/// Why a load cannot go on.
struct LoadFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
