import Testing

@testable import fanfare_bench

@Suite struct MessageTests {
    /// The payload of a client's frame with a mask of zeros.
    private func payload(_ frame: [UInt8]) -> [UInt8] {
        switch frame[1] & 0x7F {
        case 126: Array(frame[8...])
        case 127: Array(frame[14...])
        default: Array(frame[6...])
        }
    }

    @Test(arguments: Dialect.allCases, [46, 128, 200, 70_000])
    func `a stamp is found where it was put`(dialect: Dialect, bytes: Int) throws {
        var message = Message(dialect, room: "bench-7", bytes: bytes)
        for (number, time) in [(0, 1), (1, .max), (0x1234_5678_9ABC_DEF0, 42)] as [(UInt64, UInt64)] {
            message.stamp(number: number, time: time)
            try payload(message.frame).withUnsafeBytes { bytes in
                let offset = try #require(dialect.numberOffset(in: bytes))
                let stamp = Message.readStamp(bytes, at: offset)
                #expect(stamp.number == number && stamp.time == time)
            }
        }
    }

    @Test func `a message has the bytes asked for`() {
        let chat = payload(Message(.chat, room: "r", bytes: 128).frame)
        #expect(chat.count == 128)
        #expect(String(decoding: chat, as: UTF8.self).hasPrefix("{\"message\":\""))
        #expect(chat.suffix(2) == Array("\"}".utf8))
        #expect(payload(Message(.mqtt, room: "room", bytes: 128).frame).count == 3 + 2 + 4 + 128)
    }

    @Test func `a space after the colon, as Python writes it, is no matter`() throws {
        var message = Message(.chat, room: "r", bytes: 60)
        message.stamp(number: 77, time: 88)
        let spaced = String(decoding: payload(message.frame), as: UTF8.self).replacing("\":\"", with: "\": \"")
        try Array(spaced.utf8).withUnsafeBytes { bytes in
            let offset = try #require(Dialect.chat.numberOffset(in: bytes))
            #expect(Message.readStamp(bytes, at: offset) == (77, 88))
        }
    }

    @Test func `what is too short or no PUBLISH is no message`() {
        var message = Message(.mqtt, room: "bench-0", bytes: 46)
        message.stamp(number: 1, time: 1)
        let whole = payload(message.frame)
        for count in 0..<whole.count - 2 {
            whole.prefix(count).withUnsafeBytes { #expect(Dialect.mqtt.numberOffset(in: $0) == nil) }
        }
        [0x40, 2, 0, 1].withUnsafeBytes { #expect(Dialect.mqtt.numberOffset(in: $0) == nil) }
    }

    @Test func `no bytes are too odd for a stamp`() {
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0...80)).map { _ in UInt8.random(in: 0...255) }
            for dialect in Dialect.allCases {
                bytes.withUnsafeBytes { bytes in
                    if let offset = dialect.numberOffset(in: bytes) { _ = Message.readStamp(bytes, at: offset) }
                }
            }
        }
    }

    @Test func `packets of MQTT are those of the specification`() {
        #expect(MQTT.connect(client: "a") == [0x10, 13, 0, 4, 77, 81, 84, 84, 4, 2, 0, 0, 0, 1, 97])
        #expect(MQTT.subscribe("ab") == [0x82, 7, 0, 1, 0, 2, 97, 98, 0])
        let long = MQTT.publish([UInt8](repeating: 1, count: 200), to: "t")
        #expect(Array(long.prefix(6)) == [0x30, 203, 1, 0, 1, 116])
    }
}

@Suite struct ScheduleTests {
    @Test func `times are those of the schedule however late it is asked`() {
        var schedule = Schedule(from: 1_000, rate: 1e6)
        #expect(schedule.next(before: 999) == nil)
        var times: [UInt64] = []
        while let time = schedule.next(before: 5_500) { times.append(time) }
        #expect(times == [1_000, 2_000, 3_000, 4_000, 5_000])
        #expect(schedule.count == 5)
        #expect(schedule.due == 6_000)
    }
}

@Suite struct KernelTextTests {
    @Test func `numbers, pages and slabs are read, and what is none is left out`() {
        #expect(KernelText.numbers("5500-7ff ---p\nPss:   42 kB\nRss: 7 kB\nX: y\n") == ["Pss": 42, "Rss": 7])
        #expect(KernelText.bufferPages("sockets: used 5\nTCP: inuse 1 orphan 0 mem 12\nUDP: mem 3\n") == 12)
        #expect(KernelText.bufferPages("TCP: mem") == 0)
        let text =
            "slabinfo - version: 2.1\n# name <active> <num> <size>\nTCP 100 120 2048 15 8 : tunables 0\nbad x y z\n"
        #expect(KernelText.slabs(text) == ["TCP": 200])
    }
}

@Suite struct ProcessMemoryTests {
    @Test func `a file of proc is read to its end, however small the kernel's pieces`() throws {
        // Longer than the page the kernel gives at a time, and the stack stands near its end.
        let text = try KernelText.read("/proc/self/maps")
        #expect(text.utf8.count > 4_096)
        #expect(text.contains("[stack]") && text.hasSuffix("\n"))
        #expect(throws: LoadFailure.self) { try KernelText.read("/proc/no/such/file") }
    }
}
