import FanfareModel
import Foundation
import Testing

@testable import FanfareWorker

/// Key files of one test, gone with it.
private final class KeyFolder {
    private let path = "/tmp/fanfare-keys-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    func file(_ text: String, mode: Int = 0o600) throws -> String {
        let file = path + "/" + UUID().uuidString
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file)
        return file
    }

    func secret(_ algorithm: JWTVerifier.Algorithm = .hs256) throws -> JWTVerifier.KeyFile {
        .secret(path: try file(JWTGolden.secret + "\n"), algorithm: algorithm)
    }

    func publicKey(
        _ name: String,
        _ algorithm: JWTVerifier.Algorithm? = nil,
        keyID: String? = nil
    ) throws -> JWTVerifier.KeyFile {
        .publicKey(path: try file(try #require(JWTGolden.keys[name])), algorithm: algorithm, keyID: keyID)
    }
}

@Suite struct JWTVerifierTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)
    private static let expiry = now + 600
    private let folder = try! KeyFolder()

    private func golden(_ name: String) throws -> String { try #require(JWTGolden.tokens[name]) }

    private func failure(_ verifier: JWTVerifier, _ token: String, at now: Date = now) -> TokenFailure? {
        do throws(TokenFailure) {
            _ = try verifier.verify(token, now: now)
            return nil
        } catch {
            return error
        }
    }

    /// Why no verifier can be made from `files`.
    private func problem(_ files: [JWTVerifier.KeyFile], rules: JWTVerifier.Rules = .init()) async -> String? {
        do throws(InvalidSetting) {
            _ = try await JWTVerifier.load(files, rules: rules)
            return nil
        } catch {
            return error.description
        }
    }

    /// An unsigned token, or one with any signature.
    private func token(_ header: String, _ payload: String, signature: String = "") -> String {
        Base64URL.encode(header.utf8) + "." + Base64URL.encode(payload.utf8) + "." + signature
    }

    // MARK: Keys and algorithms

    @Test(arguments: [
        ("rsa", "RS256"), ("rsa", "RS384"), ("rsa", "RS512"), ("rsa", "PS256"), ("rsa", "PS384"), ("rsa", "PS512"),
        ("secp256r1", "ES256"), ("secp384r1", "ES384"), ("secp521r1", "ES512"), ("ed25519", "EdDSA"),
        ("secret", "HS256"), ("secret", "HS384"), ("secret", "HS512"),
    ])
    func `a key verifies the tokens of its algorithm and of no other`(key: String, name: String) async throws {
        let algorithm = try #require(JWTVerifier.Algorithm(rawValue: name))
        let file = try key == "secret" ? folder.secret(algorithm) : folder.publicKey(key, algorithm)
        let verifier = try await JWTVerifier.load([file])
        for other in JWTVerifier.Algorithm.allCases {
            let token = try golden(other.rawValue)
            if other == algorithm {
                let identity = try verifier.verify(token, now: Self.now)
                #expect(identity.user == "ada")
                #expect(identity.expiresAt == Self.expiry + 30)
            } else {
                #expect(failure(verifier, token) == .algorithmRefused(other.rawValue))
            }
        }
        #expect(verifier.warnings.isEmpty)
    }

    @Test func `a public key's algorithm is its curve's, or RS256`() async throws {
        for (key, algorithm) in [
            ("rsa", "RS256"), ("secp256r1", "ES256"), ("secp384r1", "ES384"), ("secp521r1", "ES512"),
            ("ed25519", "EdDSA"),
        ] {
            let verifier = try await JWTVerifier.load([folder.publicKey(key)])
            #expect(failure(verifier, try golden(algorithm)) == nil)
            #expect(verifier.description == "JWTVerifier(\(algorithm))")
        }
    }

    @Test func `nobody signs with a public key`() async throws {
        // Signed with HMAC and the PEM of the RSA key, which everybody has.
        let attacks = [try golden("confusion"), try golden("confusion trimmed"), try golden("empty secret")]
        let onlyRSA = try await JWTVerifier.load([folder.publicKey("rsa")])
        let both = try await JWTVerifier.load([folder.publicKey("rsa"), folder.secret()])
        for attack in attacks {
            #expect(failure(onlyRSA, attack) == .algorithmRefused("HS256"))
            #expect(failure(both, attack) == .forged)
        }
        let pem = try folder.file(try #require(JWTGolden.keys["rsa"]))
        #expect(await problem([.secret(path: pem)])?.contains("load it as a public key") == true)
    }

    @Test func `none is no algorithm, however it is written`() async throws {
        let verifier = try await JWTVerifier.load([
            folder.publicKey("rsa"), folder.secret(), folder.publicKey("ed25519"),
        ])
        let genuine = try golden("HS256").split(separator: ".")
        for name in ["none", "None", "NONE", "", "hs256", "HS256 ", "RS256\\u0000"] {
            for signature in ["", String(genuine[2])] {
                let attack = token("{\"alg\":\"\(name)\"}", "{\"sub\":\"mallory\"}", signature: signature)
                #expect(failure(verifier, attack)?.reason == "algorithm_refused", "\(name)")
            }
        }
        for signature in ["", "AA", String(repeating: "A", count: 342)] {
            for algorithm in ["HS256", "RS256", "EdDSA"] {
                #expect(failure(verifier, token("{\"alg\":\"\(algorithm)\"}", "{}", signature: signature)) == .forged)
            }
        }
    }

    @Test func `the key's name selects`() async throws {
        let named = try await JWTVerifier.load([
            folder.publicKey("rsa", keyID: "one"), folder.publicKey("rsa two", keyID: "two"),
        ])
        #expect(failure(named, try golden("RS256 kid one")) == nil)
        #expect(failure(named, try golden("RS256 kid two")) == nil)
        #expect(failure(named, try golden("RS256 kid three")) == .unknownKey("three"))
        #expect(failure(named, try golden("RS256 kid one by two")) == .forged)
        // Without a name all keys are tried.
        #expect(failure(named, try golden("RS256 by two without kid")) == nil)
        // A key without a name fits every name.
        let unnamed = try await JWTVerifier.load([folder.publicKey("rsa")])
        #expect(failure(unnamed, try golden("RS256 kid three")) == nil)
        #expect(failure(unnamed, try golden("RS256 kid two")) == .forged)
        #expect(failure(try await JWTVerifier.load([folder.secret()]), try golden("kid number"))?.reason == "malformed")
    }

    @Test func `a key set is read whole, and what is not for signatures is left out`() async throws {
        let path = try folder.file(JWTGolden.keySet, mode: 0o644)
        let verifier = try await JWTVerifier.load([.keySet(path: path)])
        for name in [
            "RS256", "RS256 kid one", "RS256 kid two", "ES256", "ES384", "ES512", "EdDSA", "HS256",
            "RS256 by two without kid",
        ] {
            #expect(failure(verifier, try golden(name)) == nil, "\(name)")
        }
        #expect(failure(verifier, try golden("RS256 kid three")) == .unknownKey("three"))
        #expect(failure(verifier, try golden("RS512")) == .algorithmRefused("RS512"))
        #expect(failure(verifier, try golden("confusion")) == .forged)
        #expect(verifier.warnings.count == 3)
        #expect(verifier.warnings.contains { $0.contains("every user can read it") })
        #expect(verifier.warnings.contains { $0.contains("key 9 (\"new\")") && $0.contains("unknown") })
        #expect(verifier.warnings.contains { $0.contains("key 10 (\"oaep\")") })
        #expect(verifier.warnings.allSatisfy { $0.contains(path) })
    }

    @Test func `what is no key set says where`() async throws {
        let cases = [
            ("", "is empty"), ("{", "not JSON"), ("[]", "no list"), ("{\"keys\":{}}", "no list"),
            ("{\"keys\":[]}", "no key to check"), ("{\"keys\":[1]}", "key 1: its member kty"),
            ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\"}]}", "key 1: its member e"),
            ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "key 1: it is no usable RSA key"),
            ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"***\",\"e\":\"AQAB\"}]}", "key 1: it is no usable RSA key"),
            ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}]}", "no usable EC key"),
            ("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"\"}]}", "no usable OKP key"),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"kid\":\"a\"}]}", "key 1 (\"a\"): its member alg"),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"HS256\"}]}", "needs at least 32 bytes, this has 3"),
            ("{\"keys\":[{\"kty\":\"oct\",\"k\":\"A\",\"alg\":\"HS256\"}]}", "k is not base64url"),
            ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"kid\":\"k\"}]}", "left out"),
            ("{\"keys\":[{\"kty\":\"XYZ\",\"use\":\"enc\"}]}", "no key to check"),
        ]
        for (text, expected) in cases {
            let path = try folder.file(text)
            let found = await problem([.keySet(path: path)])
            #expect(found?.contains(expected) == true, "\(text): \(found ?? "no problem")")
        }
        // An RSA key may not be declared as a shared secret's algorithm.
        let confused = JWTGolden.keySet.replacingOccurrences(of: "\"alg\":\"RS256\"", with: "\"alg\":\"HS256\"")
        #expect(confused != JWTGolden.keySet)
        let found = await problem([.keySet(path: try folder.file(confused))])
        #expect(found?.contains("key 2 (\"two\"): its key is for RS256") == true)
    }

    @Test func `what is no key file names the file and says what to do`() async throws {
        func path(_ key: String) throws -> String { try folder.file(try #require(JWTGolden.keys[key])) }
        let noKey = try folder.file("hello")
        let privateKey = try folder.file("-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n")
        let large = try folder.file(String(repeating: "x", count: 1_048_577))
        let short = try folder.file("a secret of 31 bytes, and no LF")
        let cases: [(JWTVerifier.KeyFile, String, String)] = [
            (.publicKey(path: "/nonexistent/key.pem"), "/nonexistent/key.pem", "No such file"),
            (.publicKey(path: "/tmp"), "/tmp", "no regular file"),
            (.secret(path: "/dev/zero"), "/dev/zero", "no regular file"),
            (.publicKey(path: noKey), noKey, "no public key in PEM"),
            (.publicKey(path: try path("rsa 1024")), "fanfare-keys", "at least 2048 bits"),
            (.publicKey(path: try path("secp256k1")), "fanfare-keys", "EC on P-256"),
            (.publicKey(path: try path("certificate")), "fanfare-keys", "openssl x509"),
            (.publicKey(path: privateKey), privateKey, "openssl pkey"),
            (.publicKey(path: try path("rsa"), algorithm: .hs256), "fanfare-keys", "not HS256"),
            (.publicKey(path: try path("secp256r1"), algorithm: .es384), "fanfare-keys", "for ES256, not ES384"),
            (.secret(path: try folder.file(JWTGolden.secret), algorithm: .rs256), "fanfare-keys", "not RS256"),
            (.secret(path: large), large, "at most 1048576"), (.secret(path: short), short, "32 bytes, this has 31"),
            (.secret(path: short, algorithm: .hs512), short, "64 bytes, this has 31"),
        ]
        for (file, name, expected) in cases {
            let found = await problem([file])
            #expect(found?.contains(name) == true && found?.contains(expected) == true, "\(found ?? "no problem")")
        }
        #expect(await problem([]) != nil)
        for leeway in [-1, 601, Double.nan, .infinity] {
            #expect(await problem([try folder.secret()], rules: .init(leewaySeconds: leeway)) != nil)
        }
        #expect(await problem(Array(repeating: try folder.secret(), count: 65))?.contains("at most 64") == true)
    }

    @Test func `a secret that others can read is worth a warning, a public key is not`() async throws {
        let open = try folder.file(JWTGolden.secret, mode: 0o644)
        #expect(try await JWTVerifier.load([.secret(path: open)]).warnings.count == 1)
        #expect(try await JWTVerifier.load([folder.secret()]).warnings.isEmpty)
        let key = try folder.file(try #require(JWTGolden.keys["rsa"]), mode: 0o644)
        #expect(try await JWTVerifier.load([.publicKey(path: key)]).warnings.isEmpty)
    }

    // MARK: Claims

    @Test func `claims are kept as they were written`() async throws {
        let verifier = try await JWTVerifier.load([folder.secret()])
        let identity = try verifier.verify(try golden("numbers"), now: Self.now)
        #expect(
            identity.claims == [
                "sub": "ada", "exp": 1_800_000_600, "big": 9_007_199_254_740_993, "one": 1.0, "half": 0.5,
                "nested": ["list": [1, nil, true, "ü"]],
            ]
        )
        #expect(try verifier.verify(try golden("user_id"), now: Self.now).user == "7")
        #expect(try verifier.verify(try golden("sub integer"), now: Self.now).user == "42")
    }

    @Test func `a token is valid until its expiry and the leeway`() async throws {
        let verifier = try await JWTVerifier.load([folder.secret()], rules: .init(leewaySeconds: 10))
        let token = try golden("HS256")
        #expect(failure(verifier, token, at: Self.expiry + 9.9) == nil)
        #expect(failure(verifier, token, at: Self.expiry + 10) == .expired(since: Self.expiry + 10))
        #expect(try verifier.verify(token, now: Self.now).expiresAt == Self.expiry + 10)
        #expect(try verifier.verify(try golden("exp half"), now: Self.now).expiresAt == Self.expiry + 10.5)
        #expect(
            try verifier.verify(try golden("exp huge"), now: Self.now).expiresAt
                == Date(timeIntervalSince1970: 253_402_300_799)
        )
        #expect(failure(verifier, try golden("no exp")) == .claimMissing("exp"))
        let lenient = try await JWTVerifier.load([folder.secret()], rules: .init(requiresExpiry: false))
        #expect(try lenient.verify(try golden("no exp"), now: Self.now).expiresAt == nil)
        #expect(failure(lenient, try golden("exp text"))?.reason == "malformed")
        #expect(failure(lenient, token, at: Self.expiry + 1_000)?.reason == "expired")
    }

    @Test func `a token is not valid before its time and the leeway`() async throws {
        let verifier = try await JWTVerifier.load([folder.secret()], rules: .init(leewaySeconds: 10))
        #expect(failure(verifier, try golden("nbf and iat")) == nil)
        for name in ["nbf later", "iat later"] {
            #expect(failure(verifier, try golden(name)) == .notYetValid(until: Self.now + 90))
            #expect(failure(verifier, try golden(name), at: Self.now + 89.9)?.reason == "not_yet_valid")
            #expect(failure(verifier, try golden(name), at: Self.now + 90) == nil)
        }
    }

    @Test func `a token is for us and from whom we take it`() async throws {
        let open = try await JWTVerifier.load([folder.secret()])
        let chat = try await JWTVerifier.load(
            [folder.secret()],
            rules: .init(audience: "chat")
        )
        for name in ["aud text", "aud list"] {
            #expect(failure(chat, try golden(name)) == nil)
            // It is for somebody, and we are nobody.
            #expect(failure(open, try golden(name)) == .claimRefused("aud"))
        }
        for name in ["aud other", "aud number"] { #expect(failure(chat, try golden(name)) == .claimRefused("aud")) }
        #expect(failure(chat, try golden("HS256")) == .claimMissing("aud"))

        let issuer = try await JWTVerifier.load([folder.secret()], rules: .init(issuer: "https://id.example"))
        #expect(failure(issuer, try golden("iss")) == nil)
        #expect(failure(issuer, try golden("iss other")) == .claimRefused("iss"))
        #expect(failure(issuer, try golden("HS256")) == .claimMissing("iss"))
        #expect(failure(open, try golden("iss other")) == nil)
    }

    // MARK: Hostile input

    @Test func `genuine signatures over nonsense are malformed`() async throws {
        let verifier = try await JWTVerifier.load([folder.secret()], rules: .init(requiresExpiry: false))
        for name in [
            "sub true", "list payload", "integer beyond", "deep payload", "not utf8", "crit", "kid number", "no alg",
        ] {
            #expect(failure(verifier, try golden(name))?.reason == "malformed", "\(name)")
        }
        #expect(failure(verifier, try golden("alg lower case")) == .algorithmRefused("hs256"))
    }

    @Test func `what is no token is malformed`() async throws {
        let verifier = try await JWTVerifier.load([folder.secret()])
        let genuine = try golden("HS256")
        for token in [
            "", ".", "..", "...", "a.b.c", "🙂.🙂.🙂", "\0", genuine + ".", genuine + ".a.b", " " + genuine, genuine + "=",
            "Bearer " + genuine, genuine + "\n", token("[]", "{}"), token("{}", "{}"), token("{\"alg\":1}", "{}"),
            token("{\"alg\":\"HS256\"", "{}"), token(String(repeating: "[", count: 1_000), "{}"),
            token("{\"$bytes\":\"\"}", "{}"),
        ] {
            #expect(failure(verifier, token)?.reason == "malformed", "\(token.prefix(40))")
        }
        #expect(failure(verifier, String(repeating: ".", count: 8_192))?.reason == "malformed")
        #expect(failure(verifier, genuine + String(repeating: "A", count: 8_192))?.reason == "too_long")
        let long = String(repeating: "x", count: 200)
        let strange = failure(verifier, token("{\"alg\":\"\\u001b[31m\\n\(long)\"}", "{}"))
        #expect(strange?.reason == "algorithm_refused")
        #expect(strange?.description.utf8.allSatisfy { (0x20..<0x7f).contains($0) || $0 >= 0x80 } == true)
        #expect((strange?.description.count ?? 1_000) < 200)
    }

    @Test(arguments: ["HS256", "ES256"])
    func `no changed character leaves a token valid`(name: String) async throws {
        let verifier = try await JWTVerifier.load([folder.secret(), folder.publicKey("secp256r1")])
        let bytes = Array(try golden(name).utf8)
        #expect(failure(verifier, String(decoding: bytes, as: UTF8.self)) == nil)
        for place in bytes.indices {
            for byte in "Az0_.=".utf8 where byte != bytes[place] {
                var changed = bytes
                changed[place] = byte
                #expect(failure(verifier, String(decoding: changed, as: UTF8.self)) != nil, "byte \(place)")
            }
        }
    }
}
