#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// An IPv4 or IPv6 address as a number, for comparing, masking and as a key.
///
/// IPv4 addresses are kept as IPv4-mapped IPv6 (`::ffff:0:0/96`, RFC 4291, section 2.5.5.2), so that one client is one
/// value whichever way a dual-stack socket or a proxy writes it.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    /// The 128 bits, the first byte of the address the highest.
    let bits: UInt128

    /// The bits before an IPv4 address.
    private static let mappedPrefix: UInt128 = 0xffff << 32
    /// As many characters as an address can have: an IPv6 address that ends in an IPv4 one.
    private static let textBytes = 45

    init(bits: UInt128) {
        self.bits = bits
    }

    /// Reads an address without port, brackets or zone: `192.0.2.1`, `2001:db8::1`, `::ffff:192.0.2.1`.
    ///
    /// - Parameter text: Of any length and content. IPv4 numbers have four decimal parts without leading zeros.
    /// - Returns: `nil` when it is no address.
    public init?(_ text: some StringProtocol) {
        // The C function would stop at a zero byte and call what stands before it an address.
        guard text.utf8.count <= Self.textBytes, text.utf8.allSatisfy(Self.belongsInAddress) else { return nil }
        let string = String(text)
        var v6 = in6_addr()
        if inet_pton(AF_INET6, string, &v6) == 1 {
            bits = withUnsafeBytes(of: &v6) { $0.reduce(0) { $0 << 8 | UInt128($1) } }
            return
        }
        var v4 = in_addr()
        guard inet_pton(AF_INET, string, &v4) == 1 else { return nil }
        bits = Self.mappedPrefix | UInt128(UInt32(bigEndian: v4.s_addr))
    }

    /// Reads an address as sockets and proxies write it: alone, with brackets, with a port (RFC 7239, section 6).
    ///
    /// - Parameter text: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
    /// - Returns: `nil` when it is none of these.
    public init?(node text: some StringProtocol) {
        guard text.utf8.count <= Self.textBytes + "[]:65535".utf8.count else { return nil }
        if text.utf8.first == UInt8(ascii: "[") {
            let parts = text.dropFirst().split(separator: "]", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, parts[0].contains(":"), Self.isPort(parts[1]) else { return nil }
            self.init(parts[0])
        } else if text.utf8.count(where: { $0 == UInt8(ascii: ":") }) == 1, let colon = text.firstIndex(of: ":") {
            guard Self.isPort(text[colon...]) else { return nil }
            self.init(text[..<colon])
        } else {
            self.init(text)
        }
    }

    /// Whether this is an IPv4 address, also one that came as IPv4-mapped IPv6.
    public var isIPv4: Bool { bits >> 32 == 0xffff }

    /// What one client has for itself: an IPv4 address, or the /64 of an IPv6 address (RFC 6177), in which it can take
    /// any address it likes.
    public var clientNetwork: IPAddress {
        isIPv4 ? self : IPAddress(bits: bits & (.max << 64))
    }

    /// The usual text (RFC 5952); IPv4 with dots.
    public var description: String {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        if isIPv4 {
            var v4 = in_addr(s_addr: UInt32(truncatingIfNeeded: bits).bigEndian)
            inet_ntop(AF_INET, &v4, &buffer, socklen_t(buffer.count))
        } else {
            var v6 = in6_addr()
            withUnsafeMutableBytes(of: &v6) { $0.storeBytes(of: bits.bigEndian, as: UInt128.self) }
            inet_ntop(AF_INET6, &v6, &buffer, socklen_t(buffer.count))
        }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Nothing, or `:` and one to five digits.
    private static func isPort(_ text: some StringProtocol) -> Bool {
        guard let colon = text.utf8.first else { return true }
        return colon == UInt8(ascii: ":") && (2...6).contains(text.utf8.count)
            && text.utf8.dropFirst().allSatisfy { (0x30...0x39).contains($0) }
    }

    private static func belongsInAddress(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "."), UInt8(ascii: ":"):
            true
        default: false
        }
    }
}

/// All addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`, or one address (RFC 4632, RFC 4291).
struct IPNetwork: Sendable, Hashable {
    private let first: IPAddress
    private let mask: UInt128

    /// - Throws: ``InvalidSetting`` for what is no address, a length beyond the address, bits set behind the length.
    init(_ text: String) throws(InvalidSetting) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(parts[0]) else {
            throw InvalidSetting(
                "\(InvalidSetting.quoted(text)) is no address or network; write 10.0.0.1, 10.0.0.0/8, 2001:db8::/32"
            )
        }
        // What is written with dots has 32 bits; `::ffff:10.0.0.0/104` has 128.
        let lengthMaximum = parts[0].contains(":") ? 128 : 32
        var length = lengthMaximum
        if parts.count == 2 {
            let digits = parts[1]
            guard (1...3).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = Int(digits), number <= lengthMaximum
            else {
                throw InvalidSetting(
                    "\(InvalidSetting.quoted(text)): the length after the / must be 0 to \(lengthMaximum)"
                )
            }
            length = number
        }
        let hostBits = lengthMaximum - length
        mask = .max << hostBits
        first = IPAddress(bits: address.bits & mask)
        guard first == address else {
            throw InvalidSetting(
                "\(InvalidSetting.quoted(text)) has bits set behind its length; write \(first)/\(length)"
            )
        }
    }

    /// `::/0` holds no IPv4 address, and `0.0.0.0/0` no IPv6 address.
    func contains(_ address: IPAddress) -> Bool {
        address.bits & mask == first.bits && address.isIPv4 == first.isIPv4
    }
}
