import FanfareBroker
import FanfareModel
import FanfareTransport
import Testing

/// What the patterns of a credential let through, request by request.
struct GateTests {
    /// The lists of patterns, by what they are about.
    enum List: CaseIterable {
        case sendChannels
        case receiveChannels
        case sendGroups
        case joinGroups
    }

    /// A request about one channel and one group, and the lists that must allow them.
    struct Case: Sendable {
        var name: String
        var channelLists: Set<List> = []
        var groupLists: Set<List> = []
        var request: @Sendable (_ channel: String, _ group: String) -> Request
    }

    static let cases: [Case] = [
        Case(name: "SEND", channelLists: [.sendChannels]) { channel, _ in
            .send(id: 1, channel: channel, body: [], SendOptions())
        },
        Case(name: "SEND without id", channelLists: [.sendChannels]) { channel, _ in
            .send(id: nil, channel: channel, body: [], SendOptions())
        },
        Case(name: "RECEIVE", channelLists: [.receiveChannels]) { channel, _ in
            .receive(id: 1, channel: channel, count: 1)
        },
        Case(name: "GIVE_BACK", channelLists: [.receiveChannels]) { channel, _ in
            .giveBack(id: 1, channel: channel, GivenBack(body: [], order: 1, deadline: Instant(nanoseconds: 0)))
        },
        Case(name: "REPORT", channelLists: [.receiveChannels]) { channel, _ in
            let dropped = Report.Dropped(channel: channel, group: nil, count: 1, reason: .undecodable)
            return .report(Report(received: 0, taken: [], dropped: [dropped]))
        },
        Case(name: "REPORT of a group", groupLists: [.joinGroups]) { _, group in
            let dropped = Report.Dropped(channel: nil, group: group, count: 1, reason: .undecodable)
            return .report(Report(received: 0, taken: [], dropped: [dropped]))
        },
        Case(name: "GROUP_ADD", channelLists: [.sendChannels], groupLists: [.joinGroups]) { channel, group in
            .groupAdd(id: 1, group: group, channels: ["own.n1!1", channel], groupExpiry: nil)
        },
        Case(name: "GROUP_DISCARD", channelLists: [.sendChannels], groupLists: [.joinGroups]) { channel, group in
            .groupDiscard(id: 1, group: group, channels: ["own.n1!1", channel])
        },
        Case(name: "GROUP_SEND", groupLists: [.sendGroups]) { channel, group in
            .groupSend(id: 1, group: group, body: [], GroupSendOptions(exclude: [channel], wantsOutcome: true))
        },
    ]

    private static func permissions(_ restricted: Set<List>) -> Permissions {
        var permissions = Permissions()
        let few = NamePatterns(["open.*", "o"])
        if restricted.contains(.sendChannels) { permissions.sendChannels = few }
        if restricted.contains(.receiveChannels) { permissions.receiveChannels = few }
        if restricted.contains(.sendGroups) { permissions.sendGroups = few }
        if restricted.contains(.joinGroups) { permissions.joinGroups = few }
        return permissions
    }

    private static func hello(_ role: Role = .worker) -> Hello {
        var hello = Hello(client: "test/1", name: "test", role: role, policy: Policy(Limits()))
        hello.node = "n1"
        return hello
    }

    private func gate(_ permissions: Permissions, _ role: Role = .worker) throws -> Gate? {
        let proof = Access.Proof.user(SocketUser(user: 1, groups: []))
        return Gate(Access(name: "test", proof: proof, permissions: permissions), Self.hello(role))
    }

    /// Every subset of the four lists.
    private static var subsets: [Set<List>] {
        (0..<16).map { bits in Set(List.allCases.enumerated().filter { bits >> $0.offset & 1 == 1 }.map(\.element)) }
    }

    @Test("each request is let through when, and only when, its lists allow its names", arguments: cases)
    func requests(example: Case) throws {
        for restricted in Self.subsets {
            guard let gate = try gate(Self.permissions(restricted)) else {
                #expect(restricted.isEmpty, "a session with patterns has no gate")
                continue
            }
            for channel in ["open.1", "o", "closed", "open", "x.n1!1", "x.n2!1", "n1!", "!", "", "a b"] {
                for group in ["open.1", "closed", "", "o!"] {
                    let request = example.request(channel, group)
                    let isOwn = channel == "x.n1!1" || channel == "n1!"
                    let channelPasses =
                        example.channelLists.isDisjoint(with: restricted) || isOwn || ["open.1", "o"].contains(channel)
                    let groupPasses = example.groupLists.isDisjoint(with: restricted) || group == "open.1"
                    let passes = channelPasses && groupPasses
                    do throws(Failure) {
                        #expect(try gate.admit(request) == request)
                        #expect(passes, "\(example.name) \(channel) \(group) under \(restricted)")
                    } catch {
                        #expect(!passes, "\(example.name) \(channel) \(group) under \(restricted): \(error)")
                        #expect(error.code == .forbidden)
                    }
                }
            }
        }
    }

