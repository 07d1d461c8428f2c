/// A shell-style pattern over names: `*` any run, `?` any one byte, `[abc]`, `[a-z]`, `[!abc]` one byte of a class.
///
/// The meaning is that of Python's `fnmatch`, which Django's `channel_capacity` uses. Matching is iterative and
/// costs at most `pattern x name` steps: a hostile pattern cannot make it exponential.
package struct Glob: Sendable, Hashable {
    /// The pattern as written.
    package let pattern: String
    private let tokens: [Token]

    private enum Token: Sendable, Hashable {
        case anyRun
        case anyByte
        case byte(UInt8)
        case oneOf([ClosedRange<UInt8>], negated: Bool)
    }

    package init(_ pattern: String) {
        self.pattern = pattern
        var tokens: [Token] = []
        var rest = Array(pattern.utf8)[...]
        // Once a `[` has found no `]`, no later one does: looking again would be quadratic.
        var mayHoldClasses = true
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "*"): if tokens.last != .anyRun { tokens.append(.anyRun) }
            case UInt8(ascii: "?"): tokens.append(.anyByte)
            case UInt8(ascii: "[") where mayHoldClasses:
                if let token = Self.oneOf(&rest) {
                    tokens.append(token)
                } else {
                    mayHoldClasses = false
                    tokens.append(.byte(byte))
                }
            default: tokens.append(.byte(byte))
            }
        }
        self.tokens = tokens
    }

    /// Whether the whole of `name` matches.
    package func matches(_ name: String) -> Bool {
        var name = name
        return name.withUTF8 { bytes in
            var token = 0
            var index = 0
            var retry: (token: Int, index: Int)?
            while index < bytes.count {
                if token < tokens.count, tokens[token] == .anyRun {
                    retry = (token + 1, index)
                    token += 1
                } else if token < tokens.count, Self.accepts(tokens[token], bytes[index]) {
                    token += 1
                    index += 1
                } else if let last = retry {
                    retry = (last.token, last.index + 1)
                    token = last.token
                    index = last.index + 1
                } else {
                    return false
                }
            }
            return tokens[token...].allSatisfy { $0 == .anyRun }
        }
    }

    private static func accepts(_ token: Token, _ byte: UInt8) -> Bool {
        switch token {
        case .anyRun: false
        case .anyByte: true
        case .byte(let expected): byte == expected
        case .oneOf(let ranges, let negated): ranges.contains { $0.contains(byte) } != negated
        }
    }

    /// Reads a class after its `[`; leaves `rest` alone and returns `nil` when no `]` closes it.
    private static func oneOf(_ rest: inout ArraySlice<UInt8>) -> Token? {
        var inside = rest
        let negated = inside.first == UInt8(ascii: "!")
        if negated { inside.removeFirst() }
        var ranges: [ClosedRange<UInt8>] = []
        var first = true
        while let low = inside.popFirst() {
            if low == UInt8(ascii: "]"), !first {
                rest = inside
                return .oneOf(ranges, negated: negated)
            }
            first = false
            guard inside.first == UInt8(ascii: "-"), let high = inside.dropFirst().first, high != UInt8(ascii: "]")
            else {
                ranges.append(low...low)
                continue
            }
            inside.removeFirst(2)
            if low <= high { ranges.append(low...high) }
        }
        return nil
    }
}
