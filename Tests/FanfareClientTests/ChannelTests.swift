import FanfareClient
import FanfareModel
import Testing

/// `send`, `receive` and `newChannel`, over an embedded broker and a real one.
struct ChannelTests {
    @Test("a message sent to a normal channel is received, by whoever reads", arguments: MeetingPlace.Kind.allCases)
    func normalChannel(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (one, two) = (try await place.layer(), try await place.layer())
            try await one.send(["type": "a.b", "n": 1], to: "jobs")
            #expect(try await two.receive(from: "jobs") == ["type": "a.b", "n": 1])
            // The other way round: the reader waits first.
            async let received = two.receive(from: "jobs")
            try await one.send(["n": 2], to: "jobs")
            #expect(try await received == ["n": 2])
        }
    }

    @Test("a process channel is read by the process that made it", arguments: MeetingPlace.Kind.allCases)
    func processChannel(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let (first, second) = (owner.newChannel(), owner.newChannel(prefix: "http.response"))
            #expect(first != second)
            #expect(first.hasPrefix("specific.") && second.hasPrefix("http.response."))
            #expect(Names.isChannel(first, Limits()) && Names.isChannel(second, Limits()))
            try await sender.send(numbered(1), to: first)
            try await sender.send(numbered(2), to: second)
            #expect(try await owner.number(from: second) == 2)
            #expect(try await owner.number(from: first) == 1)
            async let received = owner.number(from: first)
            try await sender.send(numbered(3), to: first)
            #expect(try await received == 3)
        }
    }

    @Test("names of new channels never repeat, from any task", arguments: MeetingPlace.Kind.allCases)
    func newChannels(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layers = [try await place.layer(), try await place.layer()]
            let names = await withTaskGroup(of: [String].self, returning: [String].self) { group in
                for layer in layers {
                    for _ in 0..<4 { group.addTask { (0..<250).map { _ in layer.newChannel() } } }
                }
                return await group.reduce(into: []) { $0 += $1 }
            }
            #expect(Set(names).count == 2_000)
        }
    }

    @Test("a thousand messages arrive in the order they were sent", arguments: MeetingPlace.Kind.allCases)
    func order(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let owner = try await place.layer { $0.capacity = 1_000 }
            let sender = try await place.layer { $0.capacity = 1_000 }
            for channel in ["fifo", owner.newChannel()] {
                for number in 0..<1_000 { try await sender.send(numbered(number), to: channel) }
                var received: [Int] = []
                while received.count < 1_000, let number = try await owner.number(from: channel) {
                    received.append(number)
                }
                #expect(received == Array(0..<1_000))
            }
        }
    }

    @Test("order holds while reader and sender run at once", arguments: MeetingPlace.Kind.allCases)
    func orderWhileRunning(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (
                try await place.layer { $0.capacity = 2_000 }, try await place.layer { $0.capacity = 2_000 }
            )
            for channel in ["fifo", owner.newChannel()] {
                async let received = {
                    var received: [Int] = []
                    while received.count < 1_000, let number = try await owner.number(from: channel) {
                        received.append(number)
                    }
                    return received
                }()
                for number in 0..<1_000 { try await sender.send(numbered(number), to: channel) }
                #expect(try await received == Array(0..<1_000))
            }
        }
    }

    @Test("of many readers each message reaches exactly one", arguments: MeetingPlace.Kind.allCases)
    func competingReaders(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let readers = [try await place.layer(), try await place.layer(), try await place.layer()]
            let sender = try await place.layer { $0.capacity = 10_000 }
            let received = Collected()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<12 {
                    let layer = readers[number % readers.count]
                    group.addTask {
                        while !Task.isCancelled {
                            guard let number = try? await layer.receive(from: "work")["number"]?.int else { return }
                            received.append(Int(number))
                        }
                    }
                }
                try await withThrowingTaskGroup(of: Void.self) { senders in
                    for first in 0..<100 {
                        senders.addTask {
                            for number in 0..<10 { try await sender.send(numbered(first * 10 + number), to: "work") }
                        }
                    }
                    try await senders.waitForAll()
                }
                try await poll("every message") { received.numbers.count >= 1_000 }
                group.cancelAll()
            }
            #expect(received.numbers.sorted() == Array(0..<1_000))
            // None is left, and a cancelled reader takes nothing any more.
            #expect(try await readers[0].waiting(in: "work").isEmpty)
        }
    }

    @Test("a cancelled receive loses nothing and doubles nothing", arguments: MeetingPlace.Kind.allCases)
    func cancelledReceives(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (
                try await place.layer { $0.capacity = 10_000 }, try await place.layer { $0.capacity = 10_000 }
            )
            for channel in ["cancelled", owner.newChannel()] {
                async let sent = {
                    for number in 0..<1_000 {
                        try await sender.send(numbered(number), to: channel)
                        if number % 3 == 0 { await Task.yield() }
                    }
                }()
                var received: [Int] = []
                for _ in 0..<1_000 {
                    let task = Task { try await owner.receive(from: channel)["number"]?.int }
                    switch Int.random(in: 0..<4) {
                    case 0: break
                    case 1: await Task.yield()
                    default: try await Task.sleep(for: .microseconds(Int.random(in: 0..<400)))
                    }
                    task.cancel()
                    do {
                        if let number = try await soon({ try await task.value }) { received.append(Int(number)) }
                    } catch is CancellationError {}
                }
                try await sent
                // What was given back may still be on its way; what is left comes in the end.
                while received.count < 1_000, let number = try await owner.number(from: channel) {
                    received.append(number)
                }
                #expect(received.sorted() == Array(0..<1_000))
                #expect(try await owner.waiting(in: channel).isEmpty)
            }
        }
    }

    @Test(
        "a receive of a task that is cancelled already ends at once and takes nothing",
        arguments: MeetingPlace.Kind.allCases
    )
    func cancelledBefore(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer()
            for channel in ["early", layer.newChannel()] {
                try await layer.send(numbered(1), to: channel)
                let task = Task {
                    while !Task.isCancelled { await Task.yield() }
                    return try await layer.receive(from: channel)
                }
                task.cancel()
                await #expect(throws: CancellationError.self) { try await soon { try await task.value } }
                #expect(try await layer.number(from: channel) == 1)
            }
        }
    }

    @Test("every kind of value arrives as it was sent", arguments: MeetingPlace.Kind.allCases)
    func values(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let message: [String: MessageValue] = [
                "text": "grüße 👋\u{0}", "bytes": .binary([0, 255, 128]), "empty text": "", "empty bytes": .binary([]),
                "same as text": .string("abc"), "same as bytes": .binary(Array("abc".utf8)), "least": .int(.min),
                "most": .int(.max), "minus one": -1, "zero": 0, "one": .int(1), "one as double": .double(1),
                "pi": .double(.pi), "tiny": .double(.leastNonzeroMagnitude), "huge": .double(.greatestFiniteMagnitude),
                "infinite": .double(-.infinity), "minus zero": .double(-0.0), "true": true, "false": false, "nil": nil,
                "list": [1, "two", .binary([3]), nil, [4.5, []]], "map": ["a": ["b": ["c": [nil, true]]], "": 1],
                "": "key",
            ]
            for channel in ["values", owner.newChannel()] {
                try await sender.send(message, to: channel)
                let received = try await owner.receive(from: channel)
                #expect(received == message)
                #expect(received["minus zero"]?.double?.sign == .minus)
                try await sender.send(["nan": .double(.nan)], to: channel)
                #expect(try await owner.receive(from: channel)["nan"]?.double?.isNaN == true)
                try await sender.send([:], to: channel)
                #expect(try await owner.receive(from: channel) == [:])
            }
        }
    }

    @Test(
        "a flood of one channel does not keep another of the same reader waiting",
        arguments: MeetingPlace.Kind.allCases
    )
    func quietBesideBusy(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (reader, sender) = (try await place.layer(), try await place.layer())
            for (busy, quiet) in [("busy", "quiet"), (reader.newChannel(), reader.newChannel())] {
                // `busy` is full from the first message of `quiet` to the last.
                for number in 0..<100 { try await sender.send(numbered(number), to: busy) }
                let refused = Collected()
                let flood = Task {
                    while !Task.isCancelled {
                        let error = try await layerError { try await sender.send(numbered(1), to: busy) }
                        if error?.kind == .channelFull { refused.append(1) }
                    }
                }
                let slow = Task {
                    while !Task.isCancelled {
                        _ = try await reader.receive(from: busy)
                        try await Task.sleep(for: .milliseconds(2))
                    }
                }
                for number in 0..<100 {
                    try await sender.send(numbered(number), to: quiet)
                    #expect(try await reader.number(from: quiet) == number)
                }
                try await poll("the flood is more than is read") { !refused.numbers.isEmpty }
                flood.cancel()
                slow.cancel()
                _ = await (flood.result, slow.result)
            }
        }
    }

    @Test("a message of 1 MiB arrives whole", arguments: MeetingPlace.Kind.allCases)
    func largeMessage(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let bytes = (0..<1_048_576).map { UInt8(truncatingIfNeeded: $0 ^ ($0 >> 8)) }
            for channel in ["large", owner.newChannel()] {
                try await sender.send(["bytes": .binary(bytes)], to: channel)
                #expect(try await owner.receive(from: channel)["bytes"]?.binary == bytes)
            }
        }
    }

    @Test(
        "a megabyte of JSON arrives, or its sender hears that it has grown too large",
        arguments: MeetingPlace.Kind.allCases
    )
    func megabyteOfJSON(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            let digits = MessageValue.array((0..<524_000).map { .int(Int64($0 % 10)) })
            // Four bytes each in JSON, nine as they are sent.
            let halves = MessageValue.array((0..<262_000).map { .double(Double($0 % 10) + 0.5) })
            for channel in ["large", owner.newChannel()] {
                try await sender.send(["list": digits], to: channel)
                #expect(try await soon { try await owner.receive(from: channel)["list"] } == digits)
                let error = try await layerError { try await sender.send(["list": halves], to: channel) }
                #expect(error?.kind == .messageTooLarge)
            }
        }
    }

    @Test("a message over the limit is refused, and the layer goes on", arguments: MeetingPlace.Kind.allCases)
    func tooLarge(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            try await sender.groupAdd("kept", to: "group")
            // Just over what a body may have, and more than fits any frame.
            for count in [2 * 1_048_576, 8 * 1_048_576] {
                let message: [String: MessageValue] = ["bytes": .binary([UInt8](repeating: 1, count: count))]
                #expect(try await layerError { try await sender.send(message, to: "c") }?.kind == .messageTooLarge)
                #expect(
                    try await layerError { try await sender.send(message, to: owner.newChannel()) }?.kind
                        == .messageTooLarge
                )
                #expect(
                    try await layerError { try await sender.groupSend(message, to: "group") }?.kind == .messageTooLarge
                )
            }
            try await sender.groupSend(numbered(1), to: "group")
            #expect(try await owner.number(from: "kept") == 1)
            if kind == .broker { #expect(try await place.status()["refused"]?.map?["frame_too_large"] == nil) }
        }
    }

    @Test("a bad name is refused by every call, and shown", arguments: MeetingPlace.Kind.allCases)
    func badNames(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let layer = try await place.layer()
            for name in ["", "a b", "ü", "a!b!c", "x/y", String(repeating: "n", count: 100)] {
                let calls: [(String, () async throws -> Void)] = [
                    ("send", { try await layer.send([:], to: name) }),
                    ("receive", { _ = try await soon { try await layer.receive(from: name) } }),
                    ("groupAdd channel", { try await layer.groupAdd(name, to: "g") }),
                    ("groupAdd group", { try await layer.groupAdd("c", to: name) }),
                    ("groupDiscard channel", { try await layer.groupDiscard(name, from: "g") }),
                    ("groupDiscard group", { try await layer.groupDiscard("c", from: name) }),
                    ("groupSend", { try await layer.groupSend([:], to: name) }),
                ]
                for (call, body) in calls {
                    let error = try await layerError(body)
                    #expect(error?.kind == .badName, "\(call) \(name): \(String(describing: error))")
                    #expect(error?.description.contains(name) == true, "\(call) \(name)")
                }
            }
            // A group is a normal name.
            #expect(try await layerError { try await layer.groupSend([:], to: layer.newChannel()) }?.kind == .badName)
        }
    }

    @Test("a process channel of another process is not read", arguments: MeetingPlace.Kind.allCases)
    func notOwner(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (one, two) = (try await place.layer(), try await place.layer())
            for channel in [two.newChannel(), "specific.nobody!1"] {
                #expect(
                    try await layerError { _ = try await soon { try await one.receive(from: channel) } }?.kind
                        == .notOwner
                )
            }
        }
    }

    @Test("a body that is no message is skipped and counted", arguments: MeetingPlace.Kind.allCases)
    func undecodable(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (owner, sender) = (try await place.layer(), try await place.layer())
            for channel in ["raw", owner.newChannel()] {
                let bodies: [Body] = [
                    [0xc1], [], [0x93, 1], [0x01], [0xa1, 0x61], [0x81, 0x01, 0x01], [0x80, 0x80],
                ]
                for body in bodies {
                    _ = try await sender.request { .send(id: $0, channel: channel, body: body, SendOptions()) }
                }
                try await sender.send(numbered(1), to: channel)
                #expect(try await owner.number(from: channel) == 1)
            }
            if kind == .broker {
                // Readers of normal channels report what they could not read as owners do.
                try await poll("the drops are counted") { try await place.drops(.undecodable) == 14 }
            }
        }
    }

    @Test("layers of other namespaces share nothing", arguments: MeetingPlace.Kind.allCases)
    func namespaces(kind: MeetingPlace.Kind) async throws {
        try await MeetingPlace.run(kind) { place in
            let (one, two) = (try await place.layer(), try await place.layer { $0.namespace = "other" })
            try await one.send(numbered(1), to: "c")
            try await two.send(numbered(2), to: "c")
            try await two.groupAdd("c", to: "g")
            try await one.groupSend(numbered(3), to: "g")
            #expect(try await two.waiting(in: "c") == [2])
            try await two.flush()
            #expect(try await one.waiting(in: "c") == [1])
        }
    }
}
