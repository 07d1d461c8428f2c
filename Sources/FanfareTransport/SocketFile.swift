import FanfareModel
import Glibc

/// The file of a Unix socket: taken over only when nobody listens on it, removed only when it is still ours.
struct SocketFile: Sendable {
    private let path: String
    private let folderLock: CInt
    private let formerMask: mode_t
    private var device: dev_t = 0
    private var inode: ino_t = 0

    /// Makes `path` free to bind. The folder stays locked until ``unlock()``, so that two brokers starting at once
    /// cannot both find the same stale socket; what is bound until then is readable by owner and group only.
    ///
    /// - Throws: ``ProgramFailure`` when the folder is missing, the path is something else, or a broker is alive there.
    static func claim(_ path: String) throws -> SocketFile {
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "/"
        let lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard lock >= 0 else {
            let why = String(cString: strerror(errno))
            throw ProgramFailure(
                .configuration,
                "cannot listen on unix:\(path): \(folder): \(why); make the folder first"
            )
        }
        do {
            guard flock(lock, LOCK_EX) == 0 else {
                let why = String(cString: strerror(errno))
                throw ProgramFailure(.configuration, "cannot listen on unix:\(path): cannot lock \(folder): \(why)")
            }
            try removeStale(path)
        } catch {
            Glibc.close(lock)
            throw error
        }
        return SocketFile(path: path, folderLock: lock, formerMask: umask(0o117))
    }

    private init(path: String, folderLock: CInt, formerMask: mode_t) {
        self.path = path
        self.folderLock = folderLock
        self.formerMask = formerMask
    }

    /// Ends what ``claim(_:)`` began.
    func unlock() {
        _ = umask(formerMask)
        Glibc.close(folderLock)
    }

    /// This file with the identity it has now that it is bound.
    func bound() -> SocketFile {
        var bound = self
        var facts = stat()
        if lstat(path, &facts) == 0 { (bound.device, bound.inode) = (facts.st_dev, facts.st_ino) }
        return bound
    }

    /// Removes the file unless somebody has put another one in its place.
    func remove() {
        var facts = stat()
        if lstat(path, &facts) == 0, facts.st_dev == device, facts.st_ino == inode { unlink(path) }
    }

    private static func removeStale(_ path: String) throws {
        var facts = stat()
        guard lstat(path, &facts) == 0 else { return }
        guard facts.st_mode & S_IFMT == S_IFSOCK else {
            throw ProgramFailure(
                .configuration,
                "cannot listen on unix:\(path): the path is no socket; choose another path"
            )
        }
        guard !isAnswered(path) else {
            throw ProgramFailure(
                .configuration,
                "cannot listen on unix:\(path): a process is listening there; stop it first"
            )
        }
        unlink(path)
    }

    /// Whether connecting to the socket is anything but refused: then somebody may be alive behind it.
    private static func isAnswered(_ path: String) -> Bool {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return true }
        defer { Glibc.close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        // Endpoint bounds the path below the size of sun_path, whose last byte stays 0.
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(Endpoint.unixPathBytes)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        return result == 0 || errno != ECONNREFUSED
    }
}
