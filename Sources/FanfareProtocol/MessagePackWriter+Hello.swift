import FanfareModel

extension MessagePackWriter {
    /// Writes `[1, map]`, keys in the order of section 3.1; absent facts have no key.
    mutating func hello(_ hello: Hello) {
        begin(.hello, fields: 1)
        map(
            6 + (hello.node == nil ? 0 : 1) + (hello.attributes.isEmpty ? 0 : 1) + (hello.token == nil ? 0 : 1)
                + (hello.capabilities.isEmpty ? 0 : 1) + (hello.resume == nil ? 0 : 2)
        )
        string("protocol")
        int(hello.protocolVersion)
        string("client")
        string(hello.client)
        string("name")
        string(hello.name)
        string("role")
        string(hello.role.rawValue)
        string("namespace")
        string(hello.namespace)
        if let node = hello.node {
            string("node")
            string(node)
        }
        string("policy")
        policy(hello.policy)
        if !hello.attributes.isEmpty {
            string("attributes")
            attributes(hello.attributes)
        }
        if let token = hello.token {
            string("token")
            string(token)
        }
        if !hello.capabilities.isEmpty {
            string("capabilities")
            strings(hello.capabilities)
        }
        if let resume = hello.resume {
            string("resume")
            binary(resume.token)
            string("received")
            int(resume.received)
        }
    }

    /// Writes `[64, map]`, keys in the order of section 3.2.
    mutating func welcome(_ welcome: Welcome) {
        begin(.welcome, fields: 1)
        let resumption = welcome.resumption
        map(7 + (resumption == nil ? 0 : 2) + (resumption?.resumedAfter == nil ? 0 : 2))
        string("protocol")
        int(welcome.protocolVersion)
        string("session")
        int(welcome.session.value)
        string("epoch")
        int(welcome.epoch)
        string("broker")
        string(welcome.broker)
        string("capabilities")
        strings(welcome.capabilities)
        string("policy")
        policy(welcome.policy)
        string("limits")
        map(5)
        string("frame_bytes")
        int(welcome.frameBytes)
        string("body_bytes")
        int(welcome.bodyBytes)
        string("names_per_frame")
        int(welcome.namesPerFrame)
        string("ping_after_milliseconds")
        milliseconds(welcome.pingAfter)
        string("silence_milliseconds")
        milliseconds(welcome.silenceMaximum)
        guard let resumption else { return }
        if let requests = resumption.resumedAfter {
            string("resumed")
            bool(true)
            string("requests")
            int(requests)
        }
        string("resume_token")
        binary(resumption.token)
        string("grace_milliseconds")
        milliseconds(resumption.grace)
    }

    /// Writes every key of section 3.3 that this version knows: what is in force is never left to a default.
    private mutating func policy(_ policy: Policy) {
        map(5 + (policy.channelCapacity.isEmpty ? 0 : 1) + (policy.overflow.isEmpty ? 0 : 1))
        string("capacity")
        int(policy.capacity)
        if !policy.channelCapacity.isEmpty {
            string("channel_capacity")
            array(policy.channelCapacity.count)
            for entry in policy.channelCapacity {
                array(2)
                string(entry.pattern.pattern)
                int(entry.capacity)
            }
        }
        string("capacity_scope")
        string(policy.capacityScope.rawValue)
        string("expiry_milliseconds")
        milliseconds(policy.expiry)
        string("group_expiry_milliseconds")
        milliseconds(policy.groupExpiry)
        string("group_expiry_literal")
        bool(policy.groupExpiryIsLiteral)
        if !policy.overflow.isEmpty {
            string("overflow")
            array(policy.overflow.count)
            for entry in policy.overflow {
                array(2)
                string(entry.pattern.pattern)
                string(entry.overflow.rawValue)
            }
        }
    }
}
