import FanfareModel
import FanfareProtocol
import Testing

/// The life of a connection before and at its hello.
struct OpeningTests {
    @Test("a hello is answered with a welcome that says what holds here")
    func welcome() async throws {
        var limits = Limits()
        limits.capacityMaximum = 7
        try await TemporaryBroker.run(limits) { broker in
            let client = try RawConnection(broker.unix)
            try await client.write(.hello(broker.hello(node: "n1")))
            guard case .welcome(let welcome)? = try await client.reply() else {
                Issue.record("no welcome")
                return
            }
            #expect(welcome.protocolVersion == 1)
            #expect(welcome.broker == "fanfare-broker/test")
            #expect(welcome.epoch > 0)
            #expect(welcome.policy.capacity == 7)
            #expect(welcome.frameBytes == limits.frameBytes)
            #expect(welcome.bodyBytes == limits.bodyBytes)
            #expect(welcome.namesPerFrame == limits.namesPerFrame)
            #expect(welcome.capabilities == Protocol.capabilities)
        }
    }

    @Test("another version is refused with the version spoken here, whatever else its hello says")
    func otherVersion() async throws {
        try await TemporaryBroker.run { broker in
            for version in [0, 2, 1_000] {
                let client = try RawConnection(broker.unix)
                let hello = MessageValue.array([1, ["protocol": .int(Int64(version)), "future": [1]]])
                try await client.write(payload: MessagePack.encode(hello))
                let replies = try await client.repliesToEnd()
                #expect(replies.count == 1)
                #expect(replies.first?.refusal == .unsupportedProtocol)
                if case .error(_, let failure)? = replies.first { #expect(failure.text.contains("speaks 1")) }
            }
            try await broker.eventually("strangers", is: 0)
        }
    }

    @Test("a second hello is refused and the session goes on")
    func secondHello() async throws {
        try await TemporaryBroker.run { broker in
            let client = try await broker.session()
            try await client.write(.hello(broker.hello()), .ping(4))
            #expect(try await client.reply()?.refusal == .helloRepeated)
            #expect(try await client.reply() == .pong(4))
        }
    }

    @Test("who says nothing is told so and closed")
    func silentStranger() async throws {
        try await TemporaryBroker.run { broker in
            let client = try RawConnection(broker.tcp)
            #expect(try await client.repliesToEnd().map(\.refusal) == [.helloExpected])
            try await broker.eventually("strangers", is: 0)
        }
    }

    @Test("many who say nothing are each told so and closed")
    func silentStrangers() async throws {
        try await TemporaryBroker.run { broker in
            // More than are let go in one turn.
            let clients = try (0..<30).map { _ in try RawConnection(broker.unix) }
            for client in clients {
                #expect(try await client.repliesToEnd().map(\.refusal) == [.helloExpected])
            }
            try await broker.eventually("strangers", is: 0)
        }
    }

    @Test("strangers are swept also after the last session has left")
    func silentStrangerLater() async throws {
        try await TemporaryBroker.run { broker in
            try await broker.session().close()
            try await broker.eventually("sessions", is: 0)
            let client = try RawConnection(broker.unix)
            #expect(try await client.repliesToEnd().map(\.refusal) == [.helloExpected])
        }
    }

    @Test("a hello that comes drop by drop comes too late")
    func drippingHello() async throws {
        var limits = Limits()
        limits.helloWithin = Milliseconds(500)
        try await TemporaryBroker.run(limits) { broker in
            let client = try RawConnection(broker.unix)
            // The start of a frame of 4 000 bytes, then one byte at a time.
            var isOpen = try await client.write([0, 0, 0x0f, 0xa0])
            for _ in 0..<4_000 where isOpen {
                try await Task.sleep(for: .milliseconds(5))
                isOpen = try await client.write([0x91])
            }
            #expect(!isOpen, "the broker took the whole hello, a byte at a time")
            #expect(try await client.repliesToEnd().map(\.refusal) == [.helloExpected])
        }
    }

    @Test("a hello over 4 096 bytes is refused by its length alone")
    func oversizedHello() async throws {
        try await TemporaryBroker.run { broker in
            for length: UInt32 in [4_097, 65_536, .max] {
                let client = try RawConnection(broker.unix)
                try await client.write(withUnsafeBytes(of: length.bigEndian) { Array($0) })
                #expect(try await client.repliesToEnd().map(\.refusal) == [.frameTooLarge])
            }
            let client = try await broker.session { hello in
                // 16 attributes of 200 bytes fit; the session's frames may be larger afterwards.
                for number in 0..<16 { hello.attributes["k\(number)"] = String(repeating: "v", count: 200) }
            }
            let body = Body(repeating: 1, count: 100_000)
            try await client.write(.send(id: 1, channel: "c", body: body, SendOptions()))
            #expect(try await client.reply() == .ack(1))
        }
    }

    @Test(
        "anything but a hello first is refused and closed",
        arguments: [
            .ping(1), .goodbye, .send(id: 1, channel: "c", body: [], SendOptions()), .flush(2),
            .inspect(3, InspectionQuery(.status)),
        ] as [Request]
    )
    func otherFirst(request: Request) async throws {
        try await TemporaryBroker.run { broker in
            let client = try RawConnection(broker.unix)
            try await client.write(request, .hello(broker.hello()))
            let replies = try await client.repliesToEnd()
            #expect(replies.count == 1)
            #expect(replies.first?.isError(.helloExpected, id: request.id) == true)
            try await broker.eventually("sessions", is: 0)
        }
    }

    @Test("an unknown operation first is no hello either")
    func unknownFirst() async throws {
        try await TemporaryBroker.run { broker in
            let client = try RawConnection(broker.unix)
            try await client.write(payload: MessagePack.encode([77, 5]))
            let replies = try await client.repliesToEnd()
            #expect(replies.count == 1)
            #expect(replies.first?.isError(.helloExpected, id: 5) == true)
        }
    }

    @Test(
        "a hello with a missing key, a wrong type or a bad name is refused and closed",
        arguments: [
            ["protocol": 1], ["protocol": "1", "client": "c", "name": "n", "role": "worker"],
            ["protocol": 1, "client": "c", "name": "n"],
            ["protocol": 1, "client": "c", "name": "n", "role": "king"],
            ["protocol": 1, "client": "", "name": "n", "role": "worker"],
            ["protocol": 1, "client": "c", "name": "", "role": "worker"],
            ["protocol": 1, "client": "c", "name": "n", "role": "worker", "node": "a.b"],
            ["protocol": 1, "client": "c", "name": "n", "role": "worker", "node": ""],
            ["protocol": 1, "client": "c", "name": "n", "role": "worker", "namespace": "a!b"],
            ["protocol": 1, "client": "c", "name": "n", "role": "worker", "policy": ["capacity": 0]],
            ["protocol": 1, "client": "c", "name": "n", "role": "worker", "attributes": ["pid": 7]],
        ] as [MessageValue]
    )
    func badHello(hello: MessageValue) async throws {
        try await TemporaryBroker.run { broker in
            let client = try RawConnection(broker.unix)
            try await client.write(payload: MessagePack.encode([1, hello]))
            #expect(try await client.repliesToEnd().map(\.refusal) == [.badHello])
        }
    }

    @Test("a node in use is refused until its session is gone; other namespaces have their own")
    func nodeTaken() async throws {
        try await TemporaryBroker.run { broker in
            let first = try await broker.session(node: "node-1")
            let second = try RawConnection(broker.tcp)
            try await second.write(.hello(broker.hello(node: "node-1")))
            #expect(try await second.repliesToEnd().map(\.refusal) == [.nodeTaken])
            _ = try await broker.session(node: "node-1", namespace: "other")
            first.close()
            try await poll("the node is free") {
                let third = try RawConnection(broker.unix)
                try await third.write(.hello(broker.hello(node: "node-1")))
                if case .welcome? = try await third.reply() { return true }
                return false
            }
        }
    }

    @Test("strangers beyond their limit are turned away, the others stay")
    func strangers() async throws {
        var limits = Limits()
        limits.strangers = 3
        limits.helloWithin = Milliseconds(60_000)
        try await TemporaryBroker.run(limits) { broker in
            let strangers = try (0..<3).map { _ in try RawConnection(broker.unix) }
            try await broker.eventually("strangers", is: 3)
            let surplus = try RawConnection(broker.unix)
            #expect(try await surplus.repliesToEnd().map(\.refusal) == [.limitReached])
            try await strangers[1].write(.hello(broker.hello()))
            guard case .welcome? = try await strangers[1].reply() else {
                Issue.record("a stranger within the limit was not welcome")
                return
            }
            #expect(try await broker.count("strangers") == 2)
        }
    }

    @Test("sessions beyond their limit are turned away")
    func sessions() async throws {
        var limits = Limits()
        limits.sessions = 1
        try await TemporaryBroker.run(limits) { broker in
            let first = try await broker.session()
            let second = try RawConnection(broker.unix)
            try await second.write(.hello(broker.hello()))
            #expect(try await second.repliesToEnd().map(\.refusal) == [.limitReached])
            #expect(try await first.settled().isEmpty)
        }
    }

    @Test(
        "a browser at the wrong port is told which port this is",
        arguments: ["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "CONNECT"]
    )
    func http(method: String) async throws {
        try await TemporaryBroker.run { broker in
            let client = try RawConnection(broker.tcp)
            try await client.write(Array("\(method) /metrics HTTP/1.1\r\nHost: x\r\n\r\n".utf8))
            let text = try await client.text()
            #expect(text.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
            let parts = text.split(separator: "\r\n\r\n", maxSplits: 1)
            #expect(parts.count == 2)
            let body = try #require(parts.last)
            #expect(text.contains("Content-Length: \(body.utf8.count)\r\n"))
            #expect(body.contains("Fanfare broker"))
            #expect(body.hasSuffix("\n") && body.count { $0 == "\n" } == 1)
            try await broker.eventually("strangers", is: 0)
        }
    }

    @Test("HTTP is recognised however the first bytes are cut")
    func httpInPieces() async throws {
        var limits = Limits()
        // On a busy machine four bytes may take longer than a stranger has.
        limits.helloWithin = Milliseconds(600_000)
        try await TemporaryBroker.run(limits) { broker in
            let client = try RawConnection(broker.unix)
            // Not one more than it takes: bytes that come after the answer would reset the connection under it.
            for byte in Array("GET ".utf8) {
                #expect(try await client.write([byte]))
                try await Task.sleep(for: .milliseconds(2))
            }
            #expect(try await client.text().hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
        }
    }
}
