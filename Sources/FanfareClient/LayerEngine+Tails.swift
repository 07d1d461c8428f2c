import FanfareModel
import NIOCore

// Copies of messages as they pass.
extension LayerEngine {
    func tail(_ query: TailQuery) -> AsyncStream<Tailed> {
        let id = session.nextID()
        let (stream, continuation) = AsyncStream.makeStream(of: Tailed.self, bufferingPolicy: .bufferingNewest(1_024))
        guard session.post(.tail(id, query)) else {
            continuation.finish()
            return stream
        }
        tails[id] = continuation
        let engine = NIOLoopBound(self, eventLoop: loop)
        continuation.onTermination = { [loop] _ in loop.execute { engine.value.endTail(id) } }
        return stream
    }

    private func endTail(_ id: RequestID) {
        guard tails.removeValue(forKey: id) != nil else { return }
        session.call({ .cancel(id: $0, target: id) }, then: { _ in })
    }
}
