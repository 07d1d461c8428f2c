package import FanfareModel

/// The linear scan every frame and body passes before msgpack-c sees it (section 1).
///
/// msgpack-c allocates what a container declares before it looks at the elements; five bytes could ask for
/// gigabytes. What this accepts is one complete value, so the allocation that follows is in proportion to the bytes.
package enum MessagePackGuard {
    /// msgpack-c's own stack; a limit above it would accept what it then refuses.
    private static let nestingMaximum = 32

    /// Checks that `bytes` are exactly one MessagePack value of the kinds the protocol knows.
    ///
    /// One pass, no recursion, no allocation unless it refuses.
    ///
    /// - Parameters:
    ///   - bytes: A payload or a body.
    ///   - limits: Bounds the nesting and the number of elements.
    /// - Throws: `Failure(.malformedFrame)` that says what is wrong and at which byte.
    package static func scan(_ bytes: UnsafeRawBufferPointer, limits: Limits) throws(Failure) {
        var scanner = Scanner(bytes: bytes, nesting: min(limits.nesting, nestingMaximum), elements: limits.elements)
        try scanner.run()
    }

    private struct Scanner {
        let bytes: UnsafeRawBufferPointer
        let nesting: Int
        let elements: Int
        var position = 0
        var seen = 0
        /// Values still to come in the innermost open container; at depth 0, the one value of the payload.
        var remaining = 1
        var depth = 0
        /// What `remaining` goes back to when the containers inside are complete.
        var outer = InlineArray<32, Int>(repeating: 0)

        mutating func run() throws(Failure) {
            while true {
                while remaining == 0 {
                    guard depth > 0 else { return try finish() }
                    depth -= 1
                    remaining = outer[depth]
                }
                remaining -= 1
                seen += 1
                guard seen <= elements else { throw refusal("more than \(elements) elements") }
                try value()
            }
        }

        private mutating func value() throws(Failure) {
            guard position < bytes.count else { throw refusal("the value ends in the middle") }
            let byte = bytes[position]
            position += 1
            switch byte {
            case 0x00...0x7f, 0xe0...0xff, 0xc0, 0xc2, 0xc3: break
            case 0x80...0x8f: try open(Int(byte & 0x0f), perEntry: 2)
            case 0x90...0x9f: try open(Int(byte & 0x0f), perEntry: 1)
            case 0xa0...0xbf: try text(Int(byte & 0x1f))
            case 0xc4: try skip(try length(1))
            case 0xc5: try skip(try length(2))
            case 0xc6: try skip(try length(4))
            case 0xcc, 0xd0: try skip(1)
            case 0xcd, 0xd1: try skip(2)
            case 0xca, 0xce, 0xd2: try skip(4)
            case 0xcb, 0xcf, 0xd3: try skip(8)
            case 0xd9: try text(try length(1))
            case 0xda: try text(try length(2))
            case 0xdb: try text(try length(4))
            case 0xdc: try open(try length(2), perEntry: 1)
            case 0xdd: try open(try length(4), perEntry: 1)
            case 0xde: try open(try length(2), perEntry: 2)
            case 0xdf: try open(try length(4), perEntry: 2)
            case 0xc1: throw refusal("the byte c1, which MessagePack never uses")
            default: throw refusal("an extension type")
            }
        }

        private mutating func open(_ entries: Int, perEntry: Int) throws(Failure) {
            guard depth < nesting else { throw refusal("more than \(nesting) containers inside each other") }
            // At most 2^33: no overflow. Every value takes at least one byte.
            let values = entries * perEntry
            guard values <= bytes.count - position else {
                throw refusal("a container of \(values) values, with \(bytes.count - position) bytes left")
            }
            outer[depth] = remaining
            depth += 1
            remaining = values
        }

        private mutating func text(_ count: Int) throws(Failure) {
            let start = position
            try skip(count)
            guard count > 0 else { return }
            let text = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
            guard isUTF8(text.bindMemory(to: UInt8.self)) else { throw refusal("text that is not UTF-8") }
        }

        private mutating func skip(_ count: Int) throws(Failure) {
            guard count <= bytes.count - position else {
                throw refusal("a value of \(count) bytes, with \(bytes.count - position) left")
            }
            position += count
        }

        /// Reads a big-endian length of `width` bytes.
        private mutating func length(_ width: Int) throws(Failure) -> Int {
            let start = position
            try skip(width)
            return bytes[start..<position].reduce(0) { $0 << 8 | Int($1) }
        }

        private func finish() throws(Failure) {
            guard position == bytes.count else {
                throw refusal("\(bytes.count - position) bytes after the value")
            }
        }

        private func refusal(_ what: String) -> Failure {
            Failure(.malformedFrame, "\(what), at byte \(position) of \(bytes.count)")
        }

        private func isUTF8(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
            (try? UTF8Span(validating: text.span)) != nil
        }
    }
}
