import FanfareModel

/// The blocks of `status` and of one channel: labels and values.
enum StatusPage {
    private static let blocks: [(heading: String, fields: [String])] = [
        ("BROKER", ["broker", "pid", "epoch", "uptime_milliseconds", "endpoints"]),
        (
            "HOLDS",
            [
                "sessions", "detached", "strangers", "namespaces", "channels", "groups", "memberships",
                "queued_messages", "messages_high", "queued_bytes", "bytes_high", "depth_high", "oldest_milliseconds",
                "memory_bytes", "memory_limit_bytes", "receives", "tails",
            ]
        ),
        (
            "TRAFFIC",
            [
                "frames_in", "frames_out", "bytes_in", "bytes_out", "sends", "group_sends", "group_deliver_frames",
                "delivers", "hand_outs", "gaps", "resumed", "resume_refused", "memory_refusals", "errors",
            ]
        ),
    ]
    private static let counters = ["connections_by_role", "drops", "refused", "closed"]
    /// For programs: as a table it would say what `drops` says, three times as long.
    private static let hidden = ["drops_by_class"]

    /// What a broker says of itself: protocol section 9. Fields this program does not know come last.
    static func page(_ status: MessageValue) -> Page {
        let map = status.map ?? [:]
        var page = Page()
        for block in blocks {
            page.append(
                heading: block.heading,
                facts: block.fields.compactMap { field in map[field].map { fact(field, $0) } }
            )
        }
        for field in counters {
            guard let value = map[field] else { continue }
            page.append(heading: field.uppercased().replacing("_", with: " "), facts: counts(value))
        }
        let known = Set(blocks.flatMap(\.fields) + counters + hidden)
        // Histograms are for programs, too.
        let others = map.filter { !known.contains($0.key) && $0.value["bounds"] == nil }.sorted { $0.key < $1.key }
        page.append(heading: "OTHER", facts: others.map { fact($0.key, $0.value) })
        return page
    }

    /// Everything known of the channels of one name, a block for each namespace that has one.
    static func channelPage(_ answer: MessageValue) -> Page {
        var page = Page()
        for row in answer["rows"]?.array ?? [] {
            let others = Listing.channels.columns.map(\.field).filter { $0 != "channel" && $0 != "namespace" }
            let fields = ["namespace"] + others
            var facts = fields.compactMap { field in row[field].map { fact(field, $0) } }
            facts += (row["attributes"]?.map ?? [:]).sorted { $0.key < $1.key }.map {
                ($0.key, CellText.plain($0.value))
            }
            facts += [("in groups", CellText.plain(row["group_names"] ?? .null))]
            page.append(heading: row["channel"]?.string ?? "channel", facts: facts)
        }
        return page
    }

    private static func counts(_ value: MessageValue) -> [(label: String, value: String)] {
        let counts = (value.map ?? [:]).sorted { $0.key < $1.key }.map { ($0.key, CellText.plain($0.value)) }
        return counts.isEmpty ? [("none", "")] : counts
    }

    /// Units stand at the end of a field's name, and only there.
    private static func fact(_ field: String, _ value: MessageValue) -> (label: String, value: String) {
        var label = field
        var text = CellText.plain(value)
        if field.hasSuffix("_milliseconds") {
            label = String(field.dropLast("_milliseconds".count))
            text = value.int.map(HumanNumbers.age) ?? CellText.absent
        } else if field == "bytes" || field.hasSuffix("_bytes") || field.hasPrefix("bytes_") {
            text = value.int.map(HumanNumbers.bytes) ?? CellText.absent
        } else if field == "rate" {
            label = "rate/s"
            text = value.double.map { HumanNumbers.fixed($0, digits: 1) } ?? CellText.absent
        }
        return (label.replacing("_", with: " "), text)
    }
}
