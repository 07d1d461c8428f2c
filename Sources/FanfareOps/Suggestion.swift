/// Finds what somebody probably meant.
package enum Suggestion {
    /// The candidate closest to `word`, or `nil` when none is close enough to be worth naming.
    ///
    /// A candidate counts as close when the word differs little from it or from its beginning up to an underscore,
    /// so `expiri` finds `expiry_default_seconds`. Of equally close ones the first wins.
    ///
    /// - Parameters:
    ///   - word: What was written.
    ///   - candidates: What would have been right.
    package static func closest(to word: String, among candidates: [String]) -> String? {
        let word = Array(word.lowercased().utf8.prefix(64))
        let most = max(1, word.count / 3)
        var best: (candidate: String, distance: Int)?
        for candidate in candidates {
            let name = Array(candidate.lowercased().utf8)
            let ends = name.indices.filter { name[$0] == UInt8(ascii: "_") } + [name.count]
            let nearest = ends.map { distance(word, name[..<$0]) }.min() ?? .max
            if nearest <= most, nearest < best?.distance ?? .max { best = (candidate, nearest) }
        }
        return best?.candidate
    }

    /// Insertions, removals, replacements and swaps of neighbours that make one word the other
    /// (Damerau-Levenshtein, optimal string alignment).
    static func distance(_ left: [UInt8], _ right: ArraySlice<UInt8>) -> Int {
        let right = Array(right)
        var twoBack: [Int] = []
        var previous = Array(0...right.count)
        for row in left.indices {
            var current = [row + 1]
            for column in right.indices {
                let replaced = previous[column] + (left[row] == right[column] ? 0 : 1)
                var cost = min(replaced, previous[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    cost = min(cost, twoBack[column - 1] + 1)
                }
                current.append(cost)
            }
            twoBack = previous
            previous = current
        }
        return previous[right.count]
    }
}
