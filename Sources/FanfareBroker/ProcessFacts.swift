import Glibc

/// Facts about this process for `status`.
enum ProcessFacts {
    static var identifier: Int32 { getpid() }
}
