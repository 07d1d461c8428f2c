package import FanfareModel
package import NIOCore
import NIOPosix

/// One endpoint that accepts frame connections.
package struct Listener: Sendable {
    /// The endpoint as bound: port 0 has become a port.
    package let endpoint: Endpoint
    private let channel: any Channel
    private let socketFile: SocketFile?

    /// Connections the kernel keeps until they are accepted.
    private static let backlog: CInt = 1_024

    /// Binds `endpoint` and accepts on `loop`.
    ///
    /// - Parameters:
    ///   - accept: Runs on `loop` for each connection and adds its handler.
    /// - Throws: ``ProgramFailure`` with exit `configuration` when the address is taken, the folder is missing, or
    ///   somebody listens on the Unix socket already.
    package static func bind(
        _ endpoint: Endpoint,
        on loop: any EventLoop,
        accept: @escaping @Sendable (any Channel) throws -> Void
    ) async throws -> Listener {
        let bootstrap = ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try accept(channel) }
            }
        switch endpoint {
        case .tcp(let host, let port):
            do {
                let channel = try await bootstrap.bind(host: host, port: port).get()
                let bound = Endpoint.tcp(host: host, port: channel.localAddress?.port ?? port)
                return Listener(endpoint: bound, channel: channel, socketFile: nil)
            } catch {
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on \(endpoint): \(SystemReason.text(error)); choose another address"
                )
            }
        case .unix(let path):
            let (descriptor, file) = try SocketFile.listen(on: path, backlog: backlog)
            do {
                let channel = try await bootstrap.withBoundSocket(descriptor).get()
                return Listener(endpoint: endpoint, channel: channel, socketFile: file)
            } catch {
                file.remove()
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on \(endpoint): \(SystemReason.text(error)); choose another path"
                )
            }
        }
    }

    /// Removes the Unix socket, if it is still the one this listener made, and stops accepting.
    package func close() async {
        socketFile?.remove()
        try? await channel.close()
    }
}
