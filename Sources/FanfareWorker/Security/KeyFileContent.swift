#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What a key file holds.
struct KeyFileContent {
    let bytes: [UInt8]
    /// Whether every user of the machine may read it.
    let isReadableByOthers: Bool

    private static let bytesMaximum = 1_048_576

    /// Reads a regular file of 1 byte to 1 MiB.
    ///
    /// - Throws: ``InvalidSetting`` that names the file.
    init(path: String) throws(InvalidSetting) {
        // A pipe without a writer must not hold up the start.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Self.invalid(path, String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.invalid(path, String(cString: strerror(errno))) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Self.invalid(path, "it is no regular file") }
        guard status.st_size > 0 else { throw Self.invalid(path, "it is empty") }
        guard status.st_size <= Self.bytesMaximum else {
            throw Self.invalid(path, "it has \(status.st_size) bytes; at most \(Self.bytesMaximum) are read")
        }
        isReadableByOthers = status.st_mode & S_IROTH != 0
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress! + filled, $0.count - filled) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.invalid(path, "it changed while it was read") }
            filled += count
        }
        self.bytes = bytes
    }

    static func invalid(_ path: String, _ problem: String) -> InvalidSetting {
        InvalidSetting(text(path, problem))
    }

    static func text(_ path: String, _ problem: String) -> String {
        "key file \(path.debugDescription): \(problem)"
    }
}
