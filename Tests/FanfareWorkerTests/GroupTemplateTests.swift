import HTTPTypes
import Testing

@testable import FanfareWorker

@Suite struct GroupTemplateTests {
    private static let pattern: PathPattern = "/ws/<slug:shop>/<str:room>/"

    private func name(_ template: String, shop: String = "s", room: String = "r") throws -> String {
        var captures = Captures()
        captures.add("shop", shop)
        captures.add("room", room)
        return try GroupTemplate(template, of: Self.pattern).name(captures)
    }

    @Test func `captures stand where their names stood`() throws {
        #expect(try name("plain") == "plain")
        #expect(try name("relay_<room>") == "relay_r")
        #expect(try name("<shop>.<room>-<shop>", shop: "a", room: "b_c") == "a.b_c-a")
    }

    @Test(arguments: [
        ("", "empty"), ("a b", "letters"), ("relay_<rooom>", "<rooom>, which"), ("relay_<room", "without >"),
        ("relay>", "letters"), ("<>", "names <>"), ("ü", "letters"), (String(repeating: "a", count: 100), "99"),
    ])
    func `what cannot be a group is refused at the start`(template: String, why: String) {
        do {
            _ = try GroupTemplate(template, of: Self.pattern)
            Issue.record("\(template) was taken")
        } catch {
            #expect(error.description.contains(why), "\(error)")
        }
    }

    @Test(arguments: ["a b", "a/b", "ü", "a!b", "a\u{0}", String(repeating: "a", count: 95)])
    func `a client's name that makes no group is answered 404`(room: String) throws {
        let denial = #expect(throws: Denial.self) { try name("room_<room>", room: room) }
        #expect(denial?.response.status.code == 404)
        #expect(denial?.reason == "bad_group")
    }
}
