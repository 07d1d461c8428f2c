/// The agreement on permessage-deflate, made in the opening handshake: RFC 7692, section 7.1.
///
/// This server compresses and inflates each message on its own, without the context of earlier ones, and tells the
/// client to do the same (sections 7.1.1.1 and 7.1.1.2 allow both unasked). So one compressed message serves all
/// members of a group, and an idle socket keeps no window.
enum Compression {
    /// What was agreed with one client.
    struct Agreement: Equatable, Sendable {
        /// The base-2 logarithm of the largest window the client will inflate with: 8 to 15.
        let serverWindowBits: Int
    }

    /// Bytes of all `Sec-WebSocket-Extensions` values together. More: no compression.
    static let headerBytes = 1_024
    /// Offers that are looked at, of whatever extension.
    static let offers = 16

    private static let name = "permessage-deflate"
    /// In every answer. Without `client_max_window_bits`, because the one inflater of a loop takes any window.
    private static let response = "\(name); server_no_context_takeover; client_no_context_takeover"

    /// Accepts the first offer that can be accepted.
    ///
    /// An offer that is malformed or holds a parameter that is unknown, repeated or out of range is declined and the
    /// next one is tried (section 7.1). Nothing a client writes here is an error: without agreement the connection
    /// goes on uncompressed.
    ///
    /// - Parameter offers: All values of `Sec-WebSocket-Extensions`, in the order of the request.
    /// - Returns: The agreement and the value of the same header in the response; `nil` when nothing was agreed.
    static func negotiate(offers values: [String]) -> (agreement: Agreement, responseHeader: String)? {
        guard values.reduce(0, { $0 + $1.utf8.count }) <= headerBytes else { return nil }
        var looked = 0
        for value in values {
            for element in ExtensionOffer.elements(of: value) {
                looked += 1
                guard looked <= offers else { return nil }
                guard let offer = ExtensionOffer(element), offer.name == name else { continue }
                guard let accepted = accept(offer.parameters) else { continue }
                return accepted
            }
        }
        return nil
    }

    private static func accept(
        _ parameters: [ExtensionOffer.Parameter]
    ) -> (agreement: Agreement, responseHeader: String)? {
        var seen: Set<String> = []
        var serverWindowBits: Int?
        for parameter in parameters {
            guard seen.insert(parameter.name).inserted else { return nil }
            switch (parameter.name, parameter.value) {
            case ("server_no_context_takeover", nil), ("client_no_context_takeover", nil),
                ("client_max_window_bits", nil):
                break
            case ("client_max_window_bits", let value?):
                guard windowBits(value) != nil else { return nil }
            case ("server_max_window_bits", let value?):
                guard let bits = windowBits(value) else { return nil }
                serverWindowBits = bits
            default:
                return nil
            }
        }
        guard let serverWindowBits else { return (Agreement(serverWindowBits: 15), response) }
        return (
            Agreement(serverWindowBits: serverWindowBits),
            "\(response); server_max_window_bits=\(serverWindowBits)"
        )
    }

    /// A decimal number from 8 to 15 without leading zeros or signs (section 7.1.2).
    private static func windowBits(_ value: String) -> Int? {
        (8...15).first { String($0) == value }
    }
}

/// One element of a `Sec-WebSocket-Extensions` header: RFC 6455, section 9.1.
struct ExtensionOffer {
    struct Parameter {
        let name: String
        /// Without its quotes; `nil` when there is no `=`.
        let value: String?
    }

    let name: String
    let parameters: [Parameter]

    /// The elements of a header's value, cut at its commas; empty ones are left out, as the list rule of HTTP allows.
    static func elements(of value: String) -> [ArraySlice<UInt8>] {
        pieces(Array(value.utf8)[...], at: UInt8(ascii: ",")).filter { !$0.isEmpty }
    }

    /// Reads an element; `nil` when it does not follow the grammar.
    init?(_ element: ArraySlice<UInt8>) {
        let pieces = Self.pieces(element, at: UInt8(ascii: ";"))
        guard let first = pieces.first, let name = Self.token(first) else { return nil }
        var parameters: [Parameter] = []
        for piece in pieces.dropFirst() {
            let equals = piece.firstIndex(of: UInt8(ascii: "="))
            guard let name = Self.token(Self.trimmed(piece[..<(equals ?? piece.endIndex)])) else { return nil }
            var value: String?
            if let equals {
                value = Self.value(Self.trimmed(piece[(equals + 1)...]))
                guard value != nil else { return nil }
            }
            parameters.append(Parameter(name: name, value: value))
        }
        self.name = name
        self.parameters = parameters
    }

    /// Cuts at `separator` outside of quotes and trims every piece.
    private static func pieces(_ bytes: ArraySlice<UInt8>, at separator: UInt8) -> [ArraySlice<UInt8>] {
        var pieces: [ArraySlice<UInt8>] = []
        var start = bytes.startIndex
        var isQuoted = false
        var isEscaped = false
        for (index, byte) in zip(bytes.indices, bytes) {
            if isEscaped {
                isEscaped = false
            } else if isQuoted, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if byte == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if byte == separator, !isQuoted {
                pieces.append(trimmed(bytes[start..<index]))
                start = index + 1
            }
        }
        pieces.append(trimmed(bytes[start...]))
        return pieces
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isSpace = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) })
        else { return [] }
        return bytes[first...last]
    }

    /// A token, or a quoted string that is one when its quotes and escapes are gone.
    private static func value(_ bytes: ArraySlice<UInt8>) -> String? {
        let quote = UInt8(ascii: "\"")
        guard bytes.first == quote else { return token(bytes) }
        guard bytes.count >= 2, bytes.last == quote else { return nil }
        var content: [UInt8] = []
        var isEscaped = false
        for byte in bytes.dropFirst().dropLast() {
            if !isEscaped, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else {
                // A quote, bare or escaped, is no token character: the result is refused below.
                content.append(byte)
                isEscaped = false
            }
        }
        return isEscaped ? nil : token(content[...])
    }

    private static func token(_ bytes: ArraySlice<UInt8>) -> String? {
        guard !bytes.isEmpty, bytes.allSatisfy(isTokenCharacter) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// `tchar` of RFC 9110, section 5.6.2.
    private static func isTokenCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default:
            "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}
