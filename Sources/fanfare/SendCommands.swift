import ArgumentParser
import FanfareClient
import FanfareModel
import FanfareProtocol

struct SendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "send", abstract: "Send one message to a channel.")

    @Argument(help: "The channel.", completion: .channels) var channel: String
    @Argument(help: MessageArgument.help) var message: String
    @OptionGroup var expiry: ExpiryOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let body = MessagePack.encode(.map(try MessageArgument.read(message)))
        let (channel, options) = (channel, SendOptions(expiry: expiry.milliseconds))
        _ = try await global.withLayer { layer in
            try await layer.request { .send(id: $0, channel: channel, body: body, options) }
        }
        let sent: MessageValue = ["channel": .string(channel), "bytes": .count(body.count)]
        try System.write(global.isJSON ? Display.json(sent) : "sent \(body.count) bytes to channel \(channel)\n")
    }
}

struct GroupSendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "group-send",
        abstract: "Send one message to every member of a group."
    )

    @Argument(help: "The group.", completion: .groups) var group: String
    @Argument(help: MessageArgument.help) var message: String
    @Flag(name: .customLong("outcome"), help: "Wait, and say how many members took the message.") var wantsOutcome =
        false
    @OptionGroup var expiry: ExpiryOptions
    @OptionGroup var global: GlobalOptions

    func run() async throws {
        let body = MessagePack.encode(.map(try MessageArgument.read(message)))
        let group = group
        let options = GroupSendOptions(expiry: expiry.milliseconds, wantsOutcome: wantsOutcome)
        let answer = try await global.withLayer { layer in
            try await layer.request { .groupSend(id: $0, group: group, body: body, options) }
        }
        try System.write(
            global.isJSON ? Display.json(Self.report(answer, group, body)) : Self.line(answer, group, body) + "\n"
        )
    }

    /// The answer as JSON: the broker's counts, when they were asked for, beside what was sent.
    static func report(_ answer: MessageValue, _ group: String, _ body: Body) -> MessageValue {
        let sent: [String: MessageValue] = ["group": .string(group), "bytes": .count(body.count)]
        return .map(sent.merging(answer.map ?? [:]) { $1 })
    }

    /// The answer as a line.
    static func line(_ answer: MessageValue, _ group: String, _ body: Body) -> String {
        var line = "sent \(body.count) bytes to group \(group)"
        guard let members = answer["members"]?.int else { return line }
        line += ": \(members) members, \(CellText.plain(answer["accepted"] ?? .null)) accepted, "
        line += "\(CellText.plain(answer["dropped"] ?? .null)) dropped"
        return answer["partial"]?.bool == true ? line + " (partial: not every process answered in time)" : line
    }
}

struct ExpiryOptions: ParsableArguments {
    @Option(name: .customLong("expiry"), help: ArgumentHelp("The life of the message unread.", valueName: "seconds"))
    var expirySeconds: Double?

    private static let secondsAllowed = 0.001...86_400.0

    func validate() throws {
        guard let expirySeconds, !Self.secondsAllowed.contains(expirySeconds) else { return }
        throw ValidationError("--expiry is \(expirySeconds); it must be 0.001 to 86400 seconds")
    }

    var milliseconds: Milliseconds? {
        expirySeconds.map { Milliseconds(UInt64(($0 * 1_000).rounded())) }
    }
}

/// A message on the command line.
enum MessageArgument {
    static let help: ArgumentHelp = "The message, a JSON object; - reads it from standard input."

    /// JSON of this size holds the largest body there is, whichever of the two is the longer.
    private static let bytesMaximum = 16 * 1_048_576

    /// Reads a message from the argument, or from standard input for `-`.
    ///
    /// - Throws: ``ProgramFailure`` with exit `usage`.
    static func read(_ argument: String) throws -> [String: MessageValue] {
        try message(argument == "-" ? System.readInput(bytesMaximum: bytesMaximum) : Array(argument.utf8))
    }

    /// The message in a JSON text.
    ///
    /// - Throws: ``ProgramFailure`` with exit `usage` that says what the text is instead.
    static func message(_ json: [UInt8]) throws -> [String: MessageValue] {
        let value: MessageValue
        do {
            value = try MessageValue(json: json)
        } catch {
            throw ProgramFailure(.usage, "the message cannot be read as JSON: \(error); write \(example)")
        }
        guard case .map(let map) = value else {
            throw ProgramFailure(.usage, "the message is \(kind(value)), it must be a JSON object; write \(example)")
        }
        return map
    }

    private static let example = #"an object such as {"type":"chat.message"}"#

    private static func kind(_ value: MessageValue) -> String {
        switch value {
        case .null: "null"
        case .bool(let bool): "the truth value \(bool)"
        case .int(let int): "the number \(int)"
        case .double(let double): "the number \(double)"
        case .string: "a text"
        case .binary: "bytes"
        case .array: "a list"
        case .map: "an object"
        }
    }
}
