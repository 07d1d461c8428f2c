import FanfareCore
import FanfareModel
import NIOCore

/// The tails of this process itself.
struct Watches {
    struct Watch {
        var viewer: Viewer
        var access: Access?
        var room: TailFeed.Room
        var copies: AsyncStream<Tailed>.Continuation
    }

    var byID: [RequestID: Watch] = [:]
    var last: RequestID = 0
}

// Those who look without a session.
extension BrokerLoop {
    /// What a viewer may ask: the same, or with less to be seen.
    ///
    /// - Throws: `unauthorized` or `forbidden`.
    func admit(_ request: Request, from access: Access?) throws(Failure) -> Request {
        let hello = Hello(client: "operations", name: "operations", role: .inspect, policy: Policy(limits))
        guard let gate = access.flatMap({ Gate($0, hello) }) else { return request }
        return try gate.admit(request)
    }

    /// Starts a tail for a viewer.
    ///
    /// - Throws: `unauthorized`, `forbidden` or `limit_reached`.
    func watch(_ query: TailQuery, for viewer: Viewer) throws(Failure) -> TailFeed {
        let access = try security.access(for: viewer)
        guard case .tail(let id, let admitted) = try admit(.tail(watches.last + 1, query), from: access) else {
            preconditionFailure("a gate made something else of a TAIL")
        }
        try core.openTail(id, admitted)
        watches.last = id
        let room = TailFeed.Room(bytesMaximum: limits.tailBytes)
        let (stream, continuation) = AsyncStream.makeStream(of: Tailed.self)
        watches.byID[id] = Watches.Watch(viewer: viewer, access: access, room: room, copies: continuation)
        let broker = NIOLoopBound(self, eventLoop: loop)
        continuation.onTermination = { [loop] _ in loop.execute { broker.value.endWatch(id) } }
        return TailFeed(stream: stream, room: room, limits: limits)
    }

    /// Passes a copy on unless the viewer is behind: then it costs only itself.
    func pass(_ copy: Tailed, to tail: RequestID) {
        guard let watch = watches.byID[tail] else { return }
        guard watch.room.admit(copy) else { return core.skipCopies(copy.skipped &+ 1, of: tail, .broker) }
        watch.copies.yield(copy)
    }

    func endWatch(_ id: RequestID) {
        guard let watch = watches.byID.removeValue(forKey: id) else { return }
        core.closeTail(id)
        watch.copies.finish()
    }

    /// Ends the tails of those whom the credentials of now would not let in, or would show something else.
    func endRevokedWatches() {
        for (id, watch) in watches.byID where (try? security.access(for: watch.viewer)) != watch.access {
            endWatch(id)
        }
    }

    func endWatches() {
        for id in watches.byID.keys { endWatch(id) }
    }
}
