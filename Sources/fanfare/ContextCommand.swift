import ArgumentParser
import FanfareModel
import FanfareOps

struct ContextCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "context",
        abstract: "Brokers with their credentials, under names.",
        discussion: """
            They are kept in $XDG_CONFIG_HOME/fanfare/contexts.yaml, else ~/.config/fanfare/contexts.yaml, which only \
            its user may read.

            \(GlobalOptions.precedence)
            """,
        subcommands: [
            ContextListCommand.self, ContextAddCommand.self, ContextSelectCommand.self, ContextShowCommand.self,
            ContextPreviousCommand.self, ContextRemoveCommand.self,
        ]
    )
}

/// What the commands about contexts take besides.
struct ContextOptions: ParsableArguments {
    @Flag(name: .customLong("json"), help: "Print JSON instead of text.") var isJSON = false

    /// The file of this user.
    func file() throws(ProgramFailure) -> ContextsFile {
        guard let file = ContextsFile(environment: System.environment(["XDG_CONFIG_HOME", "HOME"])) else {
            throw ProgramFailure(
                .configuration,
                "there is no place for contexts: neither $XDG_CONFIG_HOME nor $HOME is an absolute path"
            )
        }
        return file
    }

    /// Says what was done: `value` for programs, `line` for people.
    func say(_ value: MessageValue, _ line: String) throws {
        try System.write(isJSON ? Display.json(value) : DisplayText.sanitized(line) + "\n")
    }
}

struct ContextListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "All contexts; * is in use.")

    @OptionGroup var options: ContextOptions

    func run() throws {
        let contexts = try options.file().read()
        if options.isJSON { return try System.write(Display.json(Self.answer(contexts))) }
        try System.write(Self.page(contexts).text(on: System.surface))
    }

    static func answer(_ contexts: Contexts) -> MessageValue {
        [
            "selected": contexts.selected.map { .string($0) } ?? .null,
            "contexts": .array(contexts.all.map { $0.value(revealing: false) }),
        ]
    }

    static func page(_ contexts: Contexts) -> Page {
        var page = Page()
        guard !contexts.all.isEmpty else {
            page.append("no contexts; `fanfare context add NAME --broker ENDPOINT` adds one")
            return page
        }
        var table = Table([
            ("", .left), ("NAME", .left), ("BROKER", .left), ("NAMESPACE", .left), ("ROLE", .left),
            ("CREDENTIALS", .left), ("NOTE", .left),
        ])
        for context in contexts.all {
            table.append([
                context.name == contexts.selected ? "*" : "", context.name, context.brokers.joined(separator: " "),
                context.namespace ?? "", context.role ?? "", context.credentials, context.note ?? "",
            ])
        }
        page.append(table)
        return page
    }
}

struct ContextAddCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Remember a broker under a name.",
        discussion: """
            A token stands in a file of its own (--token-file) or is read from standard input (--read-token) and kept \
            among the contexts; on a command line everybody could read it. Nothing is asked of the broker: \
            `fanfare --context NAME ping` does.
            """
    )

    @Argument(help: "The name: letters, digits, \".\", \"_\" and \"-\".") var name: String
    @Option(help: ArgumentHelp("For people.", valueName: "text")) var note: String?
    @Flag(help: "Read the token from standard input and keep it in the contexts file.") var readToken = false
    @Flag(help: "Take the place of the context of that name.") var replace = false
    @Flag(name: .customLong("select"), help: "Use it from now on.") var selects = false
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        guard !global.brokers.isEmpty else { throw ValidationError("context add needs --broker ENDPOINT") }
        guard !readToken || global.tokenFile == nil else {
            throw ValidationError("--read-token and --token-file are two ways to one token; leave one out")
        }
        guard global.contextName == nil else {
            throw ValidationError("--context names an existing context; the new one's name stands without it")
        }
    }

    /// The context these options describe; paths are as good from every folder.
    func context(token: String?, folder: String) -> Context {
        func absolute(_ path: String?) -> String? { path.map { $0.first == "/" ? $0 : "\(folder)/\($0)" } }
        var context = Context(name: name, note: note, brokers: global.brokers, namespace: global.namespace)
        context.role = global.role?.rawValue
        context.token = token
        context.tokenFile = absolute(global.tokenFile)
        context.allowsTokenInTheClear = global.tokenInTheClear ? true : nil
        context.caFile = absolute(global.caFile)
        context.certificateFile = absolute(global.certificateFile)
        context.keyFile = absolute(global.keyFile)
        context.serverName = global.serverName
        return context
    }

    func run() throws {
        var token: String?
        if readToken, System.inputIsTerminal {
            token = System.askSecret("Token: ")
        } else if readToken {
            let input = try System.readInput(bytesMaximum: BrokerSecurity.tokenBytesMaximum + 2)
            token = String(decoding: input, as: UTF8.self).trimmingLineEnd
        }
        let context = context(token: token, folder: System.folder)
        try ContextOptions().file().change { contexts throws(ProgramFailure) in
            try contexts.add(context, replaces: replace)
            if selects { try contexts.select(name) }
        }
        let line = "added context \(name)" + (selects ? ", now in use" : "; `fanfare context select \(name)` uses it")
        try System.write(global.isJSON ? Display.json(["added": .string(name)]) : line + "\n")
    }
}

