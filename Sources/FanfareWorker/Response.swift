import NIOCore
import NIOHTTP1

/// A whole HTTP answer. Every one ends its connection: only the first request of a connection may become a WebSocket.
struct Response {
    let status: HTTPResponseStatus
    var headers: HTTPHeaders
    let body: [UInt8]

    /// A page of the chat. What runs in it is in it: nothing is loaded, and it talks to this worker only.
    static func page(_ bytes: [UInt8]) -> Response {
        let policy =
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
            + "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        return Response(
            .ok,
            bytes,
            [
                ("content-type", "text/html; charset=utf-8"),
                // The page and the worker it came from change together.
                ("cache-control", "no-cache"),
                ("content-security-policy", policy),
                ("referrer-policy", "no-referrer"),
            ]
        )
    }

    /// The same address with its slash.
    static func redirect(_ path: String) -> Response {
        text(.permanentRedirect, "The page is at \(path)", [("location", path)])
    }

    /// One line for people.
    static func text(_ status: HTTPResponseStatus, _ line: String, _ headers: [(String, String)] = []) -> Response {
        let fixed = [("content-type", "text/plain; charset=utf-8"), ("cache-control", "no-store")]
        return Response(status, Array((line + "\n").utf8), fixed + headers)
    }

    private init(_ status: HTTPResponseStatus, _ body: [UInt8], _ headers: [(String, String)]) {
        self.status = status
        self.body = body
        let fixed = [
            ("content-length", String(body.count)), ("x-content-type-options", "nosniff"), ("connection", "close"),
        ]
        self.headers = HTTPHeaders(headers + fixed)
    }
}
