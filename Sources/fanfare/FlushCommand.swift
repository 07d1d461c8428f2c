import ArgumentParser
import FanfareClient
import FanfareModel

struct FlushCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush",
        abstract: "Forget every message and every membership of a namespace.",
        discussion: "Sockets stay open, but they are in no group any more until their programs add them again."
    )

    @Flag(name: .customLong("yes"), help: "Do not ask.") var isConfirmed = false
    @OptionGroup var global: GlobalOptions

    /// The namespace, said aloud: a default would be a trap here.
    func namespace() throws -> String {
        guard let namespace = global.namespace else {
            throw ProgramFailure(
                .usage,
                "flush needs --namespace NAMESPACE: it forgets all of its messages and memberships"
            )
        }
        return namespace
    }

    func run() async throws {
        let namespace = try namespace()
        guard try isConfirmed || asks(namespace) else { return System.complain("fanfare: nothing was flushed") }
        _ = try await global.withLayer { layer in
            try await layer.request { .flush($0) }
        }
        try System.write(
            global.isJSON ? Display.json(["flushed": .string(namespace)]) : "flushed namespace \(namespace)\n"
        )
    }

    private func asks(_ namespace: String) throws -> Bool {
        guard System.inputIsTerminal else {
            throw ProgramFailure(
                .usage,
                "flush asks before it forgets namespace \"\(namespace)\"; without a terminal say --yes"
            )
        }
        System.complain("Forget every message and every membership of namespace \"\(namespace)\"? Type yes to do it.")
        return readLine() == "yes"
    }
}
