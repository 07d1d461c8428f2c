public import FanfareClient
public import FanfareWorker
public import HTTPTypes
import NIOCore

/// The client's end of a WebSocket in a test.
///
/// Reads whatever the server sends, at once, and keeps it in order for the `expect…` functions; they wait, at most the
/// application's timeout, and take what they return. Answers pings and close frames by itself.
public final class TestSocket: Sendable {
    /// What the server chose.
    public let subprotocol: String?
    /// Those of the server's answer, the ones every handshake has left out.
    public let responseHeaders: HTTPFields
    /// The channel that is this connection's address.
    public let channelName: String

    private let bench: TestBench
    private let connection: NIOLoopBound<MemoryConnection>
    private let target: String

    init(
        _ bench: TestBench,
        _ connection: NIOLoopBound<MemoryConnection>,
        _ headers: HTTPFields,
        _ target: String
    ) async throws {
        self.bench = bench
        self.connection = connection
        self.target = target
        responseHeaders = headers
        subprotocol = headers[.secWebSocketProtocol]
        channelName = try await bench.onLoop { _ in connection.value.channelName }
    }

    // MARK: To the server

    /// Sends a text message. Returns when the server has read it; its handler may not have begun.
    ///
    /// - Throws: ``TestFailure`` when the connection is closed.
    public func send(_ text: String, fileID: String = #fileID, line: Int = #line) async throws {
        try await send(.text, Array(text.utf8), CodePlace(fileID: fileID, line: line))
    }

    /// Sends a binary message.
    ///
    /// - Throws: As ``send(_:fileID:line:)-(String,_,_)``.
    public func send(_ binary: [UInt8], fileID: String = #fileID, line: Int = #line) async throws {
        try await send(.binary, binary, CodePlace(fileID: fileID, line: line))
    }

