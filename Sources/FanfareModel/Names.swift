/// The grammar of names, from the channel layer specification.
///
/// ```
/// channel  = normal | process
/// normal   = 1*( ALPHA / DIGIT / "." / "-" / "_" )
/// process  = [ prefix "." ] node "!" local          ; local may be empty: "everything of this process"
/// group    = normal
/// node     = 1*( ALPHA / DIGIT / "-" / "_" )
/// ```
package enum Names {
    /// Whether `name` may name a normal channel or a process channel with a local part.
    ///
    /// - Parameters:
    ///   - name: What the peer sent.
    ///   - limits: Bounds the length in bytes.
    package static func isChannel(_ name: String, _ limits: Limits) -> Bool {
        guard let parts = parts(of: name), (1...limits.nameBytes).contains(parts.length) else { return false }
        guard let node = parts.node else { return true }
        return (1...limits.nodeBytes).contains(node.count) && node.upperBound + 1 < parts.length
    }

    /// Whether `name` may name a group or a namespace.
    package static func isGroup(_ name: String, _ limits: Limits) -> Bool {
        guard let parts = parts(of: name) else { return false }
        return (1...limits.nameBytes).contains(parts.length) && parts.node == nil
    }

    /// Whether `node` may identify a process inside its process channels.
    package static func isNode(_ node: String, _ limits: Limits) -> Bool {
        guard let parts = parts(of: node) else { return false }
        return (1...limits.nodeBytes).contains(parts.length) && parts.node == nil && parts.lastDot == nil
    }

    /// The node of a process channel, or `nil` for a normal channel. `name` must have passed ``isChannel(_:_:)``.
    package static func node(of name: String) -> Substring? {
        guard let node = parts(of: name)?.node else { return nil }
        let start = name.utf8.index(name.startIndex, offsetBy: node.lowerBound)
        return name[start..<name.utf8.index(start, offsetBy: node.count)]
    }

    /// A name taken apart, in bytes.
    private struct Parts {
        var length: Int
        /// The last `.` before the `!`, or of all.
        var lastDot: Int?
        /// What stands between that and the `!`; `nil` without a `!`.
        var node: Range<Int>?
    }

    /// Takes a name apart, or returns `nil` when it has a byte that no name has, or a second `!`.
    ///
    /// Every name of every request comes here: one pass over plain memory, which costs a tenth of what several over
    /// `String.UTF8View` do.
    private static func parts(of name: String) -> Parts? {
        var name = name
        return name.withUTF8 { utf8 in
            var parts = Parts(length: utf8.count)
            for index in 0..<utf8.count where !isWord(utf8[index]) {
                switch utf8[index] {
                case UInt8(ascii: "."): if parts.node == nil { parts.lastDot = index }
                case UInt8(ascii: "!") where parts.node == nil:
                    parts.node = (parts.lastDot.map { $0 + 1 } ?? 0)..<index
                default: return nil
                }
            }
            return parts
        }
    }

    /// Whether a byte is one of `A-Z a-z 0-9 - _`; a bit for each, since a comparison with each range takes longer.
    private static func isWord(_ byte: UInt8) -> Bool {
        let bits: UInt64 = byte < 64 ? 0x03ff_2000_0000_0000 : 0x07ff_fffe_87ff_fffe
        return byte < 128 && bits &>> UInt64(byte & 63) & 1 == 1
    }
}
