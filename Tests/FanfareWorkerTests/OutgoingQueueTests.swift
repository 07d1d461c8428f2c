import FanfareTransport
import Testing

@testable import FanfareWorker

@Suite struct OutgoingQueueTests {
    @Test("The queue equals a naive one after any history", arguments: OutgoingQueue.Policy.allCases)
    func model(policy: OutgoingQueue.Policy) {
        for seed in UInt64(0)..<400 {
            var history = QueueHistory(seed: seed, policy: policy)
            for step in 0..<250 {
                history.step()
                guard let difference = history.difference else { continue }
                Issue.record("seed \(seed), step \(step): \(difference)")
                return
            }
        }
    }

    @Test func `what has begun is never dropped, whatever is thrown away behind it`() {
        for policy in OutgoingQueue.Policy.allCases {
            let bounds = OutgoingQueue.Bounds(messages: 2, bytes: 10_000, policy: policy)
            let first = frame(.text, 300)
            for taken in 1..<first.count {
                var queue = OutgoingQueue()
                #expect(queue.append(WebSocketMessages(first), taken: taken, at: 1, within: bounds) == .admitted)
                for _ in 0..<10 { _ = queue.append(WebSocketMessages(frame(.text, 5)), at: 2, within: bounds) }
                #expect(queue.oldest == 1)
                #expect(queue.discard() == 2)
                #expect(drain(&queue, 7) == Array(first[taken...]))
                #expect(queue.isEmpty)
            }
        }
    }

    @Test func `a message alone always fits, a second one only within the bounds`() {
        let bounds = OutgoingQueue.Bounds(messages: 10, bytes: 100, policy: .dropNewest)
        var queue = OutgoingQueue()
        #expect(queue.append(WebSocketMessages(frame(.binary, 5_000)), at: 0, within: bounds) == .admitted)
        #expect(queue.append(WebSocketMessages(frame(.binary, 1)), at: 0, within: bounds) == .dropped(1))
        _ = queue.next(atMost: 1)
        // The large one has begun: it counts no more.
        #expect(queue.append(WebSocketMessages(frame(.binary, 1)), at: 0, within: bounds) == .admitted)
        #expect(queue.messages == 1)
    }

    @Test func `pings and pongs do not pile up and pass what waits, a close frame does not`() {
        let bounds = OutgoingQueue.Bounds(messages: 3, bytes: 1_000, policy: .dropOldest)
        var queue = OutgoingQueue()
        let text = frame(.text, 10)
        _ = queue.append(WebSocketMessages(text), at: 0, within: bounds)
        for size in 0..<100 {
            _ = queue.append(WebSocketMessages(frame(.pong, size)), at: size, within: bounds)
            _ = queue.append(WebSocketMessages(ServerFrame.ping), at: size, within: bounds)
        }
        _ = queue.append(WebSocketMessages(ServerFrame.close(.normal)), at: 100, within: bounds)
        let expected = frame(.pong, 99) + ServerFrame.ping + text + ServerFrame.close(.normal)
        #expect(queue.byteCount == expected.count)
        #expect(drain(&queue, 1) == expected)
    }

