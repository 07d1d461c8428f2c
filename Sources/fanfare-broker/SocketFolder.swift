import FanfareModel
import Glibc

/// The folder of a Unix socket. Who may enter it may talk to the broker, so it is checked before it is trusted.
enum SocketFolder {
    /// Makes sure that the folders of all Unix sockets among `endpoints` exist.
    ///
    /// - Parameters:
    ///   - endpoints: Where the broker will listen.
    ///   - isOurs: Whether nobody named the endpoint, so that a missing folder is made: open to all for root, whose
    ///     sockets other users' workers may be meant to reach, and to the user alone otherwise.
    ///   - userID: The effective user.
    /// - Throws: `ProgramFailure(.configuration)` when a folder is missing, is no folder or belongs to somebody else.
    static func prepare(for endpoints: [Endpoint], isOurs: Bool, userID: UInt32) throws(ProgramFailure) {
        for case .unix(let path) in endpoints {
            let folder = folder(of: path)
            if isOurs {
                try make(folder, mode: userID == 0 ? 0o755 : 0o700, userID: userID)
            } else {
                try check(folder, path)
            }
        }
    }

    private static func folder(of path: String) -> String {
        let end = path.lastIndex(of: "/") ?? path.startIndex
        return end == path.startIndex ? "/" : String(path[..<end])
    }

    private static func make(_ folder: String, mode: mode_t, userID: UInt32) throws(ProgramFailure) {
        if mkdir(folder, mode) == 0 {
            // The umask has taken bits away.
            chmod(folder, mode)
            return
        }
        guard errno == EEXIST else {
            throw ProgramFailure(
                .configuration,
                "folder \(folder) for the broker's socket cannot be made: \(String(cString: strerror(errno))); "
                    + "name another place with --listen unix:/path"
            )
        }
        // Not through a link: under /tmp anybody could have put one here.
        var facts = stat()
        guard lstat(folder, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR, facts.st_uid == userID,
            facts.st_mode & 0o022 == 0
        else {
            throw ProgramFailure(
                .configuration,
                "folder \(folder) must be a folder that belongs to user \(userID) and that nobody else can write to; "
                    + "remove it, or name another place with --listen unix:/path"
            )
        }
    }

    private static func check(_ folder: String, _ path: String) throws(ProgramFailure) {
        var facts = stat()
        guard stat(folder, &facts) == 0 else {
            throw ProgramFailure(
                .configuration,
                "folder \(folder) of unix:\(path) cannot be used: \(String(cString: strerror(errno))); "
                    + "make it (mkdir -p \(folder)) or choose another --listen"
            )
        }
        guard facts.st_mode & S_IFMT == S_IFDIR else {
            throw ProgramFailure(.configuration, "\(folder) of unix:\(path) is not a folder; choose another --listen")
        }
    }
}