    /// Sends a value as JSON text.
    ///
    /// - Throws: `EncodingError`; as ``send(_:fileID:line:)-(String,_,_)``.
    public func sendJSON(
        _ value: some Encodable,
        coding: any JSONCoding = .fanfare,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws {
        try await send(.text, try coding.encode(value), CodePlace(fileID: fileID, line: line))
    }

    private func send(_ opcode: Opcode, _ payload: [UInt8], _ place: CodePlace) async throws {
        let ending: ReceivedEvent? = try await bench.onLoop { [connection] _ in
            guard connection.value.isOpen else { return connection.value.ending ?? .close(.normal, reason: "") }
            connection.value.send(opcode, payload)
            return nil
        }
        guard let ending else { return }
        throw try await failure(place, "nothing can be sent any more after \(ending.description)")
    }

    /// Closes the connection and waits until the consumer's `disconnect` has returned and its groups are left.
    ///
    /// Nothing happens when it is closed. What the server has sent before can still be asked for.
    ///
    /// - Throws: ``TestFailure`` when something is still under way after the timeout.
    public func disconnect(
        code: CloseCode = .normal,
        reason: String = "",
        fileID: String = #fileID,
        line: Int = #line
    ) async throws {
        try await bench.onLoop { [connection] _ in connection.value.sendClose(code, reason: reason) }
        try await settle(CodePlace(fileID: fileID, line: line), "the connection was closed")
    }

    /// Breaks the connection without a close frame, as a phone does that leaves the network, and waits as
    /// ``disconnect(code:reason:fileID:line:)`` does. The consumer hears of 1006.
    ///
    /// - Throws: As ``disconnect(code:reason:fileID:line:)``.
    public func cut(fileID: String = #fileID, line: Int = #line) async throws {
        try await bench.onLoop { [connection] _ in connection.value.cut() }
        try await settle(CodePlace(fileID: fileID, line: line), "the connection was cut")
    }

    // MARK: From the server

    /// Waits for the next message, which must be text.
    ///
    /// - Throws: ``TestFailure`` when another message or a close comes, or nothing within the timeout.
    public func expectText(fileID: String = #fileID, line: Int = #line) async throws -> String {
        let place = CodePlace(fileID: fileID, line: line)
        let event = try await next("a text message", place)
        guard case .text(let text) = event else { throw try await failure(place, "a text message", event) }
        return text
    }

    /// Waits for the next message, which must be binary.
    ///
    /// - Throws: As ``expectText(fileID:line:)``.
    public func expectBinary(fileID: String = #fileID, line: Int = #line) async throws -> [UInt8] {
        let place = CodePlace(fileID: fileID, line: line)
        let event = try await next("a binary message", place)
        guard case .binary(let bytes) = event else { throw try await failure(place, "a binary message", event) }
        return bytes
    }

    /// Waits for the next message, which must be JSON text that is a `Value`.
    ///
    /// - Throws: As ``expectText(fileID:line:)``, also for text that cannot be decoded.
    public func expectJSON<Value: Decodable>(
        _ type: Value.Type = Value.self,
        coding: any JSONCoding = .fanfare,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> Value {
        let place = CodePlace(fileID: fileID, line: line)
        let event = try await next("JSON of a \(type)", place)
        guard case .text(let text) = event else { throw try await failure(place, "JSON of a \(type)", event) }
        do {
            return try coding.decode(type, from: text)
        } catch {
            throw try await failure(place, "expected JSON of a \(type), but got \(event.description): \(error)")
        }
    }

    /// Waits for the end of the connection; every message before has to be asked for.
    ///
    /// - Returns: What the server's close frame says; 1006 when it sent none.
    /// - Throws: As ``expectText(fileID:line:)``.
    @discardableResult
    public func expectClose(
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> (code: CloseCode, reason: String) {
        let place = CodePlace(fileID: fileID, line: line)
        let event = try await next("a close", place)
        guard case .close(let code, let reason) = event else { throw try await failure(place, "a close", event) }
        return (code, reason)
    }

    /// Makes sure that nothing has been sent that was not asked for, once nothing is under way.
    ///
    /// There is no time in it: it waits for every handler, however slow, and for every message between workers and
    /// broker; see ``TestApplication``. So it does not pass because something was late. Handlers that never return make
    /// it fail; tasks that code starts and does not wait for, and timers, are not seen: for those see
    /// ``expectNothing(for:fileID:line:)``.
    ///
    /// - Throws: ``TestFailure`` that tells what was sent; or what is under way, when the timeout is over.
    public func expectNothing(fileID: String = #fileID, line: Int = #line) async throws {
        let place = CodePlace(fileID: fileID, line: line)
        try await settle(place, "expected that nothing is sent, and")
        try await checkNothing(place)
    }

    /// Makes sure that nothing is sent in the next `window` of real time, whatever is under way.
    ///
    /// For code that sends from tasks and timers of its own. What comes after the window is not seen.
    ///
    /// - Throws: ``TestFailure`` that tells what was sent.
    public func expectNothing(for window: Duration, fileID: String = #fileID, line: Int = #line) async throws {
        let place = CodePlace(fileID: fileID, line: line)
        let deadline = ContinuousClock.now + window
        repeat {
            try await checkNothing(place)
            try await Task.sleep(for: min(.milliseconds(5), max(.zero, deadline - ContinuousClock.now)))
        } while ContinuousClock.now < deadline
        try await checkNothing(place)
    }

    private func checkNothing(_ place: CodePlace) async throws {
        let events = try await bench.onLoop { [connection] _ in connection.value.unexpected }
        guard let first = events.first else { return }
        let more = events.count > 1 ? " and \(events.count - 1) more" : ""
        throw try await failure(place, "expected that nothing is sent, but got \(first.description)\(more)")
    }

    // MARK: Waiting

    private func next(_ expected: String, _ place: CodePlace) async throws -> ReceivedEvent {
        if let event = try await bench.wait(until: { [connection] _ in connection.value.takeNext() }) { return event }
        let (busy, unreadable) = try await bench.onLoop { state in
            (state.busy(), state.workers.reduce(0) { $0 + $1.worker.health.counters.undecodable })
        }
        let running = busy.isEmpty ? "nothing is under way" : "under way: \(Set(busy).sorted().joined(separator: ", "))"
        let hint = unreadable > 0 ? "; messages of groups and channels that no handler knows: \(unreadable)" : ""
        throw try await failure(
            place,
            "expected \(expected), but nothing was sent within \(bench.timeout); \(running)\(hint)"
        )
    }

    private func settle(_ place: CodePlace, _ text: String) async throws {
        let busy = try await bench.settle()
        guard !busy.isEmpty else { return }
        let what = Set(busy).sorted().joined(separator: ", ")
        throw try await failure(place, "\(text) still under way after \(bench.timeout): \(what)")
    }

    private func failure(_ place: CodePlace, _ expected: String, _ event: ReceivedEvent) async throws -> TestFailure {
        try await failure(place, "expected \(expected), but got \(event.description)")
    }

    private func failure(_ place: CodePlace, _ text: String) async throws -> TestFailure {
        TestFailure(place, "\(target): \(text)\(try await bench.failuresText())")
    }
}

extension TestBench {
    /// What handlers have thrown, to go behind what went wrong.
    func failuresText() async throws -> String {
        let failures = try await onLoop(\.failures)
        guard !failures.isEmpty else { return "" }
        let last = failures.suffix(3).map(\.description).joined(separator: "; ")
        return "; handlers that threw: \(last)"
    }
}
