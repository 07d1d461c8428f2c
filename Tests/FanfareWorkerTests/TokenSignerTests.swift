import FanfareModel
import Foundation
import Testing

@testable import FanfareWorker

@Suite struct TokenSignerTests {
    private static let secret = "django-insecure-for-tests-only-0123456789"
    private static let signedAt = Date(timeIntervalSince1970: 1_800_000_000)
    private let signer = try! TokenSigner(
        secrets: [secret, "an older secret of twenty bytes+"],
        salt: "fanfare.socket",
        maximumAgeSeconds: 60
    )

    /// Made by Django 5.2: `signing.dumps(…, key=…, salt="fanfare.socket")` at second 1 800 000 000.
    private enum Django {
        static let plain = "eyJzdWIiOiJhZGEifQ:1xocE4:iUZcvLbXhlGCP15oGJy8e2T9W8jiLtsl4S_x4Kx9Bu8"
        static let rich = """
            eyJmIjoxLjAsImxpc3QiOlsxLG51bGwsdHJ1ZSx7fV0sIm4iOjkwMDcxOTkyNTQ3NDA5OTMsInN1YiI6ImFkYSIsInRleHQiOiJab1x1\
            MDBlYiBcdWQ4M2RcdWRlMDAgXCIgXFwgXG4ifQ:1xocE4:g5MP7luBPgcLJEbVe5kTDHN6tU_pnTQQCL4IcYn5250
            """
        static let expiring = """
            eyJ1c2VyX2lkIjo0MiwiZXhwIjoxODAwMDAwMDMwfQ:1xocE4:KLqiwzftf69WwfUD_yBK3G3lh2iE0fK0AEMpBg71Ws0
            """
        static let older = "eyJzdWIiOiJhZGEifQ:1xocE4:rUUgK8HSjuuuVcNNL_RjCdTuIz2n2iR6Z7r5DkOUJM0"
        static let foreignSecret = "eyJzdWIiOiJhZGEifQ:1xocE4:mOphAKBBW0NqQfHLoSbOjURyNdHZ3RgecfelU_hrMDM"
        static let foreignSalt = "eyJzdWIiOiJhZGEifQ:1xocE4:gSG-rxI6U_WogXtMk6TTzAhjGNReHlkFaDsAJXn_sJ0"
        static let compressed = ".eJyrViouTVKyUkocJkCpFgBK_k7N:1xocE4:K2-GxZkbA91ifSB6OSHbBbnkEQvHxgzsFkDPvWPgPhU"
        static let list = "WzFd:1xocE4:OBGQIiNuHJenMRLBNI2h9OZXh7oHQN2-nFuGPjvFY-0"
        static let text = "ImFkYSI:1xocE4:zhhlVlH4DknGKAHk3tN_nUPNwr2uXuyNP_JG7rdpjvM"
        static let notANumber = "eyJ4IjpOYU59:1xocE4:pTsfTd2Yre_34RU_TnAjQzGcWUqakso3gqHO7G747iQ"
        static let beyondIntegers = """
            eyJ4IjoxMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwfQ:1xocE4:uJCQqxWy1Oq_nqtLebMAfzZyWiKoxTFunZa9arrAtLg
            """
        static let epoch = "eyJzdWIiOiJhZGEifQ:0:n4R1IA5c1erkusTBWCaY3WLa-ERazmIdAK-riIJ-AnI"
    }

    private static let richClaims: [String: MessageValue] = [
        "f": 1.0, "list": [1, nil, true, [:]], "n": 9_007_199_254_740_993, "sub": "ada", "text": "Zoë 😀 \" \\ \n",
    ]

    private func failure(_ token: String, after seconds: Double = 0) -> TokenFailure? {
        do throws(TokenFailure) {
            _ = try signer.verify(token, now: Self.signedAt + seconds)
            return nil
        } catch {
            return error
        }
    }

    @Test func `Django's tokens are read, numbers exact`() throws {
        let plain = try signer.verify(Django.plain, now: Self.signedAt)
        #expect(plain.user == "ada")
        #expect(plain.claims == ["sub": "ada"])
        #expect(plain.expiresAt == Self.signedAt + 60)
        #expect(try signer.verify(Django.rich, now: Self.signedAt).claims == Self.richClaims)
        #expect(try signer.verify(Django.expiring, now: Self.signedAt).user == "42")
        #expect(try signer.verify(Django.older, now: Self.signedAt).user == "ada")
    }

    @Test func `tokens are byte for byte those Django makes`() throws {
        #expect(try signer.sign(["sub": "ada"], now: Self.signedAt + 0.9) == Django.plain)
        #expect(try signer.sign(Self.richClaims, now: Self.signedAt) == Django.rich)
        #expect(try signer.sign(["sub": "ada"], now: Date(timeIntervalSince1970: 0)) == Django.epoch)
    }

    @Test func `a token ends at its age or its claim, whichever is first`() throws {
        #expect(failure(Django.plain, after: 59.9) == nil)
        #expect(failure(Django.plain, after: 60) == .expired(since: Self.signedAt + 60))
        #expect(try signer.verify(Django.expiring, now: Self.signedAt).expiresAt == Self.signedAt + 30)
        #expect(failure(Django.expiring, after: 29.9) == nil)
        #expect(failure(Django.expiring, after: 30) == .expired(since: Self.signedAt + 30))
        #expect(failure(Django.epoch) == .expired(since: Date(timeIntervalSince1970: 60)))
        let later = try signer.sign(["exp": 1e300], now: Self.signedAt)
        #expect(try signer.verify(later, now: Self.signedAt).expiresAt == Self.signedAt + 60)
        // What cannot be before the year 10 000 is no date that overflows.
        let patient = try TokenSigner(secrets: [Self.secret], salt: "s", maximumAgeSeconds: 1e300)
        let endless = try patient.verify(try patient.sign([:], now: Self.signedAt), now: Self.signedAt)
        #expect(endless.expiresAt == Date(timeIntervalSince1970: 253_402_300_799))
    }

