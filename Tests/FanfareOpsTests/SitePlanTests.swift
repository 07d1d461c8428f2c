import FanfareModel
import FanfareOps
import Foundation
import HTTPTypes
import Testing

@testable import FanfareWorker
@testable import fanfare_worker

private func plan(_ yaml: String, environment: [String: String] = [:]) throws(ProgramFailure) -> SitePlan {
    var settings = Settings(defaults: WorkerValues(), table: WorkerValues.table)
    try settings.read(yaml: yaml, from: "worker.yaml")
    return try SitePlan(settings, environment: environment)
}

@Suite struct SitePlanTests {
    private static let secret = ["FANFARE_TOKEN_SECRET": "sixteen bytes at least"]

    /// What a WebSocket's handshake for an address meets: the consumer's name and the middleware, or the status.
    private func find(_ site: SitePlan, _ path: String, _ credentials: Credentials = Credentials()) -> String {
        let request = FanfareWorker.Request(.get, path, isWebSocket: true)
        switch site.router(credentials).find(request) {
        case .refused(let denial): return "\(denial.response.status.code)"
        case .http: return "page"
        case .socket(let route, _, let middleware):
            let names = middleware.map { "\(type(of: $0))" }
            return ([route.service().name] + names).joined(separator: " ")
        }
    }

    @Test func `without routes there is the chat, and with routes only they`() throws {
        let chat = try plan("name: a")
        #expect(find(chat, "/ws/chat/a/") == "chat")
        #expect(find(chat, "/ws/echo/") == "404")
        let routes = try plan("routes: [{path: /ws/a/, consumer: echo, name: mine}]")
        #expect(find(routes, "/ws/a/") == "mine")
        #expect(find(routes, "/ws/chat/a/") == "404")
        let both = try plan("{routes: [{path: /ws/a/, consumer: echo}], chat: true, echo: true}")
        for (path, name) in [("/ws/a/", "echo"), ("/ws/echo/", "echo"), ("/ws/chat/a/", "chat")] {
            #expect(find(both, path) == name)
        }
    }

