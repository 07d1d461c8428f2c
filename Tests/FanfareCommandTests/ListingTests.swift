import ArgumentParser
import FanfareModel
import Testing

@testable import fanfare

struct ListingTests {
    private func text(_ listing: Listing, _ answer: MessageValue, namespace: String? = nil) -> String {
        listing.page(answer, namespace: namespace).text(on: .plain)
    }

    private let groups: MessageValue = [
        "rows": [
            [
                "namespace": "default", "group": "chat.lobby", "members": 3, "owners": 2, "messages": 120, "rate": 12.5,
                "drops": 0, "age_milliseconds": 61_000,
            ],
            [
                "namespace": "blue", "group": "chat.b", "members": 1_000, "owners": 1, "messages": 9, "rate": 0,
                "drops": 4, "age_milliseconds": 100,
            ],
        ],
        "total": 5,
        "totals": ["members": 1_010, "messages": 140, "rate": 13.25, "drops": 4, "news": 7],
        "cursor": "abc",
    ]

    @Test func `groups show members, owners, rate and age, and a line of totals with the cursor`() {
        let expected = """
            NAMESPACE  GROUP       MEMBERS  OWNERS  MESSAGES  RATE/s  DROPS    AGE
            default    chat.lobby        3       2       120    12.5      0  1m01s
            blue       chat.b         1000       1         9     0.0      4  100ms

            5 groups: 1010 members, 140 messages, 13.3 a second, 4 drops; 2 shown, more with --cursor 'abc' or --all

            """
        #expect(text(.groups, groups) == expected)
    }

    @Test func `one of a thing is called so in the last line`() {
        let drops: MessageValue = ["rows": [], "total": 1, "totals": ["count": 1]]
        #expect(text(.drops, drops).hasSuffix("\n1 line: 1 message dropped; 0 shown\n"))
        let closed: MessageValue = ["rows": [], "totals": ["messages_in": 1, "messages_out": 2, "drops": 0]]
        #expect(text(.closed, closed).hasSuffix(": 1 message in, 2 messages out, 0 drops\n"))
        let channels: MessageValue = ["rows": [], "totals": ["depth": 1, "bytes": 1, "rate": 1]]
        #expect(text(.channels, channels).hasSuffix(": 1 unread, 1 B waiting, 1.0 a second\n"))
    }

    @Test func `the last line hints only at options the command has`() {
        let page = Listing.groups.page(groups, namespace: nil, hasOptions: false)
        let narrow = page.text(on: Surface(isStyled: false, isRedrawn: false, columns: 60, rows: nil))
        #expect(narrow.hasSuffix("4 drops; 2 shown; 2 columns left out\n"))
        #expect(page.text(on: .plain).hasSuffix("4 drops; 2 shown\n"))
    }

    @Test func `members show their worker, remote address and expiry`() {
        let answer: MessageValue = [
            "rows": [
                [
                    "namespace": "default", "group": "g", "channel": "specific.n1!a", "session": 4, "worker": "w-1",
                    "remote": "127.0.0.1:5000", "age_milliseconds": 5_000, "expires_milliseconds": nil,
                ],
                [
                    "namespace": "default", "group": "g", "channel": "plain", "session": nil, "worker": nil,
                    "remote": nil,
                    "age_milliseconds": 7_000, "expires_milliseconds": 86_393_000,
                ],
            ],
            "total": 2,
        ]
        let expected = """
            CHANNEL        WORKER  SESSION  REMOTE          AGE     EXPIRES
            specific.n1!a  w-1           4  127.0.0.1:5000   5s  with owner
            plain          -             -  -                7s      23h59m

            2 members

            """
        #expect(text(.group, answer) == expected)
    }

    @Test func `channels show depth, oldest age, capacity and drops`() {
        let answer: MessageValue = [
            "rows": [
                [
                    "namespace": "default", "channel": "background", "depth": 2, "bytes": 2_048,
                    "oldest_milliseconds": 1_500, "depth_high": 7, "rate": 0.5,
                    "capacity": 100, "readers": 0, "groups": 0, "session": nil, "worker": nil, "messages": 9,
                    "drops": 1,
                ]
            ],
            "total": 1, "totals": ["depth": 2, "bytes": 2_048, "messages": 9, "rate": 0.5, "drops": 1],
            "partial": true,
        ]
        let expected = """
            CHANNEL     DEPTH  HIGH  CAPACITY    BYTES  OLDEST  READERS  GROUPS  WORKER  MESSAGES  RATE/s  DROPS
            background      2     7       100  2.0 KiB      1s        0       0  -              9     0.5      1

            1 channel: 2 unread, 2.0 KiB waiting, 9 messages, 0.5 a second, 1 drop; partial

            """
        #expect(text(.channels, answer) == expected)
    }

