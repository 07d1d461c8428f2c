import FanfareModel
import Foundation
import Glibc
import Testing

@testable import fanfare_broker

@Suite struct SocketFolderTests {
    private let root = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString)").path

    /// The socket's endpoint in a folder below a folder of this test.
    private func withRoot(_ body: (_ folder: String, _ endpoint: Endpoint) throws -> Void) throws {
        #expect(mkdir(root, 0o700) == 0)
        defer { try? FileManager.default.removeItem(atPath: root) }
        try body("\(root)/broker", .unix(path: "\(root)/broker/broker.sock"))
    }

    private func mode(_ path: String) -> mode_t {
        var facts = stat()
        #expect(lstat(path, &facts) == 0)
        return facts.st_mode & 0o7777
    }

    private func refusal(_ endpoint: Endpoint, isOurs: Bool) -> String {
        do throws(ProgramFailure) {
            try SocketFolder.prepare(for: [endpoint], isOurs: isOurs, userID: geteuid())
            return "accepted"
        } catch {
            #expect(error.exit == .configuration)
            return error.text
        }
    }

    @Test func `the standard folder is made for the right people and found again`() throws {
        try withRoot { folder, endpoint in
            #expect(refusal(endpoint, isOurs: true) == "accepted")
            #expect(mode(folder) == (geteuid() == 0 ? 0o755 : 0o700))
            #expect(refusal(endpoint, isOurs: true) == "accepted")
        }
    }

    @Test func `a standard folder that others can write to is refused`() throws {
        try withRoot { folder, endpoint in
            #expect(mkdir(folder, 0o700) == 0)
            #expect(chmod(folder, 0o777) == 0)
            #expect(refusal(endpoint, isOurs: true).contains("nobody else can write to"))
        }
    }

    @Test func `a link in the place of the standard folder is refused`() throws {
        try withRoot { folder, endpoint in
            #expect(symlink(root, folder) == 0)
            #expect(refusal(endpoint, isOurs: true).contains("must be a folder"))
        }
    }

    @Test func `a folder somebody named is never made`() throws {
        try withRoot { folder, endpoint in
            #expect(refusal(endpoint, isOurs: false).contains("mkdir -p \(folder)"))
            #expect(!FileManager.default.fileExists(atPath: folder))
            #expect(FileManager.default.createFile(atPath: folder, contents: nil))
            #expect(refusal(endpoint, isOurs: false).contains("is not a folder"))
        }
    }
}
