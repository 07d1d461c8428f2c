import Synchronization

/// Where a program is between its start and its end, for `/readyz`: the operations port answers before the server
/// has started and after it has stopped.
package final class RunStage<Server: Sendable>: Sendable {
    package enum Stage: Sendable {
        case starting
        case running(Server)
        case stopping
    }

    private let stage = Mutex(Stage.starting)

    package init() {}

    /// The stage now.
    package var current: Stage {
        get { stage.withLock { $0 } }
        set { stage.withLock { $0 = newValue } }
    }

    /// The server, while it runs.
    package var server: Server? {
        if case .running(let server) = current { server } else { nil }
    }
}
