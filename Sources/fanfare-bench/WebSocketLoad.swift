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
    private(set) var isRunning = false
    private let command: WebSocketCommand
    private let loop: any EventLoop
    private let opener: SocketOpener
    private var rooms: [LoadRoom] = []
    private var allDone: EventLoopPromise<Void>?

    init(_ command: WebSocketCommand, loop: any EventLoop) {
        self.command = command
        self.loop = loop
        opener = SocketOpener(loop: loop, host: command.host, port: command.port)
    }

    var totals: (sent: UInt64, delivered: UInt64, outOfOrder: UInt64) {
        rooms.reduce((0, 0, 0)) { ($0.0 + $1.sent, $0.1 + $1.delivered, $0.2 + $1.outOfOrder) }
    }

    /// Opens every socket; completes when the last has been accepted.
    func connect() -> EventLoopFuture<Void> {
        rooms = (0..<command.rooms).map { number in
            LoadRoom(
                name: "bench-\(number)",
                memberCount: command.sockets / command.rooms,
                window: command.window,
                payloadBytes: command.payload,
                load: self
            )
        }
        return opener.open(rooms.flatMap(\.sockets))
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
        loop.assumeIsolated().scheduleTask(in: .seconds(10)) { self.stopWaiting() }
        progressed()
        return promise.futureResult
    }

    func progressed() {
        if allDone != nil, rooms.allSatisfy(\.isComplete) { stopWaiting() }
    }

    /// What is missing will not come: the report shows it.
    func stopWaiting() {
        allDone?.succeed()
        allDone = nil
    }
}
