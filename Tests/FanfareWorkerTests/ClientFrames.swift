@testable import FanfareWorker

/// Frames as a client writes them, right and wrong, made without the code under test.
enum ClientFrame {
    static let key: [UInt8] = [0x11, 0x92, 0x43, 0xd4]

    /// A masked frame; `first` is the first byte as it goes out.
    static func bytes(first: UInt8, _ payload: [UInt8], masked: Bool = true) -> [UInt8] {
        var frame = [first]
        let mask: UInt8 = masked ? 0x80 : 0
        switch payload.count {
        case ..<126: frame.append(mask | UInt8(payload.count))
        case ..<65_536: frame += [mask | 126, UInt8(payload.count >> 8), UInt8(payload.count & 0xff)]
        default:
            frame.append(mask | 127)
            frame += (0..<8).reversed().map { UInt8(truncatingIfNeeded: payload.count >> ($0 * 8)) }
        }
        guard masked else { return frame + payload }
        return frame + key + payload.enumerated().map { $1 ^ key[$0 % 4] }
    }

    static func text(_ text: String, isFinal: Bool = true) -> [UInt8] {
        bytes(first: isFinal ? 0x81 : 0x01, Array(text.utf8))
    }

    static func continuation(_ payload: [UInt8], isFinal: Bool) -> [UInt8] {
        bytes(first: isFinal ? 0x80 : 0x00, payload)
    }

    static func close(_ code: UInt16, _ reason: [UInt8] = []) -> [UInt8] {
        bytes(first: 0x88, [UInt8(code >> 8), UInt8(code & 0xff)] + reason)
    }
}

extension WebSocketParser {
    /// Feeds an array; for tests.
    mutating func events(_ bytes: [UInt8]) throws -> [WebSocketEvent] {
        var events: [WebSocketEvent] = []
        try bytes.withUnsafeBytes { bytes in try feed(bytes) { events.append($0) } }
        return events
    }
}
