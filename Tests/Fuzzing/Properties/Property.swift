import CAllocations

/// What must hold for any input of one kind: run by libFuzzer over inputs it makes up, and by the tests over those it
/// has kept.
package struct Property: Sendable {
    /// The name of its folders below `corpus` and `regressions`.
    package let name: String
    /// Throws a ``Finding`` when it does not hold.
    package let check: @Sendable (UnsafeRawBufferPointer) throws -> Void

    /// Every property.
    package static let all = [
        Property(name: "frames", check: FrameStream.check),
        Property(name: "messages", check: Messages.check),
        Property(name: "json", check: JSONMessages.check),
        Property(name: "sockets", check: SocketStream.check),
        Property(name: "deflate", check: Deflated.check),
        Property(name: "http", check: HTTPConnection.check),
        Property(name: "configuration", check: ConfigurationText.check),
    ]
}

/// What was found wrong.
package struct Finding: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Throws a ``Finding`` unless `condition` holds.
func require(_ condition: Bool, _ finding: @autoclosure () -> String) throws(Finding) {
    guard condition else { throw Finding(finding()) }
}

/// Where a stream is cut: in one piece, byte by byte, and in pieces an input chooses.
struct Cuts {
    /// Longer streams are not fed byte by byte.
    private static let bytewiseMaximum = 4_096

    /// - Parameters:
    ///   - stream: What is cut.
    ///   - seed: Chooses the pieces.
    /// - Returns: Several ways to feed it, the first of them in one piece.
    static func of(_ stream: UnsafeRawBufferPointer, seed: UInt8) -> [[UnsafeRawBufferPointer]] {
        var ways = [[stream], pieces(stream, seed)]
        if stream.count <= bytewiseMaximum {
            ways.append(stream.indices.map { UnsafeRawBufferPointer(rebasing: stream[$0..<($0 + 1)]) })
        }
        return ways
    }

    /// Empty pieces among them, as reads may bring.
    static func pieces(_ stream: UnsafeRawBufferPointer, _ seed: UInt8) -> [UnsafeRawBufferPointer] {
        var pieces: [UnsafeRawBufferPointer] = []
        var state = UInt32(seed) &+ 1
        var start = 0
        while start < stream.count {
            state = state &* 1_664_525 &+ 1_013_904_223
            let count = Int(state >> 24) % (state & 0x8000 == 0 ? 8 : 200)
            let end = min(stream.count, start + count)
            pieces.append(UnsafeRawBufferPointer(rebasing: stream[start..<end]))
            start = end
        }
        return pieces
    }
}

/// What reading hostile bytes may cost.
enum Memory {
    /// Bytes that `body` asks for on this thread, what it gave back included.
    static func allocated(_ body: () throws -> Void) rethrows -> Int {
        let before = fanfare_bytes_of_this_thread()
        try body()
        return Int(fanfare_bytes_of_this_thread() - before)
    }

    /// Requires that `body` asks for at most `factor` bytes for each of `received`, and `constant` besides.
    ///
    /// Runs it twice: what a program makes once does not count.
    static func requireProportion(
        _ what: String,
        received: Int,
        factor: Int,
        constant: Int,
        _ body: () throws -> Void
    ) throws {
        try body()
        let allocated = try allocated(body)
        try require(
            allocated <= factor * received + constant,
            "\(what): \(allocated) bytes allocated for \(received) received, more than \(factor) each and \(constant)"
        )
    }
}
