/// The names rooms may have in an address: `[A-Za-z0-9_.-]{1,64}`, all of which a group name takes too.
enum Room {
    static let nameBytes = 64

    /// Whether `name` may name a room. `.` and `..` are folders to browsers, never rooms.
    static func isName(_ name: some StringProtocol) -> Bool {
        (1...nameBytes).contains(name.utf8.count) && name.utf8.allSatisfy(isPlain) && name != "." && name != ".."
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"):
            true
        default:
            false
        }
    }
}
