import FanfareModel

extension RoundTripTests {
    private static let largest = UInt64(Int64.max)
    private static let largestID: RequestID = (1 << 53) - 1
    private static let body = Body(0...255)

    private static var policy: Policy {
        var policy = Policy(Limits())
        policy.capacity = 1_000_000
        policy.overflow = Overflow.allCases.map { Policy.ChannelOverflow(pattern: Glob("\($0)*"), overflow: $0) }
        policy.channelCapacity = [Policy.ChannelCapacity(pattern: Glob("a[!x-z]*"), capacity: 1)]
        policy.capacityScope = .process
        policy.expiry = Milliseconds(0)
        policy.groupExpiry = Milliseconds(largest)
        policy.groupExpiryIsLiteral = true
        return policy
    }

    private static var hello: Hello {
        var hello = Hello(client: "fanfare/0.1.0", name: "né", role: .admin, policy: policy)
        hello.namespace = "shop"
        hello.node = "n-1"
        hello.attributes = ["pid": "1", "host": "", "": String(repeating: "x", count: 256)]
        hello.token = "s3cret"
        return hello
    }

    private static var inspection: InspectionQuery {
        var query = InspectionQuery(.channels)
        query.name = "c"
        query.namespace = ""
        query.match = Glob("*")
        query.sort = "depth"
        query.descending = true
        query.limit = 1_000
        query.cursor = "abc"
        query.reason = "full"
        query.budget = Milliseconds(10_000)
        return query
    }

    private static var tail: TailQuery {
        var query = TailQuery(kind: .channel, match: Glob("?"))
        query.namespace = "shop"
        query.sample = largest
        query.ratePerSecond = 10_000
        return query
    }

    static var requests: [Request] {
        [
            .hello(hello),
            .hello(Hello(client: "", name: "", role: .publish, policy: Policy(Limits()))),
            .ping(1),
            .pong(largestID),
            .goodbye,
            .send(id: nil, channel: "", body: [], SendOptions()),
            .send(id: largestID, channel: "p.n!a", body: body, SendOptions(expiry: Milliseconds(largest))),
            .send(id: 1, channel: "c", body: Body(repeating: 1, count: 2 * 1_048_576), SendOptions()),
            .send(id: 1, channel: "c", body: body, SendOptions(trace: trace)),
            .send(id: nil, channel: "c", body: body, SendOptions(expiry: Milliseconds(1), trace: largestTrace)),
            .receive(id: 1, channel: "c", count: 1),
            .receive(id: 1, channel: "c", count: 65_535),
            .cancel(id: 1, target: largestID),
            .giveBack(
                id: nil,
                channel: "c",
                GivenBack(body: body, order: largest, deadline: Instant(nanoseconds: largest))
            ),
            .giveBack(id: 3, channel: "c", GivenBack(body: [], order: 0, deadline: Instant(nanoseconds: 0))),
            .giveBack(
                id: nil,
                channel: "c",
                GivenBack(body: [], order: 0, deadline: Instant(nanoseconds: 0), trace: trace)
            ),
            .report(Report(received: 0, taken: [], dropped: [])),
            .report(
                Report(
                    received: largest,
                    taken: [Report.Taken(channel: "c", taken: 0, held: largest)],
                    dropped: DropReason.allCases.map {
                        Report.Dropped(
                            channel: $0 == .expired ? nil : "c",
                            group: $0 == .full ? nil : "g",
                            count: largest,
                            reason: $0
                        )
                    }
                )
            ),
            .openChannels(id: nil, []),
            .openChannels(
                id: 1,
                [OpenedChannel(name: "a"), OpenedChannel(name: "b", attributes: ["x": "y", "a": ""])]
            ),
            .closeChannels(id: nil, ["a", "b"]),
            .groupAdd(id: 1, group: "g", channels: ["a"], groupExpiry: nil),
            .groupAdd(id: nil, group: "g", channels: [], groupExpiry: Milliseconds(0)),
            .groupDiscard(id: 1, group: "g", channels: ["a"]),
            .groupSend(id: nil, group: "g", body: body, GroupSendOptions()),
            .groupSend(
                id: 1,
                group: "g",
                body: [],
                GroupSendOptions(
                    expiry: Milliseconds(1),
                    exclude: [String](repeating: "p.n!a", count: 256),
                    wantsOutcome: true,
                    trace: largestTrace
                )
            ),
            .groupSend(id: nil, group: "g", body: body, GroupSendOptions(trace: trace)),
            .groupSend(id: 1, group: "g", body: [], GroupSendOptions(wantsOutcome: true)),
            .outcome(token: largest, accepted: 0, dropped: largest),
            .flush(1),
            .inspect(1, InspectionQuery(.status)),
            .inspect(1, inspection),
            .tail(1, TailQuery(kind: .group, match: Glob(""))),
            .tail(1, tail),
            .admin(1, command: "kick", arguments: ["session": 1, "deep": ["a": [nil, true, 0.5]]]),
        ]
    }

