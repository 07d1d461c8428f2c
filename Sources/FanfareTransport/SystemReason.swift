import Glibc
import NIOCore
import NIOPosix

/// Why the system refused an address, in its own words and without the function that failed.
package enum SystemReason {
    /// The words for `error`, such as `Connection refused`.
    package static func text(_ error: any Error) -> String {
        switch error {
        case let error as IOError: String(cString: strerror(error.errnoCode))
        case let error as NIOConnectionError:
            error.connectionErrors.first.map { text($0.error) } ?? "no address found for \"\(error.host)\""
        case is ChannelError: "no answer in time"
        default: "\(error)"
        }
    }
}
