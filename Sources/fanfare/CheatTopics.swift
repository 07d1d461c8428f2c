extension Cheat {
    static let topics: [Topic] = [
        looking, groups, drops, sending, watching, checks, contexts, tokens, draining, configuration, django,
        kubernetes,
        prometheus, shells,
    ]

    private static let looking = Topic(
        name: "looking",
        title: "what the broker holds and does",
        examples: [
            Example(purpose: "Does it answer, and how fast?", lines: "fanfare ping --count 1000"),
            Example(purpose: "Counters and gauges, again every second", lines: "fanfare status --watch 1"),
            Example(purpose: "The busiest groups, live; ? lists the keys", lines: "fanfare top"),
            Example(purpose: "The slowest processes, once", lines: "fanfare top workers --sort lag --once"),
            Example(purpose: "Connections that ended, and why", lines: "fanfare closed --reason connection_lost"),
            Example(
                purpose: "How long messages take, through the broker and through a worker",
                lines: "fanfare latency --rate 1000 --seconds 10 --worker ws://127.0.0.1:8000"
            ),
            Example(purpose: "Who is connected, those without channels too", lines: "fanfare sessions"),
            Example(
                purpose: "The ten channels with the most unread messages",
                lines: "fanfare channels --top 10 --sort depth"
            ),
            Example(purpose: "Everything about one channel", lines: "fanfare channel jobs"),
            Example(
                purpose: "For programs: one JSON document",
                lines: "fanfare status --json | jq .memberships"
            ),
        ]
    )

    private static let groups = Topic(
        name: "groups",
        title: "who is in which group",
        examples: [
            Example(purpose: "Who is in this group, on which process, from where?", lines: "fanfare group chat_lobby"),
            Example(purpose: "The five largest groups", lines: "fanfare groups --top 5"),
            Example(purpose: "The busiest rooms", lines: "fanfare groups 'chat_*' --sort rate --descending --limit 20"),
            Example(
                purpose: "All members as names",
                lines: "fanfare group chat_lobby --all --json | jq -r '.rows[].channel'"
            ),
            Example(
                purpose: "All groups with some columns, one JSON object a line",
                lines: "fanfare groups --all --jsonl --columns group,members"
            ),
            Example(purpose: "Groups of one namespace", lines: "fanfare groups --namespace shop"),
        ]
    )

    private static let drops = Topic(
        name: "drops",
        title: "what did not arrive, and why",
        examples: [
            Example(purpose: "The latest losses first", lines: "fanfare drops"),
            Example(purpose: "Who loses the most", lines: "fanfare drops --sort count --descending --limit 10"),
            Example(purpose: "Full channels of the last ten minutes", lines: "fanfare drops --reason full --since 10m"),
            Example(purpose: "Losses of one application", lines: "fanfare drops 'chat_*' --namespace shop"),
            Example(
                purpose: "An alarm when more than five a second are lost",
                lines: "fanfare check drops --critical 5 --interval 10"
            ),
        ]
    )

    private static let sending = Topic(
        name: "sending",
        title: "messages from the command line",
        examples: [
            Example(
                purpose: "To one channel",
                lines: #"fanfare send jobs '{"type": "mail.send", "to": "a@example.com"}'"#
            ),
            Example(
                purpose: "To a group, and how many took it",
                lines: #"fanfare group-send chat_lobby '{"type": "chat.message", "message": "hello"}' --outcome"#
            ),
            Example(
                purpose: "Worth nothing after two seconds",
                lines: #"fanfare group-send prices '{"type": "price", "eur": 12}' --expiry 2"#
            ),
            Example(purpose: "Forget everything of a namespace", lines: "fanfare flush --namespace test --yes"),
        ]
    )

    private static let watching = Topic(
        name: "watching",
        title: "messages as they pass",
        examples: [
            Example(purpose: "All that goes to the rooms", lines: "fanfare tail group 'chat_*'"),
            Example(
                purpose: "One message of a hundred, at most ten a second",
                lines: "fanfare tail group '*' --sample 100 --rate 10"
            ),
            Example(purpose: "The next three, then end", lines: "fanfare tail channel 'jobs' --count 3 --json"),
        ]
    )

    private static let checks = Topic(
        name: "checks",
        title: "cron and Nagios",
        examples: [
            Example(purpose: "Everything at once; the exit code says the worst", lines: "fanfare check"),
            Example(
                purpose: "A Nagios plugin: at least four workers, warn below six",
                lines: "fanfare check workers --warning 6: --critical 4: --format nagios"
            ),
            Example(
                purpose: "Several checks with limits of their own",
                lines: "fanfare check queues oldest --critical queues=90 --critical oldest=20 --format nagios"
            ),
            Example(
                purpose: "A line of crontab that mails only when something is wrong",
                lines: "*/5 * * * * out=$(fanfare --context production check) || echo \"$out\""
            ),
        ]
    )

    private static let contexts = Topic(
        name: "contexts",
        title: "several brokers, with credentials",
        examples: [
            Example(
                purpose: "Remember a broker; the token comes from standard input",
                lines: "fanfare context add production --broker tls://broker.example:7411 --read-token < token"
            ),
            Example(
                purpose: "One to look only, with a token file and an own CA",
                lines: "fanfare context add watch --broker tls://broker.example --token-file ~/.fanfare-token "
                    + "--ca-file ca.pem --role inspect"
            ),
            Example(purpose: "Use it from now on", lines: "fanfare context select production"),
            Example(purpose: "Use it once", lines: "fanfare --context production groups"),
            Example(purpose: "Back to the one before", lines: "fanfare context previous"),
            Example(purpose: "What is there", lines: "fanfare context list"),
        ]
    )
}
