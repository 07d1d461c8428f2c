import FanfareModel

/// Messages as values of your own types.
extension ChannelLayer {
    /// Sends a value to a channel as a message of `type`. Returns when the broker has accepted it.
    ///
    /// - Parameters:
    ///   - value: Encodes as a map; ``MessageEncoder`` says how.
    ///   - type: What handlers find the message by, such as `mail.send`.
    ///   - channel: A normal channel, or a process channel of any process.
    /// - Throws: As ``send(_:to:expirySeconds:)``; `EncodingError` for a value that is no map.
    public func send(_ value: some Encodable, type: String, to channel: String) async throws {
        try await send(try MessageEncoder().encode(message: value, type: type), to: channel)
    }

    /// Sends a value to every member of a group as a message of `type`.
    ///
    /// - Parameters:
    ///   - value: Encodes as a map.
    ///   - type: What handlers find the message by, such as `chat.message`.
    ///   - group: A group; nothing happens when nobody is in it.
    /// - Throws: As ``groupSend(_:to:excluding:expirySeconds:)``; `EncodingError` for a value that is no map.
    public func groupSend(_ value: some Encodable, type: String, to group: String) async throws {
        try await groupSend(try MessageEncoder().encode(message: value, type: type), to: group)
    }
}
