import FanfareBroker
import FanfareClient
import FanfareModel
import InMemoryTracing
import Testing
import Tracing

@testable import FanfareWorker

/// What consumers send and handle, traced over a real broker and two workers.
@Suite(.timeLimit(.minutes(2))) struct WorkerTracingTests {
    /// Of each worker one tracer; their spans are told apart by their names.
    private func tracer(_ name: String) -> InMemoryTracer {
        let numbers = InMemoryTracer.IDGenerator.incrementing
        return InMemoryTracer(
            idGenerator: .init(
                nextTraceID: { "\(name)-\(numbers.nextTraceID())" },
                nextSpanID: { "\(name)-\(numbers.nextSpanID())" }
            )
        )
    }

    /// Sockets in one group, which send what they are told to everyone, in a span of their own.
    private func router(_ tracer: InMemoryTracer) -> Router {
        .serving { _, _ in
            Scripted(
                groups: ["room"],
                text: { text, socket in
                    try await tracer.withSpan("said") { _ in
                        try await socket.layer.groupSend(["type": .string(text), "text": "x"], to: "room")
                    }
                }
            )
        }
    }

    @Test(arguments: ["line.one", "line.all"])
    func `handlers on every worker continue the trace of the consumer that sent`(_ type: String) async throws {
        let place = try await Place.start()
        let tracers = [tracer("first"), tracer("second")]
        var clients: [TestClient] = []
        for (name, tracer) in zip(["first", "second"], tracers) {
            let worker = try await place.worker(name, router: router(tracer), tracing: MessageTracing(tracer))
            clients.append(try await TestClient.open(worker.port, "/ws/"))
        }
        _ = try await place.members(of: "room", count: 2)
        try await clients[0].write(ClientFrame.text(type))
        for client in clients { #expect(try await client.frame()?.text == (type == "line.one" ? "told x" : "x")) }
        try await eventually { tracers.allSatisfy { $0.finishedSpans.contains { $0.kind == .consumer } } }
        let sent = try #require(tracers[0].finishedSpans.first { $0.operationName == "fanfare.group_send" })
        let said = try #require(tracers[0].finishedSpans.first { $0.operationName == "said" })
        #expect(sent.kind == .producer && sent.parentSpanID == said.spanID)
        for tracer in tracers {
            let handled = try #require(tracer.finishedSpans.first { $0.kind == .consumer })
            #expect(handled.operationName == "fanfare.receive")
            #expect(handled.traceID == said.traceID)
            #expect(handled.parentSpanID == sent.spanID)
            #expect(handled.attributes.get("messaging.destination.name") == .string("room"))
            #expect(handled.attributes.get("messaging.operation") == .string("process"))
        }
        try await place.stop()
    }

    @Test func `a background worker handles a message in a span of its sender's trace`() async throws {
        let (sent, worked) = (tracer("sender"), tracer("worker"))
        let layers = EmbeddedLayers()
        func layer(_ name: String, _ tracer: InMemoryTracer) async throws -> ChannelLayer {
            var configuration = ChannelLayer.Configuration(name: name)
            configuration.tracer = tracer
            return try await ChannelLayer.embedded(configuration, with: layers)
        }
        let (sender, layer) = (try await layer("sender", sent), try await layer("worker", worked))
        let worker = BackgroundWorker(layer: layer, logger: Workplace.quiet) {
            $0.channel("jobs") { (_: Job, _) in
                #expect(InstrumentationContext.current?.inMemorySpanContext?.traceID.hasPrefix("sender") == true)
            }
        }
        let run = Task { try await worker.run() }
        try await sender.send(["number": 1], to: "jobs")
        try await eventually { worker.health["jobs"]?.succeeded == 1 }
        await worker.stop()
        try await run.value
        #expect(worked.finishedSpans.map(\.parentSpanID) == [sent.finishedSpans.first?.spanID])
        await sender.close()
        await layer.close()
    }

    private struct Job: Decodable, Sendable {
        let number: Int
    }
}