    @Test func `bytes that are no messages are gathered, kept in order and never dropped`() {
        var queue = OutgoingQueue()
        var expected: [UInt8] = []
        for size in 0..<600 {
            let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* size) }
            bytes.withUnsafeBytes { queue.append(opaque: $0, at: 0) }
            expected += bytes
        }
        #expect(queue.byteCount == expected.count)
        #expect(queue.messages == 0)
        #expect(drain(&queue, 1_000) == expected)
        #expect(queue.oldest == nil)
    }

    @Test func `a row of messages can be cut at every byte, wherever it is torn`() {
        let sizes = [0, 1, 125, 126, 127, 400]
        let row = sizes.flatMap { frame(.text, $0) }
        for torn in 0...row.count {
            let whole = WebSocketMessages(Array(row[..<torn]))
            for cut in 0...torn {
                var messages = whole
                let (taken, begun) = messages.take(cut)
                #expect(Array(taken) == Array(row[..<cut]))
                #expect(Array(taken + begun + messages.bytes) == Array(row[..<torn]))
                #expect(cut > 0 || begun.isEmpty)
            }
        }
        #expect(WebSocketMessages(row).count == sizes.count)
    }

    @Test func `bytes that are no frames are counted and cut without harm`() {
        var random = SplitMix64(seed: 5)
        for _ in 0..<20_000 {
            let count = Int(random.next() % 24)
            var bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if count > 1, random.next() % 2 == 0 { bytes[1] = random.next() % 2 == 0 ? 127 : 126 }
            var messages = WebSocketMessages(bytes)
            var dropped = 0
            var droppedBytes = 0
            while messages.count > 0 {
                droppedBytes += messages.dropFirst()
                dropped += 1
            }
            #expect(droppedBytes == count)
            #expect(dropped == WebSocketMessages(bytes).count)
            #expect(messages.bytes.isEmpty)
        }
    }

    @Test func `a message of several frames is one`() {
        var row: [UInt8] = []
        for _ in 0..<3 {
            row += [0x01, 2, 65, 66] + [0x00, 1, 67] + [0x80, 0]
        }
        var messages = WebSocketMessages(row)
        #expect(messages.count == 3)
        #expect(messages.dropFirst() == 9)
        #expect(messages.take(5).begun == row[14..<18])
        #expect(messages.count == 1)
    }
}

private func frame(_ opcode: Opcode, _ size: Int) -> [UInt8] {
    var frames: [UInt8] = []
    ServerFrame.append(opcode, (0..<size).map { UInt8(truncatingIfNeeded: $0) }, to: &frames)
    return frames
}

private func drain(_ queue: inout OutgoingQueue, _ byteCount: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    while let piece = queue.next(atMost: byteCount) { bytes += piece }
    return bytes
}

/// A random history of one queue and of a naive one that keeps every message by itself.
private struct QueueHistory {
    private var random: SplitMix64
    private let bounds: OutgoingQueue.Bounds
    private var queue = OutgoingQueue()
    private var naive = NaiveQueue()
    private var now = 0
    private var messageCount: UInt8 = 0
    private(set) var difference: String?

    init(seed: UInt64, policy: OutgoingQueue.Policy) {
        random = SplitMix64(seed: seed)
        bounds = OutgoingQueue.Bounds(
            messages: Int(random.next() % 20) + 1,
            bytes: Int(random.next() % 3_000) + 1,
            policy: policy
        )
    }

    mutating func step() {
        now += Int(random.next() % 3)
        switch random.next() % 16 {
        case 0..<7: appendMessages()
        case 7: appendControl(.ping, Int(random.next() % 126))
        case 8: appendControl(.pong, Int(random.next() % 126))
        case 9 where naive.closes == 0 && random.next() % 20 == 0:
            naive.closes = 1
            appendControl(.close, 2)
        case 10 where random.next() % 20 == 0: discard()
        default: take()
        }
        compare()
    }

    private mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }

    private mutating func newMessage() -> [UInt8] {
        messageCount &+= 1
        let size = [below(20), below(200), below(2_000), below(300) == 0 ? 66_000 : 3][below(4)]
        var bytes: [UInt8] = []
        ServerFrame.append(.binary, [UInt8](repeating: messageCount, count: size), to: &bytes)
        // Some in two frames.
        if below(5) == 0 {
            bytes[0] = 0x02
            ServerFrame.append(.continuation, [messageCount], to: &bytes)
        }
        return bytes
    }

    private mutating func appendMessages() {
        guard naive.closes == 0 else { return take() }
        let added = (0..<(below(6) + 1)).map { _ in newMessage() }
        let row = added.flatMap { $0 }
        let taken = naive.isEmpty && below(2) == 0 ? below(row.count + 1) : 0
        let got = queue.append(WebSocketMessages(row), taken: taken, at: now, within: bounds)
        let expected = naive.append(added, taken: taken, at: now, bounds)
        if got != expected { difference = "\(got), not \(expected)" }
    }

    private mutating func appendControl(_ opcode: Opcode, _ size: Int) {
        var bytes: [UInt8] = []
        ServerFrame.append(opcode, (0..<size).map { UInt8($0) }, to: &bytes)
        _ = queue.append(WebSocketMessages(bytes), at: now, within: bounds)
        naive.append(control: bytes, opcode, at: now)
    }

    private mutating func discard() {
        let got = queue.discard()
        let expected = naive.discard()
        if got != expected { difference = "discarded \(got), not \(expected)" }
    }

    private mutating func take() {
        let most = [1, below(40) + 1, below(4_000) + 1, 65_536][below(4)]
        let piece = queue.next(atMost: most)
        if let piece, piece.isEmpty || piece.count > most { difference = "a piece of \(piece.count) of \(most)" }
        if let wrong = naive.take(piece.map { Array($0) }) { difference = wrong }
    }

    private mutating func compare() {
        let got = [queue.messages, queue.byteCount, queue.oldest ?? -1, queue.isEmpty ? 1 : 0]
        let expected = [naive.messages, naive.byteCount, naive.oldest ?? -1, naive.isEmpty ? 1 : 0]
        if got != expected { difference = difference ?? "messages, bytes, oldest, empty: \(got), not \(expected)" }
        guard queue.messages > bounds.messages, queue.messages > 1 else { return }
        difference = "\(queue.messages) messages wait, the bound is \(bounds.messages)"
    }
}

