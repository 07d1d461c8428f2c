package import FanfareModel
import Glibc

/// The file of a Unix socket: taken over only when nobody listens on it, removed only when it is still ours.
package struct SocketFile: Sendable {
    /// Who may connect: those who may write to the file.
    package struct Access: Sendable, Equatable {
        /// Permission bits, whatever the process's umask says. Owner and group unless said otherwise.
        package var mode: UInt32 = 0o660
        /// The file's group; `nil` for that of the process.
        package var group: UInt32?

        package init() {}
    }

    private let path: String
    private let device: dev_t
    private let inode: ino_t

    /// Listens on `path`. All of it happens under a lock on the folder, so that two brokers starting at once cannot
    /// both find the same stale socket; nothing is waited for while the lock is held.
    ///
    /// - Returns: A descriptor that listens, the caller's from now on, and its file.
    /// - Throws: ``ProgramFailure`` when the folder is missing, the path is something else, a broker is alive there, or
    ///   the file cannot be given to its group.
    package static func listen(
        on path: String,
        access: Access = Access(),
        backlog: CInt
    ) throws(ProgramFailure) -> (descriptor: CInt, file: SocketFile) {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "/"
        let lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard lock >= 0 else { throw unusable(path, "\(folder): \(systemReason()); make the folder first") }
        defer { Glibc.close(lock) }
        guard flock(lock, LOCK_EX) == 0 else { throw unusable(path, "cannot lock \(folder): \(systemReason())") }
        try removeStale(path)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw unusable(path, systemReason()) }
        var facts = stat()
        // The mode of the socket bounds that of its file from the first moment; the umask may have cut it further.
        // Nobody can connect before it listens, so its group is right from the first connection on.
        guard fchmod(descriptor, access.mode) == 0, bind(descriptor, path),
            access.group.map({ lchown(path, uid_t.max, $0) == 0 }) ?? true, chmod(path, access.mode) == 0,
            lstat(path, &facts) == 0, Glibc.listen(descriptor, backlog) == 0
        else {
            let failure = unusable(path, "\(systemReason()); choose another path")
            Glibc.close(descriptor)
            throw failure
        }
        return (descriptor, SocketFile(path: path, device: facts.st_dev, inode: facts.st_ino))
    }

    /// Removes the file unless somebody has put another one in its place.
    ///
    /// Before the descriptor is closed: until then nobody else takes the path for stale, and the inode's number is
    /// not used again.
    package func remove() {
        var facts = stat()
        if lstat(path, &facts) == 0, facts.st_dev == device, facts.st_ino == inode { unlink(path) }
    }

    private static func removeStale(_ path: String) throws(ProgramFailure) {
        var facts = stat()
        guard lstat(path, &facts) == 0 else { return }
        guard facts.st_mode & S_IFMT == S_IFSOCK else {
            throw unusable(path, "the path is no socket; choose another path")
        }
        guard !isAnswered(path) else { throw unusable(path, "a process is listening there; stop it first") }
        unlink(path)
    }

    /// Whether connecting to the socket is anything but refused: then somebody may be alive behind it.
    private static func isAnswered(_ path: String) -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return true }
        defer { Glibc.close(descriptor) }
        return withAddress(of: path) { connect(descriptor, $0, $1) } == 0 || errno != ECONNREFUSED
    }

    private static func bind(_ descriptor: CInt, _ path: String) -> Bool {
        withAddress(of: path) { Glibc.bind(descriptor, $0, $1) } == 0
    }

    private static func withAddress<R>(of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Endpoint bounds the path below the size of sun_path, whose last byte stays 0.
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(Endpoint.unixPathBytes)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func systemReason() -> String { String(cString: strerror(errno)) }

    private static func unusable(_ path: String, _ why: String) -> ProgramFailure {
        ProgramFailure(.configuration, "cannot listen on unix:\(path): \(why)")
    }
}
