public import FanfareClient
public import FanfareWorker
public import HTTPTypes
import NIOCore

extension TestApplication {
    // MARK: WebSockets

    /// Opens a WebSocket. Returns when it is accepted; the consumer's `connect` may still run if it accepted early.
    ///
    /// - Parameters:
    ///   - target: Path and query.
    ///   - headers: More of them; those of a handshake are added.
    ///   - subprotocols: Offered, in order of preference.
    ///   - origin: Of the page that opens it; `nil` for a program that sends none.
    ///   - host: Where the page thinks it connects to.
    ///   - address: Of the client, without port.
    ///   - worker: The number of the worker it reaches.
    ///   - fileID: The test's file, for failures.
    ///   - line: The test's line, for failures.
    /// - Throws: ``TestFailure`` with the ``TestFailure/response`` when it is refused, and for an answer no browser
    ///   accepts: a subprotocol that was not offered.
    public func connect(
        _ target: String,
        headers: HTTPFields = [:],
        subprotocols: [String] = [],
        origin: String? = "http://localhost",
        host: String = "localhost",
        address: String = "127.0.0.1",
        worker: Int = 0,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> TestSocket {
        let place = CodePlace(fileID: fileID, line: line)
        let fields = Self.handshake(headers, subprotocols, origin)
        let request = Call(.get, target, fields, host, address, isWebSocket: true)
        switch try await send(request, to: worker, place) {
        case .response(let response):
            let body = String(decoding: response.body.prefix(200), as: UTF8.self)
            throw TestFailure(
                place,
                "\(target) was not accepted: \(response.status) \(body)\(try await bench.failuresText())",
                response: response
            )
        case .connection(let connection, let headers):
            let socket = try await TestSocket(bench, connection, headers, target)
            if let chosen = socket.subprotocol, !subprotocols.contains(chosen) {
                throw TestFailure(
                    place,
                    "\(target) was accepted with the subprotocol \"\(chosen)\", which was not offered (\(subprotocols)); "
                        + "a browser gives up such a connection"
                )
            }
            return socket
        }
    }

    /// Asks for a WebSocket that is to be refused.
    ///
    /// - Parameters: As ``connect(_:headers:subprotocols:origin:host:address:worker:fileID:line:)``.
    /// - Returns: The answer.
    /// - Throws: ``TestFailure`` when it is accepted.
    public func expectDenial(
        _ target: String,
        headers: HTTPFields = [:],
        subprotocols: [String] = [],
        origin: String? = "http://localhost",
        host: String = "localhost",
        address: String = "127.0.0.1",
        worker: Int = 0,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> Response {
        let place = CodePlace(fileID: fileID, line: line)
        let fields = Self.handshake(headers, subprotocols, origin)
        let request = Call(.get, target, fields, host, address, isWebSocket: true)
        guard case .response(let response) = try await send(request, to: worker, place) else {
            throw TestFailure(place, "expected \(target) to be refused, but it was accepted")
        }
        return response
    }

    private static func handshake(_ headers: HTTPFields, _ subprotocols: [String], _ origin: String?) -> HTTPFields {
        var headers = headers
        headers[.upgrade] = "websocket"
        headers[.connection] = "Upgrade"
        headers[.secWebSocketVersion] = "13"
        headers[.secWebSocketKey] = "AAAAAAAAAAAAAAAAAAAAAA=="
        // Compressed messages are not read here.
        headers[.secWebSocketExtensions] = nil
        if !subprotocols.isEmpty { headers[.secWebSocketProtocol] = subprotocols.joined(separator: ", ") }
        if let origin { headers[.origin] = origin }
        return headers
    }

    // MARK: Pages

    /// Sends an HTTP request and returns its answer, whatever its status.
    ///
    /// - Parameters:
    ///   - method: Any.
    ///   - target: Path and query.
    ///   - headers: In order.
    ///   - body: All of it.
    ///   - host: Of the `Host` header.
    ///   - address: Of the client, without port.
    ///   - worker: The number of the worker it reaches.
    ///   - fileID: The test's file, for failures.
    ///   - line: The test's line, for failures.
    /// - Throws: ``TestFailure`` when there is no answer within the timeout.
    public func request(
        _ method: HTTPRequest.Method,
        _ target: String,
        headers: HTTPFields = [:],
        body: [UInt8] = [],
        host: String = "localhost",
        address: String = "127.0.0.1",
        worker: Int = 0,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> Response {
        let place = CodePlace(fileID: fileID, line: line)
        var call = Call(method, target, headers, host, address, isWebSocket: false)
        call.request.body = body
        guard case .response(var response) = try await send(call, to: worker, place) else {
            throw TestFailure(place, "\(method) \(target) was answered by a WebSocket")
        }
        if method == .head { response.body = [] }
        return response
    }

    /// Sends a `GET`.
    ///
    /// - Throws: As ``request(_:_:headers:body:host:address:worker:fileID:line:)``.
    public func get(
        _ target: String,
        headers: HTTPFields = [:],
        worker: Int = 0,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> Response {
        try await request(.get, target, headers: headers, worker: worker, fileID: fileID, line: line)
    }

    /// Sends a `POST` with a value as JSON.
    ///
    /// - Throws: `EncodingError`; as ``request(_:_:headers:body:host:address:worker:fileID:line:)``.
    public func post(
        _ target: String,
        json value: some Encodable,
        headers: HTTPFields = [:],
        coding: any JSONCoding = .fanfare,
        worker: Int = 0,
        fileID: String = #fileID,
        line: Int = #line
    ) async throws -> Response {
        var headers = headers
        headers[.contentType] = "application/json"
        let body = try coding.encode(value)
        return try await request(
            .post,
            target,
            headers: headers,
            body: body,
            worker: worker,
            fileID: fileID,
            line: line
        )
    }

    // MARK: The way of a request

    private struct Call: Sendable {
        var request: Request
        let address: String

        init(
            _ method: HTTPRequest.Method,
            _ target: String,
            _ headers: HTTPFields,
            _ host: String,
            _ address: String,
            isWebSocket: Bool
        ) {
            self.address = address
            request = Request(method, target, headers: headers, host: host, isWebSocket: isWebSocket)
        }

        /// The request as it comes from a port of the client.
        func from(port: Int) -> Request {
            let peer = address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
            let target = request.rawQuery.isEmpty ? request.path : "\(request.path)?\(request.rawQuery)"
            var whole = Request(
                request.method,
                target,
                headers: request.headers,
                host: request.host,
                peer: peer,
                isWebSocket: request.isWebSocket
            )
            whole.body = request.body
            return whole
        }
    }

    private enum Answer: Sendable {
        case response(Response)
        case connection(NIOLoopBound<MemoryConnection>, HTTPFields)
    }

    private func send(_ call: Call, to worker: Int, _ place: CodePlace) async throws -> Answer {
        let answer = NIOLoopBoundBox<Answer?>.makeBoxSendingValue(nil, eventLoop: bench.layers.loop)
        let exchange = try await bench.onLoop { state in
            let worker = try state.worker(worker, place)
            let request = call.from(port: state.nextPort())
            let exchange = Self.begin(request, on: worker, state) { answer.value = $0 }
            return NIOLoopBound(exchange, eventLoop: state.layers.loop)
        }
        let found: Answer?
        do {
            found = try await bench.wait { _ in answer.value }
        } catch {
            try await bench.onLoop { _ in exchange.value.abandon() }
            throw error
        }
        if let found { return found }
        try await bench.onLoop { _ in exchange.value.abandon() }
        throw TestFailure(
            place,
            "\(call.request.method) \(call.request.path) was not answered within \(bench.timeout); its handler still runs"
        )
    }

    /// Sends a request on its way as the worker's own connections do. On the loop.
    private static func begin(
        _ request: Request,
        on worker: WorkerLoop,
        _ state: BenchState,
        _ answer: @escaping (Answer) -> Void
    ) -> Exchange {
        // Not through a variable the closures capture: the exchange keeps them, and they would keep it.
        final class Reference { weak var exchange: Exchange? }
        let reference = Reference()
        let exchange = Exchange(
            worker: worker,
            peer: request.peer,
            answer: { response in
                worker.countResponse(response.status)
                answer(.response(response))
            },
            upgrade: { headers in
                guard let exchange = reference.exchange else { return }
                // The answer to a handshake is written before its connection becomes a socket.
                state.later {
                    let connection = MemoryConnection(state)
                    guard let socket = exchange.attach(connection) else { return }
                    connection.attached(to: socket)
                    answer(.connection(NIOLoopBound(connection, eventLoop: state.layers.loop), headers))
                }
            }
        )
        reference.exchange = exchange
        state.add(exchange)
        exchange.begin(request)
        return exchange
    }
}

extension Response {
    /// The body as text; what is not UTF-8 is replaced.
    public var text: String { String(decoding: body, as: UTF8.self) }

    /// The body, read from JSON.
    ///
    /// - Throws: What the coding throws for a body that is not one.
    public func decoded<Value: Decodable>(as type: Value.Type, coding: any JSONCoding = .fanfare) throws -> Value {
        try coding.decode(type, from: body)
    }
}
