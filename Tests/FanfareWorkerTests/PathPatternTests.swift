import HTTPTypes
import Testing

@testable import FanfareWorker

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

@Suite struct PathPatternTests {
    /// What a pattern captures of an address; `nil` when they do not go together.
    private func captured(_ pattern: String, _ path: String) throws -> [String: String]? {
        let made = try PathPattern(pattern)
        var router = Router()
        router.get(made) { _, _ in .text("") }
        guard case .http(_, let captures, _) = router.find(Request(.get, path)) else { return nil }
        return Dictionary(uniqueKeysWithValues: made.names.map { ($0, captures[$0] ?? "missing") })
    }

    @Test(
        arguments: [
            ("/", "/", [:]), ("/a", "/a", [:]), ("/a/", "/a/", [:]), ("/a/b", "/a/b", [:]), ("//", "//", [:]),
            ("/<x>", "/hello", ["x": "hello"]), ("/<str:x>/", "/a b/", ["x": "a b"]),
            ("/<int:x>", "/0", ["x": "0"]), ("/<int:x>", "/007", ["x": "007"]),
            ("/<int:x>", "/9223372036854775807", ["x": "9223372036854775807"]),
            ("/<slug:x>", "/a-B_9", ["x": "a-B_9"]),
            (
                "/<uuid:x>", "/0f8fad5b-d9cb-469f-a165-70867728950e",
                ["x": "0f8fad5b-d9cb-469f-a165-70867728950e"]
            ),
            ("/f/<path:x>", "/f/a/b//c", ["x": "a/b//c"]), ("/f/<path:x>", "/f/a", ["x": "a"]),
            ("/f/v<path:x>", "/f/v1/b", ["x": "1/b"]),
            ("/item-<int:id>.json", "/item-12.json", ["id": "12"]),
            ("/<a>/<b>/<int:c>", "/x/y/3", ["a": "x", "b": "y", "c": "3"]),
            ("/ws/room/<int:room_id>/messages", "/ws/room/5/messages", ["room_id": "5"]),
            ("/ü-<x>", "/%C3%BC-%E2%82%AC", ["x": "€"]), ("/<x>", "/a%2Fb", ["x": "a/b"]),
            ("/<x>", "/%25%3F%23", ["x": "%?#"]), ("/<x>", "/a+b", ["x": "a+b"]), ("/<x>", "/%00", ["x": "\0"]),
            ("/<x>", "/a?b=/c", ["x": "a"]),
        ] as [(String, String, [String: String])]
    )
    func `an address that fits is taken apart`(pattern: String, path: String, expected: [String: String]) throws {
        #expect(try captured(pattern, path) == expected)
    }

    @Test(
        arguments: [
            ("/", "/a"), ("/a", "/"), ("/a", "/a/"), ("/a/", "/a"), ("/a", "/A"), ("/a", "//a"), ("/a/b", "/a"),
            ("/<x>", "/"), ("/<x>", "/a/b"), ("/<x>/", "//"), ("/f/<path:x>", "/f/"), ("/f/<path:x>", "/f"),
            ("/<int:x>", "/-1"), ("/<int:x>", "/+1"), ("/<int:x>", "/1.0"), ("/<int:x>", "/9223372036854775808"),
            ("/<int:x>", "/%D9%A1"), ("/<int:x>", "/1%20"), ("/<int:x>", "/99999999999999999999999999999999"),
            ("/<slug:x>", "/a.b"), ("/<slug:x>", "/%C3%BC"), ("/<slug:x>", "/a%2Fb"),
            ("/<uuid:x>", "/0F8FAD5B-d9cb-469f-a165-70867728950e"),
            ("/<uuid:x>", "/0f8fad5bd9cb469fa16570867728950e"),
            ("/<uuid:x>", "/0f8fad5b-d9cb-469f-a165-70867728950e0"),
            ("/<uuid:x>", "/0f8fad5b-d9cb-469f-a165-70867728950g"),
            ("/<uuid:x>", "/%7B0f8fad5b-d9cb-469f-a165-70867728950e%7D"),
            ("/item-<int:id>.json", "/item-.json"), ("/item-<int:id>.json", "/item-1.jso"),
            ("/aa<x>aa", "/aaa"), ("/aa<x>aa", "/aaaa"),
            ("/<x>", "/%"), ("/<x>", "/%1"), ("/<x>", "/%zz"), ("/<x>", "/%FF"), ("/<x>", "/%C3"),
            ("/<x>", "/%C0%AF"), ("/<x>", "/%ED%A0%80"), ("/<x>", "/a%"),
        ]
    )
    func `an address that does not fit is left alone`(pattern: String, path: String) throws {
        #expect(try captured(pattern, path) == nil)
    }

    @Test(
        arguments: [
            "", "a", "<x>", "/<", "/>", "/a>b", "/<x", "/x>", "/<>", "/<int:>", "/<:x>", "/<number:x>", "/<INT:x>",
            "/<x><y>", "/<x>-<y>", "/<path:x>/", "/<path:x>/a", "/<path:x>.json", "/<x>/<x>", "/<1x>", "/<a-b>",
            "/<a b>", "/<ü>", "/<int:a:b>", "/<<x>>",
        ]
    )
    func `a text that is no pattern is refused with a reason`(text: String) {
        let failure = #expect(throws: PathPattern.Failure.self) { try PathPattern(text) }
        #expect(failure?.description.isEmpty == false)
    }

    @Test func `captures are read as what they are`() throws {
        var captures = Captures()
        captures.add("id", "12")
        captures.add("key", "0f8fad5b-d9cb-469f-a165-70867728950e")
        captures.add("id", "13")
        #expect(try captures.int("id") == 13)
        #expect(try captures.uuid("key").uuidString.lowercased() == captures["key"])
        #expect(captures["other"] == nil)
        #expect(throws: Captures.Missing.self) { try captures.string("other") }
        #expect(throws: Captures.Missing.self) { try captures.int("key") }
        #expect(throws: Captures.Missing.self) { try captures.uuid("id") }
    }

    @Test func `a long hostile address costs one look at each of its bytes per route`() throws {
        var router = Router()
        for index in 0..<100 {
            router.get(try PathPattern("/r\(index)/<str:a>/<int:b>/<path:rest>")) { _, _ in .text("") }
        }
        var inner = Router()
        inner.get("/<int:x>/<path:y>") { _, _ in .text("") }
        for _ in 0..<8 {
            var outer = Router()
            outer.mount("/<a>", inner)
            inner = outer
        }
        router.mount("/deep", inner)
        for path in [
            "/" + String(repeating: "/", count: 16_000), "/deep" + String(repeating: "/a", count: 8_000),
            "/deep" + String(repeating: "/%41", count: 4_000), "/r99/" + String(repeating: "a/", count: 8_000),
            "/" + String(repeating: "e\u{301}", count: 5_000),
        ] {
            guard case .refused(let denial) = router.find(Request(.get, path)) else {
                Issue.record("found \(path.prefix(20))")
                continue
            }
            #expect(denial.response.status.code == 404)
            #expect(denial.response.body.count < 400)
        }
    }
}
