import FanfareModel
import Testing

struct TraceContextTests {
    private func context(_ entries: (String, String)...) -> TraceContext? {
        TraceContext(entries.map { .init($0.0, $0.1) })
    }

    @Test func `a context has one to four entries of at most 512 bytes together`() {
        #expect(context() == nil)
        #expect(context(("a", ""), ("b", ""), ("c", ""), ("d", "")) != nil)
        #expect(context(("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")) == nil)
        #expect(context(("a", String(repeating: "x", count: 511))) != nil)
        #expect(context(("a", String(repeating: "x", count: 512))) == nil)
        #expect(context((String(repeating: "ä", count: 128), String(repeating: "é", count: 128))) != nil)
        #expect(context((String(repeating: "ä", count: 128), String(repeating: "é", count: 128) + "x")) == nil)
    }

    @Test func `of equal keys the last counts`() {
        #expect(context(("a", "1"), ("a", "2"))?["a"] == "2")
        #expect(context(("a", "1"))?["b"] == nil)
    }

    @Test func `it counts for more than its bytes, and for nothing where there is none`() throws {
        let largest = try #require(context(("a", String(repeating: "x", count: 511))))
        #expect(largest.heldBytes > 512)
        #expect(TraceContext?.none.heldBytes == 0)
    }

    @Test func `without a context it takes one pointer`() {
        #expect(MemoryLayout<TraceContext?>.size == MemoryLayout<UnsafeRawPointer>.size)
    }
}