private struct NaiveQueue {
    private struct Item {
        var bytes: [UInt8]
        var isMessage: Bool
        var since: Int
    }

    private var begun: Item?
    private var ping: Item?
    private var pong: Item?
    private var items: [Item] = []
    private var controlSince = 0
    var closes = 0

    private var all: [Item] { [begun, ping, pong].compactMap { $0 } + items }
    var isEmpty: Bool { all.isEmpty }
    var messages: Int { items.filter(\.isMessage).count }
    var byteCount: Int { all.reduce(0) { $0 + $1.bytes.count } }
    var oldest: Int? { all.map(\.since).min() }

    private func fits(_ bounds: OutgoingQueue.Bounds) -> Bool {
        let bytes = items.reduce(0) { $0 + $1.bytes.count }
        return messages <= 1 || messages <= bounds.messages && bytes <= bounds.bytes
    }

    mutating func append(
        _ added: [[UInt8]],
        taken: Int,
        at now: Int,
        _ bounds: OutgoingQueue.Bounds
    ) -> OutgoingQueue.Admission {
        var added = added
        var left = taken
        while left > 0 {
            let first = added.removeFirst()
            if left < first.count { begun = Item(bytes: Array(first[left...]), isMessage: true, since: now) }
            left -= min(left, first.count)
        }
        let before = items
        var dropped = 0
        for bytes in added {
            items.append(Item(bytes: bytes, isMessage: true, since: now))
            guard bounds.policy == .dropNewest, dropped > 0 || !fits(bounds) else { continue }
            items.removeLast()
            dropped += 1
        }
        if bounds.policy == .disconnect, !fits(bounds) {
            items = before
            return .overflow(added.count)
        }
        while bounds.policy == .dropOldest, !fits(bounds) {
            items.removeFirst()
            dropped += 1
        }
        return dropped == 0 ? .admitted : .dropped(dropped)
    }

    mutating func append(control bytes: [UInt8], _ opcode: Opcode, at now: Int) {
        if ping == nil, pong == nil { controlSince = now }
        let item = Item(bytes: bytes, isMessage: false, since: opcode == .close ? now : controlSince)
        switch opcode {
        case .ping: ping = item
        case .pong: pong = item
        default: items.append(item)
        }
    }

    mutating func discard() -> Int {
        let count = messages
        (ping, pong, items, closes) = (nil, nil, [], 0)
        return count
    }

    /// Follows what the queue gave out; returns what is wrong with it.
    mutating func take(_ piece: [UInt8]?) -> String? {
        guard let piece else { return isEmpty ? nil : "nothing came though something waits" }
        if begun == nil {
            if pong != nil {
                swap(&begun, &pong)
            } else if ping != nil {
                swap(&begun, &ping)
            }
        }
        if let begun, piece.count > begun.bytes.count { return "more than the rest of what has begun" }
        var left = piece[...]
        while !left.isEmpty {
            guard var first = begun ?? items.first else { return "more came than waits" }
            if begun == nil { items.removeFirst() }
            let count = min(first.bytes.count, left.count)
            guard first.bytes.prefix(count) == left.prefix(count) else { return "other bytes" }
            first.bytes.removeFirst(count)
            left = left.dropFirst(count)
            begun = first.bytes.isEmpty ? nil : first
        }
        return nil
    }
}
