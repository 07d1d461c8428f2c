import FanfareBroker
import FanfareModel
import FanfareOps
import Testing

@testable import fanfare_broker

@Suite struct DashboardOpsTests {
    private func refusal(_ body: () throws(Failure) -> Void) -> ErrorCode? {
        do throws(Failure) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    @Test func `a query string asks what INSPECT asks`() throws {
        let request = OpsRequest(
            target: "/?match=chat_*&namespace=shop&sort=members&descending=true&limit=7&cursor=n40+a&name=x"
                + "&reason=full&budget_milliseconds=20"
        )
        var query = InspectionQuery(.groups)
        query.match = Glob("chat_*")
        query.namespace = "shop"
        query.sort = "members"
        query.descending = true
        query.limit = 7
        query.cursor = "n40 a"
        query.name = "x"
        query.reason = "full"
        query.budget = Milliseconds(20)
        #expect(try DashboardOps.inspection(.groups, request) == query)
    }

    @Test func `what is empty is not asked for`() throws {
        let request = OpsRequest(target: "/?match=&namespace=&sort=&descending=&limit=&cursor=&name=&reason=")
        #expect(try DashboardOps.inspection(.drops, request) == InspectionQuery(.drops))
    }

    @Test(arguments: [
        "limit=0", "budget_milliseconds=0", "budget_milliseconds=5001", "limit=1001", "limit=x",
        "limit=99999999999999999999", "descending=yes", "unknown=1", "a=%",
        "match=" + String(repeating: "*", count: 257), "limit=1&limit=2",
    ])
    func `what cannot be asked is refused`(query: String) {
        let request = OpsRequest(target: "/?" + query)
        let code = refusal { () throws(Failure) in _ = try DashboardOps.inspection(.groups, request) }
        #expect(code == .badRequest)
    }

    @Test func `a tail watches what it names, and everything when it names nothing`() throws {
        var query = TailQuery(kind: .group, match: Glob("chat_*"))
        query.namespace = "shop"
        #expect(try DashboardOps.tail(OpsRequest(target: "/?kind=group&match=chat_*&namespace=shop")) == query)
        let all = TailQuery(kind: .channel, match: Glob("*"))
        #expect(try DashboardOps.tail(OpsRequest(target: "/?kind=channel")) == all)
        for wrong in ["", "kind=", "kind=groups", "kind=group&rate=10000", "kind=group&kind=group"] {
            let request = OpsRequest(target: "/?" + wrong)
            let code = refusal { () throws(Failure) in _ = try DashboardOps.tail(request) }
            #expect(code == .badRequest, "\(wrong)")
        }
    }

    @Test func `a copy is shown as text, cut to what can be looked at`() {
        func event(_ message: MessageValue?) -> MessageValue {
            let copy = Tailed(kind: .group, name: "<g>", namespace: "default", body: [1, 2, 3], skipped: 4)
            return DashboardOps.event(TailFeed.Element(copy: copy, message: message))
        }
        #expect(
            event(["a": "é\n"]) == [
                "kind": "group", "name": "<g>", "namespace": "default", "bytes": 3, "skipped": 4,
                "text": #"{"a":"é\n"}"#, "is_cut": false,
            ]
        )
        let long = event(.string(String(repeating: "é", count: 5_000)))
        #expect(long["text"]?.string?.unicodeScalars.count == 4_096)
        #expect(long["is_cut"] == true)
        #expect(event(nil)["text"] == nil)
        // Events end with an empty line: no message may bring one of its own.
        #expect(!JSONText.render(event(["a": "x\n\ny\r\n"])).contains { $0.isNewline })
    }

    @Test func `the page is one document that runs only its own program`() throws {
        let first = DashboardPage.response()
        let second = DashboardPage.response()
        let policy = try #require(first.fields["content-security-policy"])
        let number = try #require(policy.firstMatch(of: /script-src 'nonce-([0-9a-f]{32})'/)?.1)
        #expect(policy.contains("default-src 'none'"))
        #expect(policy.contains("connect-src 'self'"))
        #expect(policy.contains("frame-ancestors 'none'"))
        #expect(!policy.contains("unsafe"))
        #expect(policy != second.fields["content-security-policy"])
        #expect(first.body.ranges(of: "nonce=\"\(number)\"").count == 2)
        #expect(first.body.ranges(of: "<script").count == 1 && first.body.ranges(of: "</script").count == 1)
        #expect(!first.body.contains("%NONCE%") && !first.body.contains("%STYLE%"))
        #expect(first.body.utf8.count < 61_440)
    }

    @Test(arguments: [
        "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "setHTML",
        "createContextualFragment", "DOMParser", "srcdoc", "javascript:",
    ])
    func `nothing the page shows is ever parsed as HTML`(way: String) {
        #expect(!DashboardPage.response().body.contains(way))
    }

    @Test func `the page asks no other origin for anything`() {
        // The names of XML vocabularies look like addresses.
        let addresses = DashboardPage.response().body.matches(of: /(https?:)?\/\/[a-z0-9.]+[a-z]\/[^'" ]*/).map {
            String($0.0)
        }
        #expect(addresses.allSatisfy { $0.hasPrefix("http://www.w3.org/") }, "\(addresses)")
    }
}
