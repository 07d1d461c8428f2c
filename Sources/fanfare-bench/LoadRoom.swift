import NIOCore

/// One room of the load in a closed loop: `window` messages under way, the next one sent when one has reached all.
final class LoadRoom {
    let name: String
    private let memberCount: Int
    private let window: Int
    private let payloadBytes: Int
    private let load: WebSocketLoad
    private var publisher: LoadSocket?
    private var arrivals: UInt64 = 0
    private(set) var sent: UInt64 = 0
    private(set) var delivered: UInt64 = 0
    private(set) var outOfOrder: UInt64 = 0

    init(name: String, memberCount: Int, window: Int, payloadBytes: Int, load: WebSocketLoad) {
        self.name = name
        self.memberCount = memberCount
        self.window = window
        self.payloadBytes = payloadBytes
        self.load = load
    }

    func opened(_ socket: LoadSocket) {
        if publisher == nil { publisher = socket }
        load.opened()
    }

    func start() {
        for _ in 0..<window { sendNext() }
    }

    private func sendNext() {
        guard load.isRunning else { return }
        sent += 1
        let digits = String(sent)
        let number = String(repeating: "0", count: 16 - digits.count) + digits
        publisher?.send(number + String(repeating: "x", count: max(0, payloadBytes - 16)))
    }

    func arrived(inOrder: Bool) {
        delivered += 1
        arrivals += 1
        if !inOrder { outOfOrder += 1 }
        guard arrivals == UInt64(memberCount) else { return load.progressed() }
        arrivals = 0
        sendNext()
        load.progressed()
    }

    func lost(_ reason: String) {
        load.fail(reason)
    }

    /// Whether all that was sent has come to all.
    var isComplete: Bool { delivered == sent * UInt64(memberCount) }
}
