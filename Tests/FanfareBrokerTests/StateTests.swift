import Crypto
import FanfareBroker
import FanfareCore
import FanfareModel
import Glibc
import Testing

/// The state one start leaves to the next: its bytes and its file.
struct StateTests {
    private let limits = Limits()
    private let taken = StateFile.Moment(wall: 1_000_000, clock: Instant(nanoseconds: 50_000_000_000))

    // MARK: Bytes

    @Test("a state reads as it was written")
    func roundTrip() throws {
        let state = try sample()
        #expect(!state.core.groups.isEmpty && !state.core.collections.isEmpty)
        #expect(try BrokerState(decoding: state.encoded(bytesMaximum: 1 << 20)) == state)
        let many = try large(members: 5_000, messages: 3_000)
        #expect(try BrokerState(decoding: many.encoded(bytesMaximum: 1 << 30)) == many)
    }

    @Test("every truncation of a state is refused")
    func truncations() throws {
        let bytes = try sample().encoded(bytesMaximum: 1 << 20)
        for count in 0..<bytes.count {
            #expect(throws: StateFailure.self, "\(count) of \(bytes.count)") {
                try BrokerState(decoding: Array(bytes[..<count]))
            }
        }
    }

    @Test("every changed byte is found")
    func flips() throws {
        let bytes = try sample().encoded(bytesMaximum: 1 << 20)
        for place in bytes.indices {
            var damaged = bytes
            damaged[place] ^= 1 << UInt8(place % 8)
            #expect(throws: StateFailure.self, "byte \(place)") { try BrokerState(decoding: damaged) }
        }
    }

    @Test("damage under a right digest is refused, or is a state the core can live with", arguments: 0..<4)
    func forgeries(batch: UInt64) throws {
        let bytes = try sample().encoded(bytesMaximum: 1 << 20).dropLast(32)
        var random = SplitMix(state: batch)
        var (refused, contradictions, lived) = (0, 0, 0)
        for _ in 0..<4_000 {
            var damaged = Array(bytes)
            for _ in 0...Int(random.next() % 3) {
                let place = 12 + Int(random.next() % UInt64(damaged.count - 12))
                switch random.next() % 4 {
                case 0: damaged[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: damaged[place] ^= 1 << UInt8(random.next() % 8)
                case 2: damaged.remove(at: place)
                default: damaged.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                }
            }
            damaged += Array(SHA256.hash(data: damaged))
            guard let state = try? BrokerState(decoding: damaged) else {
                refused += 1
                continue
            }
            let moment = state.clock
            guard var core = try? Core(restoring: state.core, limits: limits, broker: "test", at: moment) else {
                contradictions += 1
                continue
            }
            lived += 1
            var effects = Effects()
            core.advance(to: moment, into: &effects)
            #expect(core.checkInvariants(at: moment).isEmpty, "batch \(batch)")
        }
        #expect(refused > 0 && contradictions > 0 && lived > 0, "\(refused), \(contradictions), \(lived)")
    }

    @Test("a state of another version, another kind of file and a state that is too large are refused")
    func strangers() throws {
        let state = try sample()
        var bytes = try state.encoded(bytesMaximum: 1 << 20)
        bytes[11] = 1
        #expect(throws: StateFailure("it has version 1, this program reads 3")) { try BrokerState(decoding: bytes) }
        #expect(throws: StateFailure("it is no state of a broker")) {
            try BrokerState(decoding: [UInt8](repeating: 7, count: 100))
        }
        #expect(throws: StateFailure.self) { try state.encoded(bytesMaximum: 200) }
    }

    // MARK: The file

    @Test("a file is the owner's alone, is read once, and says the same")
    func once() throws {
        let (folder, file) = try file()
        let state = try sample()
        try file.write(state)
        var facts = stat()
        #expect(stat(folder.path + "/file", &facts) == 0 && facts.st_mode & 0o777 == 0o600)
        #expect(access(folder.path + "/file.new", F_OK) != 0)
        #expect(try file.take(at: later(10)) == state)
        #expect(try file.take(at: later(10)) == nil, "it is gone")
    }

    @Test(
        "a file that is too old, of the future, or of another clock is refused and gone",
        arguments: [
            (10_001, 10_001), (-1, 0), (100, 100_000), (100, -2_000),
        ]
    )
    func stale(wall: Int, clock: Int) throws {
        let (folder, file) = try file()
        try file.write(try sample())
        #expect(throws: StateFailure.self) { try file.take(at: later(wall, clock)) }
        #expect(access(folder.path + "/file", F_OK) != 0)
    }

    @Test("a file of another mode, and a link, are not read")
    func foreign() throws {
        let (folder, file) = try file()
        try file.write(try sample())
        chmod(folder.path + "/file", 0o644)
        #expect(throws: StateFailure.self) { try file.take(at: later(10)) }
        symlink("/etc/passwd", folder.path + "/file")
        #expect(throws: StateFailure.self) { try file.take(at: later(10)) }
    }

    @Test("a state that cannot be written leaves none, not an earlier one")
    func unwritable() throws {
        let (folder, file) = try file()
        try file.write(try sample())
        var small = limits
        small.stateBytes = 4_096
        let bounded = StateFile(path: folder.path + "/file", limits: small)
        #expect(throws: StateFailure.self) { try bounded.write(try large(members: 1_000, messages: 10)) }
        #expect(access(folder.path + "/file", F_OK) != 0)
        #expect(access(folder.path + "/file.new", F_OK) != 0)
        let nowhere = StateFile(path: folder.path + "/missing/file", limits: limits)
        #expect(throws: StateFailure.self) { try nowhere.write(try sample()) }
        #expect(throws: ProgramFailure.self) { try nowhere.check() }
        #expect(throws: ProgramFailure.self) { try StateFile(path: folder.path, limits: limits).check() }
        #expect(throws: Never.self) { try file.check() }
    }

    /// Not a test of speed: prints what `swift test -c release` with FANFARE_STATE_MEMBERS=1000000 takes.
    @Test("a large state survives", .enabled(if: getenv("FANFARE_STATE_MEMBERS") != nil))
    func size() throws {
        let (_, file) = try file()
        let members = Int(String(cString: getenv("FANFARE_STATE_MEMBERS"))) ?? 1_000
        let state = try large(members: members, messages: members / 10)
        let clock = ContinuousClock()
        var bytes = 0
        let writing = try clock.measure { bytes = try file.write(state) }
        var read: BrokerState?
        let reading = try clock.measure { read = try file.take(at: later(10)) }
        let back = try #require(read)
        var core: Core?
        let restoring = try clock.measure {
            core = try Core(restoring: back.core, limits: limits, broker: "test", at: back.clock)
        }
        let snapshot = clock.measure { _ = core?.state(at: back.clock) }
        print("\(members) memberships: \(bytes) bytes, snapshot \(snapshot), write \(writing), read \(reading),")
        print("restore \(restoring)")
        #expect(back == state)
    }

    private func file() throws -> (folder: TemporaryFolder, file: StateFile) {
        let folder = try TemporaryFolder()
        return (folder, StateFile(path: folder.path + "/file", limits: limits))
    }

    /// So many milliseconds after the sample was taken, on either clock.
    private func later(_ wall: Int, _ clock: Int? = nil) -> StateFile.Moment {
        StateFile.Moment(
            wall: UInt64(Int(taken.wall) + wall),
            clock: Instant(nanoseconds: UInt64(Int(taken.clock.nanoseconds) + (clock ?? wall) * 1_000_000))
        )
    }

    // MARK: States

    /// A little of everything.
    private func sample() throws -> BrokerState {
        var broker = Story()
        let owner = try broker.open(node: "n") {
            $0.policy.overflow = [.init(pattern: Glob("n!*"), overflow: .dropNewest)]
        }
        let other = try broker.open(node: "m") { $0.attributes = ["pid": "1"] }
        broker.say(.openChannels(id: 1, [OpenedChannel(name: "n!a", attributes: ["remote": "here"])]), owner)
        broker.say(.groupAdd(id: 2, group: "room", channels: ["n!a", "n!b", "jobs", "x!1"], groupExpiry: nil), owner)
        broker.say(.groupAdd(id: 3, group: "hall", channels: ["m!z", "n!a"], groupExpiry: Milliseconds(60_000)), other)
        broker.say(.send(id: nil, channel: "n!a", body: [1, 2, 3], SendOptions()), other)
        broker.say(.send(id: nil, channel: "work", body: Body(repeating: 9, count: 40), SendOptions()), other)
        let trace = TraceContext([.init("traceparent", "00-1-2-01"), .init("baggage", "")])
        broker.say(.send(id: nil, channel: "work", body: [8], SendOptions(trace: trace)), other)
        broker.say(.send(id: nil, channel: "x!1", body: [4], SendOptions()), other)
        broker.say(.receive(id: 4, channel: "empty", count: 3), other)
        broker.core.setCongested(true, owner, now: broker.now, into: &broker.effects)
        broker.say(.send(id: nil, channel: "n!b", body: [5], SendOptions()), other)
        broker.say(.groupSend(id: 5, group: "hall", body: [6], GroupSendOptions(wantsOutcome: true)), other)
        broker.say(.flush(6), try broker.open(node: "k", namespace: "b"))
        return state(of: broker)
    }

    private func large(members: Int, messages: Int) throws -> BrokerState {
        var broker = Story()
        let owner = try broker.open(node: "n")
        for start in stride(from: 0, to: members, by: 1_000) {
            let names = (start..<min(start + 1_000, members)).map { "n!\($0)" }
            broker.say(.groupAdd(id: nil, group: "g\(start / 10_000)", channels: names, groupExpiry: nil), owner)
        }
        for number in 0..<messages {
            let body = Body(repeating: UInt8(number % 251), count: 100)
            broker.say(.send(id: nil, channel: "c\(number / 90)", body: body, SendOptions()), owner)
        }
        return state(of: broker)
    }

    private func state(of broker: Story) -> BrokerState {
        let core = broker.core.state(at: broker.now)
        let kept = core.sessions.map {
            var kept = BrokerState.Kept(token: [1, 7], base: 3, count: 4, requestsTaken: $0.number, kept: [1, 2])
            kept.credential = $0.number == 1 ? "ada" : nil
            return kept
        }
        return BrokerState(program: "test", takenAt: taken.wall, clock: taken.clock, core: core, kept: kept)
    }
}

/// A core and its clock.
private struct Story {
    var core = Core(limits: Limits(), epoch: 77, broker: "test")
    var effects = Effects()
    var now = Instant(nanoseconds: 9_000_000_000)

    mutating func open(
        node: String,
        namespace: String = "default",
        _ change: (inout Hello) -> Void = { _ in }
    ) throws -> SessionID {
        var hello = Hello(client: "test/1", name: node, role: .worker, policy: Policy(Limits()))
        hello.node = node
        hello.namespace = namespace
        hello.capabilities = ["resume"]
        change(&hello)
        return try core.open(hello, now: now, into: &effects)
    }

    mutating func say(_ request: Request, _ session: SessionID) {
        now.nanoseconds += 1_000
        effects.removeAll()
        core.apply(request, from: session, now: now, into: &effects)
    }
}

/// SplitMix64 by Steele, Lea and Flood.
private struct SplitMix {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var bits = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
        return bits ^ (bits >> 31)
    }
}
