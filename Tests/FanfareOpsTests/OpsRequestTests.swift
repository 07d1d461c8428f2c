import Testing

@testable import FanfareOps

@Suite struct OpsRequestTests {
    @Test(arguments: [
        ("/p", [:]), ("/p?", [:]), ("/p?a=1", ["a": "1"]), ("/p?a=1&b=2", ["a": "1", "b": "2"]), ("/p?a", ["a": ""]),
        ("/p?a=b=c", ["a": "b=c"]), ("/p?a=x%20y+z", ["a": "x y z"]), ("/p?%61=%C3%A9", ["a": "é"]),
        ("/p?a=%2526", ["a": "%26"]), ("/p?&&a=1&", ["a": "1"]), ("/p?a=1?2", ["a": "1?2"]), ("/p?a=%00", ["a": "\0"]),
    ])
    func `a query string is read`(target: String, query: [String: String]) {
        let request = OpsRequest(target: target)
        #expect(request.path == "/p")
        #expect(request.query == query)
    }

    @Test(arguments: ["a=%", "a=%4", "a=%zz", "%=1", "a=%ff", "a=%C3", "a=1&a=2", "a&%61", "a=%ED%A0%80"])
    func `a query string that can be read in two ways, or none, is not read`(query: String) {
        #expect(OpsRequest(target: "/p?" + query).query == nil)
    }

    @Test func `a field counts when it came once`() {
        let request = OpsRequest(target: "/", fields: [("Host", "a"), ("X", "1"), ("x", "2")])
        #expect(request.field("host") == "a")
        #expect(request.field("x") == nil)
        #expect(request.field("y") == nil)
    }

    @Test(arguments: ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
    func `an address of this machine alone`(address: String) {
        #expect(Loopback.isAddress(address))
    }

    @Test(arguments: [
        "", "10.0.0.1", "128.0.0.1", "127.0.0", "127.0.0.1.1", "127.0.0.256", "127.0.0.+1", "127.0.0.1.example.com",
        "::", "::2", "::ffff:10.0.0.1", "localhost", "fe80::1", "127.0.0.１",
    ])
    func `any other address`(address: String) {
        #expect(!Loopback.isAddress(address))
    }

    @Test(arguments: [
        "localhost", "LocalHost:7412", "127.0.0.1", "127.0.0.1:7412", "127.8.9.10:1", "[::1]", "[::1]:7412",
        "[::ffff:127.0.0.1]:1",
    ])
    func `a host that names this machine alone`(host: String) {
        #expect(Loopback.isHost(host))
    }

    @Test(arguments: [
        "", ":", ":80", "evil.example", "evil.example:7412", "localhost.evil.example", "127.0.0.1.evil.example",
        "localhost:", "localhost:x", "localhost:123456", "localhost:80:80", "localhost@evil.example", "::1", "[::1",
        "[localhost]", "[127.0.0.1]:80", "[::1]x", "[]", "0.0.0.0:7412", "10.0.0.1", "xn--localhost", "localhost.",
        " localhost", "localhost ", "127.1",
    ])
    func `a host that may be anybody's`(host: String) {
        #expect(!Loopback.isHost(host))
    }
}
