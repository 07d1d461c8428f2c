import ArgumentParser
import NIOCore
import NIOPosix

/// `fanfare-bench websocket`: rooms of sockets through the workers' chat.
struct WebSocketCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "websocket",
        abstract: "Chat rooms through fanfare-worker, closed loop."
    )

    @Option(help: "Host of the workers.") var host = "127.0.0.1"
    @Option(help: "Port of the workers.") var port = 8_000
    @Option(help: "Sockets in all.") var sockets = 1_000
    @Option(help: "Rooms they are spread over.") var rooms = 1
    @Option(help: "Messages under way in each room.") var window = 1
    @Option(help: "Seconds to measure.") var seconds = 5.0
    @Option(help: "Bytes of text in a message.") var payload = 115
    @Option(help: "Process to charge CPU time to; repeatable.") var pid: [Int32] = []
    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        guard sockets >= rooms, rooms > 0, window > 0, sockets % rooms == 0 else {
            throw ValidationError("--sockets must be a multiple of --rooms, and both at least 1")
        }
    }

    func run() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let load = try await loop.submit {
            NIOLoopBound(WebSocketLoad(self, loop: loop), eventLoop: loop)
        }.get()
        try await loop.flatSubmit { load.value.connect() }.get()
        let measurement = try await Measurement.of(
            pid,
            seconds: seconds,
            start: { try await loop.submit { load.value.start() }.get() },
            finish: { try await loop.flatSubmit { load.value.finish() }.get() }
        )
        let totals = try await loop.submit { load.value.totals }.get()
        let report = Report(
            sent: totals.sent,
            expected: totals.sent * UInt64(sockets / rooms),
            delivered: totals.delivered,
            outOfOrder: totals.outOfOrder,
            measurement
        )
        try report.show(asJSON: json)
        if !report.isWhole { throw ExitCode(1) }
    }
}

/// The sockets and rooms of one run, on one loop.
final class WebSocketLoad {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private(set) var isRunning = false
    private let command: WebSocketCommand
    private let loop: any EventLoop
    private var rooms: [LoadRoom] = []
    private var openCount = 0
    private var allOpen: EventLoopPromise<Void>?
    private var allDone: EventLoopPromise<Void>?

    init(_ command: WebSocketCommand, loop: any EventLoop) {
        self.command = command
        self.loop = loop
    }

    var totals: (sent: UInt64, delivered: UInt64, outOfOrder: UInt64) {
        rooms.reduce((0, 0, 0)) { ($0.0 + $1.sent, $0.1 + $1.delivered, $0.2 + $1.outOfOrder) }
    }

    /// Opens every socket; completes when the last has been accepted.
    func connect() -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        allOpen = promise
        let members = command.sockets / command.rooms
        for number in 0..<command.rooms {
            let room = LoadRoom(
                name: "bench-\(number)",
                memberCount: members,
                window: command.window,
                payloadBytes: command.payload,
                load: self
            )
            rooms.append(room)
            for _ in 0..<members { open(in: room) }
        }
        return promise.futureResult
    }

    private func open(in room: LoadRoom) {
        let socket = NIOLoopBound(
            LoadSocket(room: room, host: "\(command.host):\(command.port)"),
            eventLoop: loop
        )
        ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(socket.value)
                }
            }
            .connect(host: command.host, port: command.port)
            .assumeIsolated().whenFailure { self.fail("cannot connect: \($0)") }
    }

    func opened() {
        openCount += 1
        guard openCount == command.sockets else { return }
        // The memberships of the last sockets are on their way to the broker; they count when acknowledged.
        let promise = allOpen
        allOpen = nil
        loop.assumeIsolated().scheduleTask(in: .milliseconds(500)) { promise?.succeed() }
    }

    func start() {
        isRunning = true
        for room in rooms { room.start() }
    }

    /// Sends nothing more; completes when everything sent has arrived, or after ten seconds without it.
    func finish() -> EventLoopFuture<Void> {
        isRunning = false
        let promise = loop.makePromise(of: Void.self)
        allDone = promise
        loop.assumeIsolated().scheduleTask(in: .seconds(10)) { self.done() }
        progressed()
        return promise.futureResult
    }

    func progressed() {
        if allDone != nil, rooms.allSatisfy(\.isComplete) { done() }
    }

    private func done() {
        allDone?.succeed()
        allDone = nil
    }

    func fail(_ reason: String) {
        allOpen?.fail(Failure(description: reason))
        allOpen = nil
        done()
    }
}
