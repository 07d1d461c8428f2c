import FoundationEssentials
import GRDB
import Glibc

/// The place where the owner of a shop and one visitor talk about one product.
struct Room: Codable, Sendable, Equatable, FetchableRecord {
    let id: Int
    let productID: Int
    let owner: String
    let visitor: String

    enum CodingKeys: String, CodingKey {
        case id, owner, visitor
        case productID = "product_id"
    }
}

/// One message of a room. Their ids grow with time, in all rooms together.
struct Message: Codable, Sendable, Equatable, FetchableRecord {
    let id: Int
    let text: String
    let sender: String
    /// Seconds since 1970.
    let time: Double
}

/// Rooms and messages in one SQLite file, which several processes may use at once.
///
/// All of it blocks: call it inside `blocking {}`.
final class MarketplaceDatabase: Sendable {
    /// How long a call waits for another process that is writing.
    private static let busySeconds = 5.0
    private static let openingAttempts = 10
    /// What the one who comes second may read when two processes make the same new file.
    private static let openingErrors: [ResultCode] = [.SQLITE_BUSY, .SQLITE_ERROR, .SQLITE_CONSTRAINT]

    private let pool: DatabasePool

    /// The file cannot be opened, or is no database.
    struct Unusable: Error, CustomStringConvertible {
        let description: String
    }

    /// Opens the file, and makes it when it is not there.
    ///
    /// - Throws: ``Unusable``.
    init(path: String) throws {
        do {
            pool = try Self.open(path)
        } catch {
            throw Unusable(description: "the database \(path) cannot be used: \(error)")
        }
    }

    private static func open(_ path: String) throws -> DatabasePool {
        var configuration = Configuration()
        configuration.busyMode = .timeout(busySeconds)
        var attempt = 1
        while true {
            do {
                // A pool writes ahead to a log (WAL): readers do not wait for the writer, nor for other processes.
                let pool = try DatabasePool(path: path, configuration: configuration)
                try migrator.migrate(pool)
                return pool
            } catch let error as DatabaseError
                where attempt < openingAttempts && openingErrors.contains(error.resultCode)
            {
                // The next look finds it made.
                attempt += 1
                usleep(50_000)
            }
        }
    }

    private static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("rooms and messages") { database in
            try database.execute(
                sql: """
                    CREATE TABLE room (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        product_id INTEGER NOT NULL,
                        owner TEXT NOT NULL,
                        visitor TEXT NOT NULL,
                        UNIQUE (product_id, owner, visitor)
                    );
                    CREATE TABLE message (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        room_id INTEGER NOT NULL REFERENCES room (id),
                        sender TEXT NOT NULL,
                        text TEXT NOT NULL,
                        time REAL NOT NULL
                    );
                    CREATE INDEX message_of_room ON message (room_id, id);
                    """
            )
        }
        return migrator
    }

    /// The room of these two for this product; made when there is none.
    ///
    /// - Returns: Also whether it is new.
    func room(productID: Int, owner: String, visitor: String) throws -> (room: Room, isNew: Bool) {
        try pool.write { database in
            try database.execute(
                sql: "INSERT INTO room (product_id, owner, visitor) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                arguments: [productID, owner, visitor]
            )
            let isNew = database.changesCount == 1
            let room = try Room.fetchOne(
                database,
                sql: "SELECT * FROM room WHERE product_id = ? AND owner = ? AND visitor = ?",
                arguments: [productID, owner, visitor]
            )
            guard let room else { throw DatabaseError(message: "the room that was made is not there") }
            return (room, isNew)
        }
    }

    /// The room with this id, if there is one.
    func room(id: Int) throws -> Room? {
        try pool.read { try Room.fetchOne($0, sql: "SELECT * FROM room WHERE id = ?", arguments: [id]) }
    }

    /// Stores a message.
    ///
    /// - Returns: The message with its id and time.
    func add(text: String, sender: String, to room: Room) throws -> Message {
        let time = (Date().timeIntervalSince1970 * 1_000).rounded() / 1_000
        return try pool.write { database in
            try database.execute(
                sql: "INSERT INTO message (room_id, sender, text, time) VALUES (?, ?, ?, ?)",
                arguments: [room.id, sender, text, time]
            )
            return Message(id: Int(database.lastInsertedRowID), text: text, sender: sender, time: time)
        }
    }

    /// The newest messages of a room, oldest first.
    ///
    /// - Parameters:
    ///   - before: Only messages with a smaller id.
    ///   - limit: At most so many.
    /// - Returns: Also whether there are older ones.
    func messages(in room: Room, before: Int?, limit: Int) throws -> (messages: [Message], hasMore: Bool) {
        let newestFirst = try pool.read {
            try Message.fetchAll(
                $0,
                sql: """
                    SELECT id, text, sender, time FROM message WHERE room_id = ? AND id < ? ORDER BY id DESC LIMIT ?
                    """,
                arguments: [room.id, before ?? Int.max, limit + 1]
            )
        }
        return (newestFirst.prefix(limit).reversed(), newestFirst.count > limit)
    }
}
