import ArgumentParser
import Dispatch
import FanfareClient
import FanfareModel
import Synchronization

/// What a shell may put in place of the beginning of a word: names that live in the broker or in the contexts file.
enum LiveNames {
    /// How long a shell waits at most; a broker that is far away completes nothing.
    private static let patience = DispatchTimeInterval.milliseconds(700)
    private static let namesMaximum = 100

    /// The names of `column` in a listing that begin with `prefix`.
    ///
    /// - Parameters:
    ///   - words: The command line so far, for the options that say which broker.
    ///   - isOffered: Which rows count.
    /// - Returns: Nothing when the broker cannot be asked or does not answer in time.
    static func inBroker(
        _ subject: InspectionQuery.Subject,
        _ column: String,
        _ words: [String],
        _ prefix: String,
        where isOffered: @escaping @Sendable (MessageValue) -> Bool = { _ in true }
    ) -> [String] {
        guard let query = query(subject, words, prefix), let options = options(words) else { return [] }
        // ArgumentParser asks on the main thread and waits; the work is done by others.
        let asking = Asking()
        Task.detached { await asking.ask(query, column, options, isOffered) }
        _ = asking.answered.wait(timeout: .now() + patience)
        return asking.names.withLock { Array(Set($0)).sorted() }
    }

    private final class Asking: Sendable {
        let names = Mutex<[String]>([])
        let answered = DispatchSemaphore(value: 0)

        func ask(
            _ query: InspectionQuery,
            _ column: String,
            _ options: GlobalOptions,
            _ isOffered: @Sendable (MessageValue) -> Bool
        ) async {
            let answer = try? await options.withLayer { try await $0.inspect(query) }
            let found = (answer?["rows"]?.array ?? []).filter(isOffered).compactMap { $0[column]?.string }
            names.withLock { $0 = found }
            answered.signal()
        }
    }

    /// What to ask for; `nil` when what is there is a pattern already.
    static func query(_ subject: InspectionQuery.Subject, _ words: [String], _ prefix: String) -> InspectionQuery? {
        guard !prefix.contains(where: { "*?[]\\'\"$".contains($0) }) else { return nil }
        var query = InspectionQuery(subject)
        if !prefix.isEmpty { query.match = Glob(prefix + "*") }
        query.namespace = options(words)?.namespace
        query.limit = namesMaximum
        return query
    }

    /// The options of `words` that say where the broker is, as a command would understand them.
    private static func options(_ words: [String]) -> GlobalOptions? {
        var given: [String] = []
        var rest = words[...]
        while let word = rest.popFirst() {
            let name = String(word.prefix { $0 != "=" })
            guard GlobalOptions.optionNames.contains(name) else { continue }
            given.append(word)
            if !word.contains("="), let value = rest.popFirst() { given.append(value) }
        }
        guard var options = try? GlobalOptions.parse(given) else { return nil }
        let variables = System.environment(GlobalOptions.contextVariables)
        guard (try? options.complete(environment: variables)) != nil else { return nil }
        return options
    }

    /// The names of the processes that are connected, without this one, which is gone before anybody can mean it.
    ///
    /// - Parameter role: Of those to offer; `nil` for all.
    static func processes(_ role: Role?, _ words: [String], _ prefix: String) -> [String] {
        let own = GlobalOptions.processName
        return inBroker(.sessions, "name", words, prefix) { row in
            row["name"]?.string != own && (role == nil || row["role"]?.string == role?.rawValue)
        }
    }

    /// The columns of the listing that `words` call, where `prefix` begins the last one of a list.
    static func columns(_ words: [String], _ prefix: String, where isOffered: (Column) -> Bool = { _ in true })
        -> [String]
    {
        guard let listing = words.lazy.compactMap({ listings[$0] }).first else { return [] }
        let before = prefix.lastIndex(of: ",").map { prefix[...$0] } ?? ""
        let names = listing.columns.filter(isOffered).map { $0.heading.lowercased() }
        return names.map { before + $0 }.filter { $0.hasPrefix(prefix) }
    }

    /// The listings by the commands that show them.
    private static let listings: [String: Listing] = [
        "groups": .groups, "group": .group, "channels": .channels, "workers": .workers, "sessions": .sessions,
        "closed": .closed, "drops": .drops,
    ]

    /// The names of this user's contexts that begin with `prefix`.
    static func contexts(_ prefix: String) -> [String] {
        let file = ContextsFile(environment: System.environment(["XDG_CONFIG_HOME", "HOME"]))
        guard let contexts = try? file?.read() else { return [] }
        return contexts.all.map(\.name).filter { $0.hasPrefix(prefix) }
    }
}

extension CompletionKind {
    static var groups: CompletionKind {
        .custom { words, _, prefix in LiveNames.inBroker(.groups, "group", words, prefix) }
    }
    static var channels: CompletionKind {
        .custom { words, _, prefix in LiveNames.inBroker(.channels, "channel", words, prefix) }
    }
    static var processes: CompletionKind {
        .custom { words, _, prefix in LiveNames.processes(nil, words, prefix) }
    }
    /// Of `drain worker`; `drain broker` takes none.
    static var workers: CompletionKind {
        .custom { words, _, prefix in
            words.contains("broker") ? [] : LiveNames.processes(.worker, words, prefix)
        }
    }
    static var columns: CompletionKind {
        .custom { words, _, prefix in LiveNames.columns(words, prefix) }
    }
    static var orders: CompletionKind {
        .custom { words, _, prefix in LiveNames.columns(words, prefix) { $0.ordersRows } }
    }
    static var contexts: CompletionKind {
        .custom { _, _, prefix in LiveNames.contexts(prefix) }
    }
}
