import ArgumentParser
import FanfareModel
import FanfareWorker
import FoundationEssentials

/// Tells its client who it is. When the token expires, the worker closes the connection with 3000.
struct WhoAmI: Consumer {
    struct Answer: Encodable {
        let user: String?
        let secondsLeft: Double?
    }

    func connect(_ socket: WebSocket) async throws {
        let identity = socket.context.identity
        let left = identity?.expiresAt?.timeIntervalSinceNow.rounded()
        try await socket.sendJSON(Answer(user: identity?.user, secondsLeft: left))
    }

    func receive(text: String, from socket: WebSocket) async throws {
        try await socket.send("\(socket.context.identity?.user ?? "nobody") said: \(text)")
    }
}

/// `POST /token` signs tokens, `/ws/signed/` takes them, `/ws/jwt/` takes JSON Web Tokens of somebody else.
func authenticationRouter(_ signer: TokenSigner, _ jwt: JWTVerifier) -> Router {
    struct Login: Decodable { let user: String }

    var signed = Router()
    signed.use(TokenAuthentication(signer, from: [.subprotocol]))
    signed.webSocket("/") { _, _ in WhoAmI() }

    var byJWT = Router()
    byJWT.use(TokenAuthentication(jwt, from: [.bearer, .subprotocol]))
    byJWT.webSocket("/") { _, _ in WhoAmI() }

    var router = Router()
    router.get("/") { _, _ in .html(PackageResources.authentication_html) }
    router.post("/token") { request, _ in
        // Here a password is to be checked.
        let login = try request.json(Login.self)
        return try .json(["token": try signer.sign(["sub": .string(login.user)])])
    }
    router.mount("/ws/signed", signed)
    router.mount("/ws/jwt", byJWT)
    return router
}

struct AuthenticationExample: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "authentication",
        abstract: "Signed tokens as subprotocol, and JSON Web Tokens."
    )

    @OptionGroup var options: WorkerOptions

    @Option(help: ArgumentHelp("A file with the secret, 32 bytes or more: openssl rand -hex 32", valueName: "file"))
    var secret: String

    @Option(help: ArgumentHelp("How long the tokens of this process are taken.", valueName: "seconds"))
    var tokenSeconds = 60.0

    func run() async throws {
        let text = String(decoding: try Data(contentsOf: URL(filePath: secret)), as: UTF8.self)
        let signer = try TokenSigner(
            secrets: [String(text.prefix { !$0.isNewline })],
            salt: "fanfare.examples",
            maximumAgeSeconds: tokenSeconds
        )
        let jwt = try await JWTVerifier.load([.secret(path: secret)], rules: .init(leewaySeconds: 0))
        try await options.worker(authenticationRouter(signer, jwt)).serve()
    }
}
