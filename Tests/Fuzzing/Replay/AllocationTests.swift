import FanfareClient
import FanfareModel
import FanfareProtocol
import Testing

@testable import FanfareWorker

/// Memory follows what was received, not what was declared: the bytes asked for while hostile and honest input is read,
/// counted by malloc itself.
@Suite struct AllocationTests {
    private let limits = Limits()

    /// Bytes allocated when it is done the second time: what is made once does not count.
    private func allocated(_ body: () throws -> Void) rethrows -> Int {
        try body()
        return try Memory.allocated(body)
    }

    @Test func `allocations are counted`() {
        var kept: [UInt8] = []
        let bytes = allocated { kept = [UInt8](repeating: 1, count: 1_000_000) }
        #expect((1_000_000..<1_100_000).contains(bytes))
        #expect(kept.count == 1_000_000)
        let counted = allocated {
            let pointer = UnsafeMutableRawPointer.allocate(byteCount: 4_096, alignment: 64)
            pointer.deallocate()
        }
        #expect((4_096..<8_192).contains(counted))
    }

    // MARK: The broker's protocol

    private static let declared: [(String, [UInt8])] = [
        ("a list of 2^32-1 values", [0xdd, 0xff, 0xff, 0xff, 0xff]),
        ("a map of 2^32-1 entries", [0xdf, 0xff, 0xff, 0xff, 0xff]),
        ("text of 4 GiB", [0xdb, 0xff, 0xff, 0xff, 0xff]),
        ("bytes of 4 GiB", [0xc6, 0xff, 0xff, 0xff, 0xff]),
        ("a list of 2^28 values with some of them", [0xdd, 0x10, 0, 0, 0] + [UInt8](repeating: 1, count: 1_000)),
        ("a SEND of 4 GiB", [0x94, 10, 0xc0, 0xa1, 0x61, 0xc6, 0xff, 0xff, 0xff, 0xff]),
        ("nesting of 100 000 lists", [UInt8](repeating: 0x91, count: 100_000) + [0xc0]),
        ("nesting of 100 000 maps", [UInt8](repeating: 0x81, count: 100_000) + [0xc0]),
        ("65 535 lists of 65 535", [0xdc, 0xff, 0xff] + [UInt8](repeating: 0xdc, count: 100_000)),
    ]

    @Test func `what a payload only declares costs next to nothing`() {
        let reader = FrameReader(limits: limits)
        for (what, payload) in Self.declared {
            payload.withUnsafeBytes { bytes in
                for (way, read) in Messages.readings(bytes, payload, reader) {
                    #expect(allocated { _ = try? read() } < 4_096, "\(what), read as a \(way)")
                }
            }
        }
    }

    /// The most expensive payloads there are for their length: values of one byte, entries of three, names of one.
    private static let dense: [(String, [UInt8])] = {
        let count = 200_000
        let header = [16, 8, 0].map { UInt8(truncatingIfNeeded: count >> $0) }
        var entries: [UInt8] = []
        for index in 0..<count {
            let digits: [Int] = [index % 64, index / 64 % 64, index / 4_096]
            entries += [0xa3] + digits.map { UInt8(32 + $0) } + [0xc0]
        }
        let names = 4_096
        let empty = (0..<count).flatMap { _ in [0xc4, 0] as [UInt8] }
        let short = (0..<names).flatMap { _ in [0xa1, 0x61] as [UInt8] }
        let body = [UInt8](repeating: 7, count: 1 << 20)
        return [
            ("a list of nil", [0xdd, 0] + header + [UInt8](repeating: 0xc0, count: count)),
            ("a list of lists", [0xdd, 0] + header + [UInt8](repeating: 0x90, count: count)),
            ("a list of maps", [0xdd, 0] + header + [UInt8](repeating: 0x80, count: count)),
            ("a list of bytes", [0xdd, 0] + header + empty),
            ("a map of nil", [0xdf, 0] + header + entries),
            ("names of one byte", [0x93, 16, 0xc0, 0xdc, UInt8(names >> 8), UInt8(names & 0xff)] + short),
            ("a SEND of 1 MB", [0x94, 10, 0xc0, 0xa1, 0x61, 0xc6, 0, 0x10, 0, 0] + body),
        ]
    }()

