import FanfareModel

@testable import FanfareWorker

/// What a WebSocket's client sends after the handshake: the first byte of an input chooses the cuts and, with its highest
/// bit, compression; the rest is the stream.
enum SocketStream {
    /// Bounds small enough to be reached.
    private static var limits: WorkerLimits {
        var limits = WorkerLimits()
        limits.messageBytes = 4_096
        limits.fragments = 8
        return limits
    }

    private struct Outcome: Equatable {
        var events: [WebSocketEvent] = []
        var violation: WebSocketViolation?
    }

    static func check(_ input: UnsafeRawBufferPointer) throws {
        guard let seed = input.first else { return }
        let stream = UnsafeRawBufferPointer(rebasing: input.dropFirst())
        let inflater = seed & 0x80 == 0 ? nil : Inflater()
        let ways = Cuts.of(stream, seed: seed)
        let whole = run(ways[0], inflater)
        for way in ways.dropFirst() {
            let other = run(way, inflater)
            try require(other == whole, "\(way.count) pieces give \(other), one gives \(whole)")
        }
        let sent = whole.events.flatMap(masked)
        let again = sent.withUnsafeBytes { run([$0], nil) }
        try require(again == Outcome(events: whole.events), "\(whole.events) sent again are \(again)")
        for way in ways {
            // An array for a payload of one byte, which comes in seven, takes 48; then copies while it grows, and the
            // text. Compressed, up to 1 032 times as much.
            let factor = inflater == nil ? 16 : 4 * Deflated.ratio
            // A build that is not optimised asks for 40 bytes with each read, whatever it brings.
            let constant = 65_536 + 64 * way.count
            try Memory.requireProportion("a socket", received: stream.count, factor: factor, constant: constant) {
                var parser = WebSocketParser(limits: limits, inflater: inflater)
                for piece in way { guard (try? parser.feed(piece) { _ in }) != nil else { return } }
            }
        }
    }

    private static func run(_ pieces: [UnsafeRawBufferPointer], _ inflater: Inflater?) -> Outcome {
        var outcome = Outcome()
        var parser = WebSocketParser(limits: limits, inflater: inflater)
        do throws(WebSocketViolation) {
            for piece in pieces { try parser.feed(piece) { outcome.events.append($0) } }
        } catch {
            outcome.violation = error
        }
        return outcome
    }

    /// An event as a client that does not compress would cause it.
    private static func masked(_ event: WebSocketEvent) -> [UInt8] {
        var frame: [UInt8] = []
        switch event {
        case .text(let text): ServerFrame.append(.text, Array(text.utf8), to: &frame)
        case .binary(let bytes): ServerFrame.append(.binary, bytes, to: &frame)
        case .ping(let payload): ServerFrame.append(.ping, payload, to: &frame)
        case .pong: ServerFrame.append(.pong, [], to: &frame)
        case .close(let code, let reason): frame = ServerFrame.close(code, reason: reason)
        }
        let header = frame[1] == 127 ? 10 : frame[1] == 126 ? 4 : 2
        let key: [UInt8] = [0x11, 0x92, 0x43, 0xd4]
        let payload = frame[header...].enumerated().map { $1 ^ key[$0 % 4] }
        return [frame[0], frame[1] | 0x80] + frame[2..<header] + key + payload
    }
}

/// The payload of a compressed message, and a payload to be compressed: the first byte of an input chooses the window, the
/// rest is both.
enum Deflated {
    /// What one byte of DEFLATE becomes at most: a match of 258 bytes takes two bits.
    static let ratio = 1_032
    private static let limit = 65_536

    static func check(_ input: UnsafeRawBufferPointer) throws {
        guard let first = input.first else { return }
        let payload = Array(input.dropFirst())
        let inflater = Inflater()
        let once = try? inflater.inflate(payload, limit: limit)
        try require(once?.count ?? 0 <= limit, "\(once?.count ?? 0) bytes inflated, more than \(limit)")
        let again = try? inflater.inflate(payload, limit: limit)
        try require(once == again, "a message is another one after the first")
        let bound = 4 * min(limit, ratio * payload.count)
        let allocated = Memory.allocated { _ = try? inflater.inflate(payload, limit: limit) }
        try require(allocated <= bound + 2 * payload.count + 4_096, "\(allocated) bytes allocated for \(payload.count)")

        let windowBits = 8 + Int(first & 7)
        var frame: [UInt8] = []
        Compressor(leastBytes: 0).append(.binary, payload, windowBits: windowBits, to: &frame)
        var rest = frame[...]
        guard let (_, sent) = ServerFrame.takeFirst(of: &rest), rest.isEmpty else { throw Finding("not one frame") }
        let isCompressed = frame[0] & 0x40 != 0
        let read = isCompressed ? try inflater.inflate(Array(sent), limit: payload.count) : Array(sent)
        try require(read == payload, "a message of \(payload.count) bytes comes back as another one")
    }
}
