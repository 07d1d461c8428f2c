import FanfareClient
import FanfareModel
import JWTKit

/// Turns key files into keys, each for one algorithm.
struct JWTKeyLoader {
    private(set) var keys: [JWTVerifier.Key] = []
    private(set) var warnings: [String] = []

    mutating func load(_ file: JWTVerifier.KeyFile) async throws(InvalidSetting) {
        switch file {
        case .secret(let path, let algorithm, let keyID):
            let content = try KeyFileContent(path: path)
            warnIfReadable(content, path)
            var secret = content.bytes[...]
            if secret.last == UInt8(ascii: "\n") { secret.removeLast() }
            if secret.last == UInt8(ascii: "\r") { secret.removeLast() }
            try await add(.secret(Array(secret)), algorithm, keyID, path)
        case .publicKey(let path, let algorithm, let keyID):
            let text = String(decoding: try KeyFileContent(path: path).bytes, as: UTF8.self)
            let material: JWTKeyMaterial
            do throws(JWTKeyMaterial.Failure) {
                material = try JWTKeyMaterial(pem: text)
            } catch {
                throw KeyFileContent.invalid(path, error.problem)
            }
            try await add(material, algorithm ?? material.algorithms[0], keyID, path)
        case .keySet(let path):
            try await loadSet(path)
        }
    }

    private mutating func loadSet(_ path: String) async throws(InvalidSetting) {
        let content = try KeyFileContent(path: path)
        let set: MessageValue
        do {
            set = try MessageValue(json: content.bytes)
        } catch {
            throw KeyFileContent.invalid(path, "it is not JSON: \(error)")
        }
        guard let list = set["keys"]?.array else { throw KeyFileContent.invalid(path, "it has no list \"keys\"") }
        for (place, value) in list.enumerated() {
            let name = "key \(place + 1)" + (value["kid"]?.string.map { " (\(InvalidSetting.quoted($0)))" } ?? "")
            switch value["use"] {
            case nil, .string("sig"): break
            default: continue
            }
            do throws(JWTKeyMaterial.Failure) {
                guard let material = try JWTKeyMaterial(webKey: value) else {
                    warnings.append(KeyFileContent.text(path, "\(name) is of a kind unknown here, left out"))
                    continue
                }
                if case .secret = material { warnIfReadable(content, path) }
                guard let algorithm = try material.algorithm(of: value) else {
                    warnings.append(KeyFileContent.text(path, "\(name) is not for signatures, left out"))
                    continue
                }
                keys.append(try await material.key(algorithm, value["kid"]?.string))
            } catch {
                throw KeyFileContent.invalid(path, "\(name): \(error.problem)")
            }
        }
    }

    private mutating func add(
        _ material: JWTKeyMaterial,
        _ algorithm: JWTVerifier.Algorithm,
        _ keyID: String?,
        _ path: String
    ) async throws(InvalidSetting) {
        do throws(JWTKeyMaterial.Failure) {
            keys.append(try await material.key(algorithm, keyID))
        } catch {
            throw KeyFileContent.invalid(path, error.problem)
        }
    }

    private mutating func warnIfReadable(_ content: KeyFileContent, _ path: String) {
        guard content.isReadableByOthers else { return }
        let warning = KeyFileContent.text(path, "it holds a secret and every user can read it; chmod o-r it")
        if !warnings.contains(warning) { warnings.append(warning) }
    }
}

/// A key as it was read, not yet for one algorithm.
enum JWTKeyMaterial {
    case secret([UInt8])
    case rsa(Insecure.RSA.PublicKey)
    case p256(ES256PublicKey)
    case p384(ES384PublicKey)
    case p521(ES512PublicKey)
    case ed25519(EdDSA.PublicKey)

    /// Why a key cannot be used.
    struct Failure: Error {
        let problem: String
    }

    /// The algorithms it can be for; the first unless another is named.
    var algorithms: [JWTVerifier.Algorithm] {
        switch self {
        case .secret: [.hs256, .hs384, .hs512]
        case .rsa: [.rs256, .rs384, .rs512, .ps256, .ps384, .ps512]
        case .p256: [.es256]
        case .p384: [.es384]
        case .p521: [.es512]
        case .ed25519: [.eddsa]
        }
    }

    /// Reads a public key.
    init(pem: String) throws(Failure) {
        guard !pem.contains("PRIVATE KEY-----") else {
            throw Failure(problem: "it holds a private key, which nobody but the issuer needs; openssl pkey -pubout")
        }
        guard !pem.contains("BEGIN CERTIFICATE-----") else {
            throw Failure(problem: "it holds a certificate; openssl x509 -pubkey -noout writes its key")
        }
        if let key = try? Insecure.RSA.PublicKey(pem: pem) {
            self = .rsa(key)
        } else if let key = try? ES256PublicKey(pem: pem) {
            self = .p256(key)
        } else if let key = try? ES384PublicKey(pem: pem) {
            self = .p384(key)
        } else if let key = try? ES512PublicKey(pem: pem) {
            self = .p521(key)
        } else if let key = try? EdDSA.PublicKey(pem: pem) {
            self = .ed25519(key)
        } else {
            throw Failure(
                problem: "it is no public key in PEM: RSA of at least 2048 bits, EC on P-256, P-384 or P-521, Ed25519"
            )
        }
    }

