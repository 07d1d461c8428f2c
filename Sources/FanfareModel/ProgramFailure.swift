/// Why a program of this house could not start or go on: one line for people and an exit code of `sysexits.h`.
package struct ProgramFailure: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Exit: Int32, Sendable {
        /// The command line was wrong.
        case usage = 64
        /// The broker, or what was asked for, cannot be reached or has refused.
        case unavailable = 69
        /// A setting, a file or an address this program was given cannot be used.
        case configuration = 78
    }

    package var exit: Exit
    /// What happened, the value, what to do.
    package var text: String

    package init(_ exit: Exit, _ text: String) {
        self.exit = exit
        self.text = text
    }

    /// The text: what a program prints that lets the error through to its end.
    package var description: String { text }
}
