import Glibc

/// The two output streams of a program, written whole and unbuffered so that scripts see a line when it is said.
package enum StandardStream: Int32, Sendable {
    /// For what a program was asked to say: the ready line, `--print-config`.
    case output = 1
    /// For everything else: logs, the one line of a failure.
    case error = 2

    /// How long a full pipe may hold up a line before the rest of it is given up.
    private static let waitMilliseconds: Int32 = 1_000

    /// Whether a person reads this stream.
    package var isTerminal: Bool { isatty(rawValue) == 1 }

    /// Writes `text` and a line feed.
    package func writeLine(_ text: String) {
        write(Array((text + "\n").utf8))
    }

    /// Writes all of `bytes`, in order. A reader that has gone, or one that does not read for a second, loses the
    /// rest: a program must not stop working because nobody looks at what it says.
    package func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            var rest = buffer[...]
            while !rest.isEmpty {
                let count = Glibc.write(rawValue, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                if count > 0 {
                    rest = rest.dropFirst(count)
                } else if count < 0 && errno == EINTR {
                    continue
                } else if count < 0 && errno == EAGAIN {
                    var descriptor = pollfd(fd: rawValue, events: Int16(POLLOUT), revents: 0)
                    guard poll(&descriptor, 1, Self.waitMilliseconds) > 0 else { return }
                } else {
                    return
                }
            }
        }
    }
}
