import FanfareModel
import FanfareProtocol
import FanfareTransport
import NIOCore

/// One connection of the broker, from its first byte: a stranger until its hello is accepted, a session then.
final class Peer: FrameReceiver {
    /// The session, once there is one.
    private(set) var session: SessionID?
    private(set) var connection: FrameConnection?
    /// When the connection was made; the hello is due from then on.
    var arrivedAt = NIODeadline.uptimeNanoseconds(0)
    /// Whether the peer has been pinged since it was last heard.
    var isPinged = false
    /// Whether more waits for the connection than may; the core pushes it nothing then.
    var isCongested = false
    /// When it was last told the broker's clock, if it wants to know.
    var clockToldAt: NIODeadline?
    /// Requests the resilience mode holds back, in order.
    var held: [Request] = []
    private let broker: BrokerLoop

    init(_ broker: BrokerLoop) {
        self.broker = broker
    }

    func connectionOpened(_ connection: FrameConnection) {
        self.connection = connection
        broker.arrived(self)
    }

    func connection(_ connection: FrameConnection, received payload: UnsafeRawBufferPointer) {
        isPinged = false
        do throws(Refusal) {
            let request = try broker.reader.request(payload)
            if let session {
                broker.received(request, from: session, self)
            } else if case .hello(let hello) = request {
                welcome(hello, on: connection)
            } else {
                refuse(Refusal(id: request.id, failure: Failure(.helloExpected, "the first frame must be HELLO")))
            }
        } catch {
            let isStranger = session == nil && !error.failure.code.isFatal
            let failure =
                isStranger
                ? Failure(.helloExpected, "the first frame must be HELLO: \(error.failure.text)") : error.failure
            refuse(Refusal(id: error.id, failure: failure))
        }
    }

    private func welcome(_ hello: Hello, on connection: FrameConnection) {
        do throws(Failure) {
            session = try broker.open(hello, for: self)
            connection.raise(frameBytes: broker.limits.frameBytes)
        } catch {
            broker.write(.error(nil, error), to: self)
            close()
        }
    }

    func connectionFinishedBurst(_ connection: FrameConnection) {}

    func connectionDrained(_ connection: FrameConnection) {
        if isCongested { broker.drained(self) }
    }

    func connection(_ connection: FrameConnection, failed failure: StreamFailure) {
        switch failure {
        case .frame(let failure): refuse(Refusal(id: nil, failure: failure))
        case .http:
            broker.count(refused: .helloExpected)
            let text =
                "This is the port of a Fanfare broker, which speaks MessagePack; browsers go to fanfare-worker.\n"
            connection.closeWhenWritten(
                text: "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    + "Content-Length: \(text.utf8.count)\r\nConnection: close\r\n\r\n\(text)"
            )
        }
    }

    /// Answers with an error, and closes when the stream cannot go on. A second hello, an unknown operation or a
    /// wrong type leave a session as it is.
    private func refuse(_ refusal: Refusal) {
        broker.write(.error(refusal.id, refusal.failure), to: self)
        if refusal.failure.code.isFatal { close() }
    }

    /// Says what is still to be said, then closes.
    func close() {
        connection?.closeWhenWritten()
    }

    func connectionClosed(_ connection: FrameConnection) {
        broker.left(self)
        self.connection = nil
    }
}
