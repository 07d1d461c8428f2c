import CMsgpack
import FanfareModel

extension FrameReader {
    /// Section 3.1. Of another version's hello only the version is read: the rest may look different, and the core
    /// refuses it whatever it says.
    func hello(_ fields: Fields) throws(Refusal) -> Hello {
        let limits = limits
        let version = try fields.required(1, "map") { (object) throws(Mismatch) in
            // At most 2^63-1, which an Int holds.
            Int(try OptionMap(object).required("protocol", Wire.integer))
        }
        guard version == Protocol.version else {
            return Hello(protocolVersion: version, client: "", name: "", role: .publish, policy: Policy(limits))
        }
        return try fields.required(1, "map") { (object) throws(Mismatch) in
            let map = try OptionMap(object)
            var hello = Hello(
                client: try map.required("client", Wire.string),
                name: try map.required("name", Wire.string),
                role: try map.required("role", Self.role),
                policy: try map.optional("policy") { (object) throws(Mismatch) in try Self.policy(object, limits) }
                    ?? Policy(limits)
            )
            hello.namespace = try map.optional("namespace", Wire.string) ?? hello.namespace
            hello.node = try map.optional("node", Wire.string)
            hello.attributes =
                try map.optional("attributes") { (object) throws(Mismatch) in try Wire.attributes(object, limits) }
                ?? [:]
            hello.token = try map.optional("token", Wire.string)
            // Those this build does not know are nobody's business.
            let capabilities = try map.optional("capabilities") { (object) throws(Mismatch) in
                try Wire.list(object, of: Wire.string)
            }
            hello.capabilities = (capabilities ?? []).filter(Protocol.clientCapabilities.contains)
            if let token = try map.optional("resume", Self.resumeToken) {
                hello.resume = Hello.Resume(token: token, received: try map.optional("received", Wire.integer) ?? 0)
            }
            return hello
        }
    }

    /// Section 3.2.
    func welcome(_ fields: Fields) throws(Refusal) -> Welcome {
        let limits = limits
        return try fields.required(1, "map") { (object) throws(Mismatch) in
            let map = try OptionMap(object)
            var welcome = Welcome(
                session: SessionID(try map.required("session", Wire.integer)),
                epoch: try map.required("epoch", Wire.integer),
                broker: try map.required("broker", Wire.string),
                policy: try map.required("policy") { (object) throws(Mismatch) in try Self.policy(object, limits) },
                limits: limits
            )
            welcome.protocolVersion = Int(try map.required("protocol", Wire.integer))
            welcome.capabilities = try map.required("capabilities") { (object) throws(Mismatch) in
                try Wire.list(object, of: Wire.string)
            }
            let bounds = try map.required("limits") { (object) throws(Mismatch) in try OptionMap(object) }
            welcome.frameBytes = Int(try bounds.required("frame_bytes", Wire.integer))
            welcome.bodyBytes = Int(try bounds.required("body_bytes", Wire.integer))
            welcome.namesPerFrame = Int(try bounds.required("names_per_frame", Wire.integer))
            welcome.pingAfter = try bounds.required("ping_after_milliseconds", Wire.milliseconds)
            welcome.silenceMaximum = try bounds.required("silence_milliseconds", Wire.milliseconds)
            welcome.resumption = try Self.resumption(map)
            return welcome
        }
    }

    /// Section 8: a welcome without a token offers no resuming.
    private static func resumption(_ map: OptionMap) throws(Mismatch) -> Welcome.Resumption? {
        guard let token = try map.optional("resume_token", resumeToken) else { return nil }
        let grace = try map.optional("grace_milliseconds", Wire.milliseconds) ?? Milliseconds(0)
        guard try map.optional("resumed", Wire.bool) ?? false else {
            return Welcome.Resumption(token: token, grace: grace)
        }
        let requests = try map.required("requests", Wire.integer)
        return Welcome.Resumption(token: token, grace: grace, resumedAfter: requests)
    }

    private static func resumeToken(_ object: msgpack_object) throws(Mismatch) -> Body {
        let token = try Wire.binary(object)
        guard (1...Protocol.resumeTokenBytesMaximum).contains(token.count) else {
            throw Mismatch("must have 1 to \(Protocol.resumeTokenBytesMaximum) bytes, got \(token.count)")
        }
        return token
    }

    /// Section 3.3. What the map does not say keeps this broker's default.
    private static func policy(_ object: msgpack_object, _ limits: Limits) throws(Mismatch) -> Policy {
        let map = try OptionMap(object)
        var policy = Policy(limits)
        policy.capacity = try map.optional("capacity", capacity) ?? policy.capacity
        policy.channelCapacity = try map.optional("channel_capacity", channelCapacity) ?? policy.channelCapacity
        policy.overflow = try map.optional("overflow", channelOverflow) ?? policy.overflow
        policy.capacityScope = try map.optional("capacity_scope", capacityScope) ?? policy.capacityScope
        policy.expiry = try map.optional("expiry_milliseconds", Wire.milliseconds) ?? policy.expiry
        policy.groupExpiry = try map.optional("group_expiry_milliseconds", Wire.milliseconds) ?? policy.groupExpiry
        policy.groupExpiryIsLiteral =
            try map.optional("group_expiry_literal", Wire.bool) ?? policy.groupExpiryIsLiteral
        return policy
    }

    private static func capacity(_ object: msgpack_object) throws(Mismatch) -> Int {
        // At most 2^63-1, which an Int holds.
        Int(try Wire.integer(object, in: 1...Bounds.integer.upperBound))
    }

    private static func channelCapacity(_ object: msgpack_object) throws(Mismatch) -> [Policy.ChannelCapacity] {
        try Wire.list(object) { (entry) throws(Mismatch) in
            let pair = try Wire.tuple(entry, 2)
            return Policy.ChannelCapacity(pattern: try Wire.glob(pair[0]), capacity: try capacity(pair[1]))
        }
    }

    private static func channelOverflow(_ object: msgpack_object) throws(Mismatch) -> [Policy.ChannelOverflow] {
        try Wire.list(object) { (entry) throws(Mismatch) in
            let pair = try Wire.tuple(entry, 2)
            let text = try Wire.string(pair[1])
            guard let overflow = Overflow(rawValue: text) else {
                let known = Overflow.allCases.map(\.rawValue).joined(separator: ", ")
                throw Mismatch("must be one of \(known), got \(text)")
            }
            return Policy.ChannelOverflow(pattern: try Wire.glob(pair[0]), overflow: overflow)
        }
    }

    private static func capacityScope(_ object: msgpack_object) throws(Mismatch) -> CapacityScope {
        let text = try Wire.string(object)
        guard let scope = CapacityScope(rawValue: text) else {
            throw Mismatch("must be channel or process, got \(text)")
        }
        return scope
    }

    private static func role(_ object: msgpack_object) throws(Mismatch) -> Role {
        let text = try Wire.string(object)
        guard let role = Role(rawValue: text) else {
            let known = Role.allCases.map(\.rawValue).joined(separator: ", ")
            throw Mismatch("must be one of \(known), got \(text)")
        }
        return role
    }
}
