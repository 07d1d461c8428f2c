import FanfareModel
import FanfareProtocol
import FanfareTransport

/// What a session that can be resumed was told and has not yet said it received; `proto/PROTOCOL.md`, section 8.2.
///
/// Counted replies in order, each acknowledgement in a frame of its own, with the `CLOCK`s between them. It has no bound
/// of its own: whoever fills it compares ``bytes`` with ``Limits/resumeBytes``. Not Sendable; it lives on its loop.
final class Retained {
    typealias State = BrokerState.Kept

    let token: Body
    /// Counted requests of the session that were taken.
    var requestsTaken: UInt64 = 0
    private(set) var base: UInt64 = 0
    private(set) var count: UInt64 = 0
    private let frames = FrameBuffer(mergesAcknowledgements: false)
    /// The last `CLOCK` before the first reply kept, as a frame.
    private var clock: [UInt8] = []

    private static let prefixBytes = 4
    static let tokenBytes = 16

    init(token: Body) {
        self.token = token
    }

    /// Takes up what another broker kept.
    ///
    /// - Returns: `nil` when the frames are not whole or not as many as counted.
    init?(_ state: State) {
        token = state.token
        base = state.base
        count = state.count
        requestsTaken = state.requestsTaken
        guard !token.isEmpty, token.count <= Protocol.resumeTokenBytesMaximum else { return nil }
        let counted = state.kept.withUnsafeBytes { bytes -> UInt64? in
            var (place, counted) = (0, UInt64(0))
            while place < bytes.count {
                guard let frame = Self.frame(at: place, of: bytes) else { return nil }
                if !Self.isClock(frame) { counted += 1 }
                place += frame.count
            }
            return counted
        }
        guard let counted, count >= base, count - base == counted else { return nil }
        state.kept.withUnsafeBytes { frames.append(copying: $0) }
    }

    /// All of it as a value, for a broker that goes on after this one.
    var state: State {
        let kept = clock + frames.withUnsafeBytes { Array($0) }
        return State(token: token, base: base, count: count, requestsTaken: requestsTaken, kept: kept)
    }

    /// Bytes kept.
    var bytes: Int { frames.count }

    /// Whether everything after the first `received` counted replies is still here.
    func hasAll(after received: UInt64) -> Bool {
        (base...count).contains(received)
    }

    // MARK: Keeping

    /// Keeps a counted reply and writes it to the session's link, if it has one.
    func write(_ reply: Reply, to connection: FrameConnection?) {
        let start = frames.count
        frames.append(reply)
        count += 1
        // On the link acknowledgements share frames.
        if case .ack = reply {
            connection?.write(reply)
        } else if let connection {
            frames.withUnsafeBytes { connection.write(encoded: UnsafeRawBufferPointer(rebasing: $0[start...])) }
        }
    }

    /// Keeps a `CLOCK`, which does not count.
    func keep(clock: Reply) {
        frames.append(clock)
    }

    /// Keeps counted replies that are frames already.
    func keep(_ encoded: UnsafeRawBufferPointer, count: Int) {
        frames.append(copying: encoded)
        self.count += UInt64(count)
    }

    /// Passes on the payload of each kept reply after the first `received` counted ones.
    func forEach(after received: UInt64, _ body: (UnsafeRawBufferPointer) -> Void) {
        frames.withUnsafeBytes { bytes in
            var (place, number) = (0, base)
            while let frame = Self.frame(at: place, of: bytes) {
                place += frame.count
                guard !Self.isClock(frame) else { continue }
                number += 1
                if number > received { body(UnsafeRawBufferPointer(rebasing: frame.dropFirst(Self.prefixBytes))) }
            }
        }
    }

    // MARK: Letting go

    /// Lets go of the first `received` counted replies. A number that cannot be true changes nothing.
    func arrived(upTo received: UInt64) {
        guard received > base, received <= count else { return }
        let consumed = frames.withUnsafeBytes { bytes in
            var place = 0
            while base < received, let frame = Self.frame(at: place, of: bytes) {
                if Self.isClock(frame) { clock = Array(frame) } else { base += 1 }
                place += frame.count
            }
            return place
        }
        frames.consume(consumed)
    }

    /// Lets go of everything: the session can be resumed only by a client that has received all of it.
    func forget() {
        frames.removeAll()
        clock = []
        base = count
    }

    /// Writes everything kept to a new link.
    func repeatAll(to connection: FrameConnection) {
        // Which clock a message comes behind says how long it has been on its way.
        if frames.count > 0, !clock.isEmpty { clock.withUnsafeBytes { connection.write(encoded: $0) } }
        frames.withUnsafeBytes { bytes in
            var place = 0
            while let frame = Self.frame(at: place, of: bytes) {
                connection.write(encoded: frame)
                place += frame.count
            }
        }
    }

    // MARK: Frames

    /// The whole frame at `place`, its length included; `nil` at the end, or when it is not whole.
    private static func frame(at place: Int, of bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        guard bytes.count - place >= prefixBytes else { return nil }
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
        guard length > 0, bytes.count - place - prefixBytes >= length else { return nil }
        return UnsafeRawBufferPointer(rebasing: bytes[place..<(place + prefixBytes + length)])
    }

    private static func isClock(_ frame: UnsafeRawBufferPointer) -> Bool {
        // An array of two, the operation first.
        frame.count > prefixBytes + 1 && frame[prefixBytes] == 0x92
            && frame[prefixBytes + 1] == UInt8(Operation.clock.rawValue)
    }
}
