import ArgumentParser

/// `fanfare-bench websocket`: rooms of sockets through a server.
struct WebSocketCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "websocket",
        abstract: "Rooms of WebSockets: every message goes to all members of its room.",
        discussion: """
            A closed loop keeps --window messages under way in each room; with --rate messages are sent on a schedule, \
            and latency counts from the time a message was due, so that a server that falls behind shows it. Exits \
            with 1 when a member that reads missed a message, got it twice or out of its publisher's order.
            """
    )

    @Option(help: "Host of the server, an IPv4 address.") var host = "127.0.0.1"
    @Option(help: "Port of the server.") var port = 8_000
    @Option(help: "Path; {room} becomes the name of the room, bench-0 and so on.") var path = "/ws/chat/{room}/"
    @Option(help: "chat, frames (the text frame is relayed as it is) or mqtt (3.1.1, the room is the topic).")
    var dialect = Dialect.chat
    @Option(help: "Sockets in all.") var sockets = 1_000
    @Option(help: "Rooms they are spread over.") var rooms = 1
    @Option(help: "Sockets that send, spread over the rooms; one in each room when not given.") var publishers: Int?
    @Option(help: "Messages under way in each room.") var window = 1
    @Option(help: "Messages per second in all rooms together, instead of a window.") var rate: Double?
    @Option(help: "Sockets that read 4 KB in 100 ms; what they miss counts for nothing.") var slow = 0
    @Option(help: "Sockets that read nothing after the handshake.") var stalled = 0
    @Option(help: "Bytes of a message, all of its JSON.") var payload = 128
    @Option(help: "Seconds to run before the measurement.") var warmUp = 0.5
    @Option(help: "Seconds to measure.") var seconds = 5.0
    @Option(help: "Process to charge CPU time and memory to; repeatable.") var pid: [Int32] = []
    @Flag(help: "Print JSON.") var json = false

    private var senders: Int { publishers ?? rooms }

    func validate() throws {
        guard rooms > 0, sockets >= rooms, sockets % rooms == 0 else {
            throw ValidationError("--sockets must be a multiple of --rooms, and both at least 1")
        }
        guard senders > 0, slow >= 0, stalled >= 0, slow + stalled <= sockets - senders else {
            throw ValidationError("--publishers must be at least 1, and with --slow and --stalled at most --sockets")
        }
        guard window > 0, (window + 1) * ((senders + rooms - 1) / rooms) <= LoadRoom.underWayMaximum else {
            throw ValidationError("--window times the publishers of a room takes 1 to \(LoadRoom.underWayMaximum)")
        }
        guard (rate ?? 1) > 0, seconds > 0, warmUp >= 0 else {
            throw ValidationError("--rate and --seconds must be more than 0, --warm-up not less")
        }
        guard Message.sizes.contains(payload) else {
            throw ValidationError("--payload takes \(Message.sizes.lowerBound) to \(Message.sizes.upperBound) bytes")
        }
    }

    func run() throws {
        // A process that is not there is better known before thousands of sockets are open.
        _ = try ProcessorTime.nanoseconds(of: pid)
        let load = WebSocketLoad(
            WebSocketLoad.Plan(
                host: host,
                port: port,
                path: path,
                dialect: dialect,
                sockets: sockets,
                rooms: rooms,
                publishers: senders,
                window: window,
                rate: rate,
                slow: slow,
                stalled: stalled,
                payloadBytes: payload
            )
        )
        try load.connect()
        if warmUp > 0 { load.run(seconds: warmUp) }
        let measurement = try Measurement.of(pid) { load.run(seconds: seconds) }
        var report = Report(
            sent: load.sent,
            expected: load.expected,
            delivered: load.delivered,
            outOfOrder: load.outOfOrder,
            measurement,
            latencies: load.latencies
        )
        report.readersClosed = load.readersClosed
        report.unrecognized = load.unrecognized
        if slow > 0 { (report.slowDelivered, report.slowClosed) = (load.deliveredSlowly, load.slowClosed) }
        try report.show(asJSON: json)
        if !report.isWhole { throw ExitCode(1) }
    }
}
