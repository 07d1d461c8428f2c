import ArgumentParser

struct CompletionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completion",
        abstract: "A script that lets a shell complete commands, options and living names.",
        discussion: """
            bash: source <(fanfare completion bash)
            zsh:  fanfare completion zsh > "${fpath[1]}/_fanfare"
            fish: fanfare completion fish > ~/.config/fish/completions/fanfare.fish

            Names of groups, channels, processes and contexts are asked for when they are needed, of the broker the \
            command line means, for 0.7 seconds at most.
            """
    )

    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash
        case zsh
        case fish
    }

    @Argument(help: "bash, zsh or fish.") var shell: Shell

    func run() throws {
        let shell: CompletionShell =
            switch shell {
            case .bash: .bash
            case .zsh: .zsh
            case .fish: .fish
            }
        try System.write(Fanfare.completionScript(for: shell) + "\n")
    }
}
