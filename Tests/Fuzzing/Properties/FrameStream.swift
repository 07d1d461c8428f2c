import FanfareModel
import FanfareProtocol

/// Frames of a byte stream: the first byte of an input chooses the cuts, the rest is the stream.
enum FrameStream {
    /// The limit before the first frame, small enough to be reached, and the one that frame raises it to.
    private static let limits = (first: 64, raised: 1_024)

    private struct Outcome: Equatable {
        var payloads: [[UInt8]] = []
        var failure: Failure?
        var buffered = 0
    }

    static func check(_ input: UnsafeRawBufferPointer) throws {
        guard let seed = input.first else { return }
        let stream = UnsafeRawBufferPointer(rebasing: input.dropFirst())
        let ways = Cuts.of(stream, seed: seed)
        let whole = run(ways[0])
        for way in ways.dropFirst() {
            let other = run(way)
            try require(other == whole, "\(way.count) pieces give \(other), one gives \(whole)")
        }
        try require(whole == expected(Array(stream)), "the frames are \(whole), not \(expected(Array(stream)))")
        for way in ways {
            // Twice what was received, as an array grows, and the text of a failure. Not optimised, a call makes a
            // closure of 40 bytes.
            let constant = 4_096 + 64 * way.count
            try Memory.requireProportion("frames", received: stream.count, factor: 4, constant: constant) {
                let decoder = FrameDecoder(limit: limits.raised)
                for piece in way { guard (try? decoder.feed(piece) { _ in }) != nil else { return } }
            }
        }
    }

    private static func run(_ pieces: [UnsafeRawBufferPointer]) -> Outcome {
        var outcome = Outcome()
        let decoder = FrameDecoder(limit: limits.first)
        do {
            for piece in pieces {
                try decoder.feed(piece) { payload in
                    outcome.payloads.append(Array(payload))
                    decoder.limit = limits.raised
                }
            }
            outcome.buffered = decoder.bufferedBytes
        } catch {
            outcome.failure = error as? Failure ?? Failure(.malformedFrame, "\(error)")
        }
        return outcome
    }

    /// Section 1 of the protocol, read naively.
    private static func expected(_ stream: [UInt8]) -> Outcome {
        var outcome = Outcome()
        var rest = stream[...]
        while rest.count >= 4 {
            let length = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            let limit = outcome.payloads.isEmpty ? limits.first : limits.raised
            if length == 0 || length > limit {
                let found = length == 0 ? "a frame holds at least its operation" : "at most \(limit) are accepted here"
                outcome.failure = Failure(.frameTooLarge, "a frame of \(length) bytes; \(found)")
                return outcome
            }
            guard rest.count >= 4 + length else { break }
            outcome.payloads.append(Array(rest.dropFirst(4).prefix(length)))
            rest = rest.dropFirst(4 + length)
        }
        outcome.buffered = rest.count
        return outcome
    }
}
