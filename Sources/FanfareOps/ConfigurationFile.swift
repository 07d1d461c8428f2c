package import FanfareModel
import Glibc

/// A configuration file on disk, before anything in it is understood.
package enum ConfigurationFile {
    /// The most a configuration file may hold. More is somebody's log or database, not a configuration.
    package static let bytesMaximum = 1_048_576

    /// The text of the file at `path`.
    ///
    /// - Parameters:
    ///   - what: What errors call the file.
    ///   - isSecret: Whether it must be kept from others: a file of root or of this user, which its group may read at
    ///     most, and nobody else at all.
    /// - Throws: `ProgramFailure(.configuration)` when it is missing, unreadable, open to others, too large or not UTF-8.
    package static func read(
        _ path: String,
        what: String = "configuration file",
        isSecret: Bool = false
    ) throws(ProgramFailure) -> String {
        do throws(Unreadable) {
            return try text(path, isSecret)
        } catch {
            throw ProgramFailure(.configuration, "\(what) \"\(path)\" cannot be read: \(error.reason)")
        }
    }

    private struct Unreadable: Error {
        let reason: String
    }

    /// Looks at the open file, not at the path: what is checked is what is read.
    private static func checkSecret(_ descriptor: CInt) throws(Unreadable) {
        var facts = stat()
        guard fstat(descriptor, &facts) == 0 else { throw Unreadable(reason: String(cString: strerror(errno))) }
        guard facts.st_mode & S_IFMT == S_IFREG else { throw Unreadable(reason: "it is no regular file") }
        guard facts.st_uid == 0 || facts.st_uid == geteuid() else {
            throw Unreadable(reason: "it belongs to user \(facts.st_uid), not to root or to this user; chown it")
        }
        guard facts.st_mode & 0o027 == 0 else {
            throw Unreadable(
                reason: "others may read it, or its group may write it; chmod 640 it, or 600"
            )
        }
    }

    private static func text(_ path: String, _ isSecret: Bool) throws(Unreadable) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Unreadable(reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        if isSecret { try checkSecret(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Unreadable(reason: String(cString: strerror(errno))) }
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
            guard bytes.count <= bytesMaximum else {
                throw Unreadable(reason: "it has more than \(bytesMaximum) bytes")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Unreadable(reason: "it is not UTF-8 text")
        }
        return text
    }
}
