import FanfareModel

// What stands in the free places of the tables. Nothing reads it.

extension Channel {
    static let vacant = Channel(name: "", namespace: .nowhere, openedAt: Instant(nanoseconds: 0), number: 0)
}

extension Group {
    static let vacant = Group(name: "", namespace: .nowhere, openedAt: Instant(nanoseconds: 0))
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
