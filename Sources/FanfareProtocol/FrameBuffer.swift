package import FanfareModel

/// Encoded frames waiting to be written: one growable region per connection.
///
/// Frames leave in the order they were appended. The buffer has no bound of its own: whoever fills it compares
/// ``count`` with ``Limits/linkBytes``. Not Sendable; it lives on its connection's loop.
package final class FrameBuffer {
    // Behind a pointer so that msgpack-c's callback reaches it without touching this object.
    private let region: UnsafeMutablePointer<ByteRegion>

    /// An `ACK` that further ones may join while it is the last frame here.
    private struct LastACK {
        let start: Int
        let ids: Int
        let end: Int
    }

    private var lastACK: LastACK?
    private let mergesAcknowledgements: Bool
    private static let prefixBytes = 4
    /// The first byte of an array of up to 15 elements, its count added.
    private static let shortArray: UInt8 = 0x90
    /// With the operation they fill the largest array whose count is in its first byte.
    private static let acknowledgementsPerFrame = 14

    /// - Parameter mergesAcknowledgements: Whether an `ACK` joins the one it follows; `false` where each frame counts.
    package init(mergesAcknowledgements: Bool = true) {
        self.mergesAcknowledgements = mergesAcknowledgements
        region = .allocate(capacity: 1)
        region.initialize(to: ByteRegion())
    }

    deinit {
        region.pointee.deallocate()
        region.deinitialize(count: 1)
        region.deallocate()
    }

    /// Bytes appended and not yet consumed.
    package var count: Int { region.pointee.count }

    /// Appends one frame from the broker: length and payload. An `ACK` behind another one goes into its frame (section
    /// 6.1).
    package func append(_ reply: Reply) {
        guard mergesAcknowledgements, case .ack(let id) = reply else { return appendFrame { $0.write(reply) } }
        if let last = lastACK, last.end == region.pointee.count, last.ids < Self.acknowledgementsPerFrame {
            append(id, to: last)
        } else {
            let start = region.pointee.count
            appendFrame { $0.write(reply) }
            lastACK = LastACK(start: start, ids: 1, end: region.pointee.count)
        }
    }

    private func append(_ id: RequestID, to last: LastACK) {
        var writer = MessagePackWriter(region)
        writer.int(id)
        let end = region.pointee.count
        region.pointee.overwrite(UInt32(end - last.start - Self.prefixBytes), at: last.start)
        region.pointee.overwrite(Self.shortArray | UInt8(last.ids + 2), at: last.start + Self.prefixBytes)
        lastACK = LastACK(start: last.start, ids: last.ids + 1, end: end)
    }

    /// Appends one frame from a client: length and payload.
    package func append(_ request: Request) {
        appendFrame { $0.write(request) }
    }

    /// Appends bytes that are whole frames already: encode once, append to each receiver.
    package func append(copying bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        region.pointee.append(start, bytes.count)
    }

    /// Lends the bytes not yet consumed. The pointer is valid only during the call; do not append inside it.
    package func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(region.pointee.bytes)
    }

    /// Drops bytes that have been written from the front.
    ///
    /// An empty buffer reuses its memory, and gives it back down to 64 KiB.
    ///
    /// - Parameter count: Bytes, at most ``count``.
    package func consume(_ count: Int) {
        lastACK = nil
        region.pointee.consume(count)
    }

    /// Drops everything.
    package func removeAll() {
        consume(region.pointee.count)
    }

    private func appendFrame(_ write: (inout MessagePackWriter) -> Void) {
        let start = region.pointee.count
        Swift.withUnsafeBytes(of: UInt32(0)) { region.pointee.append($0.baseAddress.unsafelyUnwrapped, 4) }
        var writer = MessagePackWriter(region)
        write(&writer)
        // Bodies, names and lists are bounded far below 4 GiB before they get here.
        region.pointee.overwrite(UInt32(region.pointee.count - start - 4), at: start)
    }
}