    @Test func `the most expensive payloads cost a constant for each byte`() {
        let reader = FrameReader(limits: limits)
        for (what, payload) in Self.dense {
            payload.withUnsafeBytes { bytes in
                for (way, read) in Messages.readings(bytes, payload, reader) {
                    let cost = allocated { _ = try? read() }
                    #expect(
                        cost <= Messages.factor * payload.count + Messages.constant,
                        "\(what), read as a \(way): \(cost) bytes for \(payload.count)"
                    )
                }
            }
        }
    }

    @Test func `a frame of 4 GiB costs nothing, and tiny pieces of one what they bring`() throws {
        let declared: [UInt8] = [0xff, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 1_000)
        let hostile = allocated {
            let decoder = FrameDecoder(limit: limits.frameBytes)
            declared.withUnsafeBytes { bytes in _ = try? decoder.feed(bytes) { _ in } }
        }
        #expect(hostile < 4_096)
        // The largest frame that is allowed, of which little comes, byte by byte.
        let count = UInt32(limits.frameBytes)
        let begun = withUnsafeBytes(of: count.bigEndian) { Array($0) } + [UInt8](repeating: 7, count: 100_000)
        let cost = try allocated {
            let decoder = FrameDecoder(limit: limits.frameBytes)
            try begun.withUnsafeBytes { bytes in
                for index in bytes.indices {
                    try decoder.feed(UnsafeRawBufferPointer(rebasing: bytes[index...index])) { _ in }
                }
            }
            #expect(decoder.bufferedBytes == begun.count)
        }
        // An array that doubles has been allocated twice over at most when it is as long as it is.
        #expect(cost <= 4 * begun.count + 4_096, "\(cost)")
    }

    // MARK: WebSockets

    private func socket(_ stream: [UInt8], inflater: Inflater? = nil, piece: Int) -> Int {
        allocated {
            var parser = WebSocketParser(limits: WorkerLimits(), inflater: inflater)
            stream.withUnsafeBytes { bytes in
                for start in stride(from: 0, to: bytes.count, by: piece) {
                    let piece = UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + piece, bytes.count)])
                    guard (try? parser.feed(piece) { _ in }) != nil else { return }
                }
            }
        }
    }

    private static func frame(_ first: UInt8, _ payload: [UInt8], declaring count: Int? = nil) -> [UInt8] {
        let length = (0..<8).reversed().map { UInt8(truncatingIfNeeded: (count ?? payload.count) >> ($0 * 8)) }
        return [first, 0xff] + length + [0, 0, 0, 0] + payload
    }

    @Test func `a WebSocket's frame costs what came of it, in pieces of any size`() {
        let limit = WorkerLimits().messageBytes
        for piece in [1, 7, 65_536] {
            #expect(socket(Self.frame(0x82, [], declaring: 4 << 30), piece: piece) < 4_096)
            #expect(socket(Self.frame(0x82, [], declaring: .max), piece: piece) < 4_096)
            let begun = Self.frame(0x82, [UInt8](repeating: 1, count: 10_000), declaring: limit)
            #expect(socket(begun, piece: piece) <= 4 * begun.count + 4_096)
            // Fragments of one byte, and of none.
            let fragments = Self.frame(0x01, [0x61]) + (0..<10_000).flatMap { _ in Self.frame(0x00, [0x61]) }
            #expect(socket(fragments, piece: piece) <= 4 * fragments.count + 4_096)
            let empty = Self.frame(0x02, []) + (0..<20_000).flatMap { _ in Self.frame(0x00, []) }
            #expect(socket(empty, piece: piece) < 8_192)
            let pings = (0..<1_000).flatMap { _ in [0x89, 0xfd, 0, 0, 0, 0] + [UInt8](repeating: 7, count: 125) }
            #expect(socket(pings, piece: piece) <= 8 * pings.count + 4_096)
        }
    }

    @Test func `a deflate bomb costs no more than the largest message, and none costs more than DEFLATE can say`() {
        let inflater = Inflater()
        var frame: [UInt8] = []
        Compressor().append(.binary, [UInt8](repeating: 0, count: 50_000_000), windowBits: 15, to: &frame)
        var rest = frame[...]
        guard let (_, bomb) = ServerFrame.takeFirst(of: &rest) else { return #expect(Bool(false), "no frame") }
        #expect(bomb.count < 250_000)
        let limit = WorkerLimits().messageBytes
        let payload = Array(bomb)
        #expect(throws: WebSocketViolation.self) { try inflater.inflate(payload, limit: limit) }
        let alone = allocated { _ = try? inflater.inflate(payload, limit: limit) }
        #expect(alone <= 4 * limit + 2 * payload.count, "\(alone)")
        let cost = socket(Self.frame(0xc2, payload), inflater: inflater, piece: 1_000)
        #expect(cost <= 4 * limit + 8 * payload.count, "\(cost)")
        for count in [1, 10, 100, 1_000] {
            let cut = Array(payload.prefix(count))
            let cost = allocated { _ = try? inflater.inflate(cut, limit: limit) }
            #expect(cost <= 4 * Deflated.ratio * count + 4_096, "\(count): \(cost)")
        }
    }

    @Test func `JSON costs a constant for each byte, however deep and dense`() {
        let texts = [
            String(repeating: "[", count: 100_000), String(repeating: #"{"":"#, count: 100_000),
            "[" + String(repeating: "1,", count: 100_000) + "1]",
            "[" + String(repeating: "[],", count: 100_000) + "1]",
            "{" + (0..<20_000).map { "\"\($0)\":1" }.joined(separator: ",") + "}",
            "\"" + String(repeating: "\\u0000", count: 100_000) + "\"", String(repeating: "9", count: 100_000),
        ]
        for text in texts {
            let bytes = Array(text.utf8)
            let cost = allocated { _ = try? MessageValue(json: bytes) }
            #expect(cost <= 256 * bytes.count + 16_384, "\(text.prefix(10)): \(cost) for \(bytes.count)")
        }
    }
}
