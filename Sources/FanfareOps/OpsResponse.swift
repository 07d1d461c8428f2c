package import FanfareModel

/// What the operations port answers.
package struct OpsResponse: Sendable {
    /// Writes what follows the body, until it returns or its task is cancelled.
    package typealias Stream = @Sendable (OpsStream) async -> Void

    /// The HTTP status code.
    package var status: Int
    package var contentType: String
    package var body: String
    /// Further header fields. They replace those that every answer has.
    package var fields: [String: String] = [:]
    /// What the answer goes on with. Without it the answer is the body alone.
    package var stream: Stream?

    package init(status: Int, contentType: String, body: String) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }

    /// `value` as one line of JSON.
    package static func json(_ status: Int = 200, _ value: MessageValue) -> OpsResponse {
        OpsResponse(status: status, contentType: "application/json", body: JSONText.render(value) + "\n")
    }

    /// The numbers of a program for Prometheus.
    package static func metrics(_ metrics: Metrics) -> OpsResponse {
        var metrics = metrics
        metrics.addProcess()
        return OpsResponse(status: 200, contentType: Metrics.contentType, body: metrics.text)
    }

    /// Server-sent events (HTML Living Standard, section 9.2), as `stream` writes them.
    package static func events(_ stream: @escaping Stream) -> OpsResponse {
        var response = OpsResponse(status: 200, contentType: "text/event-stream", body: "")
        response.stream = stream
        return response
    }

    /// What every answer carries: nothing is kept, guessed, framed, or lent to pages of other origins.
    static let fields = [
        "cache-control": "no-store",
        "connection": "close",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    ]
}
