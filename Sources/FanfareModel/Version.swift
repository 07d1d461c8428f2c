/// The version of everything in this repository: `--version`, hello, welcome and `/healthz` say the same.
package enum Version {
    /// Semantic version of this build.
    package static let current = "0.1.0"
}
