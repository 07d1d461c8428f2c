import FanfareModel

/// A value rows are ordered by. Rows without one come first, then texts, then numbers.
enum SortKey: Comparable {
    case absent
    case text(String)
    case number(Double)

    init(_ value: MessageValue) {
        switch value {
        case .string(let text): self = .text(text)
        case .int(let number): self = .number(Double(number))
        case .double(let number): self = .number(number)
        default: self = .absent
        }
    }
}

/// What tells a row of a listing from all others, and orders rows whose keys are equal.
struct RowIdentity: Comparable {
    var number: UInt64 = 0
    /// A namespace, or nothing: without blanks.
    var space = ""
    var name = ""

    static func < (left: RowIdentity, right: RowIdentity) -> Bool {
        if left.number != right.number { return left.number < right.number }
        return left.space == right.space ? left.name < right.name : left.space < right.space
    }
}

/// Where a row stands in a listing, and the cursor that says so: a page is right whatever comes and goes between two
/// answers, and the broker remembers nothing.
struct RowPosition {
    var key: SortKey
    var identity: RowIdentity

    func isBefore(_ other: RowPosition, descending: Bool) -> Bool {
        if key != other.key { return (key < other.key) != descending }
        return identity < other.identity
    }

    /// `a`, `n` with the number's bits or `t` with the text behind its length; then number, space and name.
    var cursor: String {
        let rest = "\(identity.number) \(identity.space) \(identity.name)"
        return switch key {
        case .absent: "a \(rest)"
        case .number(let number): "n\(String(number.bitPattern, radix: 16)) \(rest)"
        case .text(let text): "t\(text.utf8.count) \(text) \(rest)"
        }
    }

    init(key: SortKey, identity: RowIdentity) {
        self.key = key
        self.identity = identity
    }

    /// - Throws: `bad_request` when the text is no cursor.
    init(cursor: String) throws(Failure) {
        let failure = Failure(.badRequest, "INSPECT: the cursor is none that this broker gave")
        var rest = Substring(cursor).utf8
        let kind = rest.popFirst()
        let head = Self.word(&rest)
        switch kind {
        case UInt8(ascii: "a") where head.isEmpty: key = .absent
        case UInt8(ascii: "n"):
            guard let bits = UInt64(head, radix: 16), !Double(bitPattern: bits).isNaN else { throw failure }
            key = .number(Double(bitPattern: bits))
        case UInt8(ascii: "t"):
            guard let count = Int(head), count >= 0, count < rest.count else { throw failure }
            key = .text(String(decoding: rest.prefix(count), as: UTF8.self))
            rest = rest.dropFirst(count)
            guard rest.popFirst() == UInt8(ascii: " ") else { throw failure }
        default: throw failure
        }
        guard let number = UInt64(Self.word(&rest)) else { throw failure }
        identity = RowIdentity(number: number, space: Self.word(&rest), name: String(decoding: rest, as: UTF8.self))
    }

    /// What stands before the next blank; both are taken.
    private static func word(_ text: inout Substring.UTF8View) -> String {
        let word = text.prefix { $0 != UInt8(ascii: " ") }
        text = text.dropFirst(word.count + 1)
        return String(decoding: word, as: UTF8.self)
    }
}

/// A row that was looked at: enough to order it and to find it again.
struct RowCandidate {
    var position: RowPosition
    var place: Int
}

/// The first rows of a listing behind a cursor, kept while the rows come in any order: a heap whose first is the last of
/// the page.
struct BestRows {
    private let limit: Int
    private let descending: Bool
    private let after: RowPosition?
    private var heap: [RowCandidate] = []
    /// Rows behind the cursor, kept or not.
    private(set) var count = 0

    init(limit: Int, descending: Bool, after: RowPosition?) {
        self.limit = limit
        self.descending = descending
        self.after = after
    }

    /// Takes up a row if it is one of the first.
    ///
    /// - Parameter identity: Asked only when the key does not decide.
    mutating func consider(_ key: SortKey, _ place: Int, identity: () -> RowIdentity) {
        if let after {
            let isBehind = key == after.key ? after.identity < identity() : (after.key < key) != descending
            guard isBehind else { return }
        }
        count += 1
        guard heap.count == limit else {
            heap.append(RowCandidate(position: RowPosition(key: key, identity: identity()), place: place))
            siftUp()
            return
        }
        let last = heap[0].position
        let isFirst = key == last.key ? identity() < last.identity : (key < last.key) != descending
        guard isFirst else { return }
        heap[0] = RowCandidate(position: RowPosition(key: key, identity: identity()), place: place)
        siftDown()
    }

    /// The rows in order; none are kept afterwards.
    mutating func take() -> [RowCandidate] {
        defer { heap = [] }
        return heap.sorted { $0.position.isBefore($1.position, descending: descending) }
    }

    private func isBehind(_ left: Int, _ right: Int) -> Bool {
        heap[right].position.isBefore(heap[left].position, descending: descending)
    }

    private mutating func siftUp() {
        var child = heap.count - 1
        while child > 0, isBehind(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func siftDown() {
        var parent = 0
        while 2 * parent + 1 < heap.count {
            var child = 2 * parent + 1
            if child + 1 < heap.count, isBehind(child + 1, child) { child += 1 }
            guard isBehind(child, parent) else { return }
            heap.swapAt(parent, child)
            parent = child
        }
    }
}

/// What the values of one column add up to.
struct ColumnSum {
    private var whole: UInt64 = 0
    private var real: Double?

    mutating func add(_ value: MessageValue) {
        switch value {
        case .int(let count): whole = whole.addingClamped(UInt64(clamping: count))
        case .double(let number): real = (real ?? 0) + number
        default: break
        }
    }

    var value: MessageValue { real.map { .double($0 + Double(whole)) } ?? .count(whole) }
}