    /// Reads a key of a set (RFC 7517, RFC 7518, section 6, RFC 8037). Private parts are not looked at.
    ///
    /// - Returns: `nil` for a kind of key that is not known here.
    init?(webKey: MessageValue) throws(Failure) {
        func member(_ name: String) throws(Failure) -> String {
            guard let text = webKey[name]?.string else { throw Failure(problem: "its member \(name) is missing") }
            return text
        }
        let type = try member("kty")
        let curve = type == "EC" || type == "OKP" ? try member("crv") : ""
        do {
            switch (type, curve) {
            case ("oct", _):
                guard let secret = Base64URL.decode(try member("k")[...].utf8) else {
                    throw Failure(problem: "its member k is not base64url")
                }
                self = .secret(secret)
            case ("RSA", _):
                self = .rsa(try Insecure.RSA.PublicKey(modulus: try member("n"), exponent: try member("e")))
            case ("EC", "P-256"): self = .p256(try ES256PublicKey(parameters: (try member("x"), try member("y"))))
            case ("EC", "P-384"): self = .p384(try ES384PublicKey(parameters: (try member("x"), try member("y"))))
            case ("EC", "P-521"): self = .p521(try ES512PublicKey(parameters: (try member("x"), try member("y"))))
            case ("OKP", "Ed25519"): self = .ed25519(try EdDSA.PublicKey(x: try member("x"), curve: .ed25519))
            default: return nil
            }
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(problem: "it is no usable \(type) key (RSA needs at least 2048 bits): \(error)")
        }
    }

    /// What a key of a set is for; `nil` when that is no signature known here.
    func algorithm(of webKey: MessageValue) throws(Failure) -> JWTVerifier.Algorithm? {
        if let operations = webKey["key_ops"]?.array, !operations.contains("verify") { return nil }
        guard let name = webKey["alg"] else {
            if case .secret = self { throw Failure(problem: "its member alg is missing; write HS256, HS384 or HS512") }
            return algorithms[0]
        }
        return name.string.flatMap(JWTVerifier.Algorithm.init(rawValue:))
    }

    /// The key for one algorithm.
    func key(_ algorithm: JWTVerifier.Algorithm, _ keyID: String?) async throws(Failure) -> JWTVerifier.Key {
        guard algorithms.contains(algorithm) else {
            let possible = algorithms.map(\.rawValue).joined(separator: ", ")
            throw Failure(problem: "its key is for \(possible), not \(algorithm.rawValue)")
        }
        let digest = algorithm.digest
        let collection = JWTKeyCollection()
        switch self {
        case .secret(let bytes):
            try Self.check(secret: bytes, for: algorithm)
            await collection.add(hmac: HMACKey(from: bytes), digestAlgorithm: digest)
        case .rsa(let key) where algorithm.rawValue.hasPrefix("PS"):
            await collection.add(pss: key, digestAlgorithm: digest)
        case .rsa(let key): await collection.add(rsa: key, digestAlgorithm: digest)
        case .p256(let key): await collection.add(ecdsa: key)
        case .p384(let key): await collection.add(ecdsa: key)
        case .p521(let key): await collection.add(ecdsa: key)
        case .ed25519(let key): await collection.add(eddsa: key)
        }
        do {
            return JWTVerifier.Key(keyID: keyID, algorithm: try await collection.getKey())
        } catch {
            throw Failure(problem: "\(error)")
        }
    }

    private static func check(secret: [UInt8], for algorithm: JWTVerifier.Algorithm) throws(Failure) {
        // Whoever has the public key of an RSA or EC pair could sign with it if it were taken for a secret.
        guard !String(decoding: secret, as: UTF8.self).contains("-----BEGIN ") else {
            throw Failure(problem: "it holds a PEM, which is no shared secret; load it as a public key")
        }
        let minimum = algorithm.rawValue == "HS512" ? 64 : algorithm.rawValue == "HS384" ? 48 : 32
        guard secret.count >= minimum else {
            throw Failure(
                problem: "a secret for \(algorithm.rawValue) needs at least \(minimum) bytes, this has \(secret.count)"
            )
        }
    }
}

extension JWTVerifier.Algorithm {
    fileprivate var digest: DigestAlgorithm {
        switch self {
        case .hs256, .rs256, .ps256, .es256, .eddsa: .sha256
        case .hs384, .rs384, .ps384, .es384: .sha384
        case .hs512, .rs512, .ps512, .es512: .sha512
        }
    }
}
