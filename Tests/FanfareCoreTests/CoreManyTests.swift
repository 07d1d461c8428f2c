import FanfareCore
import FanfareModel
import Testing

/// Histories of the simulation are long, but few names live at once in them; here there are thousands.
@Suite("Many names")
struct CoreManyTests {
    private static let channels = (0..<4_500).map { $0 % 3 == 0 ? "jobs.\($0)" : "specific.w1!\($0)" }

    private static func group(of index: Int) -> String { "room_\(index * 7 % 1_300)" }

    private func count(_ what: String, _ broker: Broker) throws -> Int {
        let status = try broker.core.inspect(InspectionQuery(.status), now: broker.now)
        guard case .int(let count)? = status[what] else { return -1 }
        return Int(count)
    }

    private func fill(_ broker: inout Broker, from session: SessionID) {
        for (index, channel) in Self.channels.enumerated() {
            broker.add([channel], to: Self.group(of: index), from: session)
        }
    }

    @Test("every name is found while thousands come and go in any order, and nothing is left when all have gone")
    func comeAndGo() throws {
        var broker = Broker()
        var random = SplitMix64(seed: 11)
        let session = try broker.open(node: "w1")
        var present = Set<Int>()
        for round in 1...3 {
            for index in Self.channels.indices where present.insert(index).inserted {
                broker.add([Self.channels[index]], to: Self.group(of: index), from: session)
            }
            #expect(try count("memberships", broker) == Self.channels.count)
            #expect(broker.core.checkInvariants(at: broker.now) == [])
            let leaving = round == 3 ? present.sorted() : present.sorted().filter { _ in random.chance(70) }
            for index in leaving.map({ ($0, random.next()) }).sorted(by: { $0.1 < $1.1 }).map(\.0) {
                let names = [Self.channels[index]]
                broker.apply(.groupDiscard(id: 1, group: Self.group(of: index), channels: names), from: session)
                present.remove(index)
            }
            #expect(try count("memberships", broker) == present.count)
            #expect(broker.core.checkInvariants(at: broker.now) == [])
        }
        #expect(try count("channels", broker) == 0)
        #expect(try count("groups", broker) == 0)
    }

    @Test("a session takes thousands of channels with it and leaves those nobody owns")
    func closing() throws {
        var broker = Broker()
        let session = try broker.open(node: "w1")
        fill(&broker, from: session)
        broker.close(session)
        #expect(try count("memberships", broker) == Self.channels.count / 3)
        #expect(broker.core.checkInvariants(at: broker.now) == [])
    }

    @Test("thousands of memberships end in the order of their deadlines")
    func deadlines() throws {
        var broker = Broker()
        var random = SplitMix64(seed: 12)
        let session = try broker.open(node: "w1")
        var expected: [(expiry: UInt64, name: String)] = []
        for index in 0..<3_000 {
            let (expiry, name) = (UInt64(1 + random.below(1_000)), "w1!\(index)")
            broker.add([name], to: "chat", from: session, expiry: 2_000)
            // Again: it is the last deadline that counts.
            broker.add([name], to: "chat", from: session, expiry: expiry)
            expected.append((expiry, name))
        }
        let ended = broker.pass(milliseconds: 1_500)[session]
        // Equal deadlines in the order they were set: sorting is stable.
        let order = expected.sorted { $0.expiry < $1.expiry }.map(\.name)
        #expect(ended == order.map { .members(group: "chat", added: [], removed: [$0]) })
        #expect(try count("channels", broker) == 0)
        #expect(broker.core.checkInvariants(at: broker.now) == [])
    }

    @Test("a copy of the core does not see what happens to the other")
    func copies() throws {
        var broker = Broker()
        let session = try broker.open(node: "w1")
        fill(&broker, from: session)
        broker.send("hello", to: "jobs.0", from: session)
        let copy = broker
        let (groups, channels) = (try copy.rows(.groups), try copy.rows(.channels))
        broker.close(session)
        broker.pass(milliseconds: 100_000_000)
        #expect(try count("channels", broker) == 0)
        #expect(try copy.rows(.groups) == groups)
        #expect(try copy.rows(.channels) == channels)
        #expect(try count("memberships", copy) == Self.channels.count)
        #expect(copy.core.checkInvariants(at: copy.now) == [])
        #expect(broker.core.checkInvariants(at: broker.now) == [])
    }
}
