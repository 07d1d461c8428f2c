/// Frames from the server: never masked, never fragmented (RFC 6455, section 5).
package enum ServerFrame {
    /// A ping without payload.
    static let ping: [UInt8] = [0x80 | Opcode.ping.rawValue, 0]

    /// Appends one frame to `frames`.
    ///
    /// - Parameters:
    ///   - opcode: Control frames carry at most 125 bytes.
    ///   - payload: Any length.
    ///   - isCompressed: Whether the payload is that of permessage-deflate (RFC 7692, section 6).
    package static func append(
        _ opcode: Opcode,
        _ payload: some Collection<UInt8>,
        isCompressed: Bool = false,
        to frames: inout [UInt8]
    ) {
        frames.reserveCapacity(frames.count + payload.count + 10)
        appendHeader(opcode, count: payload.count, isCompressed: isCompressed, to: &frames)
        frames.append(contentsOf: payload)
    }

    /// Appends the header of a frame whose payload has `count` bytes.
    static func appendHeader(_ opcode: Opcode, count: Int, isCompressed: Bool = false, to frames: inout [UInt8]) {
        frames.append(0x80 | (isCompressed ? 0x40 : 0) | opcode.rawValue)
        if let short = UInt8(exactly: count), short < 126 {
            frames.append(short)
        } else if let middle = UInt16(exactly: count) {
            frames.append(126)
            withUnsafeBytes(of: middle.bigEndian) { frames.append(contentsOf: $0) }
        } else {
            frames.append(127)
            withUnsafeBytes(of: UInt64(count).bigEndian) { frames.append(contentsOf: $0) }
        }
    }

    /// Takes the first frame off frames this type has made.
    package static func takeFirst(of frames: inout ArraySlice<UInt8>) -> (Opcode, ArraySlice<UInt8>)? {
        guard frames.count >= 2, let opcode = Opcode(rawValue: frames[frames.startIndex] & 0x0f) else { return nil }
        let short = frames[frames.startIndex + 1]
        let width = short == 126 ? 2 : short == 127 ? 8 : 0
        let length = width == 0 ? Int(short) : frames.dropFirst(2).prefix(width).reduce(0) { $0 << 8 | Int($1) }
        let payload = frames.dropFirst(2 + width).prefix(length)
        frames = frames.dropFirst(2 + width + length)
        return (opcode, payload)
    }

    /// A close frame.
    ///
    /// - Parameters:
    ///   - code: `noStatus` gives a frame without code.
    ///   - reason: Cut at a character so that it fits.
    package static func close(_ code: CloseCode, reason: String = "") -> [UInt8] {
        var frames: [UInt8] = []
        guard code.isAllowedOnWire else {
            append(.close, [], to: &frames)
            return frames
        }
        var payload = [UInt8(code.rawValue >> 8), UInt8(code.rawValue & 0xff)]
        for character in reason.unicodeScalars {
            let bytes = UTF8.encode(character) ?? UTF8.encodedReplacementCharacter
            guard payload.count + bytes.count <= FrameHeader.controlBytes else { break }
            payload += bytes
        }
        append(.close, payload, to: &frames)
        return frames
    }
}
