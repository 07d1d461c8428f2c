/// Which peers are believed when they tell who their client is, and what they tell.
///
/// Anybody can send `X-Forwarded-For`. Only what a trusted peer appended counts: the list is read from the right, and
/// the first address that is not a trusted proxy's is the client. Everything left of it was written by strangers.
public struct TrustedProxies: Sendable {
    /// Who is behind a connection.
    public struct Client: Sendable, Hashable {
        /// An IP address in its usual text, without port; `unix` or what the socket said when it is no address.
        public let address: String
        /// `http` or `https`, when a trusted proxy said so.
        public let scheme: String?
        /// The `Host` the client asked for in lower case, with port if it had one, when a trusted proxy said so.
        public let host: String?
    }

    /// Nobody is believed; the peer is the client. The default.
    public static let none = TrustedProxies(networks: [], trustsUnix: false)

    /// Proxies one request may have passed. What stands left of them is not looked at.
    private static let hopsMaximum = 32
    /// Bytes of `Forwarded` headers that are read. More: the peer is the client.
    private static let forwardedBytes = 4_096
    /// What stands for a peer on a Unix socket.
    private static let unix = "unix"

    private let networks: [IPNetwork]
    private let trustsUnix: Bool

    private init(networks: [IPNetwork], trustsUnix: Bool) {
        self.networks = networks
        self.trustsUnix = trustsUnix
    }

    /// - Parameter entries: Addresses (`10.0.0.1`, `2001:db8::1`), networks (`10.0.0.0/8`, `2001:db8::/32`), and
    ///   `unix` for every peer on a Unix socket. IPv4-mapped IPv6 is IPv4. `0.0.0.0/0` and `::/0` believe everybody of
    ///   their family.
    /// - Throws: ``InvalidSetting`` that names the first entry that cannot be read.
    public init(_ entries: [String]) throws(InvalidSetting) {
        var networks: [IPNetwork] = []
        for entry in entries where entry != Self.unix { networks.append(try IPNetwork(entry)) }
        self.init(networks: networks, trustsUnix: entries.contains(Self.unix))
    }

    /// Whether what this peer says about its client is believed.
    ///
    /// - Parameter peer: An address with or without port, or `unix`.
    public func trusts(_ peer: String) -> Bool {
        if peer == Self.unix { return trustsUnix }
        return IPAddress(node: peer).map(trusts) ?? false
    }

    private func trusts(_ address: IPAddress) -> Bool {
        networks.contains { $0.contains(address) }
    }

    /// Who is behind a connection, by the `X-Forwarded-…` headers.
    ///
    /// An entry that is no address ends the walk: the proxy that wrote it is the client. Of scheme and host the entry
    /// at the client's place from the right counts, or the leftmost when fewer proxies wrote one. A proxy must set or
    /// append to each of these headers, or remove it; one it passes on untouched comes from the client.
    ///
    /// - Parameters:
    ///   - peer: The other end of the connection: an address with or without port, or `unix`.
    ///   - forwardedFor: All values of `X-Forwarded-For`, in the order they came. At most 32 entries are looked at.
    ///   - forwardedProto: All values of `X-Forwarded-Proto`.
    ///   - forwardedHost: All values of `X-Forwarded-Host`.
    public func client(
        peer: String,
        forwardedFor: [String],
        forwardedProto: [String] = [],
        forwardedHost: [String] = []
    ) -> Client {
        let addresses = Self.nearestFirst(forwardedFor)
        let schemes = Self.nearestFirst(forwardedProto)
        let hosts = Self.nearestFirst(forwardedHost)
        let steps = max(addresses.count, schemes.isEmpty && hosts.isEmpty ? 0 : 1)
        return client(
            peer: peer,
            steps: (0..<steps).map { place in
                Step(
                    address: place < addresses.count ? addresses[place] : nil,
                    scheme: schemes.isEmpty ? nil : schemes[min(place, schemes.count - 1)],
                    host: hosts.isEmpty ? nil : hosts[min(place, hosts.count - 1)]
                )
            }
        )
    }

    /// Who is behind a connection, by the `Forwarded` header (RFC 7239).
    ///
    /// Use this or ``client(peer:forwardedFor:forwardedProto:forwardedHost:)``, whichever header the proxies write;
    /// the other may come from the client. A header that cannot be read makes the peer the client, as does one beyond
    /// 4 096 bytes.
    ///
    /// - Parameters:
    ///   - peer: The other end of the connection: an address with or without port, or `unix`.
    ///   - forwarded: All values of `Forwarded`, in the order they came.
    public func client(peer: String, forwarded: [String]) -> Client {
        var bytes = 0
        var steps: [Step] = []
        for value in forwarded {
            bytes += value.utf8.count
            guard bytes <= Self.forwardedBytes, let elements = ForwardedElement.list(value) else {
                return client(peer: peer, steps: [])
            }
            for element in elements {
                steps.append(Step(address: element["for"]?[...], scheme: element["proto"], host: element["host"]))
            }
        }
        return client(peer: peer, steps: steps.suffix(Self.hopsMaximum).reversed())
    }

    /// What one proxy says about who connected to it.
    private struct Step {
        let address: Substring?
        let scheme: Substring?
        let host: Substring?

        init(address: Substring?, scheme: Substring?, host: Substring?) {
            self.address = address
            self.scheme = scheme
            self.host = host
        }

        init(address: Substring?, scheme: String?, host: String?) {
            self.init(address: address, scheme: scheme.map { $0[...] }, host: host.map { $0[...] })
        }
    }

    /// - Parameter steps: The nearest proxy's first.
    private func client(peer: String, steps: [Step]) -> Client {
        var address = IPAddress(node: peer)?.description ?? peer
        guard trusts(peer), var step = steps.first else { return Client(address: address, scheme: nil, host: nil) }
        for next in steps {
            step = next
            guard let text = next.address, let said = IPAddress(node: text) else { break }
            address = said.description
            guard trusts(said) else { break }
        }
        return Client(
            address: address,
            scheme: step.scheme.flatMap(Self.scheme),
            host: step.host.flatMap { Authority($0)?.text }
        )
    }

    private static func scheme(_ text: Substring) -> String? {
        switch text.lowercased() {
        case "http", "ws": "http"
        case "https", "wss": "https"
        default: nil
        }
    }

    /// The entries of a list over several headers, from the right, at most as many as there may be proxies.
    private static func nearestFirst(_ values: [String]) -> [Substring] {
        var entries: [Substring] = []
        for value in values.reversed() {
            var rest = value[...]
            while entries.count < hopsMaximum {
                let comma = rest.utf8.lastIndex(of: UInt8(ascii: ","))
                entries.append((comma.map { rest[rest.utf8.index(after: $0)...] } ?? rest).trimmed)
                guard let comma else { break }
                rest = rest[..<comma]
            }
        }
        return entries
    }
}
