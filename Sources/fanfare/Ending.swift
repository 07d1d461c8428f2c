import ArgumentParser
import FanfareClient
import FanfareModel

/// How the program ends after an error: the one place that decides exit codes and words.
struct Ending: Equatable {
    /// 0, 1 for an answer that was no, or a code of `sysexits.h`: 64, 69, 70, 78.
    let exitCode: Int32
    /// What is said last; empty for nothing.
    let text: String

    private static let exitDeclined: Int32 = 1
    /// An error nobody foresaw: `EX_SOFTWARE`.
    private static let exitSoftware: Int32 = 70

    init(_ error: any Error) {
        switch error {
        case let failure as ProgramFailure: self.init(failure)
        case let failure as Failure: self.init(ProgramFailure(failure))
        case let failure as ChannelLayerError: self.init(ProgramFailure(failure))
        case let declined as Declined: self.init(exitCode: Self.exitDeclined, text: "fanfare: " + declined.text)
        case is CancellationError: self.init(exitCode: 0, text: "")
        default: self.init(parserError: error)
        }
    }

    private init(exitCode: Int32, text: String) {
        self.exitCode = exitCode
        self.text = text
    }

    private init(_ failure: ProgramFailure) {
        self.init(exitCode: failure.exit.rawValue, text: "fanfare: " + DisplayText.sanitized(failure.text))
    }

    /// Help, the version and usage errors come from ArgumentParser.
    private init(parserError error: any Error) {
        switch Fanfare.exitCode(for: error) {
        case .success:
            self.init(exitCode: 0, text: Fanfare.fullMessage(for: error))
        case .validationFailure:
            // Values to choose from stand on a line each.
            let what = Fanfare.message(for: error).replacing(":\n  - ", with: ": ").replacing("\n  - ", with: ", ")
                .split(separator: "\n").joined(separator: " ")
            let stop = what.last == "." || what.last == "?" ? "" : "."
            self.init(ProgramFailure(.usage, "\(what)\(stop) `fanfare --help` lists what there is."))
        default:
            self.init(exitCode: Self.exitSoftware, text: "fanfare: " + DisplayText.sanitized("\(error)"))
        }
    }

    /// The text without the name of the program in front: for commands that go on.
    var reason: String {
        text.hasPrefix("fanfare: ") ? String(text.dropFirst("fanfare: ".count)) : text
    }

    /// Says it, on standard error if it is an error, and ends the process.
    func take() -> Never {
        if !text.isEmpty {
            if exitCode == 0 { try? System.write(text + "\n") } else { System.complain(text) }
        }
        System.exit(exitCode)
    }
}

extension ProgramFailure {
    /// A refusal of the broker. What it says about the words of a request is a fault of the command line.
    init(_ refusal: Failure) {
        let exit: Exit =
            switch refusal.code {
            case .badName, .badRequest: .usage
            default: .unavailable
            }
        self.init(exit, "\(refusal.code.name): \(refusal.text)")
    }

    /// A request that did not succeed, with the name the protocol has for it.
    init(_ failure: ChannelLayerError) {
        switch failure {
        case .channelFull(let text): self.init(Failure(.channelFull, text))
        case .messageTooLarge(let text): self.init(Failure(.messageTooLarge, text))
        case .badName(let text): self.init(Failure(.badName, text))
        case .notOwner, .notConnected, .outcomeUnknown, .refused, .closed: self.init(.unavailable, failure.description)
        }
    }
}
