import FanfareModel
import Glibc

/// What the program takes from the operating system: streams, terminal, clock, environment.
enum System {
    /// Writes all of `text` to standard output at once, so that lines are never cut by an end in between.
    ///
    /// - Throws: `CancellationError` when nobody reads any more: `fanfare tail … | head` has done what it should.
    static func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let slice = UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: rest))
                let written = Glibc.write(1, slice.baseAddress, slice.count)
                if written < 0 {
                    if errno == EINTR { continue }
                    throw CancellationError()
                }
                rest = rest.dropFirst(written)
            }
        }
    }

    /// Lets ``write(_:)`` find out that nobody reads any more, instead of the process being ended for it.
    static func ignoreClosedPipes() {
        signal(SIGPIPE, SIG_IGN)
    }

    /// Writes one line to standard error.
    static func complain(_ line: String) {
        var line = line + "\n"
        line.withUTF8 { _ = Glibc.write(2, $0.baseAddress, $0.count) }
    }

    /// Reads standard input to its end.
    ///
    /// - Parameter bytesMaximum: More is refused.
    /// - Throws: ``ProgramFailure`` with exit `usage`.
    static func readInput(bytesMaximum: Int) throws -> [UInt8] {
        var input: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(0, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw ProgramFailure(.usage, "standard input cannot be read: \(String(cString: strerror(errno)))")
            }
            guard count > 0 else { return input }
            input.append(contentsOf: chunk[..<count])
            guard input.count <= bytesMaximum else {
                throw ProgramFailure(.usage, "standard input has more than \(bytesMaximum) bytes; a message is smaller")
            }
        }
    }

    /// Asks at the terminal for one line, which is not shown while it is typed.
    static func askSecret(_ prompt: String) -> String {
        getpass(prompt).map { String(cString: $0) } ?? ""
    }

    static var outputIsTerminal: Bool { isatty(1) == 1 }
    static var inputIsTerminal: Bool { isatty(0) == 1 }
    static var processID: Int32 { getpid() }

    /// What standard output can show: nothing special unless it is a terminal.
    static var surface: Surface {
        guard outputIsTerminal else { return .plain }
        var size = winsize()
        let isKnown = ioctl(1, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 && size.ws_row > 0
        let isRedrawn = variable("TERM") != "dumb"
        return Surface(
            isStyled: isRedrawn && (variable("NO_COLOR") ?? "").isEmpty,
            isRedrawn: isRedrawn,
            columns: isKnown ? Int(size.ws_col) : nil,
            rows: isKnown ? Int(size.ws_row) : nil
        )
    }

    /// Where the broker is when nobody says.
    static func standardEndpoint() throws -> Endpoint {
        try Endpoint.standard(environment: environment(["FANFARE_BROKER", "XDG_RUNTIME_DIR"]), userID: geteuid())
    }

    /// The time of day, here and now.
    static func wallTime() -> WallTime {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var local = tm()
        localtime_r(&now.tv_sec, &local)
        return WallTime(
            milliseconds: Int64(now.tv_sec) * 1_000 + Int64(now.tv_nsec / 1_000_000),
            offsetSeconds: Int64(local.tm_gmtoff)
        )
    }

    /// Nanoseconds of the clock that only goes forward. Only differences mean anything.
    static func nanoseconds() -> UInt64 {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
    }

    /// Lets this thread sleep until ``nanoseconds()`` is `time`; returns at once when it has been.
    static func sleep(until time: UInt64) {
        var wake = timespec(tv_sec: Int(time / 1_000_000_000), tv_nsec: Int(time % 1_000_000_000))
        while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, nil) == EINTR {}
    }

    /// The environment variables of these names that are set.
    static func environment(_ names: [String]) -> [String: String] {
        var environment: [String: String] = [:]
        for name in names { environment[name] = variable(name) }
        return environment
    }

    /// The folder this process is in.
    static var folder: String {
        guard let path = getcwd(nil, 0) else { return "." }
        defer { free(path) }
        return String(cString: path)
    }

    static func exit(_ code: Int32) -> Never {
        Glibc.exit(code)
    }

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }
}
