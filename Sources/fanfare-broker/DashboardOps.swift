import FanfareBroker
import FanfareModel
import FanfareOps

/// The dashboard on the operations port: the page, and what it asks for. Reads only; nothing here changes the broker.
struct DashboardOps: Sendable {
    private let stage: RunStage<BrokerServer>
    private let guarding: DashboardGuard

    /// Bytes of a pattern, at most, as over the protocol.
    private static let patternBytes = 256
    /// Characters of a message that are shown of a tail.
    private static let textCharacters = 4_096

    init(_ stage: RunStage<BrokerServer>, refusals: OpsRefusals) {
        self.stage = stage
        guarding = DashboardGuard(refusals: refusals)
    }

    /// The page by itself shows nothing, so that everybody may have it; what it asks for is guarded.
    var routes: [String: OpsServer.Route] {
        var routes: [String: OpsServer.Route] = [
            "/": { _ in DashboardPage.response() },
            "/api/status": { await answer($0, .status) },
            "/api/tail": { await tail($0) },
        ]
        for subject in InspectionQuery.Subject.allCases {
            routes["/api/inspect/\(subject.rawValue)"] = { await answer($0, subject) }
        }
        return routes
    }

    // MARK: Inspection

    private func answer(_ request: OpsRequest, _ subject: InspectionQuery.Subject) async -> OpsResponse {
        await guarded(request) { (broker, viewer) throws(Failure) in
            let query = try Self.inspection(subject, request)
            return .json(200, try await broker.inspect(try await broker.admit(query, from: viewer)))
        }
    }

    /// What the query string asks; the keys are those of `INSPECT`.
    ///
    /// - Throws: `bad_request` for keys that are not known and values that cannot be.
    static func inspection(_ subject: InspectionQuery.Subject, _ request: OpsRequest) throws(Failure) -> InspectionQuery
    {
        var query = InspectionQuery(subject)
        for (key, value) in try parameters(of: request) where !value.isEmpty {
            switch key {
            case "name": query.name = value
            case "namespace": query.namespace = value
            case "match": query.match = try glob(value)
            case "sort": query.sort = value
            case "descending": query.descending = try flag(key, value)
            case "cursor": query.cursor = value
            case "reason": query.reason = value
            case "limit": query.limit = try number(key, value, in: 1...1_000)
            case "budget_milliseconds":
                // Less than the port gives a connection.
                query.budget = Milliseconds(UInt64(try number(key, value, in: 1...5_000)))
            default: throw unknown(key)
            }
        }
        return query
    }

    // MARK: Tails

    private func tail(_ request: OpsRequest) async -> OpsResponse {
        await guarded(request) { (broker, viewer) throws(Failure) in
            let feed = try await broker.tail(try Self.tail(request), for: viewer)
            return .events { stream in
                do {
                    // At once, so that the reader knows that it watches.
                    try await stream.write(": watching\n\n")
                    for await element in feed {
                        try await stream.write("data: \(JSONText.render(Self.event(element)))\n\n")
                    }
                } catch {
                    // The reader has gone. Its tail goes with the feed.
                }
            }
        }
    }

    /// What the query string asks to watch.
    ///
    /// - Throws: `bad_request`.
    static func tail(_ request: OpsRequest) throws(Failure) -> TailQuery {
        let parameters = try parameters(of: request)
        guard let kind = parameters["kind"].flatMap(TailQuery.Kind.init(rawValue:)) else {
            throw Failure(.badRequest, "kind is \"\(parameters["kind"] ?? "")\", it must be group or channel")
        }
        var query = TailQuery(kind: kind, match: try glob(parameters["match"] ?? "*"))
        for (key, value) in parameters where !value.isEmpty {
            switch key {
            case "kind", "match": break
            case "namespace": query.namespace = value
            default: throw unknown(key)
            }
        }
        return query
    }

    /// A copy as one event. The message is text, cut to what a person can look at.
    static func event(_ element: TailFeed.Element) -> MessageValue {
        var event: [String: MessageValue] = [
            "kind": .string(element.copy.kind.rawValue), "name": .string(element.copy.name),
            "namespace": .string(element.copy.namespace), "bytes": .count(element.copy.body.count),
            "skipped": .count(element.copy.skipped),
        ]
        if let message = element.message {
            let text = JSONText.render(message)
            let cut = text.unicodeScalars.prefix(textCharacters)
            event["text"] = .string(String(String.UnicodeScalarView(cut)))
            event["is_cut"] = .bool(cut.endIndex < text.unicodeScalars.endIndex)
        }
        return .map(event)
    }

    // MARK: Both

    private static func parameters(of request: OpsRequest) throws(Failure) -> [String: String] {
        guard let query = request.query else {
            throw Failure(.badRequest, "the query string cannot be read: bad escapes, no UTF-8, or a key given twice")
        }
        return query
    }

    private static func glob(_ text: String) throws(Failure) -> Glob {
        guard text.utf8.count <= patternBytes else {
            throw Failure(.badRequest, "match has \(text.utf8.count) bytes, it may have \(patternBytes)")
        }
        return Glob(text)
    }

    private static func number(_ key: String, _ value: String, in range: ClosedRange<Int>) throws(Failure) -> Int {
        guard let number = Int(value), range.contains(number) else {
            let bounds = "\(range.lowerBound) to \(range.upperBound)"
            throw Failure(.badRequest, "\(key) is \"\(value)\", it must be \(bounds)")
        }
        return number
    }

    private static func flag(_ key: String, _ value: String) throws(Failure) -> Bool {
        guard let flag = ["true": true, "1": true, "false": false, "0": false][value] else {
            throw Failure(.badRequest, "\(key) is \"\(value)\", it must be true or false")
        }
        return flag
    }

    private static func unknown(_ key: String) -> Failure {
        Failure(.badRequest, "nothing here is called \"\(key)\"")
    }

    /// Answers who may look, and refuses everybody else.
    private func guarded(
        _ request: OpsRequest,
        _ answer: (BrokerServer, Viewer) async throws(Failure) -> OpsResponse
    ) async -> OpsResponse {
        let viewer: Viewer
        switch guarding.verdict(on: request) {
        case .refused(let response): return response
        case .viewer(let admitted): viewer = admitted
        }
        guard let broker = stage.server else {
            return .json(503, ["error": "the broker is starting or stopping", "code": "draining"])
        }
        do throws(Failure) {
            return try await answer(broker, viewer)
        } catch {
            return guarding.response(to: error, of: viewer, request)
        }
    }
}