    @Test func `what another secret or salt signed is forged`() {
        #expect(failure(Django.foreignSecret) == .forged)
        #expect(failure(Django.foreignSalt) == .forged)
        // No signature, a piece of the right one, or more than it.
        for count in [-43, -39, -3, 4] {
            let cut = count < 0 ? String(Django.plain.dropLast(-count)) : Django.plain.dropLast(3) + "AAAAAAA"
            #expect(failure(cut) == .forged, "\(cut)")
        }
        // Forged comes before expired: a stranger learns nothing about the time.
        #expect(failure(Django.foreignSecret, after: 1_000) == .forged)
    }

    @Test func `no changed character leaves a token valid`() {
        let bytes = Array(Django.plain.utf8)
        for place in bytes.indices {
            for byte in "AZaz09-_:.=+/ ".utf8 where byte != bytes[place] {
                var changed = bytes
                changed[place] = byte
                #expect(failure(String(decoding: changed, as: UTF8.self)) != nil, "byte \(place) to \(byte)")
            }
            var shorter = bytes
            shorter.remove(at: place)
            #expect(failure(String(decoding: shorter, as: UTF8.self)) != nil)
        }
        // The same bits in another spelling: 8 and 9 differ behind the last byte of the signature only.
        #expect(failure(String(Django.plain.dropLast()) + "9")?.reason == "malformed")
        #expect(failure(Django.plain + "=")?.reason == "malformed")
    }

    @Test func `what is no token says why`() {
        for token in [
            "", ":", "::", ":::", "a", "a:b", "a:b:c:d", "🙂:🙂:🙂", "\0", "eyJ9:1xocE4:", " " + Django.plain,
            Django.plain + "\n", Django.list, Django.text, Django.notANumber, Django.beyondIntegers,
        ] {
            let failure = failure(token)
            #expect(failure?.reason == "malformed" || failure == .forged, "\(token)")
        }
        #expect(failure(Django.list)?.reason == "malformed")
        #expect(failure(Django.beyondIntegers)?.reason == "malformed")
        #expect(failure(Django.compressed) == .malformed("it is compressed; sign with compress=False"))
        #expect(failure(String(repeating: "a", count: 8_193)) == .tooLong(bytes: 8_193))
        #expect(failure(String(repeating: ":", count: 8_192))?.reason == "malformed")
    }

    @Test func `genuine tokens with claims of the wrong kind are refused`() throws {
        let wrong: [[String: MessageValue]] = [
            ["exp": "1800000030"], ["exp": true], ["exp": nil], ["sub": true], ["sub": ""], ["sub": ["ada"]],
            ["user_id": 1.5], ["sub": [:], "user_id": 1],
        ]
        for claims in wrong {
            #expect(failure(try signer.sign(claims, now: Self.signedAt))?.reason == "malformed", "\(claims)")
        }
        let none = try signer.verify(try signer.sign([:], now: Self.signedAt), now: Self.signedAt)
        #expect(none.user == nil)
        let both = try signer.sign(["sub": "ada", "user_id": 1], now: Self.signedAt)
        #expect(try signer.verify(both, now: Self.signedAt).user == "ada")
    }

    @Test func `what cannot be signed is not`() throws {
        #expect(throws: MessageValue.JSONFailure.self) { try signer.sign(["x": .double(.nan)]) }
        #expect(throws: TokenFailure.self) { try signer.sign(["x": .string(String(repeating: "x", count: 8_192))]) }
        for seconds in [-1.0, .nan, 1e300] {
            #expect(throws: TokenFailure.self) {
                try signer.sign([:], now: Date(timeIntervalSince1970: seconds))
            }
        }
    }

    @Test func `settings that protect nothing are refused and never shown`() throws {
        let secret = "fifteen bytes!!"
        let refused: [([String], String, Double)] = [
            ([], "s", 60), ([secret], "s", 60), ([Self.secret, secret], "s", 60), ([Self.secret], "", 60),
            ([Self.secret], "s", 0), ([Self.secret], "s", -1), ([Self.secret], "s", .nan),
            ([Self.secret], "s", .infinity), (Array(repeating: Self.secret, count: 17), "s", 60),
        ]
        for (secrets, salt, age) in refused {
            #expect("\(secrets.count) \(salt) \(age)") {
                try TokenSigner(secrets: secrets, salt: salt, maximumAgeSeconds: age)
            } throws: { error in
                (error as? InvalidSetting).map { !$0.description.contains(secret) } == true
            }
        }
        #expect(!"\(signer)".contains(Self.secret))
    }
}

@Suite struct Base64URLTests {
    @Test func `every length comes back, and each text has one meaning`() {
        for count in 0..<70 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 83 &+ 7) }
            #expect(Base64URL.decode(Base64URL.encode(bytes)[...].utf8) == bytes)
        }
        #expect(Base64URL.encode([0xfb, 0xff]) == "-_8")
        for text in ["A", "AAAAA", "+/8", "-_8=", "-_9", "AB", "A A", "AA==", "ÄÄ", "AA\n", "A\0"] {
            #expect(Base64URL.decode(text[...].utf8) == nil, "\(text)")
        }
        // Two and three characters: exactly those with no bits behind the last byte are read.
        for length in [2, 3] {
            let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
            for last in alphabet {
                let text = String(repeating: "Z", count: length - 1) + String(last)
                let bytes = Base64URL.decode(text[...].utf8)
                #expect(bytes.map { Base64URL.encode($0) } ?? text == text)
            }
        }
    }
}
