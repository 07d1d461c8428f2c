import HTTPTypes
import NIOHTTP1

/// Reads the head of a request, and checks what RFC 6455, section 4.2.1, asks of a WebSocket's.
enum Handshake {
    /// - Parameters:
    ///   - head: As the decoder checked it.
    ///   - peer: Where the connection comes from.
    static func request(of head: HTTPRequestHead, peer: String) -> Result<Request, Denial> {
        guard head.uri.first == "/", let host = host(head) else {
            return .failure(
                Denial(
                    .badRequest,
                    "One Host header and a path that begins with / are needed.",
                    reason: "bad_request"
                )
            )
        }
        let wantsSocket = head.headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "websocket" }
        guard let method = HTTPRequest.Method(rawValue: head.method.rawValue), let headers = fields(head.headers) else {
            return .failure(Denial(.badRequest, "The request cannot be read.", reason: "bad_request"))
        }
        let request = Request(
            method,
            head.uri,
            headers: headers,
            host: host,
            peer: peer,
            isWebSocket: wantsSocket
        )
        if wantsSocket, let denial = refusal(head) { return .failure(denial) }
        return .success(request)
    }

    private static func fields(_ headers: HTTPHeaders) -> HTTPFields? {
        var fields = HTTPFields()
        fields.reserveCapacity(headers.count)
        for (name, value) in headers {
            guard let name = HTTPField.Name(name) else { return nil }
            fields.append(HTTPField(name: name, value: value))
        }
        return fields
    }

    /// Why a handshake is none; `nil` when it is one.
    private static func refusal(_ head: HTTPRequestHead) -> Denial? {
        guard head.method == .GET else {
            return denial(.methodNotAllowed, "A WebSocket begins with GET.", [.allow: "GET"], "wrong_method")
        }
        guard head.version == .http1_1 else {
            return denial(.upgradeRequired, "WebSocket needs HTTP/1.1.", [.upgrade: "websocket"], "bad_handshake")
        }
        guard head.headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "upgrade" }) else {
            return Denial(.badRequest, "The Connection header must name upgrade.", reason: "bad_handshake")
        }
        guard head.headers["sec-websocket-version"] == ["13"] else {
            let headers: HTTPFields = [.upgrade: "websocket", .secWebSocketVersion: "13"]
            return denial(
                .upgradeRequired,
                "Only version 13 of WebSocket is spoken here.",
                headers,
                "wrong_version"
            )
        }
        let keys = head.headers["sec-websocket-key"]
        guard keys.count == 1, isKey(keys[0]) else {
            return Denial(.badRequest, "Sec-WebSocket-Key must be 16 bytes in base64.", reason: "bad_handshake")
        }
        return nil
    }

    private static func denial(
        _ status: HTTPResponse.Status,
        _ line: String,
        _ headers: HTTPFields,
        _ reason: String
    ) -> Denial {
        Denial(.text(status, line, headers: headers), reason: reason)
    }

    private static func host(_ head: HTTPRequestHead) -> String? {
        let hosts = head.headers["host"]
        return hosts.count == 1 && !hosts[0].isEmpty ? hosts[0] : nil
    }

    /// 16 bytes are 22 characters of base64 and `==`.
    private static func isKey(_ key: String) -> Bool {
        let utf8 = key.utf8
        return utf8.count == 24 && utf8.suffix(2).elementsEqual("==".utf8)
            && utf8.dropLast(2).allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                    true
                default: false
                }
            }
    }
}

extension HTTPResponse.Status {
    /// 426: RFC 9110, section 15.5.22.
    static var upgradeRequired: HTTPResponse.Status { HTTPResponse.Status(code: 426, reasonPhrase: "Upgrade Required") }
}
