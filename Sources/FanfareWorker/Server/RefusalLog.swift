import FanfareModel

/// Decides which refusals are written to the log: of each reason at most one in a window of time.
///
/// Whoever can make a server refuse can make it write; so nobody can fill a disk or bury other lines with it.
struct RefusalLog {
    private var windows: [String: LogWindow] = [:]

    /// Different reasons told apart; what is beyond counts as ``other``.
    static let reasonsMaximum = 64
    static let other = "other"

    /// The name a reason is counted under.
    mutating func name(of reason: String) -> String {
        if windows[reason] != nil { return reason }
        let name = windows.count < Self.reasonsMaximum ? reason : Self.other
        if windows[name] == nil { windows[name] = LogWindow() }
        return name
    }

    /// Whether a refusal is written now.
    ///
    /// - Parameter name: Of ``name(of:)``.
    /// - Returns: How many of the same reason were kept back before it, or `nil`.
    mutating func admit(_ name: String, at now: Instant) -> UInt64? {
        windows[name]?.admit(at: now)
    }
}
