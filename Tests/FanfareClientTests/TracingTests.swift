import FanfareModel
import InMemoryTracing
import Testing
import Tracing

@testable import FanfareClient

/// Spans of layers, and the trace that joins them over a broker.
@Suite(.timeLimit(.minutes(2))) struct TracingTests {
    /// Two programs, each with a tracer of its own.
    private func meet(
        _ kind: MeetingPlace.Kind,
        _ body: (_ sender: ChannelLayer, _ sent: InMemoryTracer, _ reader: ChannelLayer, _ read: InMemoryTracer)
            async throws -> Void
    ) async throws {
        try await MeetingPlace.run(kind) { place in
            let (sent, read) = (
                InMemoryTracer(idGenerator: .named("sender")), InMemoryTracer(idGenerator: .named("reader"))
            )
            let sender = try await place.layer("sender") { $0.tracer = sent }
            let reader = try await place.layer("reader") { $0.tracer = read }
            try await body(sender, sent, reader, read)
        }
    }

    @Test(arguments: MeetingPlace.Kind.allCases)
    func `a handler's span is a child of its sender's, for each way of sending`(_ kind: MeetingPlace.Kind) async throws
    {
        try await meet(kind) { sender, sent, reader, read in
            let own = reader.newChannel()
            try await reader.groupAdd(own, to: "room")
            try await sender.send(["number": 1], to: "jobs")
            try await sender.send(["number": 2], to: own)
            try await sender.groupSend(["number": 3], to: "room")
            for (channel, number) in [("jobs", 1), (own, 2), (own, 3)] {
                let heard = try await reader.receive(from: channel) { message in
                    #expect(InstrumentationContext.current?.inMemorySpanContext?.traceID.hasPrefix("sender") == true)
                    return message["number"]
                }
                #expect(heard == .int(Int64(number)))
            }
            let (parents, children) = (sent.finishedSpans, read.finishedSpans)
            #expect(parents.map(\.operationName) == ["fanfare.send", "fanfare.send", "fanfare.group_send"])
            #expect(parents.map(\.kind) == [.producer, .producer, .producer])
            #expect(parents.map { name(of: $0) } == ["jobs", own, "room"])
            #expect(children.map(\.operationName) == Array(repeating: "fanfare.receive", count: 3))
            #expect(children.map(\.kind) == [.consumer, .consumer, .consumer])
            #expect(children.map { name(of: $0) } == ["jobs", own, own])
            #expect(children.map(\.traceID) == parents.map(\.traceID))
            #expect(children.map(\.parentSpanID) == parents.map { $0.spanID })
        }
    }

    @Test func `a send is a child of the span it happens in, and a failure is recorded`() async throws {
        try await meet(.embedded) { sender, sent, _, _ in
            try await sent.withSpan("request") { _ in try await sender.send(["a": 1], to: "jobs") }
            await #expect(throws: ChannelLayerError.self) { try await sender.send(["a": 1], to: "no name") }
            let spans = sent.finishedSpans
            #expect(spans.map(\.operationName) == ["fanfare.send", "request", "fanfare.send"])
            #expect(spans[0].parentSpanID == spans[1].spanID)
            #expect(spans[2].errors.count == 1)
            #expect(spans[2].status?.code == .error)
        }
    }

    @Test func `a message without a trace begins one`() async throws {
        try await MeetingPlace.run(.broker) { place in
            let read = InMemoryTracer()
            let plain = try await place.layer("plain")
            let reader = try await place.layer("reader") { $0.tracer = read }
            try await plain.send(["a": 1], to: "jobs")
            try await reader.receive(from: "jobs") { _ in }
            #expect(read.finishedSpans.map(\.parentSpanID) == [nil])
        }
    }

    @Test func `a handler that throws ends its span with the error`() async throws {
        struct Broken: Error {}
        try await meet(.embedded) { sender, _, reader, read in
            try await sender.send(["a": 1], to: "jobs")
            await #expect(throws: Broken.self) { try await reader.receive(from: "jobs") { _ in throw Broken() } }
            #expect(read.finishedSpans.map(\.errors.count) == [1])
        }
    }

    @Test func `what does not fit is left out, baggage first`() throws {
        let long = String(repeating: "b", count: 400)
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        func carried(_ headers: [String: String]) -> [String: String] {
            let context = MessageTracing(HeaderTracer(headers: headers)).carried(by: .topLevel)
            let pairs = context?.entries.map { ($0.key, $0.value) } ?? []
            return Dictionary(uniqueKeysWithValues: pairs)
        }
        #expect(carried([:]).isEmpty)
        #expect(carried(["traceparent": parent, "baggage": long]).keys.sorted() == ["baggage", "traceparent"])
        #expect(
            carried(["baggage": long, "traceparent": parent, "tracestate": long]) == [
                "traceparent": parent, "tracestate": long,
            ]
        )
        let many = Dictionary(uniqueKeysWithValues: (0..<9).map { ("x\($0)", "1") })
        let kept = carried(many.merging(["traceparent": parent, "baggage": "a=b"]) { $1 })
        #expect(kept.count == 4 && kept["traceparent"] == parent && kept["baggage"] == nil)
    }

    private func name(of span: FinishedInMemorySpan) -> String? {
        guard case .string(let system)? = span.attributes.get("messaging.system"), system == "fanfare",
            case .string(let name)? = span.attributes.get("messaging.destination.name")
        else { return nil }
        return name
    }
}

extension InMemoryTracer.IDGenerator {
    /// Numbers after a name, so that two tracers never make the same.
    static func named(_ name: String) -> Self {
        let incrementing = InMemoryTracer.IDGenerator.incrementing
        return Self(
            nextTraceID: { "\(name)-\(incrementing.nextTraceID())" },
            nextSpanID: { "\(name)-\(incrementing.nextSpanID())" }
        )
    }
}

/// Writes the headers it is told to.
private struct HeaderTracer: Tracer {
    let headers: [String: String]

    func startSpan<Instant: TracerInstant>(
        _ operationName: String,
        context: @autoclosure () -> InstrumentationContext,
        ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant,
        function: String,
        file fileID: String,
        line: UInt
    ) -> NoOpTracer.Span {
        NoOpTracer().startSpan(operationName, context: context(), ofKind: kind)
    }

    func forceFlush() {}

    func inject<Carrier, Inject: Injector>(
        _ context: InstrumentationContext,
        into carrier: inout Carrier,
        using injector: Inject
    ) where Inject.Carrier == Carrier {
        for (key, value) in headers { injector.inject(value, forKey: key, into: &carrier) }
    }

    func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier,
        into context: inout InstrumentationContext,
        using extractor: Extract
    ) where Extract.Carrier == Carrier {}
}
