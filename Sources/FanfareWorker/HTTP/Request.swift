public import FanfareClient
public import HTTPTypes

/// What a client asked for, before it is a WebSocket or instead of one.
///
/// A value: middleware may change what the next one sees, such as the address behind a proxy.
public struct Request: Sendable {
    /// The method; `GET` for every WebSocket.
    public var method: HTTPRequest.Method
    /// The path as it was sent, without the query.
    public var path: String
    /// What follows the question mark, as it was sent; empty without one.
    public var rawQuery: String
    /// All header fields, in order.
    public var headers: HTTPFields
    /// The body of an HTTP request, at most `http.body_bytes` of the worker's limits.
    public var body: [UInt8] = []
    /// The client's address without port. Behind a trusted proxy, the one the proxy names; see ``ProxyHeaders``.
    public var address: String
    /// Where the connection comes from, with port: the proxy, if there is one.
    public let peer: String
    /// `http` or `https`: how the client reached the outermost server it talked to.
    public var scheme = "http"
    /// The host and port the client named.
    public var host: String
    /// Whether this is the handshake of a WebSocket (RFC 6455, section 4.2.1).
    public let isWebSocket: Bool

    /// - Parameters:
    ///   - method: `GET` for a WebSocket.
    ///   - target: Path and query as in the request line.
    ///   - headers: In order.
    ///   - host: What the `Host` header says.
    ///   - peer: `address:port` of the connection.
    ///   - isWebSocket: Whether it is the handshake of one.
    public init(
        _ method: HTTPRequest.Method,
        _ target: String,
        headers: HTTPFields = [:],
        host: String = "localhost",
        peer: String = "127.0.0.1:0",
        isWebSocket: Bool = false
    ) {
        self.method = method
        // By bytes: a combining mark behind the question mark makes another character of it.
        let end = target.utf8.firstIndex(of: UInt8(ascii: "?"))
        path = String(target[..<(end ?? target.endIndex)])
        rawQuery = end.map { String(target[target.utf8.index(after: $0)...]) } ?? ""
        self.headers = headers
        self.host = host
        self.peer = peer
        address = Self.address(ofPeer: peer)
        self.isWebSocket = isWebSocket
    }

    /// The body, read as JSON.
    ///
    /// - Throws: ``Denial`` with 400 when it is no JSON, or not a `Value`.
    public func json<Value: Decodable>(_ type: Value.Type, coding: any JSONCoding = .fanfare) throws -> Value {
        do {
            return try coding.decode(type, from: body)
        } catch {
            throw Denial(.badRequest, "The body is not the JSON that is expected here.", reason: "invalid_body")
        }
    }

    /// The first value of a query parameter, decoded; `nil` when it is not there or is not valid percent-encoding.
    public func query(_ name: String) -> String? {
        for item in rawQuery.split(separator: "&") {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard PercentEncoding.decode(parts[0], plusIsSpace: true) == name else { continue }
            return parts.count == 1 ? "" : PercentEncoding.decode(parts[1], plusIsSpace: true)
        }
        return nil
    }

    /// The first value of a cookie (RFC 6265, section 4.2), as it was sent.
    public func cookie(_ name: String) -> String? {
        for field in headers[values: .cookie] {
            for pair in field.split(separator: ";") {
                let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, parts[0].trimmed == name else { continue }
                let value = parts[1].trimmed
                let isQuoted = value.count >= 2 && value.first == "\"" && value.last == "\""
                return String(isQuoted ? value.dropFirst().dropLast() : value)
            }
        }
        return nil
    }

    /// The subprotocols the client offers, in its order of preference (RFC 6455, section 11.3.4).
    public var subprotocols: [String] {
        headers[values: .secWebSocketProtocol].flatMap { field in
            field.split(separator: ",").map { String($0.trimmed) }.filter { !$0.isEmpty }
        }
    }

    /// `127.0.0.1` of `127.0.0.1:4711`, `::1` of `[::1]:4711`; a Unix peer stays as it is.
    static func address(ofPeer peer: String) -> String {
        if peer.first == "[", let end = peer.firstIndex(of: "]") { return String(peer[..<end].dropFirst()) }
        guard let colon = peer.lastIndex(of: ":") else { return peer }
        return String(peer[..<colon])
    }
}

extension Substring {
    /// Without spaces and tabs at both ends.
    var trimmed: Substring {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
        guard let start = utf8.firstIndex(where: { !isSpace($0) }), let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return self[start...last]
    }
}

/// Percent-encoding of addresses (RFC 3986, section 2.1).
enum PercentEncoding {
    /// - Returns: The decoded text; `nil` for broken escapes and for bytes that are not UTF-8.
    static func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) -> String? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var iterator = text.utf8.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(digit), let low = iterator.next().flatMap(digit) else {
                    return nil
                }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        Character(Unicode.Scalar(byte)).hexDigitValue.map { UInt8($0) }
    }
}
