import Testing

@testable import FanfareWorker

@Suite struct RateLimitTests {
    private struct Numbers: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
            return mixed ^ mixed >> 31
        }
    }

    @Test func `limits that let nothing through or cannot be counted are refused`() {
        let refused: [(Int, Double, Int?)] = [
            (0, 1, nil), (-1, 1, nil), (1, 0, nil), (1, -1, nil), (1, .nan, nil), (1, .infinity, nil), (1, 1, 0),
            (1, 1, -1), (1_000_001, 1, nil), (1, 31_536_001, nil), (1, 86_400, 366), (.max, 1, nil), (1, 1, .max),
            (1, .leastNonzeroMagnitude, nil), (1, .greatestFiniteMagnitude, nil),
        ]
        for (count, seconds, burst) in refused {
            #expect(throws: InvalidSetting.self, "\(count) \(seconds) \(burst ?? 0)") {
                try RateLimit(count, perSeconds: seconds, burst: burst)
            }
        }
    }

    @Test func `a full bucket gives its burst at once and then one token at a time`() throws {
        let limit = try RateLimit(10, perSeconds: 1, burst: 3)
        var bucket = TokenBucket(limit)
        let start: UInt64 = 5_000_000_000
        for _ in 0..<3 { #expect(bucket.take(nowNanoseconds: start) == .admitted) }
        #expect(bucket.take(nowNanoseconds: start) == .refused(afterSeconds: 0.1))
        #expect(bucket.take(nowNanoseconds: start + 99_999_999) == .refused(afterSeconds: 1e-9))
        #expect(bucket.take(nowNanoseconds: start + 100_000_000) == .admitted)
        #expect(!bucket.take(nowNanoseconds: start + 100_000_000).isAdmitted)
        // After any pause it is full, not more.
        for _ in 0..<3 { #expect(bucket.take(nowNanoseconds: start + 1 << 40) == .admitted) }
        #expect(!bucket.take(nowNanoseconds: start + 1 << 40).isAdmitted)
    }

    @Test func `several tokens are taken all or none`() throws {
        var bucket = TokenBucket(try RateLimit(1_000, perSeconds: 1, burst: 1_000))
        #expect(bucket.take(600, nowNanoseconds: 0) == .admitted)
        #expect(bucket.take(600, nowNanoseconds: 0) == .refused(afterSeconds: 0.2))
        #expect(bucket.take(400, nowNanoseconds: 0) == .admitted)
        #expect(bucket.take(0, nowNanoseconds: 0) == .admitted)
        for tooMany in [1_001, Int.max] {
            #expect(bucket.take(tooMany, nowNanoseconds: 0) == .refused(afterSeconds: 1))
            #expect(bucket.take(tooMany, nowNanoseconds: .max) == .refused(afterSeconds: 0))
        }
    }

    @Test func `no clock breaks a bucket`() throws {
        var bucket = TokenBucket(try RateLimit(1, perSeconds: 31_536_000))
        #expect(bucket.take(nowNanoseconds: .max) == .admitted)
        #expect(bucket.take(nowNanoseconds: .max - 1) == .refused(afterSeconds: 1e-9))
        // A clock that went back makes nobody wait longer than a whole bucket takes.
        #expect(bucket.take(nowNanoseconds: 0) == .refused(afterSeconds: 31_536_000))
    }

    @Test(arguments: 0..<20)
    func `no window ever holds more than burst and rate allow, and a promised wait is enough`(seed: UInt64) throws {
        var numbers = Numbers(state: seed)
        let limit = try RateLimit(
            .random(in: 1...50, using: &numbers),
            perSeconds: .random(in: 0.01...10, using: &numbers),
            burst: .random(in: 1...20, using: &numbers)
        )
        var bucket = TokenBucket(limit)
        var now = UInt64.random(in: 0...1 << 50, using: &numbers)
        var admitted: [UInt64] = []
        for _ in 0..<500 {
            now += .random(in: 0...2 * limit.tokenNanoseconds, using: &numbers)
            switch bucket.take(nowNanoseconds: now) {
            case .admitted:
                admitted.append(now)
            case .refused(let seconds):
                var later = bucket
                #expect(seconds > 0)
                #expect(later.take(nowNanoseconds: now + UInt64((seconds * 1e9).rounded())).isAdmitted)
            }
        }
        for first in admitted.indices {
            for last in first..<admitted.count {
                let returned = (admitted[last] - admitted[first]) / limit.tokenNanoseconds
                #expect(UInt64(last - first + 1) <= UInt64(limit.burst) + returned)
            }
        }
    }

    @Test(arguments: 0..<20)
    func `a table with room answers as if it never forgot`(seed: UInt64) throws {
        var numbers = Numbers(state: seed)
        let limit = try RateLimit(5, perSeconds: 1, burst: .random(in: 1...8, using: &numbers))
        var table = RateTable<Int>(limit, keysMaximum: 64)
        var buckets = [TokenBucket](repeating: TokenBucket(limit), count: 64)
        var now: UInt64 = 1
        for _ in 0..<5_000 {
            now += .random(in: 0...30_000_000, using: &numbers)
            if Int.random(in: 0..<500, using: &numbers) == 0 { now += limit.fillNanoseconds }
            let key = Int.random(in: 0..<64, using: &numbers)
            let tokens = Int.random(in: 0...3, using: &numbers)
            let answer = table.take(key, tokens: tokens, nowNanoseconds: now)
            #expect(answer == buckets[key].take(tokens, nowNanoseconds: now), "seed \(seed)")
        }
        #expect(table.evictions == 0)
    }

    @Test func `full buckets are forgotten as others come`() throws {
        var table = RateTable<Int>(try RateLimit(1, perSeconds: 1), keysMaximum: 1_000_000)
        for key in 0..<10_000 { _ = table.take(key, nowNanoseconds: 0) }
        #expect(table.count == 10_000)
        // New keys do not make it grow, and calls with the same key leave only what is not full.
        for key in 0..<5_000 {
            _ = table.take(-1 - key, nowNanoseconds: 1_000_000_000)
            #expect(table.count <= 10_000)
        }
        for _ in 0..<5_000 { _ = table.take(-1, nowNanoseconds: 1_000_000_000) }
        #expect(table.count == 5_000)
        #expect(table.evictions == 0)
    }

    @Test func `a full table locks nobody out and keeps limiting who keeps knocking`() throws {
        let limit = try RateLimit(10, perSeconds: 60, burst: 10)
        var table = RateTable<Int>(limit, keysMaximum: 128)
        var knocks = 0
        var now: UInt64 = 0
        for stranger in 1...100_000 {
            now += 1_000
            #expect(table.take(stranger, nowNanoseconds: now).isAdmitted)
            if table.take(0, nowNanoseconds: now).isAdmitted { knocks += 1 }
            #expect(table.count <= 128)
        }
        #expect(table.evictions > 99_000)
        // 0.1 s passed: nothing came back.
        #expect(knocks == 10)
    }

    @Test func `an address is one key, and so is a client's whole network`() throws {
        let limit = try RateLimit(1, perSeconds: 60)
        func sameKey(_ first: String, _ second: String) -> Bool {
            var table = RateTable<IPAddress>(limit)
            #expect(table.take(address: first, nowNanoseconds: 0).isAdmitted)
            return !table.take(address: second, nowNanoseconds: 0).isAdmitted
        }
        #expect(sameKey("192.0.2.1", "192.0.2.1:4711"))
        #expect(sameKey("192.0.2.1", "::ffff:192.0.2.1"))
        #expect(!sameKey("192.0.2.1", "192.0.2.2"))
        #expect(sameKey("2001:db8:1:2::1", "[2001:db8:1:2:ffff:ffff:ffff:ffff]:80"))
        #expect(!sameKey("2001:db8:1:2::1", "2001:db8:1:3::1"))
        #expect(sameKey("unix", "garbage"))
        #expect(!sameKey("unix", "192.0.2.1"))
    }
}
