package import FanfareClient
import FanfareModel
package import Logging
package import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A worker put together on its loop: what it holds and its session with the broker. Whoever has it starts the session
/// and calls ``WorkerLoop/timePassed()`` once a second.
package struct WorkerParts {
    package let worker: WorkerLoop
    package let session: LayerSession

    /// On `loop`.
    ///
    /// - Parameters:
    ///   - listen: Where it can be reached, for the broker's listings.
    ///   - makeSession: Makes the session, whatever carries it; it is not to be started.
    package init(
        _ configuration: WorkerServer.Configuration,
        _ router: Router,
        on loop: any EventLoop,
        listen: String,
        logger: Logger,
        session makeSession: (LayerSession.Configuration) -> LayerSession
    ) {
        let node = ChannelLayer.randomNode()
        var settings = LayerSession.Configuration(
            endpoints: configuration.brokers,
            hello: Self.hello(configuration, node: node, listen: listen),
            limits: configuration.limits
        )
        settings.security = configuration.brokerSecurity
        let wait = configuration.workerLimits.sendsWait.value
        settings.sendsWhileAway = wait == 0 ? .fail : .wait(seconds: Double(wait) / 1_000)
        let session = makeSession(settings)
        self.session = session
        worker = WorkerLoop(
            loop: loop,
            configuration: configuration,
            node: node,
            processID: Int(getpid()),
            router: router,
            port: LayerPort(post: { session.post($0) }, call: { session.call($0, then: $1) }),
            logger: logger
        )
        session.delegate = worker.link
    }

    private static func hello(_ configuration: WorkerServer.Configuration, node: String, listen: String) -> Hello {
        var hello = Hello(
            client: "fanfare-worker/\(configuration.version)",
            name: configuration.name,
            role: .worker,
            policy: Policy(configuration.limits)
        )
        hello.node = node
        hello.attributes = ["pid": String(getpid()), "host": hostName(), "listen": listen]
        return hello
    }

    private static func hostName() -> String {
        var bytes = [CChar](repeating: 0, count: 256)
        guard gethostname(&bytes, bytes.count - 1) == 0 else { return "" }
        return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
