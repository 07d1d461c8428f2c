import FoundationEssentials
import Testing

@testable import fanfare_examples

struct MarketplaceDatabaseTests {
    /// The path of a database of a test's own, in a folder that goes with it.
    private final class Folder {
        let url = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString)")
        var path: String { url.appending(path: "marketplace.sqlite").path }

        init() throws { try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false) }
        deinit { try? FileManager.default.removeItem(at: url) }
    }

    @Test func `a room is made once for each product, owner and visitor`() throws {
        let folder = try Folder()
        let database = try MarketplaceDatabase(path: folder.path)
        let (room, isNew) = try database.room(productID: 7, owner: "Ada", visitor: "Grace")
        #expect(isNew)
        let again = try database.room(productID: 7, owner: "Ada", visitor: "Grace")
        #expect(again.room == room && !again.isNew)
        #expect(try database.room(productID: 8, owner: "Ada", visitor: "Grace").room != room)
        #expect(try database.room(productID: 7, owner: "Grace", visitor: "Ada").room != room)
        #expect(try database.room(id: room.id) == room)
        #expect(try database.room(id: 4_711) == nil)
    }

    @Test func `pages of messages join without holes and without doubles`() throws {
        let folder = try Folder()
        let database = try MarketplaceDatabase(path: folder.path)
        let room = try database.room(productID: 7, owner: "Ada", visitor: "Grace").room
        let other = try database.room(productID: 8, owner: "Ada", visitor: "Grace").room
        var expected: [Message] = []
        for number in 0..<10 {
            expected.append(try database.add(text: "number \(number) ✓", sender: "Ada", to: room))
            _ = try database.add(text: "elsewhere", sender: "Ada", to: other)
        }
        for limit in 1...11 {
            var found: [Message] = []
            var hasMore = true
            while hasMore {
                let page = try database.messages(in: room, before: found.first?.id, limit: limit)
                #expect(page.messages.count <= limit)
                found = page.messages + found
                hasMore = page.hasMore
            }
            #expect(found == expected)
        }
    }

    @Test func `several can make the same new file at once and use it together`() async throws {
        let folder = try Folder()
        let path = folder.path
        let messages = try await withThrowingTaskGroup(of: Message.self) { group in
            for number in 0..<8 {
                group.addTask {
                    let database = try MarketplaceDatabase(path: path)
                    let room = try database.room(productID: 7, owner: "Ada", visitor: "Grace").room
                    return try database.add(text: "from \(number)", sender: "Ada", to: room)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let database = try MarketplaceDatabase(path: path)
        let room = try #require(try database.room(id: 1))
        let stored = try database.messages(in: room, before: nil, limit: 100)
        #expect(stored.messages == messages.sorted { $0.id < $1.id } && !stored.hasMore)
    }

    @Test func `a message is one to two thousand characters of a member of the room`() throws {
        let room = Room(id: 1, productID: 7, owner: "Ada", visitor: "Grace")
        func code(_ text: String, _ sender: String) -> String? {
            do throws(Problem) {
                try Problem.check(text: text, sender: sender, in: room)
                return nil
            } catch {
                return error.error.code
            }
        }
        #expect(code("x", "Ada") == nil && code(String(repeating: "é", count: 2_000), "Grace") == nil)
        #expect(code("", "Ada") == "wrong_length")
        #expect(code(String(repeating: "x", count: 2_001), "Ada") == "wrong_length")
        // One character to the eye, and far too much.
        #expect(code("e" + String(repeating: "\u{301}", count: 2_000), "Ada") == "wrong_length")
        #expect(code("a\0b", "Ada") == "wrong_character")
        #expect(code("x", "ada") == "unknown_sender" && code("x", "") == "unknown_sender")
    }
}
