package import Dispatch
package import NIOCore

/// What NIO asks of an event loop.
extension EpollLoop {
    package func submit<T>(_ task: @escaping @Sendable () throws -> T) -> EventLoopFuture<T> {
        let promise = makePromise(of: T.self)
        execute { Self.complete(promise, task) }
        return promise.futureResult
    }

    @discardableResult
    package func scheduleTask<T>(
        deadline: NIODeadline,
        _ task: @escaping @Sendable () throws -> T
    ) -> Scheduled<T> {
        let promise = makePromise(of: T.self)
        let timer = LoopTimers.Timer(
            { Self.complete(promise, task) },
            cancelled: { promise.fail(EventLoopError.cancelled) }
        )
        onLoop { $0.timers.add(timer, at: deadline) }
        return Scheduled(promise: promise, cancellationTask: { self.onLoop { $0.cancel(timer) } })
    }

    @discardableResult
    package func scheduleTask<T>(in delay: TimeAmount, _ task: @escaping @Sendable () throws -> T) -> Scheduled<T> {
        scheduleTask(deadline: .now() + delay, task)
    }

    private func cancel(_ timer: LoopTimers.Timer) {
        let task = timers.cancel(timer)
        // Only here, where `timers` is not being changed: what it held may cancel another timer when it goes.
        withExtendedLifetime(task) {}
    }

    /// At once on the loop, as its next task elsewhere.
    private func onLoop(_ body: @escaping @Sendable (EpollLoop) -> Void) {
        if inEventLoop { body(self) } else { execute { body(self) } }
    }

    private static func complete<T>(_ promise: EventLoopPromise<T>, _ task: () throws -> T) {
        do {
            promise.assumeIsolated().succeed(try task())
        } catch {
            promise.fail(error)
        }
    }

    package func shutdownGracefully(queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void) {
        stop { queue.async { callback(nil) } }
    }
}

extension EventLoop {
    /// ``EpollLoop/afterOthers(_:)``; on any other loop a turn later. On the loop.
    package func runAfterOthers(_ task: @escaping () -> Void) {
        if let loop = self as? EpollLoop { loop.afterOthers(task) } else { assumeIsolated().execute(task) }
    }

    /// Does something for each of `elements`, so many of them in a turn, what is ready for others in between: who has
    /// thousands of them keeps nobody waiting. On the loop.
    package func runForEach<Element>(
        _ elements: ArraySlice<Element>,
        perTurn: Int,
        _ body: @escaping (Element) -> Void
    ) {
        for element in elements.prefix(perTurn) { body(element) }
        let rest = elements.dropFirst(perTurn)
        if !rest.isEmpty { runAfterOthers { [self] in runForEach(rest, perTurn: perTurn, body) } }
    }
}
