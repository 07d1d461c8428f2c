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
        var utf8 = name.utf8[...]
        guard (1...limits.nameBytes).contains(utf8.count) else { return false }
        guard let bang = utf8.firstIndex(of: UInt8(ascii: "!")) else { return utf8.allSatisfy(isPlain) }
        let local = utf8[utf8.index(after: bang)...]
        guard !local.isEmpty, local.allSatisfy(isPlain) else { return false }
        utf8 = utf8[..<bang]
        return utf8.allSatisfy(isPlain) && isNode(utf8.suffix(while: { $0 != UInt8(ascii: ".") }), limits)
    }

    /// Whether `name` may name a group or a namespace.
    package static func isGroup(_ name: String, _ limits: Limits) -> Bool {
        let utf8 = name.utf8
        return (1...limits.nameBytes).contains(utf8.count) && utf8.allSatisfy(isPlain)
    }

    /// Whether `node` may identify a process inside its process channels.
    package static func isNode(_ node: String, _ limits: Limits) -> Bool {
        isNode(node.utf8[...], limits)
    }

    /// The node of a process channel, or `nil` for a normal channel. `name` must have passed ``isChannel(_:_:)``.
    package static func node(of name: String) -> Substring? {
        guard let bang = name.utf8.firstIndex(of: UInt8(ascii: "!")) else { return nil }
        return Substring(name.utf8[..<bang].suffix(while: { $0 != UInt8(ascii: ".") }))
    }

    private static func isNode(_ utf8: Substring.UTF8View, _ limits: Limits) -> Bool {
        (1...limits.nodeBytes).contains(utf8.count) && utf8.allSatisfy { isPlain($0) && $0 != UInt8(ascii: ".") }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
        default:
            false
        }
    }
}

extension Substring.UTF8View {
    /// The longest suffix whose bytes all satisfy `predicate`.
    fileprivate func suffix(while predicate: (UInt8) -> Bool) -> Substring.UTF8View {
        var start = endIndex
        while start > startIndex, predicate(self[index(before: start)]) { start = index(before: start) }
        return self[start...]
    }
}
