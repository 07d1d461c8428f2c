import FanfareBroker
import FanfareModel
import FanfareTransport
import Testing

/// Who is let in as what, and who still is when the credentials have changed.
struct CredentialTests {
    private static func credential(
        _ name: String,
        _ roles: [Role] = [.worker],
        token: String? = nil,
        user: UInt32? = nil,
        group: UInt32? = nil,
        _ change: (inout Permissions) -> Void = { _ in }
    ) -> Credential {
        var credential = Credential(name: name)
        credential.roles = roles
        if let token { credential.tokens = [TokenHash(of: token)] }
        if let user { credential.users = [user] }
        if let group { credential.userGroups = [group] }
        change(&credential.permissions)
        return credential
    }

    private func hello(_ role: Role, token: String? = nil, node: String? = nil, namespace: String = "default") -> Hello
    {
        var hello = Hello(client: "test/1", name: "test", role: role, policy: Policy(Limits()))
        hello.token = token
        hello.node = node
        hello.namespace = namespace
        return hello
    }

    private func refusal(_ body: () throws(Failure) -> Void) -> Failure? {
        do throws(Failure) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    @Test("the hash of a token is its SHA-256 (FIPS 180-2, appendix B.1)")
    func knownHash() {
        #expect(
            TokenHash(of: "abc").description
                == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
    }

    @Test("a token finds its credential wherever it stands, and nothing else does")
    func tokens() throws {
        let entries = (0..<50).map { Self.credential("c\($0)", token: "token \($0)") }
        let credentials = Credentials(entries)
        for number in 0..<50 {
            let hello = hello(.worker, token: "token \(number)")
            #expect(try credentials.access(for: hello, from: nil).name == "c\(number)")
        }
        for wrong in ["token 50", "token", "", " token 1", TokenHash(of: "token 1").description] {
            let failure = refusal { () throws(Failure) in
                _ = try credentials.access(for: hello(.worker, token: wrong), from: nil)
            }
            #expect(failure?.code == .unauthorized)
        }
    }

    @Test("a credential is for its roles, namespaces and nodes")
    func bounds() {
        let credentials = Credentials([
            Self.credential("shop", [.worker, .publish], token: "t") {
                $0.namespaces = NamePatterns(["shop*"])
                $0.nodes = NamePatterns(["web-*"])
            }
        ])
        for role in Role.allCases {
            for namespace in ["shop", "shop2", "default"] {
                for node in [nil, "web-1", "n1"] {
                    let isFine = [.worker, .publish].contains(role) && namespace != "default" && node != "n1"
                    let hello = hello(role, token: "t", node: node, namespace: namespace)
                    let failure = refusal { () throws(Failure) in _ = try credentials.access(for: hello, from: nil) }
                    #expect((failure == nil) == isFine, "\(role) \(namespace) \(node ?? "none")")
                    #expect(isFine || failure?.code == .unauthorized)
                }
            }
        }
    }

    @Test("a user of this machine gets the first credential that fits, by user or by any group")
    func users() throws {
        let credentials = Credentials([
            Self.credential("mine", [.worker], user: 10), Self.credential("look", [.inspect], group: 20),
            Self.credential("all", [.worker, .admin], user: 10, group: 21), Self.credential("tokens", token: "t"),
        ])
        func name(_ role: Role, _ user: UInt32, _ groups: [UInt32], token: String? = nil) -> String? {
            let hello = hello(role, token: token)
            return try? credentials.access(for: hello, from: SocketUser(user: user, groups: groups)).name
        }
        #expect(name(.worker, 10, [1]) == "mine")
        #expect(name(.admin, 10, [1]) == "all")
        #expect(name(.inspect, 10, [1]) == nil)
        #expect(name(.inspect, 10, [1, 20]) == "look")
        #expect(name(.worker, 11, [20, 21]) == "all")
        #expect(name(.worker, 11, [20]) == nil)
        #expect(name(.worker, 0, [0]) == nil, "root is nobody special")
        // Who shows a token is judged by it alone.
        #expect(name(.worker, 10, [1], token: "t") == "tokens")
        #expect(name(.worker, 10, [1], token: "wrong") == nil)
        #expect(throws: Failure.self, "over TCP there is no user") {
            try credentials.access(for: hello(.worker), from: nil)
        }
    }

    @Test("a session goes on as long as its own proof, role, namespace, node and permissions hold")
    func revocation() throws {
        let before = Self.credential("web", [.worker], token: "t")
        let hello = hello(.worker, token: "t", node: "n1", namespace: "shop")
        let access = try Credentials([before]).access(for: hello, from: nil)
        func holds(_ entries: [Credential]) -> Bool {
            refusal { () throws(Failure) in try Credentials(entries).check(access, of: hello) } == nil
        }
        func changed(_ change: (inout Credential) -> Void) -> Bool {
            var entry = before
            change(&entry)
            return holds([Self.credential("other", token: "o"), entry])
        }
        #expect(holds([before]))
        #expect(changed { $0.tokens.append(TokenHash(of: "next")) })
        #expect(changed { $0.roles.append(.admin) })
        #expect(changed { $0.users = [7] })
        #expect(!holds([]))
        #expect(!changed { $0.name = "renamed" })
        #expect(!changed { $0.tokens = [TokenHash(of: "next")] })
        #expect(!changed { $0.roles = [.publish] })
        #expect(!changed { $0.permissions.namespaces = NamePatterns(["default"]) })
        #expect(!changed { $0.permissions.nodes = NamePatterns(["n2"]) })
        #expect(!changed { $0.permissions.joinGroups = NamePatterns(["room"]) })
        // Another credential with the same token would do something else.
        #expect(!holds([Self.credential("thief", token: "t")]))
    }

    @Test("a seal tells a credential and all it allows from every other")
    func seals() throws {
        let before = Self.credential("web", [.worker], token: "t") { $0.joinGroups = NamePatterns(["a", "b"]) }
        let hello = hello(.worker, token: "t", node: "n1")
        let seal = try Credentials([before]).access(for: hello, from: nil).seal
        func holds(_ change: (inout Credential) -> Void) -> Bool {
            var entry = before
            change(&entry)
            return Credentials([Self.credential("other", token: "o"), entry]).hold(seal, for: hello)
        }
        #expect(holds { _ in })
        #expect(holds { $0.tokens = [TokenHash(of: "next")] })
        #expect(!holds { $0.name = "webs" })
        #expect(!holds { $0.roles = [.admin] })
        #expect(!holds { $0.permissions.joinGroups = NamePatterns(["a, b"]) })
        #expect(!holds { $0.permissions.joinGroups = NamePatterns(["b", "a"]) })
        #expect(!holds { ($0.permissions.sendGroups, $0.permissions.joinGroups) = ($0.permissions.joinGroups, .all) })
        #expect(!holds { $0.permissions.nodes = NamePatterns(["n1"]) })
    }

    @Test("a user loses a session with the user or the group that let it in")
    func userRevocation() throws {
        let access = Access(
            name: "ops",
            proof: .user(SocketUser(user: 10, groups: [20])),
            permissions: Permissions()
        )
        func holds(_ entry: Credential) -> Bool {
            refusal { () throws(Failure) in try Credentials([entry]).check(access, of: hello(.admin)) } == nil
        }
        #expect(holds(Self.credential("ops", [.admin], user: 10)))
        #expect(holds(Self.credential("ops", [.admin], group: 20)))
        #expect(!holds(Self.credential("ops", [.admin], user: 11, group: 21)))
        #expect(!holds(Self.credential("ops", [.admin], token: "t")))
    }
}