struct ContextSelectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "select",
        abstract: "Use a context when nobody says which."
    )

    @Argument(help: "The context.", completion: .contexts) var name: String?
    @Flag(name: .customLong("none"), help: "Use no context.") var isNone = false
    @OptionGroup var options: ContextOptions

    func validate() throws {
        guard (name == nil) == isNone else { throw ValidationError("select takes the name of a context, or --none") }
    }

    func run() throws {
        try options.file().change { contexts throws(ProgramFailure) in try contexts.select(name) }
        try options.say(
            ["selected": name.map { .string($0) } ?? .null],
            name.map { "context \($0) is in use" } ?? "no context is in use"
        )
    }
}

struct ContextPreviousCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "previous",
        abstract: "Use the context that was in use before."
    )

    @OptionGroup var options: ContextOptions

    func run() throws {
        var name: String?
        try options.file().change { contexts throws(ProgramFailure) in
            guard let previous = contexts.previous else {
                throw ProgramFailure(.usage, "no context was in use before this one")
            }
            try contexts.select(previous)
            name = previous
        }
        try options.say(["selected": .string(name ?? "")], "context \(name ?? "") is in use")
    }
}

struct ContextShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Everything a context says, but for its token."
    )

    @Argument(help: "The context. Default: the one in use.", completion: .contexts) var name: String?
    @Flag(help: "Show the token too.") var revealToken = false
    @OptionGroup var options: ContextOptions

    func run() throws {
        let contexts = try options.file().read()
        guard let name = name ?? contexts.selected else {
            throw ProgramFailure(.usage, "no context is in use; name one, `fanfare context list` lists them")
        }
        let value = try contexts.named(name, from: "show").value(revealing: revealToken)
        if options.isJSON { return try System.write(Display.json(value)) }
        var page = Page()
        let facts = Context.table.map(\.name).filter { $0 != "name" }.compactMap { key in
            value[key].flatMap { value -> (label: String, value: String)? in
                let text = value.array.map { $0.compactMap(\.string).joined(separator: " ") } ?? CellText.plain(value)
                return text.isEmpty ? nil : (key.replacing("_", with: " "), text)
            }
        }
        page.append(heading: name, facts: facts)
        try System.write(page.text(on: System.surface))
    }
}

struct ContextRemoveCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "remove", abstract: "Forget a context.")

    @Argument(help: "The context.", completion: .contexts) var name: String
    @OptionGroup var confirmation: Confirmation
    @OptionGroup var options: ContextOptions

    func run() throws {
        let context = try options.file().read().named(name, from: "remove")
        if context.token != nil {
            try confirmation.ask("Forget context \(name) and the token that is kept in it?")
        }
        try options.file().change { contexts throws(ProgramFailure) in try contexts.remove(name) }
        try options.say(["removed": .string(name)], "removed context \(name)")
    }
}

extension String {
    /// Without the line end at its end, and only that.
    fileprivate var trimmingLineEnd: String {
        var text = self
        if text.last?.isNewline == true { text.removeLast() }
        return text
    }
}
