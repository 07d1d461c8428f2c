import FanfareModel

/// What an inspection must show, for comparison with `Core.inspect`. Only columns that are the broker's state.
extension Oracle {
    /// `namespace`, `group`, `members` and `owners` of every group.
    var groupRows: Set<[String: MessageValue]> {
        Set(
            Set(memberships.map(\.group)).map { group in
                [
                    "namespace": .string(group.namespace),
                    "group": .string(group.name),
                    "members": .count(members(of: group).count),
                    "owners": .count(owners.first { $0.group == group }?.sessions.count ?? 0),
                ]
            }
        )
    }

    /// `namespace`, `group`, `channel`, `session` and `expires_milliseconds` of every member of one group.
    func memberRows(of group: Address) -> Set<[String: MessageValue]> {
        Set(
            members(of: group).map { member in
                [
                    "namespace": .string(group.namespace),
                    "group": .string(group.name),
                    "channel": .string(member.channel),
                    "session": owner(of: member).map { .count($0.id.value) } ?? .null,
                    "expires_milliseconds": member.deadline.map { .count(now.milliseconds(until: $0).value) } ?? .null,
                ]
            }
        )
    }

    /// `namespace`, `channel`, `depth`, `bytes`, `readers`, `groups` and `session` of every channel.
    var channelRows: Set<[String: MessageValue]> {
        Set(
            channels.map { channel in
                let owner = sessions.first { owns($0, channel) }
                let bytes = channel.queue.map(\.content.bytes).reduce(0, +) + channel.pushed.reduce(0, +)
                return [
                    "namespace": .string(channel.address.namespace),
                    "channel": .string(channel.address.name),
                    "depth": .count(owner == nil ? UInt64(channel.queue.count) : channel.unread),
                    "bytes": .count(bytes),
                    "readers": .count(channel.receives.count),
                    "groups": .count(memberships.count { $0.channelAddress == channel.address }),
                    "session": owner.map { .count($0.id.value) } ?? .null,
                ]
            }
        )
    }
}
