package import NIOCore

/// The connections that have something to write in this loop turn: each is flushed once, after everything the turn
/// reads has been handled. No timer and no added latency, only what is there already is gathered.
///
/// Not Sendable; one per loop.
package final class WriteTurn {
    private var dirty: ContiguousArray<FrameConnection> = []
    private var flushed: ContiguousArray<FrameConnection> = []
    private var isScheduled = false
    /// When it is, in ticks of any length: what waits from now on waits since then. Whoever watches ages moves it.
    package var tick = 0
    private let loop: any EventLoop
    /// The same, if it is ours: its next turn costs no allocation.
    private let ours: EpollLoop?

    /// - Parameter loop: The loop this is called on.
    package init(loop: any EventLoop) {
        self.loop = loop
        ours = loop as? EpollLoop
    }

    func add(_ connection: FrameConnection) {
        dirty.append(connection)
        guard !isScheduled else { return }
        isScheduled = true
        if let ours {
            ours.onNextTurn { self.flush() }
        } else {
            loop.assumeIsolated().execute { self.flush() }
        }
    }

    /// Flushes now what would be flushed at the end of the turn.
    package func flush() {
        isScheduled = false
        // Flushing can add connections again; those go with the next turn.
        swap(&dirty, &flushed)
        for connection in flushed { connection.flush() }
        flushed.removeAll(keepingCapacity: true)
    }
}
