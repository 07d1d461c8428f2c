import NIOHTTP1

/// What this worker's port serves, as a pure function of the request's head: pages, redirects, sockets, refusals.
struct Site {
    /// The paths that are WebSockets, in the order they are tried.
    var routes: [Route]

    /// What to do with a request.
    enum Answer {
        case respond(Response)
        /// The handshake is in order.
        case upgrade(Route, SocketRequest)
    }

    /// Decides on the first request of a connection.
    ///
    /// - Parameters:
    ///   - head: As the decoder checked it.
    ///   - hasRoom: Whether one more socket is within the limits.
    func answer(_ head: HTTPRequestHead, hasRoom: Bool) -> Answer {
        guard head.uri.first == "/", let host = Self.host(head) else {
            return .respond(.text(.badRequest, "One Host header and a path that begins with / are needed."))
        }
        let path = head.uri.prefix { $0 != "?" }
        let query = head.uri[path.endIndex...].dropFirst()
        let wantsSocket = head.headers[canonicalForm: "upgrade"].contains { $0.lowercased() == "websocket" }
        for route in routes {
            guard let room = route.room(in: path) else { continue }
            if let refusal = Self.refusal(head, host: host, wantsSocket: wantsSocket, hasRoom: hasRoom) {
                return .respond(refusal)
            }
            let request = SocketRequest(
                path: String(path),
                room: String(room),
                wantsHello: query.split(separator: "&").contains("hello=1")
            )
            return .upgrade(route, request)
        }
        guard !wantsSocket, let page = Self.page(path) else {
            return .respond(.text(.notFound, "There is nothing at this address. The chat begins at /"))
        }
        guard head.method == .GET || head.method == .HEAD else {
            return .respond(.text(.methodNotAllowed, "This page can only be read.", [("allow", "GET, HEAD")]))
        }
        return .respond(page)
    }

    private static func page(_ path: Substring) -> Response? {
        if path == "/" { return .page(PackageResources.index_html) }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[1] == "chat", Room.isName(parts[2]) else { return nil }
        if parts.count == 3 { return .redirect("/chat/\(parts[2])/") }
        return parts.count == 4 && parts[3].isEmpty ? .page(PackageResources.room_html) : nil
    }

    /// Why a request for a socket's path gets no socket; `nil` when it does (RFC 6455, section 4.2.1).
    private static func refusal(
        _ head: HTTPRequestHead,
        host: String,
        wantsSocket: Bool,
        hasRoom: Bool
    ) -> Response? {
        guard head.method == .GET else {
            return .text(.methodNotAllowed, "A WebSocket begins with GET.", [("allow", "GET")])
        }
        guard wantsSocket, head.version == .http1_1 else {
            return .text(.upgradeRequired, "This address speaks WebSocket.", [("upgrade", "websocket")])
        }
        guard head.headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "upgrade" }) else {
            return .text(.badRequest, "The Connection header must name upgrade.")
        }
        guard head.headers["sec-websocket-version"] == ["13"] else {
            let headers = [("upgrade", "websocket"), ("sec-websocket-version", "13")]
            return .text(.upgradeRequired, "Only version 13 of WebSocket is spoken here.", headers)
        }
        let keys = head.headers["sec-websocket-key"]
        guard keys.count == 1, isKey(keys[0]) else {
            return .text(.badRequest, "Sec-WebSocket-Key must be 16 bytes in base64.")
        }
        let origins = head.headers["origin"]
        guard origins.count <= 1, OriginRule.admits(origin: origins.first, host: host) else {
            return .text(.forbidden, "Pages of another origin may not open sockets here.")
        }
        guard hasRoom else {
            return .text(.serviceUnavailable, "This worker holds as many sockets as it may.", [("retry-after", "10")])
        }
        return nil
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

/// One family of socket addresses, `prefix` and a room name and `/`, and the consumer behind it.
struct Route {
    /// Begins and ends with `/`.
    let prefix: String
    let consumer: any Consumer

    /// The room a path names, if it is one of this route's.
    func room(in path: Substring) -> Substring? {
        guard path.hasPrefix(prefix), path.last == "/", path.utf8.count > prefix.utf8.count else { return nil }
        let room = path.dropFirst(prefix.count).dropLast()
        return Room.isName(room) ? room : nil
    }
}

/// What a consumer knows of the handshake that made its socket.
struct SocketRequest {
    let path: String
    let room: String
    /// Whether the first frame tells who serves the socket.
    let wantsHello: Bool
}
