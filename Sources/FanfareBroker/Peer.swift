import FanfareCore
import FanfareModel
import FanfareProtocol
import FanfareTransport
import NIOCore

/// One connection of the broker, from its first byte: a stranger until its hello is accepted, a session then. A session
/// that can be resumed stays when its connection goes, until another one takes it over.
final class Peer: FrameReceiver {
    /// The session, once there is one.
    private(set) var session: SessionID?
    private(set) var connection: FrameConnection?
    /// When the connection was made; the hello is due from then on.
    var arrivedAt = NIODeadline.uptimeNanoseconds(0)
    /// When it was told the last; it may read that for a while.
    var dismissedAt = NIODeadline.uptimeNanoseconds(0)
    /// When the `PING` was sent that has not been answered; `nil` while there is none.
    private var pingedAt: NIODeadline?
    /// When the next one is due.
    var pingDueAt = NIODeadline.uptimeNanoseconds(0)
    /// How long the last one took, there and back.
    private var roundTrip: TimeAmount?
    /// Messages it sent, and messages passed to it.
    var messagesIn: UInt64 = 0
    var messagesOut: UInt64 = 0
    var rates = MessageRates()
    /// Why the broker has closed the connection, until what it carried ends with it.
    var ending: (reason: EndReason, detail: String)?
    /// Whether another connection has taken its session over: nothing ends with it.
    private var isSucceeded = false
    /// Whether more waits for the connection than may; the core pushes it nothing then.
    var isCongested = false
    /// When it was last told the broker's clock, if it wants to know.
    var clockToldAt: NIODeadline?
    /// Whether it is one of those the fan-out goes to that is being gathered.
    var isInFanOut = false
    /// What it has been written of that fan-out.
    var fanOutPosition = FanOut.Position()
    /// Bytes of fan-outs it may still be written before somebody has to look how much waits for it.
    var unheededBytes = 0
    /// Frames that went to the connection in one write with another.
    var framesMerged: UInt64 = 0
    /// Requests the resilience mode holds back, in order.
    var held: [Request] = []
    /// What its session was told and may have to be told again; `nil` when the session ends with its connection.
    var retained: Retained?
    /// When the connection was lost, while the session waits for another one.
    var awaySince = NIODeadline.uptimeNanoseconds(0)
    /// Counted replies when the connection was lost: those after it reached nobody, unless another connection comes.
    var repliesBeforeAway: UInt64 = 0
    /// Ends the session when no connection has come by then.
    var grace: Scheduled<Void>?
    /// Ends the session when the process behind it ends while there is no connection.
    var departure: ProcessWatch?
    /// A request to leave that came while there was no connection.
    var owedGoAway: Reply?
    /// What earlier connections of the session carried.
    private var earlier = FrameConnection.Traffic()
    /// Tells this connection from all others of this start, in lines of log.
    let number: UInt64
    /// Where it comes from.
    let arrival: Arrival
    /// The same for people.
    let remote: String
    /// The same without the port, for who is counted by it.
    let address: String?
    /// What it said hello with, without the token, and who it has proved to be; `nil` when the broker asks nobody.
    private(set) var hello: Hello?
    private(set) var access: Access?
    /// The same of a session that began with an earlier start, by its seal.
    private let formerCredential: String?
    /// Sees to it that requests keep to what the credential allows; `nil` when that is everything.
    private var gate: Gate?
    private let broker: BrokerLoop

    init(_ broker: BrokerLoop, _ arrival: Arrival = Arrival()) {
        self.broker = broker
        number = broker.nextConnection()
        self.arrival = arrival
        address = arrival.address?.ipAddress
        remote = arrival.text
        formerCredential = nil
    }

    /// Goes on with a session of an earlier start, without a connection.
    ///
    /// - Parameters:
    ///   - hello: What it began with.
    ///   - credential: Whose it was.
    init(
        _ broker: BrokerLoop,
        goingOnWith session: SessionID,
        _ retained: Retained,
        _ hello: Hello,
        of credential: String?
    ) {
        self.broker = broker
        number = broker.nextConnection()
        self.session = session
        self.retained = retained
        self.hello = hello
        formerCredential = credential
        arrival = Arrival()
        address = nil
        remote = ""
    }

    /// The seal of the credential the session belongs to.
    var credential: String? { access?.seal ?? formerCredential }

    /// What has passed over the session's connections.
    var traffic: Traffic {
        var carried = earlier
        if let connection { carried += connection.traffic }
        var traffic = Traffic()
        (traffic.framesIn, traffic.framesOut) = (carried.framesIn, carried.framesOut + framesMerged)
        (traffic.bytesIn, traffic.bytesOut) = (carried.bytesIn, carried.bytesOut)
        (traffic.messagesIn, traffic.messagesOut) = (messagesIn, messagesOut)
        return traffic
    }

    /// Whether nothing was ever welcomed here.
    var isStranger: Bool { session == nil && !isSucceeded }

