import FanfareModel
import Testing

struct MessageValueTests {
    @Test("literals make the value they look like")
    func literals() {
        let value: MessageValue = ["a": 1, "b": [true, 2.5, "text", nil], "c": [:]]
        #expect(value["a"] == .int(1))
        #expect(value["b"]?.array == [.bool(true), .double(2.5), .string("text"), .null])
        #expect(value["c"]?.map == [:])
        #expect(value["d"] == nil)
    }

    @Test("of equal keys in a literal the last wins")
    func equalKeys() {
        let value: MessageValue = ["a": 1, "a": 2]
        #expect(value["a"]?.int == 2)
    }

    @Test("text and bytes, integers and doubles, nil and absence stay apart")
    func distinct() {
        #expect(MessageValue.string("a") != .binary(Array("a".utf8)))
        #expect(MessageValue.int(1) != .double(1))
        #expect(MessageValue.bool(true) != .int(1))
        #expect(MessageValue.null != .map([:]))
        #expect(MessageValue.string("a").binary == nil)
        #expect(MessageValue.binary([97]).string == nil)
        #expect(MessageValue.double(1).int == nil)
        #expect(MessageValue.int(1).bool == nil)
        #expect(MessageValue.int(3).double == 3)
        #expect(MessageValue.null.isNull)
        #expect(!MessageValue.bool(false).isNull)
        #expect(MessageValue.array([])["a"] == nil)
    }

    @Test("a count is cut to what an integer of a message holds")
    func counts() {
        #expect(MessageValue.count(UInt64.max) == .int(.max))
        #expect(MessageValue.count(UInt64(7)) == .int(7))
        #expect(MessageValue.count(Int.min) == .int(.min))
    }
}
