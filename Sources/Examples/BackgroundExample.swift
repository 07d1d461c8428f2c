import ArgumentParser
import FanfareClient
import FanfareWorker
import Glibc
import Logging
import ServiceLifecycle
import UnixSignals

/// Work for whichever process is free.
struct CountPrimes: Codable {
    let below: Int
    /// The channel of the connection that waits for the answer.
    let replyTo: String
}

struct PrimesCounted: Codable {
    let below: Int
    let primes: Int
    let pid: Int32
}

/// Takes `{"below": 1000}` and leaves the work to others; the answer comes when it comes.
struct PrimesConsumer: JSONConsumer {
    struct Question: Decodable { let below: Int }

    static let handlers = Handlers<PrimesConsumer> {
        $0.broadcast("primes.counted", PrimesCounted.self)
    }

    func receiveJSON(_ question: Question, from socket: WebSocket) async throws {
        do {
            let work = CountPrimes(below: question.below, replyTo: socket.channelName)
            try await socket.layer.send(work, type: "primes.count", to: "primes")
        } catch ChannelLayerError.channelFull {
            try await sendJSON(["error": "everybody is busy; ask again later"], to: socket)
        }
    }
}

/// Counts primes for all processes, two questions at once.
func primesWorker(_ layer: ChannelLayer) -> BackgroundWorker {
    BackgroundWorker(layer: layer) {
        $0.channel("primes", concurrency: 2) {
            $0.on("primes.count", CountPrimes.self) { work, context in
                let primes = try await blocking { countPrimes(below: work.below) }
                let answer = PrimesCounted(below: work.below, primes: primes, pid: getpid())
                try await context.layer.send(answer, type: "primes.counted", to: work.replyTo)
            }
        }
    }
}

/// Slow on purpose; at most up to a million.
func countPrimes(below limit: Int) -> Int {
    (2..<max(2, min(limit, 1_000_000))).count { number in
        var divisor = 2
        while divisor * divisor <= number {
            if number % divisor == 0 { return false }
            divisor += 1
        }
        return true
    }
}

struct BackgroundExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "background",
        abstract: "Work that sockets leave to whichever process is free: ask {\"below\": 1000} at /ws/primes/."
    )

    @OptionGroup var options: WorkerOptions

    enum Role: String, ExpressibleByArgument, CaseIterable { case serve, work, both }

    @Option(help: "What this process does: hold sockets, count primes for them, or both.")
    var role = Role.both

    func run() async throws {
        var services: [any Service] = []
        if role != .serve {
            var configuration = ChannelLayer.Configuration(name: "\(options.name)-background")
            configuration.endpoints = options.broker
            services.append(primesWorker(try await ChannelLayer.connect(configuration)))
        }
        if role == .work {
            WorkerOptions.announce("ready to work")
        } else {
            var router = Router()
            router.webSocket("/ws/primes/") { _, _ in PrimesConsumer() }
            services.append(options.worker(router))
        }
        let group = ServiceGroup(
            services: services,
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: Logger(label: "fanfare-examples")
        )
        try await group.run()
    }
}
