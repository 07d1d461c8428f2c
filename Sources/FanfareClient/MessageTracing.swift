package import FanfareModel
package import Tracing

/// Spans around messages that leave and arrive, and the context that joins them across processes.
///
/// A layer or worker has one only where there is a tracer; it looks once, when it is made. Everywhere else there is
/// `nil` in its place, which costs a comparison a message. Attributes are those of OpenTelemetry's conventions for
/// messaging. Nothing of what messages say is in a span.
package struct MessageTracing: Sendable {
    private let tracer: any Tracer
    private let instrument: any Instrument

    /// What a message that leaves is doing.
    package enum Sending: String, Sendable {
        case send = "fanfare.send"
        case groupSend = "fanfare.group_send"
    }

    /// - Parameter tracer: Makes the spans and carries their context.
    package init(_ tracer: any Tracer) {
        self.tracer = tracer
        instrument = tracer
    }

    private init(tracer: any Tracer, instrument: any Instrument) {
        self.tracer = tracer
        self.instrument = instrument
    }

    /// What this process has bootstrapped; `nil` when it has not.
    package static var bootstrapped: MessageTracing? {
        let instrument = InstrumentationSystem.instrument
        guard !(instrument is NoOpInstrument) else { return nil }
        return MessageTracing(tracer: InstrumentationSystem.tracer, instrument: instrument)
    }

    // MARK: Leaving

    /// Sends a message inside a span of kind producer, a child of the current one.
    ///
    /// - Parameters:
    ///   - destination: The channel or group.
    ///   - send: Given the context that goes with the message.
    fileprivate func producing<Result>(
        _ sending: Sending,
        to destination: String,
        isolation: isolated (any Actor)? = #isolation,
        _ send: (TraceContext?) async throws -> Result
    ) async rethrows -> Result {
        let span: any Span = tracer.startSpan(sending.rawValue, ofKind: .producer)
        describe(span, "publish", destination)
        defer { span.end() }
        do {
            return try await send(carried(by: span.context))
        } catch {
            fail(span, error)
            throw error
        }
    }

    /// What goes with a message: as much as fits of what the instrument writes, `traceparent` first and baggage last.
    func carried(by context: InstrumentationContext) -> TraceContext? {
        var headers: [TraceContext.Entry] = []
        instrument.inject(context, into: &headers, using: Writer())
        headers.sort { Self.rank($0.key) < Self.rank($1.key) }
        var kept: [TraceContext.Entry] = []
        for header in headers where TraceContext(kept + [header]) != nil { kept.append(header) }
        return TraceContext(kept.sorted { $0.key < $1.key })
    }

    private static func rank(_ header: String) -> Int {
        switch header {
        case "traceparent": 0
        case "tracestate": 1
        case "baggage": 3
        default: 2
        }
    }

    // MARK: Arriving

    /// A message that has arrived, and where it came from.
    package struct Arrival: Sendable {
        fileprivate let tracing: MessageTracing
        fileprivate let sender: InstrumentationContext
        fileprivate let destination: String
        private let arrivedAt = DefaultTracerClock.now

        fileprivate init(tracing: MessageTracing, sender: InstrumentationContext, destination: String) {
            self.tracing = tracing
            self.sender = sender
            self.destination = destination
        }

        /// Handles the message inside a span of kind consumer, which continues its sender's trace.
        package func handling<Result>(
            isolation: isolated (any Actor)? = #isolation,
            _ handle: () async throws -> Result
        ) async rethrows -> Result {
            let span: any Span = tracing.tracer.startSpan("fanfare.receive", context: sender, ofKind: .consumer)
            tracing.describe(span, "process", destination)
            defer { span.end() }
            do {
                return try await InstrumentationContext.$current.withValue(span.context, operation: handle)
            } catch {
                tracing.fail(span, error)
                throw error
            }
        }

        /// Records that the message has been handled since it arrived.
        package func handled() {
            let span: any Span = tracing.tracer.startSpan(
                "fanfare.receive",
                context: sender,
                ofKind: .consumer,
                at: arrivedAt
            )
            tracing.describe(span, "process", destination)
            span.end()
        }
    }

    /// Notes a message that arrives now.
    ///
    /// - Parameters:
    ///   - trace: What came with it; without it a trace begins here.
    ///   - destination: The channel or group it came through.
    package func arrival(_ trace: TraceContext?, at destination: String) -> Arrival {
        var sender = InstrumentationContext.topLevel
        if let trace { instrument.extract(trace, into: &sender, using: Reader()) }
        return Arrival(tracing: self, sender: sender, destination: destination)
    }

    private func describe(_ span: any Span, _ operation: String, _ destination: String) {
        span.attributes["messaging.system"] = "fanfare"
        span.attributes["messaging.operation"] = operation
        span.attributes["messaging.destination.name"] = destination
    }

    private func fail(_ span: any Span, _ error: any Error) {
        span.recordError(error)
        span.setStatus(SpanStatus(code: .error))
    }

    private struct Writer: Injector {
        func inject(_ value: String, forKey key: String, into headers: inout [TraceContext.Entry]) {
            headers.append(TraceContext.Entry(key, value))
        }
    }

    private struct Reader: Extractor {
        func extract(key: String, from trace: TraceContext) -> String? {
            trace[key]
        }
    }
}

extension MessageTracing? {
    /// As the span's method where there is a tracer; otherwise sends the message and does nothing else.
    package func producing<Result>(
        _ sending: MessageTracing.Sending,
        to destination: String,
        isolation: isolated (any Actor)? = #isolation,
        _ send: (TraceContext?) async throws -> Result
    ) async rethrows -> Result {
        guard let self else { return try await send(nil) }
        return try await self.producing(sending, to: destination, send)
    }
}

extension MessageTracing.Arrival? {
    /// As the arrival's method where there is a tracer; otherwise handles the message and does nothing else.
    package func handling<Result>(
        isolation: isolated (any Actor)? = #isolation,
        _ handle: () async throws -> Result
    ) async rethrows -> Result {
        guard let self else { return try await handle() }
        return try await self.handling(handle)
    }
}
