/// The opening handshake of a client (RFC 6455, section 4.1), with the key of the RFC's example.
enum Handshake {
    private static let key = "dGhlIHNhbXBsZSBub25jZQ=="
    private static let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    private static let headMaximum = 16 << 10

    /// What an answer says.
    enum Answer: Equatable {
        case incomplete
        /// - Parameter headBytes: What comes after them are frames.
        case accepted(headBytes: Int)
        case refused(String)
    }

    /// A request as a browser on a page of the same host sends it: some servers want an Origin.
    static func request(host: String, path: String, subprotocol: String?) -> [UInt8] {
        let offer = subprotocol.map { "Sec-WebSocket-Protocol: \($0)\r\n" } ?? ""
        return Array(
            ("GET \(path) HTTP/1.1\r\nHost: \(host)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Origin: http://\(host)\r\nSec-WebSocket-Key: \(key)\r\nSec-WebSocket-Version: 13\r\n\(offer)\r\n")
                .utf8
        )
    }

    static func read(_ bytes: UnsafeRawBufferPointer) -> Answer {
        let end = (3..<max(3, min(bytes.count, headMaximum))).first { index in
            bytes[index] == 10 && bytes[index - 1] == 13 && bytes[index - 2] == 10 && bytes[index - 3] == 13
        }
        guard let end else { return bytes.count < headMaximum ? .incomplete : .refused("an endless answer") }
        let head = String(decoding: bytes[...end], as: UTF8.self)
        let status = head.prefix { !$0.isNewline }
        guard status.hasPrefix("HTTP/1.1 101") else { return .refused(String(status.prefix(64))) }
        guard head.contains(accept) else { return .refused("a wrong Sec-WebSocket-Accept") }
        return .accepted(headBytes: end + 1)
    }
}
