import ArgumentParser
import CLinux
import FanfareModel
import Foundation

/// `fanfare-bench start`: how long a program takes from exec until it serves.
struct StartCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Time from exec until a program serves.",
        discussion: """
            Starts the command behind --, asks at the address until it gets the answer, stops it with SIGTERM, and \
            does so --runs times. --broker waits for the answer to a hello; --http for 200, or with --websocket for \
            101. The output of the program goes nowhere. Exits with 1 when it does not serve in time.
            """
    )

    @Option(help: "The program is a broker at unix:/path or tcp://host:port.") var broker: String?
    @Option(help: "The program serves HTTP at HOST:PORT.") var http: String?
    @Option(help: "Path to ask for.") var path = "/healthz"
    @Flag(help: "Ask for a WebSocket.") var websocket = false
    @Option(help: "Starts to measure.") var runs = 20
    @Option(help: "Seconds a program may take.") var patience = 10.0
    @Flag(help: "Print JSON.") var json = false
    @Argument(parsing: .postTerminator, help: "The program and its arguments, behind --.") var command: [String] = []

    func validate() throws {
        guard (broker == nil) != (http == nil) else { throw ValidationError("give either --broker or --http") }
        guard !command.isEmpty else { throw ValidationError("write the program to start behind --") }
        guard runs > 0, patience > 0 else { throw ValidationError("--runs and --patience must be more than 0") }
    }

    func run() async throws {
        let question = try makeQuestion()
        guard try !question.isAnswered() else {
            throw LoadFailure("something serves at \(question.endpoint) already; stop it first")
        }
        var times = Latencies()
        var processorTimes: [Double] = []
        for _ in 0..<runs {
            let begin = MonotonicClock.now()
            let program = try StartedProgram(command)
            defer { program.stop() }
            try waitUntilServed(question, by: program, since: begin)
            times.record(nanoseconds: Int64(MonotonicClock.now() - begin))
            processorTimes.append(Double(try ProcessorTime.nanoseconds(of: [program.identifier])) / 1_000_000)
        }
        try StartReport(command, times, processorTimes).show(asJSON: json)
    }

    private func makeQuestion() throws -> StartQuestion {
        if let broker {
            let dialect = BrokerFanfareDialect()
            // The operation of `WELCOME` stands behind the length and the array.
            return StartQuestion(endpoint: try Endpoint(broker), bytes: dialect.opening(node: "start")) {
                $0.count > 5 && $0[5] == 64
            }
        }
        let endpoint = try Endpoint("tcp://\(http ?? "")")
        let upgrade =
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://\(http ?? "")\r\n"
        let head = "GET \(path) HTTP/1.1\r\nHost: \(http ?? "")\r\n\(websocket ? upgrade : "")\r\n"
        let answer = websocket ? "HTTP/1.1 101" : "HTTP/1.1 200"
        return StartQuestion(endpoint: endpoint, bytes: Array(head.utf8)) { $0.starts(with: answer.utf8) }
    }

    /// Asks every half millisecond.
    private func waitUntilServed(_ question: StartQuestion, by program: StartedProgram, since begin: UInt64) throws {
        while try !question.isAnswered() {
            guard !program.hasEnded() else { throw LoadFailure("\(command[0]) ended before it served") }
            guard Double(MonotonicClock.now() - begin) / 1e9 < patience else {
                throw LoadFailure("\(command[0]) did not serve at \(question.endpoint) within \(patience) s")
            }
            usleep(500)
        }
    }
}

/// What shows that a program serves.
struct StartQuestion {
    let endpoint: Endpoint
    let bytes: [UInt8]
    /// Whether the first bytes that came back are the answer.
    let isAnswer: ([UInt8]) -> Bool

    /// Connects, asks and reads once; a program that does not listen yet has not answered.
    func isAnswered() throws -> Bool {
        guard let descriptor = try? BrokerSocket.connect(to: endpoint) else { return false }
        defer { close(descriptor) }
        var patience = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { return false }
        var answer = [UInt8](repeating: 0, count: 1_024)
        let count = recv(descriptor, &answer, answer.count, 0)
        return count > 0 && isAnswer(Array(answer.prefix(count)))
    }
}

/// A child process without output.
final class StartedProgram {
    let identifier: pid_t
    private var isReaped = false

    private static let stoppingSeconds = 10.0

    init(_ command: [String]) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for stream in [STDOUT_FILENO, STDERR_FILENO] {
            posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0)
        }
        var arguments = command.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        var identifier = pid_t()
        let problem = posix_spawnp(&identifier, command[0], &actions, nil, &arguments, environ)
        guard problem == 0 else {
            throw LoadFailure("cannot start \(command[0]): \(String(cString: strerror(problem)))")
        }
        self.identifier = identifier
    }

    func hasEnded() -> Bool {
        if !isReaped { isReaped = waitpid(identifier, nil, WNOHANG) == identifier }
        return isReaped
    }

    /// Ends it in good order; what does not end in ten seconds is killed.
    func stop() {
        guard !hasEnded() else { return }
        kill(identifier, SIGTERM)
        let begin = MonotonicClock.now()
        while !hasEnded() {
            if Double(MonotonicClock.now() - begin) / 1e9 > Self.stoppingSeconds { kill(identifier, SIGKILL) }
            usleep(1_000)
        }
    }
}

/// What the starts took.
struct StartReport: Encodable {
    var command: [String]
    var runs: UInt64
    var milliseconds: Percentiles?
    /// CPU time of the program when it served, the median.
    var processorMilliseconds: Double

    init(_ command: [String], _ times: Latencies, _ processorTimes: [Double]) {
        self.command = command
        runs = times.count
        milliseconds = times.percentiles
        processorMilliseconds = processorTimes.median
    }

    func show(asJSON: Bool) throws {
        if asJSON { return try printJSON(self) }
        print("\(command.joined(separator: " "))")
        if let milliseconds { print("\(runs) starts, from exec until it serves: \(milliseconds.line)") }
        print(String(format: "CPU time until then: %.1f ms", processorMilliseconds))
    }
}