    /// Goes on with the session of a former connection, which has none afterwards.
    func takeOver(_ former: Peer) {
        session = former.session
        retained = former.retained
        isCongested = former.isCongested
        clockToldAt = former.clockToldAt
        owedGoAway = former.owedGoAway
        earlier = former.earlier
        if let connection = former.connection { earlier += connection.traffic }
        earlier.framesOut += former.framesMerged
        (messagesIn, messagesOut, rates) = (former.messagesIn, former.messagesOut, former.rates)
        former.stopWaiting()
        former.isSucceeded = true
        former.session = nil
        former.retained = nil
    }

    // MARK: Round trips

    /// Sends a `PING` behind everything that waits, unless one is under way; its answer says how long that takes.
    func ping(at now: NIODeadline) {
        guard pingedAt == nil, connection != nil else { return }
        pingedAt = now
        pingDueAt = now + broker.limits.roundTripEvery.amount
        broker.write(.ping(1), to: self)
    }

    func ponged(at now: NIODeadline) {
        guard let pingedAt else { return }
        let roundTrip = max(.zero, now - pingedAt)
        broker.roundTripSeconds.record(Double(roundTrip.nanoseconds) / 1e9)
        self.roundTrip = roundTrip
        self.pingedAt = nil
    }

    /// The last round trip, or how long one has been unanswered if that is longer.
    func lag(at now: NIODeadline) -> TimeAmount? {
        guard let pingedAt else { return roundTrip }
        return max(roundTrip ?? .zero, now - pingedAt)
    }

    /// Nobody is waited for any more.
    func stopWaiting() {
        grace?.cancel()
        departure?.cancel()
    }

    func connectionOpened(_ connection: FrameConnection) {
        self.connection = connection
        broker.arrived(self)
    }

    func connection(_ connection: FrameConnection, received payload: UnsafeRawBufferPointer) {
        do throws(Refusal) {
            let request = try broker.reader.request(payload)
            if let session {
                if let retained { note(request, retained) }
                pass(request, from: session)
            } else if case .hello(let hello) = request {
                welcome(hello, on: connection)
            } else {
                refuse(Refusal(id: request.id, failure: Failure(.helloExpected, "the first frame must be HELLO")))
            }
        } catch {
            retained?.requestsTaken += 1
            let isStranger = session == nil && !error.failure.code.isFatal
            let failure =
                isStranger
                ? Failure(.helloExpected, "the first frame must be HELLO: \(error.failure.text)") : error.failure
            refuse(Refusal(id: error.id, failure: failure))
        }
    }

    /// Counts what the client counts, and lets go of what it has received.
    private func note(_ request: Request, _ retained: Retained) {
        switch request {
        case .pong: break
        case .report(let report):
            retained.requestsTaken += 1
            retained.arrived(upTo: report.received)
        default: retained.requestsTaken += 1
        }
    }

    /// Passes a request on, if the session may make it.
    private func pass(_ request: Request, from session: SessionID) {
        guard let gate else { return broker.received(request, from: session, self) }
        do throws(Failure) {
            broker.received(try gate.admit(request), from: session, self)
        } catch {
            refuse(Refusal(id: request.id, failure: error))
        }
    }

    private func welcome(_ hello: Hello, on connection: FrameConnection) {
        do throws(Failure) {
            access = try broker.security.access(for: hello, from: arrival.user)
            gate = access.flatMap { Gate($0, hello) }
            // The token has done its work. It is kept nowhere, and gets into no state file.
            var known = hello
            known.token = nil
            self.hello = known
            session = try broker.open(known, for: self)
            connection.raise(frameBytes: broker.limits.frameBytes)
        } catch {
            broker.write(.error(nil, error), to: self)
            close()
        }
    }

    func connectionFinishedBurst(_ connection: FrameConnection) {
        broker.run()
    }

    func connectionDrained(_ connection: FrameConnection) {
        if isCongested { broker.drained(self) }
    }

    func connection(_ connection: FrameConnection, failed failure: StreamFailure) {
        switch failure {
        case .frame(let failure): refuse(Refusal(id: nil, failure: failure))
        case .http:
            broker.run()
            broker.count(refused: .helloExpected)
            ending = (.refused(.helloExpected), "it spoke HTTP")
            ConnectionLog.refused(self, Failure(.helloExpected, "it spoke HTTP"), broker.logger)
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
        broker.run()
        if let session, refusal.failure.code.isFatal {
            broker.expel(session, refusal.failure)
        } else {
            broker.write(.error(refusal.id, refusal.failure), to: self)
            if refusal.failure.code.isFatal { close() }
        }
    }

    /// Says what is still to be said, then closes.
    func close() {
        connection?.closeWhenWritten()
    }

    func connectionClosed(_ connection: FrameConnection) {
        earlier += connection.traffic
        self.connection = nil
        broker.left(self)
    }
}
