import FanfareClient
import FanfareWorker
import GRDB
import HTTPTypes
import Logging

/// What a client is told when something cannot be done: `{"error": {"code": "…", "message": "…"}}`.
struct Problem: Error, Encodable {
    struct Detail: Encodable {
        /// For programs.
        let code: String
        /// For people.
        let message: String
    }

    let error: Detail
    /// Where the answer is one of HTTP.
    let status: HTTPResponse.Status

    enum CodingKeys: CodingKey { case error }

    init(_ status: HTTPResponse.Status, _ code: String, _ message: String) {
        error = Detail(code: code, message: message)
        self.status = status
    }

    /// What a client may know of an error.
    init(_ error: any Error) {
        switch error {
        case let problem as Problem: self = problem
        case is DatabaseError, is BlockingPool.Full:
            self.init(.serviceUnavailable, "database", "The database does not answer. Nothing was stored; try again.")
        case is ChannelLayerError:
            self.init(.serviceUnavailable, "not_delivered", "The message is stored, and will be seen on a reload.")
        default: self.init(.internalServerError, "failed", "Something failed on this side.")
        }
    }

    static func noSuchRoom(_ id: Int) -> Problem {
        Problem(.notFound, "no_such_room", "There is no room \(id).")
    }

    /// Checks what somebody says.
    ///
    /// - Throws: ``Problem``.
    static func check(text: String, sender: String, in room: Room) throws(Problem) {
        guard sender == room.owner || sender == room.visitor else {
            throw Problem(.forbidden, "unknown_sender", "The sender must be \(room.owner) or \(room.visitor).")
        }
        guard (1...2_000).contains(text.unicodeScalars.count) else {
            throw Problem(
                .badRequest,
                "wrong_length",
                "The text has \(text.unicodeScalars.count) characters; write 1 to 2000."
            )
        }
        // SQLite takes it for the end of a text.
        guard !text.unicodeScalars.contains("\0") else {
            throw Problem(.badRequest, "wrong_character", "The text has the character U+0000.")
        }
    }

    /// Checks the name of somebody who is to have a room.
    ///
    /// - Throws: ``Problem``.
    static func check(name: String, of role: String) throws(Problem) {
        let isPlain = name.unicodeScalars.allSatisfy { $0.properties.generalCategory != .control }
        guard (1...50).contains(name.unicodeScalars.count), isPlain else {
            throw Problem(.badRequest, "wrong_name", "The name of the \(role) must have 1 to 50 printable characters.")
        }
    }
}

/// Answers everything a handler throws as JSON.
struct JSONProblems: Middleware {
    func handle(_ request: Request, _ context: Context, next: Next) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let denial as Denial {
            throw denial
        } catch {
            let problem = Problem(error)
            if problem.status.kind == .serverError { context.logger.error("\(request.path): \(error)") }
            return try .json(problem.status, problem)
        }
    }
}
