@testable import FanfareWorker

/// DEFLATE (RFC 1951) and the ends of messages (RFC 7692, section 7.2.2), bit by bit and without zlib: the referee.
struct ReferenceInflater {
    enum Outcome: Equatable {
        case message([UInt8])
        case tooBig
        case damaged
    }

    private enum Failure: Error {
        case tooBig
        case damaged
    }

    private let bytes: [UInt8]
    private let limit: Int
    private var bit = 0
    private var output: [UInt8] = []
    /// Where the stream began that is being read; nothing may be copied from before.
    private var streamStart = 0
    /// The farthest a copy looked back.
    private(set) var longestDistance = 0

    init(_ payload: [UInt8], limit: Int) {
        bytes = payload + [0, 0, 0xff, 0xff]
        self.limit = limit
    }

    mutating func run() -> Outcome {
        if bytes.count == 4 { return .message([]) }
        do {
            while true {
                if try readBlock() {
                    bit = (bit + 7) & ~7
                    streamStart = output.count
                    if [0, 4].contains(bytes.count - bit / 8) { return .message(output) }
                } else if bit == bytes.count * 8 {
                    return .message(output)
                }
            }
        } catch Failure.tooBig {
            return .tooBig
        } catch {
            return .damaged
        }
    }

    private mutating func bits(_ count: Int) throws -> Int {
        guard bit + count <= bytes.count * 8 else { throw Failure.damaged }
        var value = 0
        for index in 0..<count {
            value |= Int(bytes[bit >> 3] >> UInt8(bit & 7) & 1) << index
            bit += 1
        }
        return value
    }

    private mutating func put(_ byte: UInt8) throws {
        guard output.count < limit else { throw Failure.tooBig }
        output.append(byte)
    }

    private mutating func readBlock() throws -> Bool {
        let isFinal = try bits(1) == 1
        switch try bits(2) {
        case 0:
            bit = (bit + 7) & ~7
            let length = try bits(16)
            guard try bits(16) == length ^ 0xffff else { throw Failure.damaged }
            for _ in 0..<length { try put(UInt8(bits(8))) }
        case 1:
            let literals = (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 }
            try readCodes(Code(literals), Code([Int](repeating: 5, count: 30)))
        case 2:
            let (literals, distances) = try readTables()
            try readCodes(literals, distances)
        default:
            throw Failure.damaged
        }
        return isFinal
    }

    private struct Code {
        /// How many codes there are of each length, and their symbols in order.
        var counts = [Int](repeating: 0, count: 16)
        var symbols: [Int] = []
        /// Codes that are left over: negative when there are too many, positive when the set is incomplete.
        var left = 1

        init(_ lengths: [Int]) {
            for length in lengths { counts[length] += 1 }
            for length in 1...15 { left = left * 2 - counts[length] }
            if counts[0] == lengths.count { left = 0 }
            for length in 1...15 { symbols += lengths.indices.filter { lengths[$0] == length } }
        }

        var isComplete: Bool { left == 0 }
        /// An incomplete set is fine only if it is one code of one bit.
        var isUsable: Bool { left == 0 || left > 0 && counts[2...].allSatisfy { $0 == 0 } }
    }

    private mutating func symbol(_ code: Code) throws -> Int {
        var value = 0
        var first = 0
        var index = 0
        for length in 1...15 {
            value |= try bits(1)
            if value - first < code.counts[length] { return code.symbols[index + value - first] }
            index += code.counts[length]
            first = (first + code.counts[length]) << 1
            value <<= 1
        }
        throw Failure.damaged
    }

    private mutating func readTables() throws -> (Code, Code) {
        let literals = try bits(5) + 257
        let distances = try bits(5) + 1
        let codeLengths = try bits(4) + 4
        guard literals <= 286, distances <= 30 else { throw Failure.damaged }
        var lengths = [Int](repeating: 0, count: 19)
        let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]
        for index in 0..<codeLengths { lengths[order[index]] = try bits(3) }
        let code = Code(lengths)
        guard code.isComplete else { throw Failure.damaged }
        var all: [Int] = []
        while all.count < literals + distances {
            let symbol = try symbol(code)
            switch symbol {
            case ..<16: all.append(symbol)
            case 16:
                guard let last = all.last else { throw Failure.damaged }
                all += [Int](repeating: last, count: try bits(2) + 3)
            case 17: all += [Int](repeating: 0, count: try bits(3) + 3)
            default: all += [Int](repeating: 0, count: try bits(7) + 11)
            }
        }
        guard all.count == literals + distances, all[256] > 0 else { throw Failure.damaged }
        let codes = (Code(Array(all[..<literals])), Code(Array(all[literals...])))
        guard codes.0.isUsable, codes.1.isUsable else { throw Failure.damaged }
        return codes
    }

    private mutating func readCodes(_ literals: Code, _ distances: Code) throws {
        while true {
            let symbol = try symbol(literals)
            if symbol == 256 { return }
            if symbol < 256 {
                try put(UInt8(symbol))
                continue
            }
            let length = try number(symbol - 257, base: 3, group: 4, last: (28, 258))
            let distance = try number(self.symbol(distances), base: 1, group: 2, last: nil)
            guard distance <= output.count - streamStart else { throw Failure.damaged }
            longestDistance = max(longestDistance, distance)
            for _ in 0..<length { try put(output[output.count - distance]) }
        }
    }

    /// Lengths and distances are coded alike: groups of symbols with one more extra bit each.
    private mutating func number(_ symbol: Int, base: Int, group: Int, last: (Int, Int)?) throws -> Int {
        if let last, symbol == last.0 { return last.1 }
        guard symbol < (last?.0 ?? 30) else { throw Failure.damaged }
        guard symbol >= group * 2 else { return base + symbol }
        let extra = symbol / group - 1
        return try base + (group + symbol % group) << extra + bits(extra)
    }
}
