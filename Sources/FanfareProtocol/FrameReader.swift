import CMsgpack
package import FanfareModel

/// Reads payloads and bodies: guard, then msgpack-c with one zone that is reused, then checked plain values.
///
/// One per event loop. Not Sendable. Checks shapes, ranges and the bounds of lists; names, roles and capacities are
/// the core's.
package final class FrameReader {
    let limits: Limits
    private let zone: UnsafeMutablePointer<msgpack_zone>

    package init(limits: Limits) {
        self.limits = limits
        guard let zone = msgpack_zone_new(Int(MSGPACK_ZONE_CHUNK_SIZE)) else {
            preconditionFailure("out of memory: \(MSGPACK_ZONE_CHUNK_SIZE) bytes for a decoder")
        }
        self.zone = zone
    }

    deinit {
        msgpack_zone_free(zone)
    }

    /// Reads what a client sent.
    ///
    /// - Parameter payload: A frame without its length.
    /// - Throws: A refusal under the request's id if that could be read: `malformed_frame` (the stream cannot go
    ///   on), `unknown_operation`, `bad_hello`, `bad_request` or `too_many_names`.
    package func request(_ payload: UnsafeRawBufferPointer) throws(Refusal) -> Request {
        if let request = plainRequest(payload) { return request }
        defer { msgpack_zone_clear(zone) }
        var fields = try fields(payload)
        return try request(&fields)
    }

    /// Reads what a broker sent. An `ACK` may answer several requests, in their order; all else is one reply.
    ///
    /// - Parameter payload: A frame without its length.
    /// - Throws: A refusal under the id the broker answered, if that could be read.
    package func reply(_ payload: UnsafeRawBufferPointer) throws(Refusal) -> [Reply] {
        defer { msgpack_zone_clear(zone) }
        var fields = try fields(payload)
        return try replies(&fields)
    }

    /// Reads a body that is exactly one MessagePack value.
    ///
    /// - Throws: `malformed_frame` without an id: not one complete value, an integer above 2^63-1, a map key that is
    ///   not text.
    package func value(_ body: Body) throws(Refusal) -> MessageValue {
        defer { msgpack_zone_clear(zone) }
        return try body.withUnsafeBufferPointer { (bytes) throws(Refusal) in
            try message(UnsafeRawBufferPointer(bytes))
        }
    }

    private func message(_ bytes: UnsafeRawBufferPointer) throws(Refusal) -> MessageValue {
        let root = try unpack(bytes)
        do {
            return try Wire.value(root)
        } catch {
            throw Refusal(id: nil, failure: Failure(.malformedFrame, "the message \(error.text)"))
        }
    }

    /// Checks and unpacks one value. It points into `bytes` and the zone.
    private func unpack(_ bytes: UnsafeRawBufferPointer) throws(Refusal) -> msgpack_object {
        do {
            try MessagePackGuard.scan(bytes, limits: limits)
        } catch {
            throw Refusal(id: nil, failure: error)
        }
        var root = msgpack_object()
        var offset = 0
        let start = bytes.assumingMemoryBound(to: CChar.self).baseAddress
        let status = msgpack_unpack(start, bytes.count, &offset, zone, &root)
        guard status.rawValue == MSGPACK_UNPACK_SUCCESS.rawValue else {
            throw Refusal(id: nil, failure: Failure(.malformedFrame, "the decoder answered \(status.rawValue)"))
        }
        return root
    }

    private func fields(_ payload: UnsafeRawBufferPointer) throws(Refusal) -> Fields {
        let root = try unpack(payload)
        guard let elements = try? Wire.list(root), let first = elements.first, let number = try? Wire.integer(first)
        else {
            let text = "a frame must be a list that begins with its operation, an integer; got \(Wire.describe(root))"
            throw Refusal(id: nil, failure: Failure(.malformedFrame, text))
        }
        guard let operation = UInt8(exactly: number).flatMap(Operation.init(rawValue:)) else {
            // Every request that is answered has its id first; so will those this build does not know.
            let id = elements.dropFirst().first.flatMap { try? Wire.requestID($0) }
            throw Refusal(id: id, failure: Failure(.unknownOperation, "operation \(number) is not known here"))
        }
        return Fields(operation, elements)
    }
}
