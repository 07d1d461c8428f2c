import Glibc

extension Metrics {
    /// Adds what the system says of this process, under the names Prometheus's own client libraries give it; what the
    /// system does not say is left out.
    mutating func addProcess() {
        if let seconds = Self.processorSeconds {
            add(
                "process_cpu_seconds_total",
                .counter,
                help: "Processor time of this process, its own and the kernel's for it. Its rate near 1: the event "
                    + "loop has a processor to itself and needs it; more work will wait.",
                seconds
            )
        }
        if let bytes = Self.residentBytes {
            add(
                "process_resident_memory_bytes",
                .gauge,
                help: "Memory of this process that is in use. Level after the first hour; growing for days: a leak.",
                Double(bytes)
            )
        }
        if let count = Self.openDescriptors {
            add(
                "process_open_fds",
                .gauge,
                help: "Descriptors this process has open: each connection is one.",
                Double(count)
            )
        }
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        add(
            "process_max_fds",
            .gauge,
            help: "Descriptors it may have. Near it, accepting pauses: raise LimitNOFILE, or add processes.",
            Double(limit.rlim_cur)
        )
    }

    private static var processorSeconds: Double? {
        var use = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &use) == 0 else { return nil }
        return [use.ru_utime, use.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }

    /// The second number of `/proc/self/statm`, proc(5).
    private static var residentBytes: Int? {
        guard let file = fopen("/proc/self/statm", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 128)
        guard fgets(&line, CInt(line.count), file) != nil else { return nil }
        let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        let words = text.split(separator: " ")
        guard words.count > 1, let pages = Int(words[1]) else { return nil }
        return pages * sysconf(CInt(_SC_PAGESIZE))
    }

    private static var openDescriptors: Int? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while let entry = readdir(folder) {
            if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
        }
        // The folder itself is one of them.
        return count - 1
    }
}
