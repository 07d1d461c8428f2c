package import FanfareModel
import Glibc
import NIOCore

/// One endpoint that accepts frame connections.
package struct Listener: Sendable {
    /// The endpoint as bound: port 0 has become a port.
    package let endpoint: Endpoint
    private let listener: NIOLoopBound<DescriptorListener>
    private let socketFile: SocketFile?

    /// Connections the kernel keeps until they are accepted.
    private static let backlog = 1_024

    /// How connections come in.
    package struct Door {
        /// For Unix sockets.
        package var socket = SocketFile.Access()
        /// For `tls://`, which needs it.
        package var tls: TLSListening?

        package init() {}
    }

    /// Binds `endpoint` and accepts on `loop`. On the loop; a name of a host is looked up there.
    ///
    /// - Parameters:
    ///   - door: What the kernel and TLS ask of who comes.
    ///   - inherited: A socket that somebody else has bound to `endpoint` and keeps: nothing is made, nor removed.
    ///   - acceptsPerSecond: What is accepted at most; what comes faster waits in the kernel.
    ///   - make: Runs for each connection. With TLS the connection opens before the handshake; what is written waits.
    /// - Throws: ``ProgramFailure`` with exit `configuration` when the address is taken, the folder is missing, or
    ///   somebody listens on the Unix socket already.
    package static func bind(
        _ endpoint: Endpoint,
        on loop: EpollLoop,
        _ door: Door = Door(),
        inherited: CInt? = nil,
        acceptsPerSecond: Int? = nil,
        make: @escaping (Arrival) -> FrameConnection
    ) throws -> Listener {
        let (descriptor, file) = try listen(on: endpoint, door, inherited)
        let rate = acceptsPerSecond.map { AcceptRate(perSecond: $0) }
        let tls = endpoint.isTLS ? door.tls : nil
        let listener = DescriptorListener(descriptor, on: loop, rate: rate) {
            let arrival = Arrival(descriptor: $0, address: $1)
            let connection = make(arrival)
            if let tls { return tls.carry(connection, $0, on: loop, address: $1) }
            let carrier = DescriptorConnection($0, on: loop, receiver: connection)
            connection.open(carrier.writer, remote: arrival.address.map { "\($0)" } ?? "unix")
        }
        listener.start()
        let bound: Endpoint =
            switch endpoint {
            case .tcp(let host, let port): .tcp(host: host, port: listener.port ?? port)
            case .tls(let host, let port): .tls(host: host, port: listener.port ?? port)
            case .unix: endpoint
            }
        return Listener(endpoint: bound, listener: NIOLoopBound(listener, eventLoop: loop), socketFile: file)
    }

    private static func listen(on endpoint: Endpoint, _ door: Door, _ inherited: CInt?) throws -> (CInt, SocketFile?) {
        guard !endpoint.isTLS || door.tls != nil else {
            throw ProgramFailure(.configuration, "cannot listen on \(endpoint) without a TLS certificate")
        }
        if let inherited {
            guard Glibc.listen(inherited, CInt(backlog)) == 0 else {
                throw ProgramFailure(.configuration, "cannot listen on \(endpoint), which this process was given")
            }
            return (inherited, nil)
        }
        switch endpoint {
        case .tcp(let host, let port), .tls(let host, let port):
            do {
                let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
                return (try DescriptorListener.listen(on: address, backlog: backlog), nil)
            } catch {
                throw ProgramFailure(
                    .configuration,
                    "cannot listen on \(endpoint): \(SystemReason.text(error)); choose another address"
                )
            }
        case .unix(let path):
            let (descriptor, file) = try SocketFile.listen(
                on: path,
                access: door.socket,
                backlog: CInt(backlog)
            )
            return (descriptor, file)
        }
    }

    /// How often accepting paused because connections came faster than the rate. On the loop.
    package var ratePauses: UInt64 { listener.value.ratePauses }

    /// Leaves who comes from now on to the kernel; nobody else can listen here before ``close()``. On the loop.
    package func stopAccepting() {
        listener.value.stopAccepting()
    }

    /// Removes the Unix socket, if it is still the one this listener made, and stops accepting. On the loop.
    package func close() {
        socketFile?.remove()
        listener.value.close()
    }
}

extension Endpoint {
    var isTLS: Bool { if case .tls = self { true } else { false } }
}
