import Testing

@testable import fanfare_bench

@Suite struct BrokerGroupAccountTests {
    private static func take(_ account: inout BrokerGroupAccount, _ sequences: [UInt64], from link: Int) -> Int {
        sequences.withUnsafeBufferPointer { account.take($0, from: link, at: 1_000) }
    }

    @Test func `a message is complete when every link has it`() {
        var account = BrokerGroupAccount(members: 3, window: 2)
        #expect(account.send(at: 0) == 1)
        #expect(account.send(at: 0) == 2)
        #expect(Self.take(&account, [1, 2], from: 0) == 0)
        #expect(Self.take(&account, [1], from: 1) == 0)
        #expect(Self.take(&account, [1, 2], from: 2) == 1)
        #expect(!account.isSettled)
        #expect(Self.take(&account, [2], from: 1) == 1)
        #expect(account.isSettled)
        #expect(account.counts.delivered == 6)
        #expect(account.counts.expected == 6)
        #expect(account.counts.outOfOrder == 0)
        #expect(account.counts.latencies.count == 6)
    }

    @Test func `a message that does not come is missing and shows as a gap`() {
        var account = BrokerGroupAccount(members: 2, window: 4)
        for _ in 0..<3 { _ = account.send(at: 0) }
        #expect(Self.take(&account, [1, 2, 3], from: 0) == 0)
        #expect(Self.take(&account, [1, 3], from: 1) == 2)
        #expect(account.counts.delivered == 5)
        #expect(account.counts.expected == 6)
        #expect(account.counts.outOfOrder == 1)
        #expect(!account.isSettled)
    }

    @Test(arguments: [[1, 1], [2, 1], [1, 9], [0], [UInt64.max]] as [[UInt64]])
    func `what comes twice, late or was never sent is out of order`(sequences: [UInt64]) {
        var account = BrokerGroupAccount(members: 1, window: 4)
        for _ in 0..<2 { _ = account.send(at: 0) }
        _ = Self.take(&account, sequences, from: 0)
        #expect(account.counts.outOfOrder > 0)
    }

    @Test func `what comes to the publisher is no delivery in order`() {
        var account = BrokerGroupAccount(members: 1, window: 1)
        _ = account.send(at: 0)
        #expect(Self.take(&account, [1], from: 1) == 0)
        #expect(account.counts.outOfOrder == 1)
    }

    @Test func `numbers count on over many windows`() {
        var account = BrokerGroupAccount(members: 2, window: 3)
        for sequence in 1...1_000 as ClosedRange<UInt64> {
            #expect(account.send(at: 0) == sequence)
            #expect(Self.take(&account, [sequence], from: 0) == 0)
            #expect(Self.take(&account, [sequence], from: 1) == 1)
        }
        #expect(account.isSettled)
        #expect(account.counts.outOfOrder == 0)
    }
}
