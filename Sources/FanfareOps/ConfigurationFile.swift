package import FanfareModel
import Glibc

/// A configuration file on disk, before anything in it is understood.
package enum ConfigurationFile {
    /// The most a configuration file may hold. More is somebody's log or database, not a configuration.
    package static let bytesMaximum = 1_048_576

    /// The text of the file at `path`.
    ///
    /// - Parameter what: What errors call the file.
    /// - Throws: `ProgramFailure(.configuration)` when it is missing, unreadable, too large or not UTF-8.
    package static func read(
        _ path: String,
        what: String = "configuration file"
    ) throws(ProgramFailure) -> String {
        do throws(Unreadable) {
            return try text(path)
        } catch {
            throw ProgramFailure(.configuration, "\(what) \"\(path)\" cannot be read: \(error.reason)")
        }
    }

    private struct Unreadable: Error {
        let reason: String
    }

    private static func text(_ path: String) throws(Unreadable) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Unreadable(reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
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
