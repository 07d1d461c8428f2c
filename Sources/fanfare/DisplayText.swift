/// Text on a terminal: how wide it is, and what must not get there.
enum DisplayText {
    /// `text` with everything a terminal would obey replaced by `U+FFFD`: control characters, line separators,
    /// changes of direction. Names and attributes come from other programs.
    static func sanitized(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: steersTerminal) else { return text }
        var sanitized = String.UnicodeScalarView()
        sanitized.append(contentsOf: text.unicodeScalars.lazy.map { steersTerminal($0) ? "\u{fffd}" : $0 })
        return String(sanitized)
    }

    /// Columns `text` takes: two for East Asian wide characters and emoji, none for combining marks. An approximation
    /// of what terminals do; they do not agree among themselves.
    static func width(_ text: String) -> Int {
        let utf8 = text.utf8
        if utf8.allSatisfy({ $0 < 0x80 }) { return utf8.count }
        return text.reduce(0) { $0 + width($1) }
    }

    /// The longest start of `text` that takes at most `columns`, with `…` at its end when something was cut.
    static func cut(_ text: String, to columns: Int) -> String {
        guard width(text) > columns else { return text }
        var start = ""
        var used = 1
        for character in text {
            used += width(character)
            guard used <= columns else { break }
            start.append(character)
        }
        return columns > 0 ? start + "…" : ""
    }

    private static func width(_ character: Character) -> Int {
        character.unicodeScalars.reduce(0) { max($0, width($1)) }
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case 0..<0x300: 1
        case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff,
            0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6, 0x1f1e6...0x1f1ff, 0x20000...0x3fffd:
            2
        default:
            switch scalar.properties.generalCategory {
            case .nonspacingMark, .enclosingMark, .format: 0
            default: scalar.properties.isEmojiPresentation ? 2 : 1
            }
        }
    }

    private static func steersTerminal(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f..<0xa0, 0x2028, 0x2029, 0x202a...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}