    /// One header, and as much as there may be.
    static let trace = TraceContext([.init("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")])
    static let largestTrace = TraceContext(["a", "b", "", "ä"].map { .init($0, String(repeating: "é", count: 63)) })

    static var replies: [Reply] {
        var limits = Limits()
        limits.frameBytes = 1
        limits.silenceMaximum = Milliseconds(1)
        let welcome = Welcome(session: SessionID(largest), epoch: 0, broker: "b", policy: policy, limits: limits)
        var resumable = welcome
        resumable.resumption = Welcome.Resumption(token: [1], grace: Milliseconds(1))
        var resumed = welcome
        resumed.resumption = Welcome.Resumption(
            token: Body(repeating: 0xff, count: 64),
            grace: Milliseconds(largest),
            resumedAfter: largest
        )
        var delivery = GroupDelivery(group: "g", body: body, remaining: Milliseconds(largest))
        let plainDelivery = delivery
        delivery.exclude = ["a", "b"]
        delivery.outcome = largest
        delivery.trace = largestTrace
        var tracedDelivery = plainDelivery
        tracedDelivery.trace = trace
        return [
            .welcome(welcome), .welcome(resumable), .welcome(resumed),
            .ping(1),
            .pong(largestID),
            .ack(largestID),
            .result(1, nil),
            .result(1, ["rows": [["a": .int(.min), "b": .int(.max)]], "bytes": .binary([0xff])]),
            .deliver(channel: "p.n!a", body: body, remaining: Milliseconds(0)),
            .deliver(channel: "p.n!a", body: body, remaining: Milliseconds(0), trace: trace),
            .handOut(
                1,
                HandOut(
                    body: [],
                    order: 1,
                    deadline: Instant(nanoseconds: 1),
                    remaining: Milliseconds(1),
                    trace: largestTrace
                )
            ),
            .handOut(
                1,
                HandOut(
                    body: [],
                    order: largest,
                    deadline: Instant(nanoseconds: largest),
                    remaining: Milliseconds(largest)
                )
            ),
            .clock(Milliseconds(largest)), .clock(Milliseconds(0)),
            .gap(Gap(name: nil, count: largest, reason: .ownerGone)),
            .gap(Gap(name: "c", count: 1, reason: .full)),
            .gap(Gap(name: "c", count: 1, reason: .full, isClosed: true)),
            .groupDeliver(plainDelivery),
            .groupDeliver(tracedDelivery),
            .groupDeliver(delivery),
            .members(group: "g", added: [], removed: []),
            .members(group: "g", added: [String](repeating: "c", count: 10_000), removed: ["a"]),
            .flushed(token: 0),
            .tailed(1, Tailed(kind: .group, name: "g", namespace: "n", body: body, skipped: largest)),
            .goAway(within: Milliseconds(0), reason: "é", drains: false),
            .goAway(within: Milliseconds(1), reason: "", drains: true),
        ] + ErrorCode.allCases.map { .error($0 == .channelFull ? 7 : nil, Failure($0, $0.name)) }
    }
}
