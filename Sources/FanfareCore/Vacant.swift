import FanfareModel

// What stands in the free places of the tables. Nothing reads it.

extension Channel {
    static let vacant = Channel(name: "", hash: 0, namespace: .nowhere)
}

extension Group {
    static let vacant = Group(name: "", hash: 0, namespace: .nowhere, openedAt: Instant(nanoseconds: 0))
}

extension Membership {
    static let vacant = Membership(channel: .nowhere, group: .nowhere, joinedAt: Instant(nanoseconds: 0))
}

extension Session {
    static let vacant = Session(
        id: SessionID(0),
        hello: Hello(client: "", name: "", role: .publish, policy: Policy(Limits())),
        policy: Policy(Limits()),
        namespace: .nowhere,
        openedAt: Instant(nanoseconds: 0)
    )
}
