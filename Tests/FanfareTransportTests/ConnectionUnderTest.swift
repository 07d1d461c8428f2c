import FanfareModel
import FanfareTransport
import Glibc
import NIOCore
import NIOPosix
import Testing

/// What a ``FrameConnection`` told its receiver, in order.
final class Recorder: FrameReceiver {
    enum Event: Sendable, Equatable {
        case opened
        case frame([UInt8])
        case burst
        case drained
        case failed(StreamFailure)
        case closed
    }

    private(set) var events: [Event] = []
    private(set) var connection: FrameConnection?
    /// Runs inside the call that brings a frame.
    var onFrame: ((FrameConnection, [UInt8]) -> Void)?

    func connectionOpened(_ connection: FrameConnection) {
        self.connection = connection
        events.append(.opened)
    }

    func connection(_ connection: FrameConnection, received payload: UnsafeRawBufferPointer) {
        events.append(.frame(Array(payload)))
        onFrame?(connection, Array(payload))
    }

    func connectionFinishedBurst(_ connection: FrameConnection) {
        events.append(.burst)
    }

    func connectionDrained(_ connection: FrameConnection) {
        events.append(.drained)
    }

    func connection(_ connection: FrameConnection, failed failure: StreamFailure) {
        events.append(.failed(failure))
        connection.close()
    }

    func connectionClosed(_ connection: FrameConnection) {
        events.append(.closed)
        self.connection = nil
    }
}

/// A ``FrameConnection`` on an event loop over one end of a socket pair.
struct ConnectionUnderTest: Sendable {
    private let loop: any EventLoop
    private let recorder: NIOLoopBound<Recorder>
    private let channel: any Channel

    /// - Parameter packets: Whether the pair keeps the borders between writes, so that one read is one write.
    /// - Returns: The connection and the other end.
    static func make(packets: Bool = false, frameBytes: Int = 65_536) async throws -> (ConnectionUnderTest, RawSocket) {
        var ends: [CInt] = [0, 0]
        let type = packets ? SOCK_SEQPACKET : SOCK_STREAM
        try #require(socketpair(AF_UNIX, Int32(type.rawValue), 0, &ends) == 0)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let recorder = try await loop.submit { NIOLoopBound(Recorder(), eventLoop: loop) }.get()
        let channel = try await ClientBootstrap(group: loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let turn = WriteTurn(loop: channel.eventLoop)
                let connection = FrameConnection(receiver: recorder.value, turn: turn, frameBytes: frameBytes)
                try channel.pipeline.syncOperations.addHandler(connection)
            }
        }.withConnectedSocket(ends[0]).get()
        return (ConnectionUnderTest(loop: loop, recorder: recorder, channel: channel), RawSocket(descriptor: ends[1]))
    }

    /// Runs `body` on the loop, with the connection while it is there.
    func onLoop<R: Sendable>(_ body: @escaping @Sendable (Recorder) throws -> R) async throws -> R {
        try await loop.submit { try body(recorder.value) }.get()
    }

    /// Runs `body` on the loop within one turn.
    func write(_ body: @escaping @Sendable (FrameConnection) -> Void) async throws {
        try await onLoop { if let connection = $0.connection { body(connection) } }
    }

    func events() async throws -> [Recorder.Event] {
        try await onLoop { $0.events }
    }

    func frames() async throws -> [[UInt8]] {
        try await events().compactMap { if case .frame(let payload) = $0 { payload } else { nil } }
    }

    func closed() async throws {
        try await channel.closeFuture.get()
    }

    func close() async {
        try? await channel.close()
    }
}
