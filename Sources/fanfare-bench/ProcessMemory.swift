import Foundation

/// The memory of a process, in KB.
struct ProcessMemory: Encodable {
    /// Private pages and its share of the shared ones (PSS).
    var proportional: Int
    var resident: Int

    static func now(of process: Int32) throws -> ProcessMemory {
        let file = "/proc/\(process)/smaps_rollup"
        guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
            throw LoadFailure("cannot read \(file) for the memory of process \(process)")
        }
        let numbers = KernelText.numbers(text)
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
        let slab = KernelText.numbers(try String(contentsOfFile: "/proc/meminfo", encoding: .utf8))["Slab"] ?? 0
        let network = try String(contentsOfFile: "/proc/net/sockstat", encoding: .utf8)
        let slabs = (try? String(contentsOfFile: "/proc/slabinfo", encoding: .utf8)).map(KernelText.slabs) ?? [:]
        return KernelMemory(slab: slab, buffers: KernelText.bufferPages(network) * pageKilobytes, slabs: slabs)
    }

    private static let pageKilobytes = Int(getpagesize()) / 1_024
}

/// Reads what the kernel writes.
enum KernelText {
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
