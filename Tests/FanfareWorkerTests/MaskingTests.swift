import Testing

@testable import FanfareWorker

@Suite struct MaskingTests {
    @Test func `masking equals the naive loop at every length, offset and alignment`() {
        var random = SplitMix64(seed: 1)
        let key: [UInt8] = [0x37, 0xfa, 0x21, 0x3d]
        for length in 0..<70 {
            for offset in 0..<9 {
                let start = Int(random.next() % 8)
                let bytes = (0..<(start + length)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                var expected = bytes
                for index in 0..<length { expected[start + index] ^= key[(offset + index) % 4] }
                var actual = bytes
                actual.withUnsafeMutableBytes {
                    let piece = UnsafeMutableRawBufferPointer(rebasing: $0[start...])
                    MaskingKey(key[0], key[1], key[2], key[3]).apply(to: piece, offset: offset)
                }
                #expect(actual == expected, "length \(length), offset \(offset)")
            }
        }
    }
}