    @Test func `each route has its own middleware behind that of the worker`() throws {
        let site = try plan(
            """
            root_path: /live
            trusted_proxies: [10.0.0.1]
            request_rate: 5/s
            connections_per_address: 3
            routes:
              - {path: /r/<slug:room>/, consumer: relay, group: "r_<room>"}
              - {path: /p/, consumer: pubsub, auth: token, origins: ["*"]}
              - {path: /c/<room>/, consumer: chat}
            """,
            environment: Self.secret
        )
        let credentials = Credentials(tokens: try #require(site.tokens).signer())
        let worker = " ProxyHeaders RequestRate ConnectionLimit"
        #expect(find(site, "/live/r/a/", credentials) == "relay\(worker)")
        #expect(find(site, "/live/p/", credentials) == "pubsub\(worker) TokenAuthentication AllowedOrigins")
        #expect(find(site, "/live/c/a/", credentials) == "chat\(worker)")
        #expect(find(site, "/r/a/", credentials) == "404")
    }

    @Test(arguments: [
        ("routes: [{path: a, consumer: echo}]", #"1: routes: the pattern "a" must begin with /"#),
        ("routes:\n- path: /<x\n  consumer: echo", #"2: routes: a < without > in the pattern "/<x""#),
        (
            "routes:\n- path: /<int:a>\n  consumer: relay\n  group: g_<b>",
            #"4: routes: the group "g_<b>" names <b>, which /<int:a> does not have; it has <a>"#
        ),
        ("routes:\n- path: /a\n  consumer: relay", "3: routes: a relay needs a group, such as group: relay_<room>"),
        (
            "routes:\n- path: /a\n  consumer: pubsub",
            "3: routes: nobody could subscribe or publish here; give patterns as subscribe or publish, or auth: token"
        ),
        (
            "routes:\n- path: /a\n  consumer: pubsub\n  subscribe: [a]\n  prefix: a b",
            #"5: routes: the group "a b" may have letters, digits, . - _ and <names> only, at most 99"#
        ),
        ("routes:\n- path: /a\n  consumer: echo\n  group: a", "4: routes: group is for relay, not for echo"),
        (
            "routes:\n- path: /a\n  consumer: echo\n  rate: 1/s",
            "4: routes: rate is for relay and pubsub, not for echo"
        ),
        (
            "routes:\n- path: /a\n  consumer: chat",
            "2: routes: the path of a chat needs a <str:room>, which /a does not have"
        ),
        (
            "routes:\n- {path: '/<a>', consumer: echo}\n- {path: '/<str:b>', consumer: echo}",
            "3: routes: the path /<str:b> is taken; each address has one consumer"
        ),
        (
            "echo: true\nroutes:\n- {path: /ws/echo/, consumer: echo}",
            "3: routes: the path /ws/echo/ is taken; each address has one consumer"
        ),
        (
            "routes:\n- path: /a\n  consumer: echo\n  auth: token",
            "4: routes: auth: token needs a secret: tokens.secret_file or $FANFARE_TOKEN_SECRET"
        ),
        (
            "routes:\n- path: /a\n  consumer: echo\n  auth: jwt",
            "4: routes: auth: jwt needs keys: jwt.key_files"
        ),
        (
            "routes:\n- path: /a\n  consumer: echo\n  auth_required: false",
            "4: routes: auth_required needs auth: token or auth: jwt"
        ),
        ("routes: []\nchat: false", "1: nothing is served: give routes, or --chat or --echo"),
        (
            "root_path: /a/",
            #"1: root_path "/a/" must begin with / and not end with it, and have no <names>, such as /live"#
        ),
        (
            "tokens:\n  sources: [cookie]",
            #"2: "cookie" is no place for tokens; write query:NAME, subprotocol, bearer or cookie:NAME"#
        ),
        ("tokens:\n  sources: []", "2: tokens.sources is empty; name a place for tokens"),
        (
            "jwt:\n  key_files:\n  - path: /a\n    kind: key_set\n    key_id: x",
            "5: jwt.key_files: a key set says key_id itself; remove the line"
        ),
    ])
    func `what cannot be served is refused with its line`(yaml: String, text: String) {
        #expect(throws: ProgramFailure(.configuration, "worker.yaml:" + text)) { try plan(yaml) }
    }

    @Test(arguments: [
        ("origins: []", "worker.yaml:1: origins: no origins are allowed"),
        ("origins: [https://a/b]", #"worker.yaml:1: origins: origin "https://a/b" has a path"#),
        ("name: a\nroutes:\n- path: /a\n  consumer: echo\n  origins: []", "worker.yaml:5: routes: no origins are"),
        ("trusted_proxies: [10.0.0.0/33]", "worker.yaml:1: trusted_proxies: "),
        ("request_rate: 1/h burst 100000", "worker.yaml:1: request_rate: a rate of 1 per 3600.0 s"),
        (
            "routes:\n- path: /a\n  consumer: pubsub\n  subscribe: ['']",
            #"worker.yaml:4: routes: the pattern "" of subscribe"#
        ),
    ])
    func `what the worker refuses is told with its line`(yaml: String, start: String) {
        do {
            _ = try plan(yaml)
            Issue.record("\(yaml) was accepted")
        } catch {
            #expect(error.exit == .configuration)
            #expect(error.text.hasPrefix(start), "\(error.text)")
        }
    }

    @Test func `a secret comes from one place, and one that cannot be used is refused`() async throws {
        let file = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString)")
        try Data("the newest secret of all\n\nan older secret, still good\n".utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let yaml = "tokens:\n  secret_file: \(file.path)\n  max_age_seconds: 60"
        let signer = try #require(try await Credentials.read(plan(yaml)).tokens)
        let older = try TokenSigner(
            secrets: ["an older secret, still good"],
            salt: "fanfare.socket",
            maximumAgeSeconds: 60
        )
        #expect(try signer.verify(older.sign(["sub": "7"])).user == "7")
        #expect(throws: ProgramFailure.self) { try plan(yaml, environment: Self.secret) }
        for (yaml, environment, text) in [
            (
                "tokens:\n  secret_file: /nonexistent", [:],
                "worker.yaml:2: tokens.secret_file: the file \"/nonexistent\""
            ),
            ("name: a", ["FANFARE_TOKEN_SECRET": "short"], "$FANFARE_TOKEN_SECRET: secret 1 for signed tokens has 5"),
            (
                "jwt:\n  key_files: [{path: /nonexistent, kind: secret}]", [:],
                "worker.yaml:2: jwt.key_files: key file \"/nonexistent\""
            ),
        ] as [(String, [String: String], String)] {
            let plan = try plan(yaml, environment: environment)
            let failure = await #expect(throws: ProgramFailure.self) { try await Credentials.read(plan) }
            #expect(failure?.exit == .configuration)
            #expect(failure?.text.hasPrefix(text) == true, "\(failure?.text ?? "")")
        }
    }

    @Test func `the summary has a line for each route and no secret`() throws {
        let site = try plan(
            """
            echo: true
            routes:
              - {path: "/r/<room>/", consumer: relay, group: "r_<room>", rate: 5/s}
              - {path: /p/, consumer: pubsub, auth: token, auth_required: false}
            """,
            environment: Self.secret
        )
        #expect(
            site.summary == [
                "route: /r/<room>/ relay group=r_<room> echo=true presence=false rate=5/s message_bytes=none "
                    + "origins=the worker's auth=none",
                "route: /p/ pubsub prefix=pubsub_ subscribe=[] publish=[] origins=the worker's auth=token (optional)",
                "route: /ws/echo/ echo",
                "tokens: secret=$FANFARE_TOKEN_SECRET salt=fanfare.socket max_age_seconds=3600.0",
            ]
        )
    }

    @Test func `a listen address may be a Unix socket`() throws {
        for (text, path, port) in [
            ("unix:/run/a.sock", "/run/a.sock", 8_000), ("tcp://127.0.0.1:1", nil, 1), ("127.0.0.1:2", nil, 2),
        ] as [(String, String?, Int)] {
            var settings = Settings(defaults: WorkerValues(), table: WorkerValues.table)
            try settings.set("listen", to: [text], from: "--listen")
            let plan = try WorkerPlan(settings, environment: [:], userID: 0, standardName: "a")
            #expect(plan.server.listenPath == path)
            #expect(plan.server.listenPort == port)
        }
    }

    @Test func `the document shows every setting as --print-config does`() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/configuration.md")
        let text = try String(contentsOf: file, encoding: .utf8)
        let printed = Settings(defaults: WorkerValues(), table: WorkerValues.table).commentedYAML(title: "")
        let settings = printed.drop { $0 != "\n" }.drop { $0 == "\n" }
        #expect(text.contains("```yaml\n\(settings)\n```\n"), "run scripts/document-settings")
    }

    @Test func `keys that only some consumers have are keys`() {
        let names = Set(RouteValues.table.map(\.path))
        #expect(Set(RouteValues.own.keys).isSubset(of: names))
    }
}
