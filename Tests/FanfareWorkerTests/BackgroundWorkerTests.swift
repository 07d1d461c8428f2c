import FanfareBroker
import FanfareClient
import FanfareModel
import Logging
import Synchronization
import Testing

@testable import FanfareWorker

/// Workers on normal channels: who gets which message, and what becomes of those that go wrong.
@Suite(.timeLimit(.minutes(1))) struct BackgroundWorkerTests {
    private struct Job: Codable {
        var number: Int
    }

    private struct Refusal: Error {}

    // MARK: Who gets what

    @Test func `of two workers each message reaches one, once`() async throws {
        let place = try await Workplace()
        let layers = [try await place.layer(), try await place.layer()]
        let done = [Numbers(), Numbers()]
        let workers = layers.indices.map { index in
            place.start(layers[index]) {
                $0.channel("jobs", concurrency: 4) { (job: Job, _) in
                    done[index].append(job.number)
                    await Task.yield()
                }
            }
        }
        for number in 0..<1_000 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("all are done") { done[0].list.count + done[1].list.count >= 1_000 }
        for worker in workers { await worker.stop() }
        #expect((done[0].list + done[1].list).sorted() == Array(0..<1_000))
        #expect(!done[0].list.isEmpty && !done[1].list.isEmpty)
        let healths = workers.compactMap { $0.worker.health["jobs"] }
        #expect(healths.map { Int($0.succeeded) } == done.map(\.list.count))
        #expect(healths.allSatisfy { $0.taken == $0.succeeded && $0.running == 0 })
        #expect(try await place.queued(in: "jobs").isEmpty)
        await place.end()
    }

    @Test func `one at a time is in order`() async throws {
        let place = try await Workplace()
        let done = Numbers()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs") { (job: Job, _) in
                for _ in 0..<job.number % 4 { await Task.yield() }
                done.append(job.number)
            }
        }
        for number in 0..<300 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("all are done") { done.list.count == 300 }
        await worker.stop()
        #expect(done.list == Array(0..<300))
        await place.end()
    }

    @Test func `as many are handled at once as was said, and no more`() async throws {
        let place = try await Workplace()
        let gate = Gate()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs", concurrency: 3) { (_: Job, _) in try await gate.pass() }
            $0.channel("other") { (_: Job, _) in }
        }
        for number in 0..<10 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await place.send(["number": 1], to: "other")
        try await eventually("three run") { gate.mostAtOnce == 3 }
        try await eventually("the other channel is not held up") { worker.worker.health["other"]?.succeeded == 1 }
        #expect(worker.worker.health["jobs"]?.taken == 3)
        gate.open()
        try await eventually("all are done") { worker.worker.health["jobs"]?.succeeded == 10 }
        #expect(gate.mostAtOnce == 3)
        await worker.stop()
        await place.end()
    }

    @Test func `types find their handlers, with dots and with underscores`() async throws {
        let place = try await Workplace()
        let (mails, retries, errors) = (Numbers(), Numbers(), Texts())
        let worker = place.start(try await place.layer()) {
            $0.channel("mail") {
                $0.on("mail.send", Job.self) { job, context in
                    #expect(context.channel == "mail")
                    #expect(context.message["number"] == .int(Int64(job.number)))
                    mails.append(job.number)
                }
                $0.on("mail_retry") { (job: Job, _) in retries.append(job.number) }
            }
            $0.onError { _, error in errors.append("\(type(of: error)) \((error as? UnknownMessageType)?.type ?? "")") }
        }
        let messages: [[String: MessageValue]] = [
            ["type": "mail.send", "number": 1], ["type": "mail_send", "number": 2],
            ["type": "mail.retry", "number": 3],
            ["type": "mail_retry", "number": 4], ["type": "mail.other", "number": 5], ["number": 6],
            ["type": 7, "number": 7], ["type": "mail.send", "number": "8"], ["type": "mail.send"],
            ["type": "mail.send", "number": 9, "more": [1]],
        ]
        for message in messages { try await place.send(message, to: "mail") }
        try await eventually("all are taken") { worker.worker.health["mail"].map { $0.succeeded + $0.dropped } == 10 }
        await worker.stop()
        #expect(mails.list == [1, 2, 9])
        #expect(retries.list == [3, 4])
        let unknown = ["UnknownMessageType mail.other", "UnknownMessageType ", "UnknownMessageType "]
        #expect(errors.list == unknown + ["DecodingError ", "DecodingError "])
        #expect(worker.worker.health["mail"]?.dropped == 5)
        #expect(worker.worker.health["mail"]?.failed == 0)
        #expect(place.pauses.isEmpty)
        await place.end()
    }

    // MARK: Handlers that throw

    @Test func `a message whose handler throws is gone, counted and offered to the hook`() async throws {
        let place = try await Workplace()
        let done = Numbers()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs") { (job: Job, _) in
                guard job.number.isMultiple(of: 3) else { throw Refusal() }
                done.append(job.number)
            }
            $0.onError { context, error in
                #expect(error is Refusal)
                try? await context.layer.send(context.message, to: "dead-letters")
            }
        }
        for number in 0..<30 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("all are taken") { worker.worker.health["jobs"].map { $0.succeeded + $0.failed } == 30 }
        await worker.stop()
        #expect(done.list == Array(stride(from: 0, to: 30, by: 3)))
        let dead = try await place.queued(in: "dead-letters")
        #expect(dead == (0..<30).filter { !$0.isMultiple(of: 3) })
        #expect(worker.worker.health["jobs"]?.failed == 20)
        #expect(place.log.list.count == 1)
        #expect(try #require(place.log.list.first).contains("Refusal"))
        await place.end()
    }

    @Test func `failures are logged once in a window, with how many were kept back`() async throws {
        let place = try await Workplace()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs") { (_: Job, _) in throw Refusal() }
        }
        for number in 0..<5 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("five have failed") { worker.worker.health["jobs"]?.failed == 5 }
        #expect(place.log.list.count == 1)
        place.passTime(Milliseconds(10_000))
        try await place.send(["number": 5], to: "jobs")
        try await eventually("six have failed") { worker.worker.health["jobs"]?.failed == 6 }
        await worker.stop()
        #expect(place.log.list.count == 2)
        #expect(try #require(place.log.list.last).contains("suppressed=4"))
        await place.end()
    }

    @Test func `pauses after failures grow, and a success ends them`() async throws {
        let place = try await Workplace()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs") { (job: Job, _) in if job.number < 0 { throw Refusal() } }
        }
        for number in [1, -1, -2, -3, -4, 2, 3, -5] {
            try await place.send(["number": .int(Int64(number))], to: "jobs")
        }
        try await eventually("each failure has its pause") { place.pauses.count == 5 }
        await worker.stop()
        for (pause, step) in zip(place.pauses, [200, 400, 800, 1_600, 200]) {
            #expect(pause >= .milliseconds(step / 2) && pause <= .milliseconds(step))
        }
        await place.end()
    }

    // MARK: Stopping

    @Test("nothing is lost when a worker stops in the middle", arguments: [false, true])
    func stopInTheMiddle(byCancelling: Bool) async throws {
        let place = try await Workplace()
        let done = Numbers()
        for round in 0..<20 {
            let layer = try await place.layer()
            let worker = place.start(layer) {
                $0.channel("jobs", concurrency: 4) { (job: Job, _) in
                    await Task.yield()
                    done.append(job.number)
                }
            }
            async let sent: Void = {
                for number in round * 50..<round * 50 + 50 {
                    try await place.send(["number": .int(Int64(number))], to: "jobs")
                }
            }()
            try await Task.sleep(for: .microseconds(Int.random(in: 0..<2_000)))
            if byCancelling { worker.run.cancel() } else { await worker.stop() }
            try await worker.run.value
            // Whoever stops a worker is free to leave at once.
            await layer.close()
            try await sent
        }
        let handled = done.list
        let queued = try await place.queued(in: "jobs")
        #expect(handled.count + queued.count == 1_000)
        #expect((handled + queued).sorted() == Array(0..<1_000))
        await place.end()
    }

    @Test func `a stop waits for what is in hand, and takes nothing more`() async throws {
        let place = try await Workplace()
        let gate = Gate()
        let worker = place.start(try await place.layer()) {
            $0.channel("jobs", concurrency: 2) { (_: Job, _) in try await gate.pass() }
        }
        for number in 0..<5 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("two run") { worker.worker.health["jobs"]?.running == 2 }
        async let stopped: Void = worker.worker.stop(within: Workplace.never)
        try await eventually("the stop has begun") { place.deadlines == 1 }
        #expect(worker.worker.health["jobs"]?.running == 2)
        gate.open()
        await stopped
        try await worker.run.value
        #expect(worker.worker.health["jobs"] == BackgroundHealth(taken: 2, succeeded: 2))
        #expect(try await place.queued(in: "jobs") == [2, 3, 4])
        await place.end()
    }

    @Test("handlers are cancelled when the time of a stop is over", arguments: [false, true])
    func deadline(byCancelling: Bool) async throws {
        let place = try await Workplace()
        let errors = Texts()
        let (gate, layer) = (Gate(), try await place.layer())
        let worker = place.start(layer, stopWithin: .zero) {
            $0.channel("jobs", concurrency: 2) { (_: Job, _) in try await gate.pass() }
            $0.onError { _, error in errors.append("\(type(of: error))") }
        }
        for number in 0..<3 { try await place.send(["number": .int(Int64(number))], to: "jobs") }
        try await eventually("two run") { worker.worker.health["jobs"]?.running == 2 }
        if byCancelling { worker.run.cancel() } else { await worker.worker.stop(within: .zero) }
        try await worker.run.value
        #expect(worker.worker.health["jobs"] == BackgroundHealth(taken: 2, failed: 2))
        #expect(errors.list == ["CancellationError", "CancellationError"])
        #expect(try await place.queued(in: "jobs") == [2])
        await place.end()
    }

    @Test func `a worker that was stopped before it ran does not run`() async throws {
        let place = try await Workplace()
        let worker = BackgroundWorker(layer: try await place.layer()) {
            $0.channel("jobs") { (_: Job, _) in Issue.record("it ran") }
        }
        try await place.send(["number": 1], to: "jobs")
        await worker.stop()
        try await worker.run()
        #expect(try await place.queued(in: "jobs") == [1])
        await place.end()
    }

    // MARK: The layer

    @Test func `a channel nobody here can read is refused before anything is taken`() async throws {
        let place = try await Workplace()
        let layer = try await place.layer()
        for name in ["", "no spaces", layer.newChannel()] {
            let worker = BackgroundWorker(layer: layer) {
                $0.channel("jobs") { (_: Job, _) in Issue.record("it ran") }
                $0.channel(name) { (_: Job, _) in }
            }
            await #expect(throws: ChannelLayerError.self) { try await worker.run() }
        }
        try await place.send(["number": 1], to: "jobs")
        #expect(try await place.queued(in: "jobs") == [1])
        await place.end()
    }

    @Test func `a layer that is closed ends the worker with an error`() async throws {
        let place = try await Workplace()
        let layer = try await place.layer()
        let worker = place.start(layer) {
            $0.channel("jobs", concurrency: 3) { (_: Job, _) in }
            $0.channel("others") { (_: Job, _) in }
        }
        try await place.send(["number": 1], to: "jobs")
        try await eventually("it works") { worker.worker.health["jobs"]?.succeeded == 1 }
        await layer.close()
        await #expect(throws: ChannelLayerError.closed) { try await worker.run.value }
        await worker.stop()
        await place.end()
    }

    @Test func `a worker goes on when its broker is back`() async throws {
        var configuration = BrokerServer.Configuration()
        configuration.endpoints = [.tcp(host: "127.0.0.1", port: 0)]
        var broker = try await BrokerServer.start(configuration, logger: Workplace.quiet)
        configuration.endpoints = broker.endpoints
        var settings = ChannelLayer.Configuration(name: "test")
        settings.endpoints = broker.endpoints.map { "\($0)" }
        let (layer, sender) = (try await ChannelLayer.connect(settings), try await ChannelLayer.connect(settings))
        let done = Numbers()
        let worker = BackgroundWorker(layer: layer) {
            $0.channel("jobs", concurrency: 2) { (job: Job, _) in done.append(job.number) }
        }
        let run = Task { try await worker.run() }
        for round in 0..<3 {
            try await eventually("a message passes") {
                do {
                    try await sender.send(["number": .int(Int64(round))], to: "jobs")
                    return true
                } catch ChannelLayerError.notConnected {
                    return false
                }
            }
            try await eventually("it is done") { done.list.contains(round) }
            await broker.stop(within: Milliseconds(200))
            broker = try await BrokerServer.start(configuration, logger: Workplace.quiet)
        }
        await worker.stop()
        try await run.value
        #expect(done.list == [0, 1, 2])
        await layer.close()
        await sender.close()
        await broker.stop(within: Milliseconds(200))
    }
}
