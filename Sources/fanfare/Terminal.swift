import Dispatch
import FanfareModel
import Glibc

/// The screen and the keys of a terminal, taken over and given back. The only place that knows termios.
struct Terminal: Sendable {
    enum Event: Sendable {
        case bytes([UInt8])
        case resized
        /// Ctrl-Z or its signal: ``suspend()`` obeys.
        case suspended
        case continued
        /// A signal that ends programs, or the terminal is gone.
        case ended
    }

    private static let ending = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]
    private static let signals: [(number: Int32, event: Event)] =
        ending.map { ($0, .ended) } + [(SIGWINCH, .resized), (SIGTSTP, .suspended), (SIGCONT, .continued)]

    /// How it was found.
    private let settings: termios

    /// - Throws: ``ProgramFailure`` when standard input is no terminal.
    init() throws {
        var settings = termios()
        guard tcgetattr(0, &settings) == 0 else {
            throw ProgramFailure(.usage, "standard input is no terminal: \(String(cString: strerror(errno)))")
        }
        self.settings = settings
    }

    /// Shows another screen without a cursor; keys come at once and are not echoed. Ctrl-C and Ctrl-Z stay signals.
    func enter() {
        var raw = settings
        raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
        tcsetattr(0, TCSAFLUSH, &raw)
        try? System.write("\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J")
    }

    /// Gives back the screen as it was, the cursor and the settings. Again: changes nothing.
    func leave() {
        try? System.write("\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l")
        var found = settings
        tcsetattr(0, TCSAFLUSH, &found)
    }

    /// Gives the terminal back and stops until the shell lets this process go on.
    func suspend() {
        leave()
        // To this thread: to the process, it might stop only after it has taken the terminal again.
        raise(SIGSTOP)
        enter()
    }

    /// Tells what happens, from another thread, until the sources it returns are cancelled.
    func listen(_ tell: @escaping @Sendable (Event) -> Void) -> [any DispatchSourceProtocol] {
        var listening: [any DispatchSourceProtocol] = Self.signals.map { number, event in
            // The default of these would end or stop the process before it can give the terminal back.
            if number != SIGWINCH, number != SIGCONT { signal(number, SIG_IGN) }
            let source = DispatchSource.makeSignalSource(signal: number)
            source.setEventHandler { tell(event) }
            return source
        }
        let input = DispatchSource.makeReadSource(fileDescriptor: 0)
        input.setEventHandler {
            var bytes = [UInt8](repeating: 0, count: 256)
            let count = read(0, &bytes, bytes.count)
            if count > 0 { return tell(.bytes(Array(bytes[..<count]))) }
            if count == 0 || errno != EINTR && errno != EAGAIN {
                input.cancel()
                tell(.ended)
            }
        }
        listening.append(input)
        for source in listening { source.resume() }
        return listening
    }
}