    @Test("what is about no name, or only about what is one's own, always passes")
    func passing() throws {
        let gate = try #require(try gate(Self.permissions(Set(List.allCases)), .admin))
        let requests: [Request] = [
            .hello(Self.hello()), .ping(1), .pong(1), .goodbye, .cancel(id: 1, target: 2),
            .openChannels(id: 1, [OpenedChannel(name: "closed!1")]), .closeChannels(id: 1, ["closed!1"]),
            .outcome(token: 1, accepted: 1, dropped: 0),
            .report(Report(received: 1, taken: [Report.Taken(channel: "closed", taken: 1, held: 0)], dropped: [])),
        ]
        for request in requests { #expect(try gate.admit(request) == request) }
    }

    @Test("a flush is for who sees all of the namespace, ADMIN for who sees all of the broker")
    func wholes() throws {
        for restricted in Self.subsets where !restricted.isEmpty {
            let gate = try #require(try gate(Self.permissions(restricted), .admin))
            #expect(throws: Failure.self) { try gate.admit(.flush(1)) }
            #expect(throws: Failure.self) { try gate.admit(.admin(1, command: "kick", arguments: [:])) }
        }
        var permissions = Permissions()
        permissions.namespaces = NamePatterns(["default"])
        let gate = try #require(try gate(permissions, .admin))
        #expect(try gate.admit(.flush(1)) == .flush(1))
        #expect(throws: Failure.self) { try gate.admit(.admin(1, command: "drain", arguments: [:])) }
    }

    @Test("a session without restrictions has no gate, whatever its role", arguments: Role.allCases)
    func noGate(role: Role) throws {
        #expect(try gate(Permissions(), role) == nil)
        var permissions = Permissions()
        permissions.nodes = NamePatterns(["n1"])
        #expect(try gate(permissions, role) == nil)
        // Who acts in its own namespace only was asked at its hello.
        permissions.namespaces = NamePatterns(["default"])
        #expect(try (gate(permissions, role) != nil) == (role == .inspect || role == .admin))
    }

    @Test("an inspection by name is refused, whether the name exists or not; a listing is narrowed")
    func inspections() throws {
        var permissions = Permissions()
        permissions.sendChannels = NamePatterns(["send.*"])
        permissions.receiveChannels = NamePatterns(["receive.*"])
        permissions.sendGroups = NamePatterns(["gsend"])
        permissions.joinGroups = NamePatterns(["gjoin"])
        permissions.namespaces = NamePatterns(["default", "shop"])
        let gate = try #require(try gate(permissions))
        func admits(_ subject: InspectionQuery.Subject, _ name: String?, _ namespace: String? = nil) -> InspectionQuery?
        {
            var query = InspectionQuery(subject)
            query.name = name
            query.namespace = namespace
            guard case .inspect(7, let admitted)? = try? gate.admit(.inspect(7, query)) else { return nil }
            return admitted
        }
        for name in ["send.1", "receive.1", "own.n1!1"] { #expect(admits(.channel, name) != nil) }
        for name in ["gsend", "gjoin"] { #expect(admits(.group, name) != nil) }
        for name in ["closed", "gsend", "own.n2!1"] { #expect(admits(.channel, name) == nil) }
        for name in ["closed", "send.1", "own.n1!1"] { #expect(admits(.group, name) == nil) }
        for subject in InspectionQuery.Subject.allCases {
            #expect(admits(subject, nil, "hidden") == nil)
            let seen = try #require(admits(subject, nil, "shop")).visibility
            #expect(seen.shows(.channel, "send.1", in: "shop") && seen.shows(.channel, "receive.1", in: "shop"))
            #expect(seen.shows(.channel, "a.n1!1", in: "default") && !seen.shows(.channel, "a.n1!1", in: "shop"))
            #expect(!seen.shows(.channel, "closed", in: "shop") && !seen.shows(.channel, "send.1", in: "hidden"))
            #expect(seen.shows(.group, "gsend", in: "shop") && seen.shows(.group, "gjoin", in: "shop"))
            #expect(!seen.shows(.group, "closed", in: "shop") && !seen.shows(namespace: "hidden"))
        }
    }

    @Test("a tail copies only what the session might have got anyway: what it may receive, and groups it may join")
    func tails() throws {
        var permissions = Permissions()
        permissions.sendChannels = NamePatterns(["send.*"])
        permissions.receiveChannels = NamePatterns(["receive.*"])
        permissions.sendGroups = NamePatterns(["gsend"])
        permissions.joinGroups = NamePatterns(["gjoin"])
        permissions.namespaces = NamePatterns(["default"])
        let gate = try #require(try gate(permissions, .inspect))
        var query = TailQuery(kind: .channel, match: Glob("*"))
        guard case .tail(7, let admitted) = try gate.admit(.tail(7, query)) else {
            Issue.record("another request came out")
            return
        }
        let seen = admitted.visibility
        #expect(seen.shows(.channel, "receive.1", in: "default") && !seen.shows(.channel, "send.1", in: "default"))
        #expect(seen.shows(.group, "gjoin", in: "default") && !seen.shows(.group, "gsend", in: "default"))
        #expect(!seen.shows(.channel, "receive.1", in: "shop"))
        query.namespace = "shop"
        #expect(throws: Failure.self) { try gate.admit(.tail(7, query)) }
    }

    @Test("a refusal names the credential, the name and the patterns, nothing else")
    func text() throws {
        let gate = try #require(try gate(Self.permissions([.sendChannels])))
        do throws(Failure) {
            _ = try gate.admit(.send(id: 1, channel: "closed", body: [1], SendOptions()))
            Issue.record("it was let through")
        } catch {
            #expect(error.text == "the credential \"test\" may not send to the channel \"closed\", only: open.*, o")
        }
    }
}
