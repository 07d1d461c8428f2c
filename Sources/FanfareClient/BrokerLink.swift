import FanfareModel

/// One connection to a broker, as a ``LayerSession`` sees it: over a socket, or to a core in this process.
protocol BrokerLink: AnyObject {
    /// Gathers a request; it leaves at the end of this loop turn.
    func write(_ request: Request)
    /// Ends the connection after what is gathered has left.
    func close()
}

/// Makes links. Reports to the session: `linkOpened`, `linkReceived`…, `linkClosed`, or `linkClosed` alone.
protocol LinkCarrier: AnyObject {
    /// How many brokers there are to choose from.
    var endpointCount: Int { get }
    /// Dials one of them.
    func connect(to endpoint: Int, for session: LayerSession)
}
