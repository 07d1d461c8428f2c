/// Who looks at a broker without a session: over the operations port.
package struct Viewer: Sendable, Equatable {
    /// Whether it is known to ask from this machine itself.
    package var isLocal: Bool
    /// What it shows to be let in.
    package var token: String?

    package init(isLocal: Bool, token: String? = nil) {
        self.isLocal = isLocal
        self.token = token
    }
}
