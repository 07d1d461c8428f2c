package import FanfareModel
import FanfareProtocol
import Synchronization

/// Copies of passing messages for a reader in this process. Ends with the broker, with the reader's credential, or when
/// it is let go of, which ends the tail.
///
/// Bounded: while ``copiesMaximum`` copies, or `tail_bytes`, wait for the reader, further ones are counted as skipped.
package struct TailFeed: AsyncSequence, Sendable {
    /// One message that passed.
    package struct Element: Sendable {
        package var copy: Tailed
        /// What the body says; `nil` when it is larger than ``decodedBytes`` or is not MessagePack.
        package var message: MessageValue?

        package init(copy: Tailed, message: MessageValue?) {
            self.copy = copy
            self.message = message
        }
    }

    /// Copies that wait for one reader, at most.
    package static let copiesMaximum = 256
    /// Bytes of a body that is decoded, at most: what a person can look at is less.
    package static let decodedBytes = 65_536

    let stream: AsyncStream<Tailed>
    let room: Room
    let limits: Limits

    package func makeAsyncIterator() -> Iterator {
        Iterator(copies: stream.makeAsyncIterator(), room: room, reader: FrameReader(limits: limits))
    }

    package struct Iterator: AsyncIteratorProtocol {
        var copies: AsyncStream<Tailed>.AsyncIterator
        let room: Room
        let reader: FrameReader

        package mutating func next() async -> Element? {
            guard let copy = await copies.next() else { return nil }
            room.leave(copy)
            let isSmall = copy.body.count <= TailFeed.decodedBytes
            return Element(copy: copy, message: isSmall ? try? reader.value(copy.body) : nil)
        }
    }

    /// What waits between the broker's loop and the reader's task.
    final class Room: Sendable {
        private let copies = Atomic(0)
        private let bytes = Atomic(0)
        private let bytesMaximum: Int

        init(bytesMaximum: Int) {
            self.bytesMaximum = bytesMaximum
        }

        /// Whether another copy may wait; it is counted then. Called by the loop alone.
        func admit(_ copy: Tailed) -> Bool {
            guard copies.load(ordering: .relaxed) < TailFeed.copiesMaximum,
                bytes.load(ordering: .relaxed) <= bytesMaximum
            else { return false }
            copies.wrappingAdd(1, ordering: .relaxed)
            bytes.wrappingAdd(copy.body.count, ordering: .relaxed)
            return true
        }

        func leave(_ copy: Tailed) {
            copies.wrappingSubtract(1, ordering: .relaxed)
            bytes.wrappingSubtract(copy.body.count, ordering: .relaxed)
        }
    }
}
