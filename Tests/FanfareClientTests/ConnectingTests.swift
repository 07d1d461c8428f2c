import FanfareClient
import FanfareModel
import Glibc
import Testing

/// Coming, leaving, and what a layer says when it cannot.
struct ConnectingTests {
    @Test("closing ends what waits, and what comes later", arguments: MeetingPlace.Kind.allCases)
    func closing(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer()
            let channel = layer.newChannel()
            let waits = [channel, "normal", channel].map { name in Task { try await layer.receive(from: name) } }
            // Once a message has gone this way, those before it wait.
            try await layer.send(numbered(1), to: "other")
            await layer.close()
            for wait in waits {
                let error = try await layerError { _ = try await soon { try await wait.value } }
                #expect(error == .closed)
            }
            let calls: [() async throws -> Void] = [
                { _ = try await soon { try await layer.receive(from: channel) } },
                { _ = try await soon { try await layer.receive(from: "normal") } },
                { try await soon { try await layer.send([:], to: "c") } },
                { try await soon { try await layer.groupAdd("c", to: "g") } },
                { try await soon { try await layer.groupDiscard("c", from: "g") } },
                { try await soon { try await layer.groupSend([:], to: "g") } },
                { try await soon { try await layer.flush() } },
            ]
            for call in calls { #expect(try await layerError(call) == .closed) }
            await layer.close()
        }
    }

