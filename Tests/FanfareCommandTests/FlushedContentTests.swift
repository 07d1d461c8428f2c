import FanfareModel
import Testing

@testable import fanfare

struct FlushedContentTests {
    @Test func `what will be gone is said before`() {
        let content = FlushedContent(
            "blue",
            channels: ["total": 12, "totals": ["depth": 340]],
            groups: ["total": 1, "totals": ["members": 17]]
        )
        #expect(
            content.line == "namespace \"blue\" has 12 channels with 340 unread messages, 1 group with 17 memberships"
        )
        #expect(
            content.report
                == ["flushed": "blue", "channels": 12, "messages": 340, "groups": 1, "memberships": 17]
        )
        let unknown = FlushedContent("b\u{1b}", channels: nil, groups: nil)
        #expect(unknown.line.contains("? channels with ? unread messages") && !unknown.line.contains("\u{1b}"))
        #expect(unknown.report == ["flushed": "b\u{1b}"])
    }
}
