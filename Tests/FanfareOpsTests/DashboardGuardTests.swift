import FanfareBroker
import FanfareModel
import FanfareOps
import NIOCore
import Testing

@testable import fanfare_broker

@Suite struct DashboardGuardTests {
    private let refusals = OpsRefusals()
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    /// What a person's browser on this machine sends, unless it is said otherwise.
    private func request(
        peer: String = "127.0.0.1",
        isLoopbackListener: Bool = true,
        host: [String] = ["127.0.0.1:7412"],
        _ fields: (String, String)...
    ) -> OpsRequest {
        OpsRequest(
            target: "/api/status",
            fields: host.map { ("host", $0) } + fields.map { ($0.0, $0.1) },
            peer: peer,
            isLoopbackListener: isLoopbackListener
        )
    }

    private func accepted(_ verdict: DashboardGuard.Verdict) -> Viewer? {
        if case .viewer(let viewer) = verdict { viewer } else { nil }
    }

    private func status(_ verdict: DashboardGuard.Verdict) -> Int? {
        if case .refused(let response) = verdict { response.status } else { nil }
    }

    @Test func `who asks from this machine under its name is local`() {
        let verdict = DashboardGuard(refusals: refusals).verdict(on: request())
        #expect(accepted(verdict) == Viewer(isLocal: true))
    }

    @Test func `another address, listener or name is not local, and neither is who asks for others`() {
        let distant = [
            request(peer: "10.0.0.7"), request(peer: ""), request(isLoopbackListener: false),
            request(host: ["evil.example"]), request(host: ["evil.example:7412"]), request(host: []),
            request(host: ["127.0.0.1", "127.0.0.1"]), request(("x-forwarded-for", "10.0.0.7")),
            request(("Forwarded", "for=10.0.0.7")), request(("via", "1.1 proxy")), request(("x-real-ip", "")),
        ]
        for request in distant {
            #expect(accepted(DashboardGuard(refusals: refusals).verdict(on: request)) == Viewer(isLocal: false))
        }
    }

    @Test(arguments: ["cross-site", "same-site", "", "Same-Origin", "none, same-origin"])
    func `a page of another origin gets nothing, whatever it shows`(site: String) {
        let guarding = DashboardGuard(refusals: refusals)
        let request = request(("sec-fetch-site", site), ("authorization", "Bearer right"))
        #expect(status(guarding.verdict(on: request)) == 403)
        #expect(refusals.counts["cross_site"] == 1)
    }

    @Test(arguments: ["same-origin", "none"])
    func `a page of ours and an address that was typed are served`(site: String) {
        let verdict = DashboardGuard(refusals: refusals).verdict(on: request(("sec-fetch-site", site)))
        #expect(accepted(verdict) == Viewer(isLocal: true))
    }

    @Test(arguments: ["Bearer abc", "bearer abc", "BEARER abc"])
    func `a token is taken from its field`(field: String) {
        let verdict = DashboardGuard(refusals: refusals).verdict(on: request(("authorization", field)))
        #expect(accepted(verdict) == Viewer(isLocal: true, token: "abc"))
    }

    @Test(arguments: [
        "", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer é", "Bearer\tabc", "abc",
        "Bearer " + String(repeating: "a", count: 1_025),
    ])
    func `what is no token is refused, and counted`(field: String) {
        let verdict = DashboardGuard(refusals: refusals).verdict(on: request(("authorization", field)))
        #expect(status(verdict) == 401)
        #expect(refusals.counts["unauthorized"] == 1)
    }

    @Test func `two tokens are none`() {
        let request = request(("authorization", "Bearer a"), ("authorization", "Bearer b"))
        #expect(status(DashboardGuard(refusals: refusals).verdict(on: request)) == 401)
    }

    @Test func `guessing is slow, others are not held up, and the wait ends`() throws {
        let guarding = DashboardGuard(refusals: refusals)
        let guesser = request(peer: "10.0.0.7", ("authorization", "Bearer wrong"))
        for _ in 0..<FailedAttempts.attemptsMaximum {
            let viewer = try #require(accepted(guarding.verdict(on: guesser, at: start)))
            let said = guarding.response(to: Failure(.unauthorized, "unknown"), of: viewer, guesser, at: start)
            #expect(said.status == 401)
            #expect(said.fields["www-authenticate"] == "Bearer")
        }
        guard case .refused(let refused) = guarding.verdict(on: guesser, at: start + .seconds(59)) else {
            Issue.record("an eleventh guess was looked at")
            return
        }
        #expect(refused.status == 429)
        #expect(refused.fields["retry-after"] == "60")
        #expect(refusals.counts["too_many_attempts"] == 1)
        #expect(refusals.counts["unauthorized"] == 10)
        #expect(accepted(guarding.verdict(on: request(peer: "10.0.0.8"), at: start + .seconds(59))) != nil)
        #expect(accepted(guarding.verdict(on: guesser, at: start + .seconds(60))) != nil)
    }

    @Test func `who shows no token guesses nothing`() throws {
        let guarding = DashboardGuard(refusals: refusals)
        let stranger = request(peer: "10.0.0.7")
        for _ in 0..<100 {
            let viewer = try #require(accepted(guarding.verdict(on: stranger, at: start)))
            #expect(
                guarding.response(to: Failure(.unauthorized, "none"), of: viewer, stranger, at: start).status == 401
            )
        }
    }

    @Test(arguments: [
        (ErrorCode.forbidden, 403), (.notFound, 404), (.limitReached, 503), (.draining, 503), (.badRequest, 400),
    ])
    func `what the broker refuses has a status and its name`(code: ErrorCode, status: Int) {
        let guarding = DashboardGuard(refusals: refusals)
        let said = guarding.response(to: Failure(code, "why"), of: Viewer(isLocal: true), request())
        #expect(said.status == status)
        #expect(said.body == #"{"code":"\#(code.name)","error":"why"}"# + "\n")
    }
}

@Suite struct FailedAttemptsTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    @Test func `an IPv6 client is its whole network`() {
        var attempts = FailedAttempts()
        for number in 0..<FailedAttempts.attemptsMaximum { attempts.note(from: "2001:db8:1:2::\(number)", start) }
        #expect(attempts.areTooMany(from: "2001:db8:1:2:ffff::1", start))
        #expect(!attempts.areTooMany(from: "2001:db8:1:3::1", start))
    }

    @Test func `more addresses than are told apart count as one, until the others are over`() {
        var attempts = FailedAttempts()
        for number in 0..<FailedAttempts.addressesMaximum {
            attempts.note(from: "10.1.\(number / 256).\(number % 256)", start)
        }
        for _ in 0..<FailedAttempts.attemptsMaximum { attempts.note(from: "10.2.0.1", start) }
        #expect(attempts.areTooMany(from: "10.2.0.1", start))
        #expect(attempts.areTooMany(from: "10.2.0.2", start))
        #expect(!attempts.areTooMany(from: "10.1.0.0", start))
        let later = start + .seconds(Int64(FailedAttempts.seconds))
        #expect(!attempts.areTooMany(from: "10.2.0.2", later))
        attempts.note(from: "10.2.0.1", later)
        #expect(!attempts.areTooMany(from: "10.2.0.1", later))
    }
}
