import FanfareModel
import FanfareProtocol
import Testing

struct MessagePackGuardTests {
    @Test func `exactly the permitted number of elements passes and one more does not`() {
        var limits = Limits()
        limits.elements = 1_000
        // The list itself is an element too.
        #expect(refusal(list32(999), limits) == nil)
        #expect(refusal(list32(1_000), limits)?.text.contains("more than 1000 elements") == true)
    }

    @Test func `the default bound of elements holds for lists and for maps`() {
        let limits = Limits()
        #expect(refusal(list32(limits.elements - 1), limits) == nil)
        #expect(refusal(list32(limits.elements), limits)?.code == .malformedFrame)
        let entries = limits.elements / 2
        let map = [0xdf] + bigEndian(entries) + [UInt8](repeating: 0xc0, count: entries * 2)
        #expect(refusal(map, limits)?.code == .malformedFrame)
    }

    @Test func `elements are counted over the whole payload, not per container`() {
        var limits = Limits()
        limits.elements = 100
        let inner = [0xdc, 0x00, 0x1e] + [UInt8](repeating: 0xc0, count: 30)
        #expect(refusal([0x93] + inner + inner + inner, limits) == nil)
        #expect(refusal([0x94] + inner + inner + inner + inner, limits)?.code == .malformedFrame)
    }

    @Test func `a limit above the decoder's own stack does not let deeper values through`() {
        var limits = Limits()
        limits.nesting = 1_000
        #expect(refusal([UInt8](repeating: 0x91, count: 32) + [0xc0], limits) == nil)
        #expect(refusal([UInt8](repeating: 0x91, count: 33) + [0xc0], limits)?.code == .malformedFrame)
    }

    @Test func `every byte but c1 and the extensions begins a value`() {
        for byte in UInt8.min ... .max {
            // Enough zeros for any header; what is left over afterwards is another complaint.
            let text = refusal([byte] + [UInt8](repeating: 0, count: 40), Limits())?.text ?? ""
            let isExtension = [0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8].contains(byte)
            #expect(text.contains("extension type") == isExtension, "\(byte)")
            #expect(text.contains("c1") == (byte == 0xc1), "\(byte)")
        }
    }

    @Test func `every two bytes are accepted as text exactly when they are UTF-8`() {
        for first in UInt8.min ... .max {
            for second in UInt8.min ... .max {
                let isUTF8 = String(validating: [first, second], as: UTF8.self) != nil
                #expect((refusal([0xa2, first, second], Limits()) == nil) == isUTF8, "\(first) \(second)")
            }
        }
    }

    private func refusal(_ bytes: [UInt8], _ limits: Limits) -> Failure? {
        bytes.withUnsafeBytes { scan($0, limits) }
    }

    private func scan(_ bytes: UnsafeRawBufferPointer, _ limits: Limits) -> Failure? {
        do {
            try MessagePackGuard.scan(bytes, limits: limits)
            return nil
        } catch {
            return error
        }
    }

    private func list32(_ count: Int) -> [UInt8] {
        [0xdd] + bigEndian(count) + [UInt8](repeating: 0xc0, count: count)
    }

    private func bigEndian(_ count: Int) -> [UInt8] {
        withUnsafeBytes(of: UInt32(count).bigEndian) { [UInt8]($0) }
    }
}
