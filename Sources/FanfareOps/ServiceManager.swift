package import FanfareModel
import Glibc

/// What a service manager, systemd for one, tells a process by its environment: `sd_notify(3)`,
/// `sd_watchdog_enabled(3)` and `sd_listen_fds(3)`, without libsystemd.
package struct ServiceManager: Sendable, Equatable {
    /// A socket it has bound for this process, and keeps for the next one.
    package struct Socket: Sendable, Equatable {
        package var descriptor: CInt
        /// What its unit calls it; `unknown` without a name.
        package var name: String

        package init(descriptor: CInt, name: String) {
            self.descriptor = descriptor
            self.name = name
        }
    }

    /// Where it hears how the process does; `nil`: it does not ask.
    package var noticeAddress: NoticeAddress?
    /// A process that says for so long nothing about its work is ended; `nil`: it is not.
    package var watchdogMicroseconds: UInt64?
    /// In the order of their descriptors.
    package var sockets: [Socket] = []

    /// Sockets one process is given at most.
    package static let socketsMaximum = 16
    /// The first inherited descriptor: the protocol says so.
    private static let firstDescriptor: CInt = 3
    private static let variables = [
        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
    ]

    /// Nobody manages this process.
    package init() {}

    /// Reads the variables out of this process's environment and takes them away, so that no child takes them for its
    /// own, nor the sockets. To be called once, before there are other threads.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`, as ``init(environment:process:)``.
    package static func take() throws(ProgramFailure) -> ServiceManager {
        var environment: [String: String] = [:]
        for name in variables {
            if let value = getenv(name) { environment[name] = String(cString: value) }
            unsetenv(name)
        }
        let manager = try ServiceManager(environment: environment, process: getpid())
        for socket in manager.sockets {
            guard fcntl(socket.descriptor, F_SETFD, FD_CLOEXEC) == 0 else {
                throw ProgramFailure(
                    .configuration,
                    "LISTEN_FDS promises descriptor \(socket.descriptor) (\(socket.name)), which is not open"
                )
            }
        }
        return manager
    }

    /// Reads the variables. What is meant for another process is not this one's, as the protocol wants it.
    ///
    /// - Parameters:
    ///   - environment: All variables or these.
    ///   - process: This process's id.
    /// - Throws: ``ProgramFailure`` with exit `configuration` that names the variable and its value.
    package init(environment: [String: String], process: Int32) throws(ProgramFailure) {
        if let text = environment["NOTIFY_SOCKET"], !text.isEmpty { noticeAddress = try NoticeAddress(text) }
        if let text = environment["WATCHDOG_USEC"], try Self.isMeant("WATCHDOG_PID", environment, process) ?? true {
            guard let microseconds = Self.number(text), microseconds > 0 else {
                throw Self.unusable("WATCHDOG_USEC", text, "it must be microseconds, at least 1")
            }
            watchdogMicroseconds = microseconds
        }
        if let text = environment["LISTEN_FDS"], try Self.isMeant("LISTEN_PID", environment, process) ?? false {
            guard let count = Self.number(text), count <= Self.socketsMaximum else {
                throw Self.unusable("LISTEN_FDS", text, "it must be a number up to \(Self.socketsMaximum)")
            }
            sockets = try Self.sockets(Int(count), named: environment["LISTEN_FDNAMES"])
        }
    }

    /// - Returns: `nil` when the variable is not there.
    private static func isMeant(
        _ variable: String,
        _ environment: [String: String],
        _ process: Int32
    ) throws(ProgramFailure) -> Bool? {
        guard let text = environment[variable] else { return nil }
        guard let number = number(text) else { throw unusable(variable, text, "it must be a process id") }
        return number == UInt64(clamping: process)
    }

    private static func sockets(_ count: Int, named text: String?) throws(ProgramFailure) -> [Socket] {
        let names = text?.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if let text, let names, names.count != count, !(count == 0 && text.isEmpty) {
            throw unusable("LISTEN_FDNAMES", text, "it names \(names.count) sockets, and LISTEN_FDS says \(count)")
        }
        return (0..<count).map { index in
            Socket(descriptor: firstDescriptor + CInt(index), name: names?[index] ?? "unknown")
        }
    }

    /// Decimal digits and nothing else.
    private static func number(_ text: String) -> UInt64? {
        guard text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return UInt64(text)
    }

    fileprivate static func unusable(_ variable: String, _ value: String, _ why: String) -> ProgramFailure {
        ProgramFailure(.configuration, "$\(variable) \"\(value)\" cannot be used: \(why)")
    }
}

/// Where a service manager hears notices: a Unix datagram socket, by its path or in the abstract namespace (`@name`).
package struct NoticeAddress: Sendable, Equatable {
    /// As the kernel takes it: the first byte of an abstract name is 0.
    private let name: [UInt8]

    /// Bytes of `sun_path`, whose last one is kept for the end of a path.
    private static let nameBytes = 107
    /// A manager that does not read is waited for so long.
    private static let waitSeconds = 1

    /// - Throws: ``ProgramFailure`` with exit `configuration` for anything but `/path` and `@name` that fit.
    package init(_ text: String) throws(ProgramFailure) {
        var name = Array(text.utf8)
        guard name.count > 1, name.count <= Self.nameBytes, let first = name.first, [0x2f, 0x40].contains(first) else {
            throw ServiceManager.unusable(
                "NOTIFY_SOCKET",
                text,
                "it must be an absolute path or @ and a name, of 2 to \(Self.nameBytes) bytes"
            )
        }
        if first == 0x40 { name[0] = 0 }
        self.name = name
    }

    /// Sends one notice. Waits at most a second for room.
    ///
    /// - Parameter text: Lines of `NAME=value`; at most 4096 bytes are understood.
    /// - Returns: 0, or the `errno` of what went wrong.
    package func send(_ text: String) -> CInt {
        let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        var patience = timeval(tv_sec: Self.waitSeconds, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
        let start = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
        // The length tells where an abstract name ends; a path ends with the 0 behind it.
        let length = socklen_t(start + name.count + (name[0] == 0 ? 0 : 1))
        let bytes = Array(text.utf8)
        let sent = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL), $0, length)
            }
        }
        return sent == bytes.count ? 0 : errno
    }
}
