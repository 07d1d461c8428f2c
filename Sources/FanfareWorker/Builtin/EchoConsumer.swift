import FanfareModel

/// Sends every message back as it came: text as text, binary as binary, empty ones too. In no group.
final class EchoConsumer: SocketService {
    let name: String

    init(name: String = "echo") {
        self.name = name
    }

    func received(text: String, from socket: Socket) {
        socket.send(.text, Array(text.utf8))
    }

    func received(binary: [UInt8], from socket: Socket) {
        socket.send(.binary, binary)
    }

    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Rendering { .unknown }
}

extension Router {
    /// Serves WebSockets that hear what they say: for tests and measurements.
    ///
    /// - Parameters:
    ///   - pattern: The address.
    ///   - name: What listings call them.
    public mutating func echo(_ pattern: PathPattern, name: String = "echo") {
        socket(pattern, SocketRoute(service: { EchoConsumer(name: name) }) { _, _ in SocketRoute.Plan() })
    }
}
