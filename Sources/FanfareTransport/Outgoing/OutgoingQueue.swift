import NIOCore

/// What waits for one connection whose peer does not read as fast as it is written to: whole messages, in order,
/// bounded in count and bytes.
///
/// A message whose first bytes have been taken goes out whole, whatever happens: the stream would be broken otherwise.
/// Only what has not begun counts against the bounds and can be dropped. A single message always fits, so that it can
/// be sent at all; the memory is bounded by the larger of it and the bounds.
///
/// Pings and pongs are no messages: they are not dropped by policy, go out between two messages before what waits, and
/// of each kind only the latest waits (RFC 6455, section 5.5.3), so that a peer cannot make them pile up. A close frame
/// keeps its place and is not dropped by policy either.
///
/// Pure: time is an argument, in ticks of any length.
package struct OutgoingQueue {
    /// What happens when a message would go beyond a bound.
    package enum Policy: String, Sendable, CaseIterable {
        /// The message is not taken; the connection is to be closed.
        case disconnect
        /// The message is dropped.
        case dropNewest = "drop_newest"
        /// The messages that have waited longest make room.
        case dropOldest = "drop_oldest"
    }

    /// How much may wait.
    package struct Bounds: Sendable, Equatable {
        /// Messages, at least 1.
        package var messages: Int
        /// Their bytes, frame headers included, at least 1.
        package var bytes: Int
        package var policy: Policy

        package init(messages: Int, bytes: Int, policy: Policy) {
            self.messages = messages
            self.bytes = bytes
            self.policy = policy
        }
    }

    /// What became of frames that were appended.
    package enum Admission: Equatable {
        /// All of them wait.
        case admitted
        /// So many messages were dropped by policy, these or older ones.
        case dropped(Int)
        /// None of these messages, so many, was taken: the policy is to disconnect.
        case overflow(Int)
    }

    private struct Chunk {
        var messages: WebSocketMessages
        let since: Int
    }

    /// Messages that wait and have not begun.
    package private(set) var messages = 0
    /// All bytes that wait.
    package var byteCount: Int { begun.count + (ping?.count ?? 0) + (pong?.count ?? 0) + chunkBytes }

    /// The rest of what has begun.
    private var begun: ArraySlice<UInt8> = []
    private var begunSince = 0
    private var ping: [UInt8]?
    private var pong: [UInt8]?
    private var controlSince = 0
    private var chunks = CircularBuffer<Chunk>(initialCapacity: 2)
    private var chunkBytes = 0

    /// Opaque bytes are gathered up to this size, so that small ones do not cost a chunk each.
    private static let opaqueChunkBytes = 16_384

    package init() {}

    package var isEmpty: Bool { begun.isEmpty && ping == nil && pong == nil && chunks.isEmpty }

    /// The tick since when the oldest byte waits, `nil` when none does.
    package var oldest: Int? {
        var oldest = chunks.first?.since
        if !begun.isEmpty { oldest = min(begunSince, oldest ?? begunSince) }
        if ping != nil || pong != nil { oldest = min(controlSince, oldest ?? controlSince) }
        return oldest
    }

    // MARK: In

    /// Appends frames of which the kernel has taken some.
    ///
    /// - Parameters:
    ///   - frames: Data messages, or one control frame.
    ///   - taken: Bytes that are gone; more than 0 only when nothing waits.
    ///   - now: The tick.
    ///   - bounds: Hold from here on.
    package mutating func append(
        _ frames: WebSocketMessages,
        taken: Int = 0,
        at now: Int,
        within bounds: Bounds
    ) -> Admission {
        var frames = frames
        if taken > 0 {
            precondition(isEmpty, "\(taken) bytes were sent past \(byteCount) that wait")
            begun = frames.take(taken).begun
            begunSince = now
        }
        guard let first = frames.bytes.first else { return .admitted }
        guard first & 0x08 == 0 else {
            appendControl(Array(frames.bytes), at: now)
            return .admitted
        }
        return append(messages: frames, at: now, within: bounds)
    }

    /// Appends bytes that are no messages: never dropped, not bounded here.
    package mutating func append(opaque bytes: UnsafeRawBufferPointer, at now: Int) {
        guard !bytes.isEmpty else { return }
        chunkBytes += bytes.count
        let last = chunks.indices.last
        if let last, chunks.modify(last, { $0.messages.append(opaque: bytes, upTo: Self.opaqueChunkBytes) }) { return }
        chunks.append(Chunk(messages: WebSocketMessages(opaque: bytes), since: now))
    }

    private mutating func appendControl(_ frame: [UInt8], at now: Int) {
        if ping == nil, pong == nil { controlSince = now }
        switch frame[0] & 0x0f {
        case 0x9: ping = frame
        case 0xa: pong = frame
        default: frame.withUnsafeBytes { append(opaque: $0, at: now) }
        }
    }

    private mutating func append(
        messages added: WebSocketMessages,
        at now: Int,
        within bounds: Bounds
    ) -> Admission {
        var added = added
        var dropped = 0
        switch bounds.policy {
        case .disconnect:
            guard fits(messages + added.count, chunkBytes + added.bytes.count, bounds) else {
                return .overflow(added.count)
            }
        case .dropNewest:
            dropped = added.keepFirst { fits(messages + $0, chunkBytes + $1, bounds) }
        case .dropOldest:
            break
        }
        if added.count > 0 {
            messages += added.count
            chunkBytes += added.bytes.count
            chunks.append(Chunk(messages: added, since: now))
        }
        if bounds.policy == .dropOldest {
            while !fits(messages, chunkBytes, bounds), dropOldest() { dropped += 1 }
        }
        return dropped == 0 ? .admitted : .dropped(dropped)
    }

    private func fits(_ messages: Int, _ bytes: Int, _ bounds: Bounds) -> Bool {
        messages <= 1 || messages <= bounds.messages && bytes <= bounds.bytes
    }

    /// Drops the message that has waited longest and not begun, if that is what comes next.
    private mutating func dropOldest() -> Bool {
        guard let first = chunks.first, first.messages.count > 0 else { return false }
        chunkBytes -= chunks.modify(chunks.startIndex) { $0.messages.dropFirst() }
        messages -= 1
        removeFirstIfEmpty()
        return true
    }

    // MARK: Out

    /// Takes out what is to be sent next, in as large a piece as lies in one place.
    ///
    /// - Parameter byteCount: The most it may be, at least 1.
    /// - Returns: `nil` when nothing waits.
    package mutating func next(atMost byteCount: Int) -> ArraySlice<UInt8>? {
        if begun.isEmpty, let control = takeControl() {
            begun = control[...]
            begunSince = controlSince
        }
        guard begun.isEmpty else {
            let piece = begun.prefix(byteCount)
            begun = begun[piece.endIndex...]
            return piece
        }
        guard let first = chunks.first else { return nil }
        let (piece, rest) = chunks.modify(chunks.startIndex) { $0.messages.take(byteCount) }
        begun = rest
        begunSince = first.since
        chunkBytes -= piece.count + rest.count
        messages -= first.messages.count - (chunks.first?.messages.count ?? 0)
        removeFirstIfEmpty()
        return piece
    }

    /// Drops everything that has not begun.
    ///
    /// - Returns: The messages among it.
    package mutating func discard() -> Int {
        defer {
            ping = nil
            pong = nil
            chunks.removeAll()
            chunkBytes = 0
            messages = 0
        }
        return messages
    }

    private mutating func takeControl() -> [UInt8]? {
        if let frame = pong {
            pong = nil
            return frame
        }
        defer { ping = nil }
        return ping
    }

    private mutating func removeFirstIfEmpty() {
        if chunks.first?.messages.bytes.isEmpty == true { chunks.removeFirst() }
    }
}
