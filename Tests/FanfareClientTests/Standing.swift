import FanfareModel
import Testing

@testable import FanfareClient

// What stands in a channel: messages and the holes between them.

extension Received {
    /// A message of ``numbered(_:)``.
    static func number(_ number: Int) -> Received {
        .message(numbered(number))
    }

    /// A hole.
    static func lost(_ count: UInt64, _ reason: DropReason, isClosed: Bool = false) -> Received {
        .missed(Missed(Gap(name: nil, count: count, reason: reason, isClosed: isClosed)))
    }

    /// The hole nobody can measure.
    static var reconnected: Received { .missed(Missed(Gap(name: nil, count: 0, reason: .ownerGone))) }
}

extension ChannelLayer {
    /// What stands next in a channel; fails the test when nothing comes.
    func arrival(in channel: String) async throws -> Received {
        try await soon { try await self.next(from: channel) }
    }

    /// Once this returns this process has heard everything sent to it before, and the broker all that it reports.
    func settle() async throws {
        for _ in 0..<2 { try await groupDiscard(newChannel(), from: "nowhere") }
    }

    /// Reads what should stand in an own channel, and proves with a message of its own that nothing stands behind it.
    func expect(_ expected: [Received], in channel: String, _ place: SourceLocation = #_sourceLocation) async throws {
        try await settle()
        for (index, item) in expected.enumerated() {
            let next = try await arrival(in: channel)
            #expect(next == item, "item \(index)", sourceLocation: place)
        }
        try await settle()
        try await send(numbered(-1), to: channel)
        let last = try await arrival(in: channel)
        #expect(last == .number(-1), "nothing more", sourceLocation: place)
        try await settle()
    }
}
