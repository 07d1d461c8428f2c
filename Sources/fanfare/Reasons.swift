import ArgumentParser
import FanfareModel

extension DropReason: ExpressibleByArgument {
    init?(argument: String) {
        guard let reason = Self.allCases.first(where: { $0.name == argument }) else { return nil }
        self = reason
    }

    static var allValueStrings: [String] { allCases.map(\.name) }
    static var defaultCompletionKind: CompletionKind { .list(allValueStrings) }
}

/// Why a connection ended, by the name `closed` lists it with.
struct ClosedReason: ExpressibleByArgument, Equatable {
    let name: String

    init?(argument: String) {
        guard Self.allValueStrings.contains(argument) else { return nil }
        name = argument
    }

    /// Those that are no errors of the protocol, then the errors a broker may close with.
    static let allValueStrings =
        ["goodbye", "connection_lost", "process_ended", "drained", "stopping"] + ErrorCode.allCases.map(\.name)
    static var defaultCompletionKind: CompletionKind { .list(allValueStrings) }
}
