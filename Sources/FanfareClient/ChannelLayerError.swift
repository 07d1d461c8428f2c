package import FanfareModel

/// Why a channel layer could not do what was asked. Each tells what happened and what to do.
public enum ChannelLayerError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The channel holds as many unread messages as its capacity allows. The message was not sent; try again later.
    case channelFull(String)
    /// The message is larger than the broker accepts. It was not sent.
    case messageTooLarge(String)
    /// A channel or group name breaks the grammar of names.
    case badName(String)
    /// The channel belongs to another process; only that one reads it.
    case notOwner(String)
    /// There is no broker at the moment. What was asked was not sent; try again later.
    case notConnected(String)
    /// The session with the broker ended, because the broker or the network was gone for too long or the broker was
    /// started again, before it answered. What was asked may or may not have been carried out; the layer does not repeat
    /// it. A short break of the connection is no reason: the answer comes when it is back.
    case outcomeUnknown(String)
    /// The broker refused for another reason; the text says which.
    case refused(String)
    /// The layer has been closed.
    case closed

    /// What happened, for people.
    public var description: String {
        switch self {
        case .channelFull(let text), .messageTooLarge(let text), .badName(let text), .notConnected(let text),
            .outcomeUnknown(let text), .refused(let text):
            text
        case .notOwner(let channel):
            "\"\(channel)\" belongs to another process; receive from channels of newChannel(prefix:)"
        case .closed: "this channel layer has been closed"
        }
    }

    /// What the broker's failure is to those who use a layer.
    package init(_ failure: Failure) {
        switch failure.code {
        case .channelFull: self = .channelFull(failure.text)
        case .messageTooLarge: self = .messageTooLarge(failure.text)
        case .badName: self = .badName(failure.text)
        case .silence, .linkOverflow, .draining:
            self = failure.isOutcomeKnown ? .notConnected(failure.text) : .outcomeUnknown(failure.text)
        default: self = .refused("\(failure.code.name): \(failure.text)")
        }
    }
}
