import FanfareClient
import FanfareModel

/// One command of a client of pubsub, as `docs/pubsub.md` describes them.
enum PubSubCommand: Equatable {
    case subscribe([String])
    case unsubscribe([String])
    case publish(String, MessageValue)
    case ping

    /// Names one command may have.
    static let groupsMaximum = 1_000

    /// Reads one text message.
    ///
    /// - Returns: The command and its id, if it has one.
    static func read(_ text: String) throws(PubSubError) -> (id: PubSubID?, command: PubSubCommand) {
        let value: MessageValue
        do {
            value = try MessageValue(json: Array(text.utf8))
        } catch {
            throw PubSubError(.badJSON, "this is not JSON: \(error)")
        }
        guard case .map(let object) = value else { throw PubSubError(.badJSON, "a command is a JSON object") }
        let id = try object["id"].map { (value) throws(PubSubError) in try PubSubID(value) }
        do {
            return (id, try command(object))
        } catch {
            throw error.about(id)
        }
    }

    private static func command(_ object: [String: MessageValue]) throws(PubSubError) -> PubSubCommand {
        let verbs = ["subscribe", "unsubscribe", "publish", "ping"].filter { object[$0] != nil }
        guard verbs.count == 1 else {
            throw PubSubError(.badCommand, "a command has one of subscribe, unsubscribe, publish and ping")
        }
        let known = verbs[0] == "publish" ? ["id", "publish", "message"] : ["id", verbs[0]]
        if let unknown = object.keys.filter({ !known.contains($0) }).min() {
            throw PubSubError(.badCommand, "\(verbs[0]) has no member \(InvalidSetting.quoted(unknown))")
        }
        switch verbs[0] {
        case "subscribe": return .subscribe(try names(object, "subscribe"))
        case "unsubscribe": return .unsubscribe(try names(object, "unsubscribe"))
        case "publish":
            guard let group = object["publish"]?.string else {
                throw PubSubError(.badCommand, "publish must be the name of a group")
            }
            guard let message = object["message"] else { throw PubSubError(.badCommand, "publish needs a message") }
            return .publish(group, message)
        default: return .ping
        }
    }

    private static func names(_ object: [String: MessageValue], _ verb: String) throws(PubSubError) -> [String] {
        guard let list = object[verb]?.array, (1...groupsMaximum).contains(list.count) else {
            throw PubSubError(.badCommand, "\(verb) must be a list of 1 to \(groupsMaximum) groups")
        }
        var names: [String] = []
        var known: Set<String> = []
        for element in list {
            guard let name = element.string else { throw PubSubError(.badCommand, "names of groups are text") }
            if known.insert(name).inserted { names.append(name) }
        }
        return names
    }
}

/// What a client calls a command, so that it finds the reply.
enum PubSubID: Equatable {
    case number(Int64)
    case text(String)

    /// Bytes of an id that is text.
    static let bytesMaximum = 64

    init(_ value: MessageValue) throws(PubSubError) {
        switch value {
        case .int(let number): self = .number(number)
        case .string(let text) where text.utf8.count <= Self.bytesMaximum: self = .text(text)
        default:
            throw PubSubError(.badCommand, "id must be a whole number or text of at most \(Self.bytesMaximum) bytes")
        }
    }

    func add(to object: inout JSONText) {
        switch self {
        case .number(let number): object.add("id", Int(number))
        case .text(let text): object.add("id", text)
        }
    }
}

/// Why a command was not carried out.
struct PubSubError: Error, Equatable {
    enum Code: String, CaseIterable {
        case badJSON = "bad_json"
        case badCommand = "bad_command"
        case badGroup = "bad_group"
        case forbidden
        case tooManySubscriptions = "too_many_subscriptions"
        case tooLarge = "too_large"
        case rateLimited = "rate_limited"
        case unavailable
        case refused

        /// Whether the message was no command at all.
        var isMalformed: Bool { self == .badJSON || self == .badCommand }
    }

    let code: Code
    let message: String
    private(set) var id: PubSubID?

    init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The same of the command `id`.
    func about(_ id: PubSubID?) -> PubSubError {
        var error = self
        error.id = id
        return error
    }

    /// The reply that says so.
    var reply: [UInt8] {
        var error = JSONText()
        error.add("code", code.rawValue)
        error.add("message", message)
        var object = JSONText()
        id?.add(to: &object)
        object.add("error", json: error.object())
        return object.object()
    }
}
