import FanfareModel

/// What a route does with its sockets. One instance serves all of them; every call is on the worker's loop and returns
/// at once.
protocol Consumer: AnyObject {
    /// Shown in the broker's listings.
    var name: String { get }

    /// The groups a socket is in from its opening to its end.
    func groups(for request: SocketRequest) -> [String]

    /// The socket is in its groups: what is sent to them from now on reaches it.
    func opened(_ socket: Socket)

    /// One text message of a client; order kept. May come before ``opened(_:)``.
    func received(text: String, from socket: Socket)

    /// One binary message of a client; order kept.
    func received(binary: [UInt8], from socket: Socket)

    /// Writes a message of a group or channel as frames, once for all the sockets that get it.
    ///
    /// - Parameters:
    ///   - message: As it was sent, from anybody.
    ///   - frames: Append to it.
    /// - Returns: Whether the consumer knows this kind of message; if not, nothing may have been appended.
    func render(_ message: MessageValue, into frames: inout [UInt8]) -> Bool
}
