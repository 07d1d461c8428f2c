/// Counts sockets that say nothing.
final class SocketCount: LoadSocketOwner {
    private(set) var accepted = 0
    /// Those the server has closed.
    private(set) var lost = 0
    /// From connect() to the end of the handshake.
    private(set) var openings = Latencies()

    func opened(_ socket: LoadSocket, now: UInt64) {
        accepted += 1
        openings.record(nanoseconds: Int64(clamping: now - socket.begunAt))
    }

    func received(_ payload: UnsafeRawBufferPointer, on socket: LoadSocket, now: UInt64) {}

    func closed(_ socket: LoadSocket) {
        lost += 1
    }
}
