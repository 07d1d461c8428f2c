import FanfareModel
import Logging

/// What lines of log say of connections and sessions; `docs/logs.md` has the keys.
enum ConnectionLog {
    /// A connection that gets no session, and why.
    static func refused(_ peer: Peer, _ failure: Failure, _ logger: Logger) {
        logger.notice(
            "connection refused",
            metadata: [
                "connection": .stringConvertible(peer.number), "remote": "\(peer.remote)",
                "reason": "\(failure.code.name)", "detail": "\(failure.text)",
            ]
        )
    }

    /// A session that begins.
    static func opened(_ session: SessionID, _ hello: Hello, _ peer: Peer, _ logger: Logger) {
        logger.debug(
            "session opened",
            metadata: [
                "session": "\(session.value)", "connection": .stringConvertible(peer.number),
                "remote": "\(peer.remote)", "name": "\(hello.name)", "client": "\(hello.client)",
                "role": "\(hello.role.rawValue)", "namespace": "\(hello.namespace)", "node": "\(hello.node ?? "")",
            ]
        )
    }
}
