extension Cheat {
    static let tokens = Topic(
        name: "tokens",
        title: "credentials",
        examples: [
            Example(
                purpose: "A token for a worker, and the entry for the broker's credentials file",
                lines: "fanfare token --name web --role worker --role publish"
            ),
            Example(
                purpose: "The broker reads its credentials again on SIGHUP",
                lines: "systemctl reload fanfare-broker"
            ),
            Example(
                purpose: "Try the token",
                lines: "fanfare ping --broker tls://broker.example --token-file token --role inspect"
            ),
            Example(
                purpose: "Keep a process out: end its session, then remove its entry",
                lines: "fanfare kick web-1 --reason 'token revoked'"
            ),
        ]
    )

    static let draining = Topic(
        name: "drain",
        title: "taking processes and the broker out of service",
        examples: [
            Example(
                purpose: "A worker closes its sockets over a minute",
                lines: "fanfare drain worker web-1 --within 60"
            ),
            Example(purpose: "Watch it become empty", lines: "fanfare workers 'web-*' --watch 2"),
            Example(purpose: "Stop the broker as on SIGTERM", lines: "fanfare drain broker --within 10 --yes"),
            Example(purpose: "End a session at once", lines: "fanfare kick 17 --reason 'does not read'"),
        ]
    )

    static let configuration = Topic(
        name: "config",
        title: "configuration files",
        examples: [
            Example(
                purpose: "A file to begin with: every default, as comments",
                lines: "fanfare config default broker > broker.yaml"
            ),
            Example(
                purpose: "Is it valid, and what does it come to?",
                lines: "fanfare config check broker.yaml --for broker"
            ),
            Example(purpose: "What the limits mean", lines: "fanfare config doc broker --section limits"),
            Example(purpose: "All settings of the worker, for programs", lines: "fanfare config doc worker --json"),
        ]
    )

    static let django = Topic(
        name: "django",
        title: "Django Channels",
        examples: [
            Example(
                purpose: "settings.py",
                lines: #"CHANNEL_LAYERS = {"default": {"BACKEND": "fanfare_channels.FanfareChannelLayer"}}"#
            ),
            Example(
                purpose: "Does the site reach the broker?",
                lines: "python -m fanfare_channels check --settings mysite.settings"
            ),
            Example(purpose: "Which Django processes are connected?", lines: "fanfare workers"),
            Example(purpose: "Who is in the room that self.room_group_name names?", lines: "fanfare group chat_lobby"),
            Example(
                purpose: "What async_to_sync(layer.group_send)(...) would do",
                lines: #"fanfare group-send chat_lobby '{"type": "chat.message", "message": "hello"}' --outcome"#
            ),
            Example(
                purpose: "Why did a message not arrive? See full and expired",
                lines: "fanfare drops 'specific.*'"
            ),
        ]
    )

    static let kubernetes = Topic(
        name: "kubernetes",
        title: "probes",
        examples: [
            Example(
                purpose: "The broker's container; without --ops, where no port is wanted",
                lines: """
                    livenessProbe:
                      exec:
                        command: [fanfare, check, broker, --timeout, "5"]
                      timeoutSeconds: 6
                    """
            ),
            Example(
                purpose: "Workers and broker with --ops",
                lines: """
                    readinessProbe:
                      httpGet: {path: /readyz, port: 9001}
                    """
            ),
            Example(purpose: "Look inside", lines: "kubectl exec deploy/broker -- fanfare status"),
        ]
    )

    static let prometheus = Topic(
        name: "prometheus",
        title: "metrics",
        examples: [
            Example(
                purpose: "The broker's own metrics, with --ops 127.0.0.1:7412",
                lines: "curl -s http://127.0.0.1:7412/metrics"
            ),
            Example(
                purpose: "Checks for the node exporter's textfile collector",
                lines: "fanfare check --format prometheus > /var/lib/node_exporter/fanfare.prom.new; "
                    + "mv /var/lib/node_exporter/fanfare.prom.new /var/lib/node_exporter/fanfare.prom"
            ),
        ]
    )

    static let shells = Topic(
        name: "completion",
        title: "completion in bash, zsh and fish",
        examples: [
            Example(purpose: "bash, in ~/.bashrc", lines: "source <(fanfare completion bash)"),
            Example(purpose: "zsh, in a folder of $fpath", lines: "fanfare completion zsh > _fanfare"),
            Example(purpose: "fish", lines: "fanfare completion fish > ~/.config/fish/completions/fanfare.fish"),
        ]
    )
}