    @Test func `rows of another namespace say which, unless the question did`() {
        let answer: MessageValue = ["rows": [["namespace": "blue", "channel": "a"]], "total": 1]
        #expect(text(.channels, answer).hasPrefix("NAMESPACE  CHANNEL"))
        #expect(text(.channels, answer, namespace: "blue").hasPrefix("CHANNEL"))
        #expect(text(.groups, groups).components("NAMESPACE") == 1)
    }

    @Test func `drops are asked for newest first, by glob and namespace, and the largest with --top`() throws {
        let plain = try ListingOptions.parse([]).query(.drops, glob: "chat.*", namespace: "blue")
        #expect(plain.subject == .drops && plain.match == Glob("chat.*") && plain.namespace == "blue")
        // The broker's own order, which is newest first.
        #expect(plain.sort == nil && !plain.descending)
        let top = try ListingOptions.parse(["--top", "3"]).query(.drops, namespace: nil)
        #expect(top.sort == "count" && top.descending)
        #expect(try ListingOptions.parse(["--top", "3"]).rows(isAll: false, isStream: false) == 3)
        let old = try ListingOptions.parse(["--sort", "AGE", "--descending"]).query(.drops, namespace: nil)
        #expect(old.sort == "age_milliseconds" && old.descending)
    }

    @Test func `drops and workers have their columns`() {
        let drops: MessageValue = [
            "rows": [
                [
                    "namespace": "default", "kind": "group", "name": "g", "worker": "w-1", "reason": "full",
                    "count": 7, "age_milliseconds": 1_500,
                ],
                [
                    "namespace": "blue", "kind": "channel", "name": "jobs", "worker": nil, "reason": "expired",
                    "count": 2, "age_milliseconds": 61_000,
                ],
            ],
            "total": 2, "totals": ["count": 9], "count_by_reason": ["full": 7, "expired": 2],
        ]
        let expected = """
              AGE  NAMESPACE  KIND     NAME  WORKER  REASON   COUNT
               1s  default    group    g     w-1     full         7
            1m01s  blue       channel  jobs  -       expired      2

            2 lines: 9 messages dropped (2 expired, 7 full)

            """
        #expect(text(.drops, drops) == expected)
        let workers: MessageValue = [
            "rows": [
                [
                    "name": "w-1", "node": "n1", "channels": 2, "attributes": ["pid": "77"], "link_bytes": 4_096,
                    "lag_milliseconds": 0.354, "link": 5_000,
                ]
            ],
            "total": 1,
        ]
        let lines = text(.workers, workers).split(separator: "\n")
        #expect(lines[0].split(separator: " ").map(String.init) == Listing.workers.usual.map(\.heading))
        #expect(lines[1].hasSuffix("77"))
        #expect(lines[1].contains("4.0 KiB") && lines[1].contains("0.35ms") && lines[1].contains("gone 5s"))
        #expect(lines[2] == "1 worker")
    }

    @Test func `closed connections say who, why and after how long`() {
        let answer: MessageValue = [
            "rows": [
                [
                    "age_milliseconds": 1_500, "session": nil, "name": "", "role": nil, "namespace": "default",
                    "remote": "127.0.0.1:5", "reason": "malformed_frame", "detail": "it is\nHTTP",
                    "lived_milliseconds": 3, "messages_in": 0, "messages_out": 0, "drops": 0,
                ]
            ],
            "total": 1, "totals": ["messages_in": 0, "messages_out": 0, "drops": 0],
        ]
        let lines = text(.closed, answer).split(separator: "\n")
        #expect(lines[0].split(separator: " ").map(String.init) == Listing.closed.usual.map(\.heading))
        #expect(lines[1].contains("malformed_frame") && lines[1].hasSuffix("it is\u{fffd}HTTP"))
        #expect(lines[2] == "1 closed connection: 0 messages in, 0 messages out, 0 drops")
    }