    @Test("a layer that is closed leaves its groups and its channels", arguments: MeetingPlace.Kind.allCases)
    func leaves(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (leaving, staying) = (
                try await place.layer { $0.capacity = 1 }, try await place.layer { $0.capacity = 1_000 }
            )
            let channel = leaving.newChannel()
            try await staying.send(numbered(1), to: channel)
            #expect(try await layerError { try await staying.send(numbered(2), to: channel) }?.kind == .channelFull)
            await leaving.close()
            // Nobody owns the channel any more: the sender's capacity counts.
            try await poll("the owner is gone") {
                try await layerError { try await staying.send(numbered(3), to: channel) } == nil
            }
        }
    }

    @Test("a layer nobody holds any more leaves by itself", arguments: MeetingPlace.Kind.allCases)
    func letGo(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let staying = try await place.layer()
            var channel = ""
            do {
                let layer = try await place.untrackedLayer { $0.capacity = 1 }
                channel = layer.newChannel()
                try await layer.groupAdd(channel, to: "room")
                try await layer.send(numbered(1), to: channel)
                #expect(try await layerError { try await layer.send(numbered(1), to: channel) }?.kind == .channelFull)
            }
            let left = channel
            try await poll("the owner is gone") {
                try await layerError { try await staying.send(numbered(2), to: left) } == nil
            }
            if kind == .broker {
                #expect(try await place.count("sessions") == 1)
                #expect(try await place.count("memberships") == 0)
            }
        }
    }

    @Test("a layer lives while somebody waits on it")
    func heldByReceive() async throws {
        try await MeetingPlace.run(.broker) { place in
            let sender = try await place.layer()
            let waiting = try await {
                let layer = try await place.untrackedLayer()
                return Task { try await layer.receive(from: "c") }
            }()
            try await poll("it waits") { try await place.count("receives") == 1 }
            try await sender.send(numbered(1), to: "c")
            #expect(try await soon { try await waiting.value } == numbered(1))
            try await poll("it has left") { try await place.count("sessions") == 1 }
        }
    }

    @Test("without a broker the first connection fails at once", arguments: [true, false])
    func noBroker(retries: Bool) async throws {
        let limits = Limits()
        var hello = Hello(client: "test/1", name: "test", role: .worker, policy: Policy(limits))
        hello.node = "n1"
        let endpoints: [Endpoint] = [
            .unix(path: "/tmp/fanfare-no-such-folder/b.sock"), .unix(path: "/tmp/fanfare-none.sock"),
        ]
        let failure = await #expect(throws: ProgramFailure.self) {
            try await soon { [hello] in
                try await ChannelLayer.connect(
                    endpoints: endpoints,
                    hello: hello,
                    limits: limits,
                    retries: retries,
                    logger: MeetingPlace.quiet
                )
            }
        }
        #expect(failure?.exit == .unavailable)
        for endpoint in endpoints { #expect(failure?.text.contains(endpoint.description) == true) }
    }

    @Test("the public connection says what cannot be used and who does not answer")
    func publicErrors() async throws {
        try await MeetingPlace.run(.broker) { place in
            let noBroker = try await layerError {
                _ = try await place.layer { $0.endpoints = ["unix:/tmp/fanfare-none.sock"] }
            }
            #expect(noBroker?.kind == .notConnected)
            let noEndpoint = try await layerError { _ = try await place.layer { $0.endpoints = ["here"] } }
            #expect(noEndpoint?.kind == .refused)
            #expect(noEndpoint?.description.contains("here") == true)
        }
    }

    @Test("a setting the broker refuses is refused, and nothing goes on trying", arguments: MeetingPlace.Kind.allCases)
    func badSettings(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let error = try await layerError {
                _ = try await soon { try await place.layer { $0.namespace = "not a name" } }
            }
            #expect(error?.kind == .refused)
            #expect(error?.description.contains("not a name") == true)
            #expect(try await layerError { _ = try await soon { try await place.layer("") } }?.kind == .refused)
            if kind == .broker { try await poll("they have left") { try await place.count("strangers") == 0 } }
        }
    }

    @Test("the second endpoint is dialled when the first does not answer")
    func secondEndpoint() async throws {
        try await MeetingPlace.run(.broker) { place in
            let layer = try await place.layer { $0.endpoints = ["unix:/tmp/fanfare-none.sock"] + $0.endpoints }
            try await layer.send(numbered(1), to: "c")
            #expect(try await layer.number(from: "c") == 1)
        }
    }

    @Test("who accepts and sends no WELCOME is given up", arguments: ["silent", "dripping"])
    func noWelcome(_ kind: String) async throws {
        let path = "/tmp/fanfare-\(kind)-\(getpid()).sock"
        let descriptor = try Self.listen(on: path)
        defer {
            close(descriptor)
            unlink(path)
        }
        var configuration = ChannelLayer.Configuration(name: "test")
        configuration.endpoints = ["unix:" + path]
        let connecting = Task { [configuration] in
            try await layerError { _ = try await soon { try await ChannelLayer.connect(configuration) } }
        }
        let dripping = Task {
            guard kind == "dripping" else { return }
            var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            while Glibc.poll(&waiting, 1, 0) == 0 { try await Task.sleep(for: .milliseconds(10)) }
            let peer = accept(descriptor, nil, nil)
            defer { close(peer) }
            // The length of a frame, and its bytes one after the other.
            var bytes: [UInt8] = [0, 0, 0x0f, 0xa0]
            while send(peer, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count {
                bytes = [1]
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let error = try await connecting.value
        dripping.cancel()
        _ = await dripping.result
        #expect(error?.kind == .notConnected)
        #expect(error?.description.contains("WELCOME") == true)
    }

    private static func listen(on path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        unlink(path)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0 && Glibc.listen(descriptor, 5) == 0)
        return descriptor
    }

    @Test("embedded layers share a broker only when they are told to")
    func separateEmbedded() async throws {
        let alone = try await ChannelLayer.embedded(.init(name: "alone"))
        let together = EmbeddedLayers()
        let (one, two) = (
            try await ChannelLayer.embedded(.init(name: "one"), with: together),
            try await ChannelLayer.embedded(.init(name: "two"), with: together)
        )
        try await one.send(numbered(1), to: "c")
        #expect(try await alone.waiting(in: "c").isEmpty)
        #expect(try await two.waiting(in: "c") == [1])
        for layer in [alone, one, two] { await layer.close() }
    }

    @Test("inspection, tail and ping serve the programs of this house")
    func houseCalls() async throws {
        try await MeetingPlace.run(.broker) { place in
            let layer = try await place.layer()
            var hello = Hello(client: "test/1", name: "looker", role: .admin, policy: Policy(Limits()))
            hello.node = "looker"
            let endpoint = Endpoint.unix(path: place.path)
            let looker = try await ChannelLayer.connect(
                endpoints: [endpoint],
                hello: hello,
                retries: false,
                logger: MeetingPlace.quiet
            )
            #expect(try await looker.ping() > .zero)
            let status = try await looker.inspect(InspectionQuery(.status))
            #expect(status["sessions"] == 2)
            await #expect(throws: Failure.self) { try await layer.inspect(InspectionQuery(.status)) }
            let missing = {
                var query = InspectionQuery(.group)
                query.name = "none"
                return query
            }()
            await #expect(throws: Failure.self) { try await looker.inspect(missing) }
            let reading = Task {
                var names: [String] = []
                for await copy in try await looker.tail(TailQuery(kind: .channel, match: Glob("c*"))) {
                    names.append(copy.name)
                    if names.count == 2 { break }
                }
                return names
            }
            try await poll("the tail runs") { try await place.count("tails") == 1 }
            try await layer.send(numbered(1), to: "c1")
            try await layer.send(numbered(2), to: "d1")
            try await layer.send(numbered(3), to: "c2")
            let names = try await soon { try await reading.value }
            #expect(names == ["c1", "c2"])
            // A tail nobody reads any more is ended at the broker too.
            try await poll("the tail is over") { try await place.count("tails") == 0 }
            let second = try await looker.tail(TailQuery(kind: .group, match: Glob("*")))
            await looker.close()
            #expect(try await count(second) == 0)
        }
    }

    /// Copies until the tail ends.
    private func count(_ copies: AsyncStream<Tailed>) async throws -> Int {
        try await soon {
            var count = 0
            for await _ in copies { count += 1 }
            return count
        }
    }

    @Test("a tail the role may not have ends")
    func forbiddenTail() async throws {
        try await MeetingPlace.run(.broker) { place in
            let layer = try await place.layer()
            let copies = try await layer.tail(TailQuery(kind: .channel, match: Glob("*")))
            #expect(try await count(copies) == 0)
        }
    }
}
