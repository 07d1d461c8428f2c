package import NIOCore

/// Something done on a loop at a steady interval until cancelled: silence checks, liveness. One per loop or link,
/// never one per message. Not Sendable.
package final class Sweep {
    private let loop: NIOIsolatedEventLoop
    private let interval: TimeAmount
    private let body: () -> Void
    private var isCancelled = false

    /// - Parameters:
    ///   - loop: The loop this is called on and `body` runs on.
    ///   - interval: The time before the first run and between two.
    ///   - body: Kept until ``cancel()``.
    package init(loop: any EventLoop, every interval: TimeAmount, _ body: @escaping () -> Void) {
        self.loop = loop.assumeIsolated()
        self.interval = interval
        self.body = body
        schedule()
    }

    /// Ends it; `body` does not run again.
    package func cancel() {
        isCancelled = true
    }

    private func schedule() {
        loop.scheduleTask(in: interval) {
            guard !self.isCancelled else { return }
            self.body()
            self.schedule()
        }
    }
}
