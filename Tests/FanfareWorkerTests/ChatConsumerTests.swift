import FanfareClient
import FanfareModel
import Testing

@testable import FanfareWorker

@Suite struct ChatConsumerTests {
    @Test func `only an object with a text message is a message`() {
        #expect(ChatConsumer.message(in: #"{"message": "hi"}"#) == "hi")
        #expect(ChatConsumer.message(in: #"{"other": [1, {}], "message": ""}"#) == "")
        #expect(ChatConsumer.message(in: #"{"message": "a\"b\\c\u0000\ud83d\udc4b"}"#) == "a\"b\\c\0👋")
        for json in [
            "", "hi", "null", "[]", #""message""#, "{}", #"{"message": 1}"#, #"{"message": null}"#,
            #"{"message": ["a"]}"#,
            #"{"Message": "a"}"#, #"{"message": "a""#, #"{"message": "a"} x"#, #"{"message": "\ud83d"}"#,
            String(repeating: "[", count: 10_000),
        ] {
            #expect(ChatConsumer.message(in: json) == nil, "\(json.prefix(40))")
        }
    }

    @Test func `what a client reads is JSON that says exactly what was sent`() throws {
        let awkward = [
            "", "plain", "\"quotes\" and \\backslashes\\", "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}",
            "\u{2028}\u{2029}", "👩‍👩‍👧‍👦 ü ẞ",
            "</script>", String(repeating: "\"", count: 1_000),
        ]
        for text in awkward {
            var frames: [UInt8] = []
            let message: MessageValue = ["type": "chat.message", "message": .string(text)]
            #expect(ChatConsumer().render(message, into: &frames) == .frames)
            let headerBytes = frames[1] == 126 ? 4 : 2
            let read = try MessageValue(json: Array(frames[headerBytes...]))
            #expect(read == ["message": .string(text)])
            #expect(!frames[headerBytes...].contains { $0 < 0x20 })
        }
    }

    @Test func `both spellings of the type are known and nothing else is`() {
        for (message, isKnown) in [
            (["type": "chat.message", "message": "a"], true), (["type": "chat_message", "message": "a"], true),
            (["type": "chat.other", "message": "a"], false), (["message": "a"], false),
            (["type": "chat.message"], false),
            (["type": "chat.message", "message": 1], false), ("text", false), (.null, false),
        ] as [(MessageValue, Bool)] {
            var frames: [UInt8] = []
            #expect(ChatConsumer().render(message, into: &frames) == (isKnown ? .frames : .unknown))
            #expect(frames.isEmpty != isKnown)
        }
    }
}
