import ArgumentParser
import Dispatch
import FanfareClient
import FanfareModel

struct FlushCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flush",
        abstract: "Forget every message and every membership of a namespace.",
        discussion: """
            Says first what there is, and on a terminal asks for the name of the namespace: any other answer does \
            nothing and exits with 1. Elsewhere it needs --yes. \
            fanfare-worker closes the sockets that were in a group with 1012, so that they come back and join again; \
            in other programs they stay open and are in no group.
            """
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
        guard isConfirmed || System.inputIsTerminal else {
            throw ProgramFailure(
                .usage,
                "flush asks before it forgets namespace \"\(namespace)\"; without a terminal say --yes"
            )
        }
        return namespace
    }

    func run() async throws {
        let (namespace, isConfirmed) = (try namespace(), isConfirmed)
        let flushed = try await global.withLayer { layer in
            let content = try await FlushedContent(of: namespace, layer)
            System.complain(content.line)
            if !isConfirmed {
                System.complain("Type the namespace to forget all of that:")
                guard await Self.answer() == namespace else { throw Declined("nothing was flushed") }
            }
            _ = try await layer.request { .flush($0) }
            return content
        }
        try System.write(
            global.isJSON ? Display.json(flushed.report) : "flushed namespace \(DisplayText.sanitized(namespace))\n"
        )
    }

    /// A line of standard input, off the threads that answer the broker's pings.
    private static func answer() async -> String? {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: readLine()) }
        }
    }
}

/// What a namespace holds before it is flushed.
struct FlushedContent: Sendable, Equatable {
    let namespace: String
    /// Of the broker's listings of the namespace: rows that match, and what they sum up to.
    let channels, messages, groups, memberships: Int64?

    init(of namespace: String, _ layer: ChannelLayer) async throws {
        self.init(
            namespace,
            channels: try await layer.inspect(Self.query(.channels, namespace)),
            groups: try await layer.inspect(Self.query(.groups, namespace))
        )
    }

    init(_ namespace: String, channels: MessageValue, groups: MessageValue) {
        self.namespace = namespace
        self.channels = channels["total"]?.int
        messages = channels["totals"]?["depth"]?.int
        self.groups = groups["total"]?.int
        memberships = groups["totals"]?["members"]?.int
    }

    /// One row: the counts are of all.
    private static func query(_ subject: InspectionQuery.Subject, _ namespace: String) -> InspectionQuery {
        var query = InspectionQuery(subject)
        query.namespace = namespace
        query.limit = 1
        return query
    }

    /// Said before it is gone.
    var line: String {
        func count(_ number: Int64?, _ one: String, _ many: String) -> String {
            "\(number.map { "\($0)" } ?? "?") \(number == 1 ? one : many)"
        }
        return "namespace \"\(DisplayText.sanitized(namespace))\" has \(count(channels, "channel", "channels")) with "
            + "\(count(messages, "unread message", "unread messages")), \(count(groups, "group", "groups")) with "
            + count(memberships, "membership", "memberships")
    }

    var report: MessageValue {
        let counts = [("channels", channels), ("messages", messages), ("groups", groups), ("memberships", memberships)]
        var report: [String: MessageValue] = ["flushed": .string(namespace)]
        for (name, count) in counts { report[name] = count.map { .int($0) } }
        return .map(report)
    }
}
