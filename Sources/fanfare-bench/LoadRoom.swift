/// One room of the load in a closed loop: `window` messages under way, the next one sent when one has reached all.
final class LoadRoom: LoadSocketOwner {
    private let window: Int
    private let payloadBytes: Int
    private let load: WebSocketLoad
    private(set) var sockets: [LoadSocket] = []
    private var arrivals = 0
    private(set) var sent: UInt64 = 0
    private(set) var delivered: UInt64 = 0
    private(set) var outOfOrder: UInt64 = 0

    init(name: String, memberCount: Int, window: Int, payloadBytes: Int, load: WebSocketLoad) {
        self.window = window
        self.payloadBytes = payloadBytes
        self.load = load
        sockets = (0..<memberCount).map { _ in LoadSocket(path: "/ws/chat/\(name)/", owner: self) }
    }

    func start() {
        for _ in 0..<window { sendNext() }
    }

    private func sendNext() {
        guard load.isRunning else { return }
        sent += 1
        sockets[0].send(sent, payloadBytes: payloadBytes)
    }

    func arrived(_ number: UInt64, inOrder: Bool) {
        delivered += 1
        arrivals += 1
        if !inOrder { outOfOrder += 1 }
        guard arrivals == sockets.count else { return load.progressed() }
        arrivals = 0
        sendNext()
        load.progressed()
    }

    func closed(_ socket: LoadSocket) {
        load.stopWaiting()
    }

    /// Whether all that was sent has come to all.
    var isComplete: Bool { delivered == sent * UInt64(sockets.count) }
}
