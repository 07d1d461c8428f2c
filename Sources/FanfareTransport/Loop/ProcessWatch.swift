import CLinux
import Glibc

/// Tells when a process of this machine has ended (`pidfd_open(2)`). On its loop; not Sendable.
package final class ProcessWatch: DescriptorHandler {
    private let descriptor: CInt
    private let loop: EpollLoop
    private let ended: () -> Void
    private var isWatching = true

    /// Watches a process, which may have ended already and not been waited for.
    ///
    /// - Parameter ended: Called once, when the process has ended, unless ``cancel()`` comes first.
    /// - Returns: `nil` when nobody can tell: there is no such process (any more), or no descriptor left for it.
    package init?(of process: Int32, on loop: EpollLoop, ended: @escaping () -> Void) {
        descriptor = fanfare_open_process(process)
        guard descriptor >= 0 else { return nil }
        self.loop = loop
        self.ended = ended
        loop.watch(descriptor, for: .readable, self)
    }

    /// Watches no more.
    package func cancel() {
        guard isWatching else { return }
        isWatching = false
        loop.unwatch(descriptor)
        close(descriptor)
    }

    package func ready(_ readiness: Readiness) {
        cancel()
        ended()
    }

    package func loopEnded() {
        cancel()
    }
}
