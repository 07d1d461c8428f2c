import Glibc

/// The memory of a process, in KB.
struct ProcessMemory: Encodable {
    /// Private pages and its share of the shared ones (PSS).
    var proportional: Int
    var resident: Int

    static func now(of process: Int32) throws -> ProcessMemory {
        let numbers = KernelText.numbers(try KernelText.read("/proc/\(process)/smaps_rollup"))
        return ProcessMemory(proportional: numbers["Pss"] ?? 0, resident: numbers["Rss"] ?? 0)
    }
}

/// The memory of the kernel, in KB.
struct KernelMemory: Encodable {
    /// All small objects.
    var slab: Int
    /// Buffers of all TCP connections.
    var buffers: Int
    /// The small objects by kind; empty when /proc/slabinfo is not to be read.
    var slabs: [String: Int]

    static func now() throws -> KernelMemory {
        let slab = KernelText.numbers(try KernelText.read("/proc/meminfo"))["Slab"] ?? 0
        let network = try KernelText.read("/proc/net/sockstat")
        let slabs = (try? KernelText.read("/proc/slabinfo")).map(KernelText.slabs) ?? [:]
        return KernelMemory(slab: slab, buffers: KernelText.bufferPages(network) * pageKilobytes, slabs: slabs)
    }

    private enum CodingKeys: CodingKey { case slab, buffers }

    private static let pageKilobytes = Int(getpagesize()) / 1_024
}

/// Reads what the kernel writes.
enum KernelText {
    /// A file of /proc, to its end: the kernel hands it out in pieces, and Foundation takes the first for all.
    ///
    /// - Throws: ``LoadFailure`` when it cannot be read.
    static func read(_ path: String) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw LoadFailure("cannot read \(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var text: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &piece, piece.count)
            guard count >= 0 else { throw LoadFailure("cannot read \(path): \(String(cString: strerror(errno)))") }
            if count == 0 { return String(decoding: text, as: UTF8.self) }
            text += piece[..<count]
        }
    }

    /// The numbers of lines such as `Slab: 42 kB`.
    static func numbers(_ text: String) -> [String: Int] {
        var numbers: [String: Int] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count >= 2, words[0].hasSuffix(":") { numbers[String(words[0].dropLast())] = Int(words[1]) }
        }
        return numbers
    }

    /// The pages of the line `TCP: inuse 5 … mem 3` of /proc/net/sockstat.
    static func bufferPages(_ text: String) -> Int {
        let words = text.split(separator: "\n").first { $0.hasPrefix("TCP:") }?.split(separator: " ") ?? []
        guard let place = words.firstIndex(of: "mem"), place + 1 < words.count else { return 0 }
        return Int(words[place + 1]) ?? 0
    }

    /// KB in use by kind, from lines `name active_objects objects object_size …` of /proc/slabinfo.
    static func slabs(_ text: String) -> [String: Int] {
        var slabs: [String: Int] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count > 3, let active = Int(words[1]), let size = Int(words[3]) else { continue }
            slabs[String(words[0])] = active * size / 1_024
        }
        return slabs
    }
}
