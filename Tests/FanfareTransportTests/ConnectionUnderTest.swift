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
    /// Succeeds with the last call.
    let closed: EventLoopPromise<Void>

    init(on loop: any EventLoop) {
        closed = loop.makePromise()
    }

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
        closed.succeed()
    }
}

/// What carries a connection's bytes.
enum Carrier: Sendable, CaseIterable {
    /// A descriptor on an ``EpollLoop``.
    case descriptor
    /// A NIO channel.
    case channel
}

/// A ``FrameConnection`` on an event loop over one end of a socket pair.
struct ConnectionUnderTest: Sendable {
    private let loop: any EventLoop
    private let recorder: NIOLoopBound<Recorder>
    /// Keeps the loop running.
    private let run: LoopRun?

    /// - Parameter packets: Whether the pair keeps the borders between writes, so that one read is one write.
    /// - Returns: The connection and the other end.
    static func make(
        _ carrier: Carrier,
        packets: Bool = false,
        frameBytes: Int = 65_536
    ) async throws -> (ConnectionUnderTest, RawSocket) {
        let (ours, peer) = try RawSocket.pair(packets: packets)
        let run = carrier == .descriptor ? try LoopRun() : nil
        let loop: any EventLoop = run?.loop ?? MultiThreadedEventLoopGroup.singleton.next()
        let recorder = try await loop.submit { NIOLoopBound(Recorder(on: loop), eventLoop: loop) }.get()
        let make = { @Sendable in
            FrameConnection(receiver: recorder.value, turn: WriteTurn(loop: loop), frameBytes: frameBytes)
        }
        if let run {
            try await run.onLoop { loop in
                let connection = make()
                let carrier = DescriptorConnection(ours, on: loop, receiver: connection)
                connection.open(carrier.writer, remote: "")
            }
        } else {
            _ = try await ClientBootstrap(group: loop).channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(make()) }
            }.withConnectedSocket(ours).get()
        }
        return (ConnectionUnderTest(loop: loop, recorder: recorder, run: run), peer)
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
        try await onLoop { $0.closed.futureResult }.get()
    }

    func close() async throws {
        try await write { $0.close() }
        try await closed()
    }
}