    @Test func `columns are chosen by heading or key, in the order they are named`() throws {
        let chosen = try Listing.workers.columns(named: "pid,AGE,frames_in,bytes-out,namespace")
        #expect(chosen.map(\.heading) == ["PID", "AGE", "FRAMES-IN", "BYTES-OUT", "NAMESPACE"])
        let page = Listing.groups.page(
            groups,
            namespace: nil,
            chosen: try Listing.groups.columns(named: "members,group")
        )
        #expect(page.text(on: .plain).hasPrefix("MEMBERS  GROUP\n      3  chat.lobby\n"))
        for unknown in ["colour", "", "group,", "group,,members", " group"] {
            let failure = #expect(throws: ProgramFailure.self) { try Listing.groups.columns(named: unknown) }
            #expect(failure?.exit == .usage)
            #expect(failure?.text.contains("namespace,group,members,owners") == true)
        }
        for listing in [Listing.groups, .group, .channels, .sessions, .workers, .closed, .drops] {
            #expect(Set(listing.columns.map(\.key)).count == listing.columns.count)
            #expect(listing.column(named: listing.topField) != nil)
            for column in listing.columns {
                #expect(listing.column(named: column.key)?.heading == column.heading)
                #expect(listing.column(named: column.heading)?.heading == column.heading)
            }
        }
    }

    @Test func `what was lost is red, what is late or nearly full is yellow`() throws {
        func tones(_ listing: Listing, _ names: String, _ row: MessageValue) throws -> [Tone] {
            try listing.columns(named: names).map { $0.cell(row).tone }
        }
        #expect(try tones(.groups, "drops,group", ["drops": 1, "group": "g"]) == [.bad, .plain])
        #expect(try tones(.groups, "drops", ["drops": 0]) == [.plain])
        #expect(try tones(.channels, "depth", ["depth": 100, "capacity": 100]) == [.bad])
        #expect(try tones(.channels, "depth", ["depth": 80, "capacity": 100]) == [.warning])
        #expect(try tones(.channels, "depth", ["depth": 79, "capacity": 100]) == [.plain])
        #expect(try tones(.channels, "depth", ["depth": 79, "capacity": 0]) == [.plain])
        #expect(try tones(.workers, "lag,link", ["lag_milliseconds": 100.5, "link": 7]) == [.warning, .warning])
        #expect(try tones(.workers, "lag,link", ["lag_milliseconds": 100, "link": "up"]) == [.plain, .plain])
        #expect(try tones(.closed, "reason", ["reason": "silence"]) == [.warning])
        #expect(try tones(.closed, "reason", ["reason": "goodbye"]) == [.plain])
    }

    @Test func `an answer of an unknown shape is an empty table, not an end`() {
        for answer: MessageValue in [
            nil, [:], ["rows": 1], ["rows": [1, "x", [:]]], ["rows": [["group": [1, 2.5, true]]]],
        ] {
            #expect(text(.groups, answer).hasPrefix("NAMESPACE"))
        }
        let odd: MessageValue = [
            "rows": [], "totals": ["members": "many", "messages": .int(.max), "rate": .double(.nan)],
        ]
        #expect(text(.groups, odd).contains("0 groups: 9223372036854775807 messages, nan a second"))
    }

    @Test func `status shows blocks, counters by reason, and what this program does not know yet`() {
        let status: MessageValue = [
            "broker": "fanfare-broker/0.1.0", "uptime_milliseconds": 192_000, "endpoints": ["unix:/a", "tcp://h:1"],
            "sessions": 3, "queued_bytes": 2_048, "bytes_in": 10, "drops": ["full": 3, "expired": 1], "refused": [:],
            "news": "x", "connections_by_role": ["worker": 2, "admin": 1], "bytes_high": 4_096,
            "fan_out_members": ["bounds": [1, 2], "counts": [0, 1, 2], "sum": 9],
        ]
        let expected = """
            BROKER
              broker     fanfare-broker/0.1.0
              uptime     3m12s
              endpoints  unix:/a tcp://h:1

            HOLDS
              sessions      3
              queued bytes  2.0 KiB
              bytes high    4.0 KiB

            TRAFFIC
              bytes in  10 B

            CONNECTIONS BY ROLE
              admin   1
              worker  2

            DROPS
              expired  1
              full     3

            REFUSED
              none

            OTHER
              news  x

            """
        #expect(StatusPage.page(status).text(on: .plain) == expected)
    }

    @Test func `one channel shows its attributes and its groups`() {
        let answer: MessageValue = [
            "rows": [
                [
                    "namespace": "default", "channel": "n1!a", "depth": 1, "oldest_milliseconds": 61_000,
                    "rate": 8.59665978748, "attributes": ["remote": "127.0.0.1:5"], "group_names": ["g", "h"],
                ]
            ],
            "total": 1,
        ]
        let expected = """
            n1!a
              namespace  default
              depth      1
              oldest     1m01s
              rate/s     8.6
              remote     127.0.0.1:5
              in groups  g h

            """
        #expect(StatusPage.channelPage(answer).text(on: .plain) == expected)
    }
}

extension String {
    /// How often `part` occurs.
    fileprivate func components(_ part: String) -> Int {
        ranges(of: part).count
    }
}
