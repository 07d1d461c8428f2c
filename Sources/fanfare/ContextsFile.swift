import FanfareModel
import FanfareOps
import FoundationEssentials
import Glibc

/// Where the contexts of a user are kept: `$XDG_CONFIG_HOME/fanfare/contexts.yaml`, for nobody else to read.
struct ContextsFile: Sendable, Equatable {
    let path: String

    private static let ownerOnly: mode_t = 0o600

    /// - Parameter environment: Where `XDG_CONFIG_HOME` and `HOME` are looked up.
    /// - Returns: `nil` when neither says where a user's configuration is.
    init?(environment: [String: String]) {
        if let folder = environment["XDG_CONFIG_HOME"], folder.first == "/" {
            path = "\(folder)/fanfare/contexts.yaml"
        } else if let home = environment["HOME"], home.first == "/" {
            path = "\(home)/.config/fanfare/contexts.yaml"
        } else {
            return nil
        }
    }

    /// The contexts; none when there is no file yet.
    ///
    /// - Throws: ``ProgramFailure`` when others may read it, or when it cannot be understood.
    func read() throws(ProgramFailure) -> Contexts {
        guard access(path, F_OK) == 0 || errno != ENOENT else { return Contexts() }
        return try Contexts(
            yaml: try ConfigurationFile.read(path, what: "contexts file", isSecret: true),
            from: path
        )
    }

    /// Reads, changes and writes the contexts; another process that does the same waits.
    ///
    /// The file is replaced at once or not at all.
    func change(_ change: (inout Contexts) throws(ProgramFailure) -> Void) throws(ProgramFailure) {
        let folder = String(path[..<path.lastIndex(of: "/")!])
        do {
            try FileManager.default.createDirectory(
                atPath: folder,
                withIntermediateDirectories: true,
                attributes: [.posixPermissions: 0o700]
            )
        } catch {
            throw ProgramFailure(.configuration, "folder \"\(folder)\" for the contexts cannot be made: \(error)")
        }
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw unwritable() }
        defer { close(descriptor) }
        while flock(descriptor, LOCK_EX) != 0 {
            guard errno == EINTR else { throw unwritable() }
        }
        var contexts = try read()
        try change(&contexts)
        try write(contexts.yaml)
    }

    private func write(_ text: String) throws(ProgramFailure) {
        let new = "\(path).\(getpid())"
        // What a process of the same number left behind.
        unlink(new)
        let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, Self.ownerOnly)
        guard descriptor >= 0 else { throw unwritable() }
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            written += count
        }
        let isWhole = written == bytes.count && fsync(descriptor) == 0
        let failure = unwritable()
        close(descriptor)
        guard isWhole, rename(new, path) == 0 else {
            unlink(new)
            throw isWhole ? unwritable() : failure
        }
    }

    /// To be called while `errno` says why.
    private func unwritable() -> ProgramFailure {
        ProgramFailure(.configuration, "\"\(path)\" cannot be written: \(String(cString: strerror(errno)))")
    }
}
