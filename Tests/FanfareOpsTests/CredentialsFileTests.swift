import FanfareBroker
import FanfareModel
import Testing

@testable import fanfare_broker

@Suite struct CredentialsFileTests {
    private static let hash = "sha256:" + String(repeating: "ab", count: 32)

    private func refusal(_ yaml: String) -> String {
        do {
            _ = try CredentialsFile.parse(yaml, "c.yaml")
            return "accepted"
        } catch {
            #expect(error.exit == .configuration)
            return error.text
        }
    }

    @Test func `an entry says who, as what, and for which names; what it leaves out is everything`() throws {
        let credentials = try CredentialsFile.parse(
            """
            credentials:
              - name: web
                tokens: ["\(Self.hash)"]
                roles: [worker, publish]
                channels:
                  send: [jobs.*]
                groups:
                  join: []
              - name: ops
                unix_users: [0, "17"]
                unix_groups: [4]
                roles: [admin]
            """,
            "c.yaml"
        )
        #expect(credentials.entries.map(\.name) == ["web", "ops"])
        let web = credentials.entries[0], ops = credentials.entries[1]
        #expect(web.tokens.map(\.description) == [Self.hash])
        #expect(web.roles == [.worker, .publish])
        #expect(web.permissions.sendChannels == NamePatterns(["jobs.*"]))
        #expect(web.permissions.joinGroups == NamePatterns([]))
        #expect(web.permissions.receiveChannels.allowsAll && web.permissions.sendGroups.allowsAll)
        #expect(web.permissions.namespaces.allowsAll && web.permissions.nodes.allowsAll)
        #expect(ops.users == [0, 17] && ops.userGroups == [4] && ops.tokens.isEmpty)
    }

    @Test(arguments: [
        ("", "no credentials"), ("credentials: []", "no credentials"), ("credential: []", "did you mean"),
        ("credentials: web", "must be a list"), ("credentials:\n  - name: a\n    roles: [worker]\n", "nobody"),
        ("credentials:\n  - roles: [worker]\n", "\"name\" is missing"),
        ("credentials:\n  - name: a\n    unix_users: [0]\n", "\"roles\" is missing"),
        ("credentials:\n  - name: a\n    unix_users: [0]\n    roles: []\n", "no role"),
        ("credentials:\n  - name: a\n    unix_users: [0]\n    roles: [Worker]\n", "no role \"Worker\""),
        ("credentials:\n  - name: \"\"\n    unix_users: [0]\n    roles: [worker]\n", "1 to 64"),
        ("credentials:\n  - name: a\n    unix_users: [no-such-user]\n    roles: [worker]\n", "no-such-user"),
        ("credentials:\n  - name: a\n    unix_groups: [no-such-group]\n    roles: [worker]\n", "no-such-group"),
        ("credentials:\n  - name: a\n    unix_users: [-1]\n    roles: [worker]\n", "\"-1\""),
        ("credentials:\n  - name: a\n    unix_users: [0]\n    roles: [worker]\n    nmaespaces: [x]\n", "namespaces"),
        ("credentials:\n  - name: a\n    unix_users: [0]\n    roles: [worker]\n    send: [x]\n", "belongs below"),
        ("credentials:\n  - name: a\n    loopback: true\n    roles: [worker]\n", "inspect nor admin"),
        ("credentials:\n  - name: a\n    loopback: false\n    roles: [inspect]\n", "nobody"),
    ])
    func `what is wrong is said with its line`(yaml: String, text: String) {
        let said = refusal(yaml)
        #expect(said.contains(text), "\(said)")
        #expect(said.hasPrefix("c.yaml"))
    }

    @Test func `an entry may be for whoever asks from this machine`() throws {
        let yaml = "credentials:\n  - name: desk\n    loopback: true\n    roles: [inspect]\n"
        #expect(try CredentialsFile.parse(yaml, "c.yaml").entries[0].coversLoopback)
        #expect(try !CredentialsFile.parse(yaml + "    unix_users: [0]\n", "c.yaml").entries[0].users.isEmpty)
    }

    @Test func `a token in the place of its hash is not repeated to the log`() {
        let said = refusal("credentials:\n  - name: a\n    tokens: [fanfare_0123]\n    roles: [worker]\n")
        #expect(said.contains("no hash") && said.hasPrefix("c.yaml:3") && !said.contains("0123"))
    }

    @Test func `names and tokens are not repeated`() {
        let entry = "  - name: a\n    tokens: [\"\(Self.hash)\"]\n    roles: [worker]\n"
        #expect(refusal("credentials:\n" + entry + entry).contains("twice"))
        let other = entry.replacing("name: a", with: "name: b")
        #expect(refusal("credentials:\n" + entry + other).contains("same token"))
    }
}
