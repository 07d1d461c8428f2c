/// JSON objects for one reader, several of a burst in one text frame: `{…}` alone, `[{…},{…}]` together.
enum JSONBatch {
    /// Appends `object` to the one frame in `frames`, or makes that frame.
    ///
    /// - Parameters:
    ///   - object: A JSON object.
    ///   - frames: Empty, or what this function made of the objects before.
    static func append(_ object: [UInt8], to frames: inout [UInt8]) {
        guard frames.count >= 2 else { return ServerFrame.append(.text, object, to: &frames) }
        let oldHeader = headerBytes(frames[1])
        let isBatch = frames[oldHeader] == UInt8(ascii: "[")
        let count = frames.count - oldHeader + object.count + (isBatch ? 1 : 3)
        var header: [UInt8] = []
        ServerFrame.appendHeader(.text, count: count, to: &header)
        if !isBatch { header.append(UInt8(ascii: "[")) }
        // Moves what is there only when the header grows: at the first object more, at 126 and at 65 536 bytes.
        frames.replaceSubrange(0..<oldHeader, with: header)
        if isBatch { frames.removeLast() }
        frames.append(UInt8(ascii: ","))
        frames.append(contentsOf: object)
        frames.append(UInt8(ascii: "]"))
    }

    private static func headerBytes(_ length: UInt8) -> Int {
        length == 127 ? 10 : length == 126 ? 4 : 2
    }
}
