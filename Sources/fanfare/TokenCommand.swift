import ArgumentParser
import Crypto
import FanfareModel

struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Make a token, and the entry of a broker's credentials file that lets it in.",
        discussion: """
            The token is random, 256 bits, and is shown once: the broker keeps its hash. Append the entry below \
            `credentials:` in the file of `fanfare-broker --credentials` and send the broker SIGHUP. SECURITY.md says \
            what else an entry may hold.
            """
    )

    @Option(help: ArgumentHelp("publish, worker, inspect or admin. Repeatable.", valueName: "role"))
    var role: [Role] = [.worker]

    @Option(help: ArgumentHelp("What the broker's errors and logs call it.", valueName: "name"))
    var name = "unnamed"

    @Flag(name: .customLong("json"), help: "Print JSON instead of text.")
    var isJSON = false

    func validate() throws {
        guard (1...64).contains(name.utf8.count) else { throw ValidationError("--name has 1 to 64 bytes") }
    }

    func run() throws {
        let random = SymmetricKey(size: SymmetricKeySize(bitCount: 8 * TokenHash.tokenBytes))
        let token = TokenHash.tokenPrefix + random.withUnsafeBytes { TokenHash.hexadecimal($0) }
        let text = try text(of: token, TokenHash(bytes: Array(SHA256.hash(data: Array(token.utf8))))!)
        try System.write(text)
    }

    private func text(of token: String, _ hash: TokenHash) throws -> String {
        let roles = role.map(\.rawValue)
        if isJSON {
            return try Display.json([
                "token": .string(token), "hash": .string(hash.description), "name": .string(name),
                "roles": .array(roles.map { .string($0) }),
            ])
        }
        // JSON's quotes are YAML's too.
        let quoted = try Display.json(.string(name)).dropLast()
        return """
            # The token, for the client. It is kept nowhere: note it now.
            \(token)

            # The entry, for the credentials file of the broker:
              - name: \(quoted)
                tokens: ["\(hash)"]
                roles: [\(roles.joined(separator: ", "))]

            """
    }
}
