public import FanfareClient
public import HTTPTypes

/// A whole HTTP answer. Every one ends its connection: this port serves WebSockets and the few pages around them.
public struct Response: Sendable {
    /// The status; 101 is made by the end of a WebSocket's route only.
    public var status: HTTPResponse.Status
    /// Header fields; a few more are added when it is sent.
    public var headers: HTTPFields
    /// All of the body.
    public var body: [UInt8]

    /// - Parameters:
    ///   - status: Not 101.
    ///   - headers: `content-length`, `connection` and `x-content-type-options` are added when it is sent.
    ///   - body: All of it.
    public init(_ status: HTTPResponse.Status, headers: HTTPFields = [:], body: [UInt8] = []) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// One line for people.
    public static func text(_ status: HTTPResponse.Status, _ line: String, headers: HTTPFields = [:]) -> Response {
        var response = Response(status, headers: headers, body: Array((line + "\n").utf8))
        response.headers[.contentType] = "text/plain; charset=utf-8"
        response.headers[.cacheControl] = "no-store"
        return response
    }

    /// One line for people, with 200.
    public static func text(_ line: String) -> Response { text(.ok, line) }

    /// A page. What runs in it must be in it: its policy lets it load nothing and talk to its own server only.
    public static func html(_ bytes: [UInt8]) -> Response {
        var response = Response(.ok, body: bytes)
        response.headers[.contentType] = "text/html; charset=utf-8"
        // The page and the program it came from change together.
        response.headers[.cacheControl] = "no-cache"
        response.headers[.contentSecurityPolicy] =
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
            + "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        response.headers[HTTPField.Name("Referrer-Policy")!] = "no-referrer"
        return response
    }

    /// A value as JSON.
    ///
    /// - Throws: `EncodingError` for a value that has no JSON.
    public static func json(
        _ status: HTTPResponse.Status,
        _ value: some Encodable,
        coding: any JSONCoding = .fanfare
    ) throws -> Response {
        var response = Response(status, body: try coding.encode(value))
        response.headers[.contentType] = "application/json"
        response.headers[.cacheControl] = "no-store"
        return response
    }

    /// A value as JSON, with 200.
    ///
    /// - Throws: `EncodingError` for a value that has no JSON.
    public static func json(_ value: some Encodable, coding: any JSONCoding = .fanfare) throws -> Response {
        try json(.ok, value, coding: coding)
    }

    /// Sends the client to another address, for good.
    public static func redirect(_ location: String) -> Response {
        text(.permanentRedirect, "The page is at \(location)", headers: [.location: location])
    }

    /// The handshake of a WebSocket is accepted; only the end of a WebSocket's route makes it.
    static func accepted(_ headers: HTTPFields) -> Response {
        Response(.switchingProtocols, headers: headers)
    }
}

/// Refuses a connection or a request with an answer; thrown from `connect`, a consumer's maker, or middleware.
public struct Denial: Error, Sendable {
    /// The answer.
    public var response: Response
    /// What it is counted as: lower case, few different ones in a program, such as `no_such_room`.
    public var reason: String

    /// - Parameters:
    ///   - response: The answer.
    ///   - reason: What it is counted as.
    public init(_ response: Response, reason: String = "denied") {
        self.response = response
        self.reason = reason
    }

    /// Refuses with a status and one line for people.
    public init(_ status: HTTPResponse.Status, _ line: String, reason: String = "denied") {
        self.init(.text(status, line), reason: reason)
    }
}
