import FanfareModel
import FoundationEssentials
import Glibc

/// A program that was installed with this one: the broker, the worker. Only they know their settings.
struct SiblingProgram {
    /// Its name, such as `fanfare-broker`.
    let name: String

    /// What it says at most; its longest text is a reference of its settings.
    private static let bytesMaximum = 4_194_304

    struct Ended {
        var code: Int32
        /// Both of its streams, as they came.
        var output: String
    }

    /// Runs it to its end: the one beside this program, else the one in `$PATH`.
    ///
    /// - Throws: ``ProgramFailure`` when there is none, or it was ended by a signal.
    func run(_ arguments: [String]) throws(ProgramFailure) -> Ended {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { throw unusable(errno) }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        let started = start(arguments, writingTo: ends[1])
        close(ends[1])
        guard let process = started else { throw unusable(ENOENT) }
        let output = read(ends[0])
        var status: CInt = 0
        while waitpid(process, &status, 0) < 0 {
            guard errno == EINTR else { throw unusable(errno) }
        }
        // WIFEXITED and WEXITSTATUS, which are macros.
        guard status & 0x7f == 0 else { throw ProgramFailure(.unavailable, "\(name) was ended by a signal") }
        return Ended(code: (status >> 8) & 0xff, output: output)
    }

    private func start(_ arguments: [String], writingTo descriptor: CInt) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, descriptor, 1)
        posix_spawn_file_actions_adddup2(&actions, descriptor, 2)
        var words = ([name] + arguments).map { strdup($0) } + [nil]
        var variables = ProcessInfo.processInfo.environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (words + variables).forEach { free($0) } }
        var process = pid_t()
        if let beside, posix_spawn(&process, beside, &actions, nil, &words, &variables) == 0 { return process }
        return posix_spawnp(&process, name, &actions, nil, &words, &variables) == 0 ? process : nil
    }

    /// Where it would be if it was installed with this program.
    private var beside: String? {
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &path, path.count)
        guard count > 0 else { return nil }
        let own = String(decoding: path[..<count].map(UInt8.init(bitPattern:)), as: UTF8.self)
        return own.lastIndex(of: "/").map { own[...$0] + name }
    }

    private func read(_ descriptor: CInt) -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count < Self.bytesMaximum {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func unusable(_ reason: CInt) -> ProgramFailure {
        ProgramFailure(
            .unavailable,
            "\(name) cannot be run: \(String(cString: strerror(reason))); it is looked for beside this program and in "
                + "$PATH"
        )
    }
}
