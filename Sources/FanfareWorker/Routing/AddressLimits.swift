import HTTPTypes
import NIOCore
import Synchronization

/// Limits how often one address may ask: handshakes and pages alike. More is answered 429 with `Retry-After`.
///
/// An IPv6 network of 64 bits counts as one address. Behind a proxy, ``ProxyHeaders`` must come before.
public struct RequestRate: Middleware {
    private let buckets: Buckets

    private final class Buckets: Sendable {
        let table: Mutex<RateTable<IPAddress>>

        init(_ table: RateTable<IPAddress>) {
            self.table = Mutex(table)
        }
    }

    /// - Parameters:
    ///   - limit: Of each address.
    ///   - addressesMaximum: Addresses remembered; see ``RateTable`` for what happens at the bound.
    public init(_ limit: RateLimit, addressesMaximum: Int = 65_536) {
        buckets = Buckets(RateTable(limit, keysMaximum: addressesMaximum))
    }

    /// Passes on what is within the limit.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        let answer = buckets.table.withLock {
            $0.take(address: request.address, nowNanoseconds: NIODeadline.now().uptimeNanoseconds)
        }
        if case .refused(let seconds) = answer {
            throw Denial(
                .text(
                    .tooManyRequests,
                    "Too many requests from this address.",
                    headers: [.retryAfter: String(Int(seconds.rounded(.up)))]
                ),
                reason: "request_rate"
            )
        }
        return try await next(request, context)
    }
}

/// Limits how many WebSockets one address may have at once. One more is answered 429.
///
/// An IPv6 network of 64 bits counts as one address. Behind a proxy, ``ProxyHeaders`` must come before.
public struct ConnectionLimit: Middleware {
    private let most: Int
    private let counts = Counts()

    private final class Counts: Sendable {
        let table = Mutex<[IPAddress: Int]>([:])
    }

    /// One of the places of an address, free again when nobody holds it.
    private final class Place: Sendable {
        let counts: Counts
        let address: IPAddress

        init(_ counts: Counts, _ address: IPAddress) {
            self.counts = counts
            self.address = address
        }

        deinit {
            counts.table.withLock { table in
                let left = (table[address] ?? 1) - 1
                table[address] = left > 0 ? left : nil
            }
        }
    }

    /// - Parameter most: WebSockets of one address.
    public init(perAddress most: Int) {
        self.most = most
    }

    /// Passes on pages, and WebSockets there is a place for.
    public func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        guard request.isWebSocket else { return try await next(request, context) }
        let address = IPAddress(node: request.address)?.clientNetwork ?? IPAddress(bits: 0)
        let hasPlace = counts.table.withLock { table in
            let count = table[address] ?? 0
            guard count < most else { return false }
            table[address] = count + 1
            return true
        }
        guard hasPlace else {
            throw Denial(
                .tooManyRequests,
                "This address has as many connections as it may.",
                reason: "address_connections"
            )
        }
        var context = context
        context.leases.append(Place(counts, address))
        return try await next(request, context)
    }
}
