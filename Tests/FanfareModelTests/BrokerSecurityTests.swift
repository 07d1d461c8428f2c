import FanfareModel
import Testing

struct BrokerSecurityTests {
    private static let environment = [
        "FANFARE_CA_FILE": "/e/ca", "FANFARE_CERTIFICATE_FILE": "/e/certificate", "FANFARE_KEY_FILE": "/e/key",
        "FANFARE_TOKEN_FILE": "/e/token", "FANFARE_TOKEN": "e-token",
    ]

    private func complaint(_ change: (inout BrokerSecurity) -> Void) -> String? {
        var security = BrokerSecurity()
        change(&security)
        do throws(ProgramFailure) {
            try security.check()
            return nil
        } catch {
            return error.text
        }
    }

    @Test func `the environment fills what was not set`() {
        let completed = BrokerSecurity().completed(by: Self.environment)
        #expect(completed.caFile == "/e/ca")
        #expect(completed.certificateFile == "/e/certificate" && completed.keyFile == "/e/key")
        #expect(completed.tokenFile == "/e/token" && completed.token == "e-token")
        #expect(BrokerSecurity().completed(by: [:]) == BrokerSecurity())
        #expect(BrokerSecurity().completed(by: Self.environment.mapValues { _ in "" }) == BrokerSecurity())
        #expect(Set(Self.environment.keys) == Set(BrokerSecurity.environmentNames))
    }

    @Test func `what was set stays, and what goes together is not mixed`() {
        var security = BrokerSecurity()
        security.caFile = "/ca"
        security.certificateFile = "/certificate"
        security.token = "token"
        let completed = security.completed(by: Self.environment)
        #expect(completed == security)
        #expect(complaint { $0 = completed }?.contains("/certificate") == true)
    }

    @Test func `a certificate needs its key, and a token visible characters`() {
        #expect(complaint { _ in } == nil)
        #expect(complaint { $0.keyFile = "/key" }?.contains("only /key is given") == true)
        #expect(complaint { ($0.certificateFile, $0.keyFile) = ("/c", "/k") } == nil)
        for token in ["x", "!~", String(repeating: "x", count: 1_024)] {
            #expect(complaint { $0.token = token } == nil)
        }
        for token in ["", "a b", "a\n", "t\u{e9}", String(repeating: "x", count: 1_025)] {
            let found = complaint { $0.token = token }
            #expect(found != nil && (token.count < 2 || found?.contains(token) == false), "\(found ?? "accepted")")
        }
    }
}
