import FanfareBroker
import FanfareModel
import FanfareOps
import Glibc
import NIOCore
import Synchronization

/// Decides whom the dashboard is shown to. The broker decides how much of itself it shows.
///
/// From a loopback address, to a port that listens on one, under a name that is one: that is this machine itself.
/// Everybody else shows a token. Pages of other origins get nothing at all, wherever the browser runs.
final class DashboardGuard: Sendable {
    enum Verdict {
        case viewer(Viewer)
        case refused(OpsResponse)
    }

    private let refusals: OpsRefusals
    private let attempts = Mutex(FailedAttempts())

    init(refusals: OpsRefusals) {
        self.refusals = refusals
    }

    /// Who asks, before the broker has been asked.
    func verdict(on request: OpsRequest, at now: NIODeadline = .now()) -> Verdict {
        // Browsers say what made them ask (Fetch Metadata): a page of ours, or a person's own doing.
        if let site = request.fields["sec-fetch-site"], site != ["same-origin"], site != ["none"] {
            return refuse(403, .crossSite, .forbidden, "pages of other origins may not look at this broker")
        }
        guard !attempts.withLock({ $0.areTooMany(from: request.peer, now) }) else {
            var response = response(
                429,
                .tooManyAttempts,
                "too_many_attempts",
                "too many wrong tokens came from \(request.peer); wait a minute"
            )
            response.fields["retry-after"] = String(FailedAttempts.seconds)
            return .refused(response)
        }
        let isLocal = Self.isLocal(request)
        guard let shown = request.fields["authorization"] else { return .viewer(Viewer(isLocal: isLocal)) }
        guard shown.count == 1, let token = Self.token(shown[0]) else {
            note(request, now)
            return refuse(401, .unauthorized, .unauthorized, "write `Authorization: Bearer TOKEN`, with one token")
        }
        return .viewer(Viewer(isLocal: isLocal, token: token))
    }

    /// What a viewer is told whom the broker refused.
    func response(
        to failure: Failure,
        of viewer: Viewer,
        _ request: OpsRequest,
        at now: NIODeadline = .now()
    ) -> OpsResponse {
        switch failure.code {
        case .unauthorized:
            if viewer.token != nil { note(request, now) }
            return response(401, .unauthorized, failure.code.name, failure.text)
        case .forbidden: return response(403, .forbidden, failure.code.name, failure.text)
        case .notFound: return response(404, nil, failure.code.name, failure.text)
        case .limitReached, .draining: return response(503, nil, failure.code.name, failure.text)
        default: return response(400, nil, failure.code.name, failure.text)
        }
    }

    /// Whether the request comes from this machine, and from nothing that passes on what others ask.
    static func isLocal(_ request: OpsRequest) -> Bool {
        guard request.isLoopbackListener, Loopback.isAddress(request.peer), let host = request.field("host") else {
            return false
        }
        return Loopback.isHost(host) && forwarding.allSatisfy { request.fields[$0] == nil }
    }

    /// What proxies add to the requests of others.
    private static let forwarding = [
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
    ]

    /// The token of `Bearer TOKEN` (RFC 6750, section 2.1).
    private static func token(_ field: String) -> String? {
        let parts = field.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer",
            (1...BrokerSecurity.tokenBytesMaximum).contains(parts[1].utf8.count),
            parts[1].utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else { return nil }
        return String(parts[1])
    }

    private func note(_ request: OpsRequest, _ now: NIODeadline) {
        attempts.withLock { $0.note(from: request.peer, now) }
    }

    private func refuse(_ status: Int, _ reason: OpsRefusals.Reason, _ code: ErrorCode, _ text: String) -> Verdict {
        .refused(response(status, reason, code.name, text))
    }

    private func response(
        _ status: Int,
        _ reason: OpsRefusals.Reason?,
        _ code: String,
        _ text: String
    ) -> OpsResponse {
        if let reason { refusals.count(reason) }
        var response = OpsResponse.json(status, ["error": .string(text), "code": .string(code)])
        if status == 401 { response.fields["www-authenticate"] = "Bearer" }
        return response
    }
}

/// How often wrong tokens came from where, so that guessing is slow. Time is an argument.
struct FailedAttempts {
    /// Wrong tokens of one address within ``seconds``. More: nothing it shows is looked at until they are over.
    static let attemptsMaximum = 10
    static let seconds = 60
    /// Addresses that are told apart. Further ones count as one.
    static let addressesMaximum = 1_024

    private struct Count {
        var attempts = 0
        var since: NIODeadline
    }

    private var counts: [String: Count] = [:]
    private static let others = "others"

    func areTooMany(from address: String, _ now: NIODeadline) -> Bool {
        let known = counts[Self.network(of: address)] ?? (isFull ? counts[Self.others] : nil)
        guard let known, !isOver(known, now) else { return false }
        return known.attempts >= Self.attemptsMaximum
    }

    mutating func note(from address: String, _ now: NIODeadline) {
        var key = Self.network(of: address)
        if counts[key] == nil, isFull {
            counts = counts.filter { !isOver($0.value, now) }
            if isFull { key = Self.others }
        }
        var count = counts[key] ?? Count(since: now)
        if isOver(count, now) { count = Count(since: now) }
        count.attempts = min(count.attempts + 1, Self.attemptsMaximum)
        counts[key] = count
    }

    private var isFull: Bool { counts.count >= Self.addressesMaximum }

    private func isOver(_ count: Count, _ now: NIODeadline) -> Bool {
        now - count.since >= .seconds(Int64(Self.seconds))
    }

    /// What one client has for itself: an IPv4 address, or the /64 of an IPv6 address.
    private static func network(of address: String) -> String {
        var v6 = in6_addr()
        guard !address.contains("."), inet_pton(AF_INET6, address, &v6) == 1 else { return address }
        return withUnsafeBytes(of: &v6) { TokenHash.hexadecimal($0.prefix(8)) }
    }
}
