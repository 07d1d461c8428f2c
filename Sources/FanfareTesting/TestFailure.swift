public import FanfareWorker

/// Why a test cannot go on: what was expected and what came instead.
///
/// Thrown, so that it fails a test of Swift Testing and of XCTest alike.
public struct TestFailure: Error, Sendable, CustomStringConvertible {
    /// In one line, beginning with the file and line that expected it.
    public let description: String
    /// The answer that came instead of a WebSocket.
    public let response: Response?

    init(_ place: CodePlace, _ text: String, response: Response? = nil) {
        description = "\(place.fileID):\(place.line): \(text)"
        self.response = response
    }
}

/// A handler that threw.
public struct HandlerFailure: Sendable, CustomStringConvertible {
    /// The consumer's name in listings; `http` for everything else that answers requests.
    public let consumer: String
    /// What was thrown.
    public let error: any Error

    /// `Chat: Oops()`.
    public var description: String { "\(consumer): \(String(describing: error).prefix(500))" }
}

/// Where in a test something was expected.
struct CodePlace: Sendable {
    let fileID: String
    let line: Int
}

/// What a client got.
enum ReceivedEvent: Sendable {
    case text(String)
    case binary([UInt8])
    case close(CloseCode, reason: String)

    /// For people: cut where it is long.
    var description: String {
        switch self {
        case .text(let text): "the text \(Self.quoted(text))"
        case .binary(let bytes): "\(bytes.count) bytes \(Array(bytes.prefix(16)))\(bytes.count > 16 ? "…" : "")"
        case .close(.abnormal, _): "the end of the connection without a close frame"
        case .close(let code, ""): "a close with \(code.rawValue)"
        case .close(let code, let reason): "a close with \(code.rawValue) \(Self.quoted(reason))"
        }
    }

    private static func quoted(_ text: String) -> String {
        "\"\(text.prefix(200))\(text.count > 200 ? "…" : "")\""
    }
}
