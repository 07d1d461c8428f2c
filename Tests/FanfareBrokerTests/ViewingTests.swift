import FanfareBroker
import FanfareModel
import FanfareProtocol
import Testing

/// Looking at a broker from its own process, and who may.
@Suite(.timeLimit(.minutes(5))) struct ViewingTests {
    private static let everyGroup = TailQuery(kind: .group, match: Glob("*"))
    private static let local = Viewer(isLocal: true)

    private func credentials(_ change: (inout Credential) -> Void = { _ in }) -> Credentials {
        var looker = Credential(name: "looker")
        looker.tokens = [TokenHash(of: "right")]
        looker.roles = [.inspect]
        change(&looker)
        var worker = Credential(name: "worker")
        worker.tokens = [TokenHash(of: "of a worker")]
        worker.roles = [.worker]
        return Credentials([worker, looker])
    }

    private func admitted(
        _ query: InspectionQuery,
        from viewer: Viewer,
        _ broker: TemporaryBroker
    ) async throws -> InspectionQuery {
        try await broker.server.admit(query, from: viewer)
    }

    private func refusal(_ body: () async throws(Failure) -> Void) async -> ErrorCode? {
        do throws(Failure) {
            try await body()
            return nil
        } catch {
            return error.code
        }
    }

    private func send(_ text: String, to group: String, over connection: RawConnection) async throws {
        try await connection.write(
            .groupSend(id: 1, group: group, body: MessagePack.encode(["text": .string(text)]), GroupSendOptions())
        )
        _ = try await connection.reply()
    }

    /// A session that may send to these groups, which have a member: a message to nobody is not watched.
    private func sender(to groups: [String], _ broker: TemporaryBroker) async throws -> RawConnection {
        let connection = try await broker.session(.admin)
        for group in groups {
            try await connection.write(.groupAdd(id: 1, group: group, channels: ["sink"], groupExpiry: nil))
            _ = try await connection.reply()
        }
        return connection
    }

    @Test func `without credentials this machine sees everything, and others nothing`() async throws {
        try await TemporaryBroker.run { broker in
            let query = InspectionQuery(.status)
            #expect(try await admitted(query, from: Self.local, broker) == query)
            #expect(try await admitted(query, from: Viewer(isLocal: true, token: "any"), broker) == query)
            let status = try await broker.server.inspect(query)
            #expect(status["sessions"] == 0)
            for viewer in [Viewer(isLocal: false), Viewer(isLocal: false, token: "any")] {
                let code = await refusal { () async throws(Failure) in
                    _ = try await broker.server.admit(query, from: viewer)
                }
                #expect(code == .forbidden)
                let tail = await refusal { () async throws(Failure) in
                    _ = try await broker.server.tail(Self.everyGroup, for: viewer)
                }
                #expect(tail == .forbidden)
            }
        }
    }

    @Test func `with credentials a token of inspect or admin is asked for, on this machine too`() async throws {
        try await TemporaryBroker.run { broker in
            _ = try await broker.server.replace(credentials())
            let query = InspectionQuery(.groups)
            for isLocal in [true, false] {
                #expect(try await admitted(query, from: Viewer(isLocal: isLocal, token: "right"), broker) == query)
                for token in [nil, "", "wrong", "of a worker", "right "] {
                    let viewer = Viewer(isLocal: isLocal, token: token)
                    let code = await refusal { () async throws(Failure) in
                        _ = try await broker.server.admit(query, from: viewer)
                    }
                    #expect(code == .unauthorized, "\(token ?? "none")")
                }
            }
        }
    }

    @Test func `an entry for loopback lets this machine look, and nobody else`() async throws {
        try await TemporaryBroker.run { broker in
            _ = try await broker.server.replace(credentials { $0.coversLoopback = true })
            let query = InspectionQuery(.groups)
            #expect(try await admitted(query, from: Self.local, broker) == query)
            for viewer in [Viewer(isLocal: false), Viewer(isLocal: true, token: "wrong")] {
                let code = await refusal { () async throws(Failure) in
                    _ = try await broker.server.admit(query, from: viewer)
                }
                #expect(code == .unauthorized)
            }
        }
    }

    @Test func `a viewer sees what its credential has patterns for`() async throws {
        try await TemporaryBroker.run { broker in
            _ = try await broker.server.replace(
                credentials {
                    $0.permissions.joinGroups = NamePatterns(["chat_*"])
                    $0.permissions.sendGroups = NamePatterns([])
                }
            )
            let viewer = Viewer(isLocal: false, token: "right")
            let admitted = try await broker.server.admit(InspectionQuery(.groups), from: viewer)
            #expect(admitted.visibility.shows(.group, "chat_lobby", in: "default"))
            #expect(!admitted.visibility.shows(.group, "secret", in: "default"))
            var query = InspectionQuery(.group)
            query.name = "secret"
            let named = query
            let code = await refusal { () async throws(Failure) in
                _ = try await broker.server.admit(named, from: viewer)
            }
            #expect(code == .forbidden)
        }
    }

    @Test func `a tail brings what passes, as values, and ends when it is let go of`() async throws {
        try await TemporaryBroker.run { broker in
            let sender = try await sender(to: ["chat", "chat_lobby", "other"], broker)
            do {
                var query = Self.everyGroup
                query.match = Glob("chat_*")
                let feed = try await broker.server.tail(query, for: Self.local)
                var copies = feed.makeAsyncIterator()
                #expect(try await broker.count("tails") == 1)
                try await send("not watched", to: "other", over: sender)
                try await send("hello", to: "chat_lobby", over: sender)
                let element = try #require(await copies.next())
                #expect(element.copy.name == "chat_lobby")
                #expect(element.copy.kind == .group)
                #expect(element.message == ["text": "hello"])
            }
            try await broker.eventually("tails", is: 0)
        }
    }

    @Test func `a viewer who does not read is skipped and told how much, and delays nobody`() async throws {
        try await TemporaryBroker.run { broker in
            let sender = try await sender(to: ["chat", "chat_lobby", "other"], broker)
            var query = Self.everyGroup
            query.ratePerSecond = 10_000
            let feed = try await broker.server.tail(query, for: Self.local)
            let sent = TailFeed.copiesMaximum + 40
            for number in 0..<sent { try await send("\(number)", to: "chat", over: sender) }
            var copies = feed.makeAsyncIterator()
            for number in 0..<TailFeed.copiesMaximum {
                #expect(await copies.next()?.message == ["text": .string("\(number)")])
            }
            try await send("last", to: "chat", over: sender)
            let last = try #require(await copies.next())
            #expect(last.message == ["text": "last"])
            #expect(last.copy.skipped == 40)
        }
    }

    @Test func `large bodies wait within their bound of bytes, and are not decoded`() async throws {
        var limits = Limits()
        limits.tailBytes = 100_000
        try await TemporaryBroker.run(limits) { broker in
            let sender = try await sender(to: ["chat", "chat_lobby", "other"], broker)
            let feed = try await broker.server.tail(Self.everyGroup, for: Self.local)
            let large = String(repeating: "x", count: TailFeed.decodedBytes)
            for _ in 0..<3 { try await send(large, to: "chat", over: sender) }
            var copies = feed.makeAsyncIterator()
            for _ in 0..<2 {
                let element = try #require(await copies.next())
                #expect(element.message == nil)
            }
            try await send("small", to: "chat", over: sender)
            let small = try #require(await copies.next())
            #expect(small.copy.skipped == 1)
        }
    }

    @Test func `tails of viewers count against the limit`() async throws {
        var limits = Limits()
        limits.tails = 1
        try await TemporaryBroker.run(limits) { broker in
            let feed = try await broker.server.tail(Self.everyGroup, for: Self.local)
            let code = await refusal { () async throws(Failure) in
                _ = try await broker.server.tail(Self.everyGroup, for: Self.local)
            }
            #expect(code == .limitReached)
            withExtendedLifetime(feed) {}
        }
    }

    @Test func `other credentials end the tails they would not give`() async throws {
        try await TemporaryBroker.run { broker in
            _ = try await broker.server.replace(credentials())
            let viewer = Viewer(isLocal: false, token: "right")
            var kept = try await broker.server.tail(Self.everyGroup, for: viewer).makeAsyncIterator()
            _ = try await broker.server.replace(credentials())
            #expect(try await broker.count("tails") == 1)
            _ = try await broker.server.replace(credentials { $0.permissions.joinGroups = NamePatterns(["chat_*"]) })
            #expect(await kept.next() == nil)
            #expect(try await broker.count("tails") == 0)
            var revoked = try await broker.server.tail(Self.everyGroup, for: viewer).makeAsyncIterator()
            _ = try await broker.server.replace(credentials { $0.tokens = [TokenHash(of: "new")] })
            #expect(await revoked.next() == nil)
        }
    }

    @Test func `a broker that stops ends its tails, and answers nobody then`() async throws {
        try await TemporaryBroker.run { broker in
            var copies = try await broker.server.tail(Self.everyGroup, for: Self.local).makeAsyncIterator()
            await broker.server.stop(within: Milliseconds(1_000))
            #expect(await copies.next() == nil)
            let code = await refusal { () async throws(Failure) in
                _ = try await broker.server.inspect(InspectionQuery(.status))
            }
            #expect(code == .draining)
        }
    }
}
