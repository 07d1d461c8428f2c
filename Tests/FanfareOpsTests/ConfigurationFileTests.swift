import FanfareModel
import Foundation
import Testing

@testable import FanfareOps

@Suite struct ConfigurationFileTests {
    private func temporaryFile(_ bytes: Data) throws -> URL {
        let url = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString).yaml")
        try bytes.write(to: url)
        return url
    }

    @Test func `a file is read whole up to its bound`() throws {
        let text = String(repeating: "# é\n", count: ConfigurationFile.bytesMaximum / 5)
        let url = try temporaryFile(Data(text.utf8))
        defer { try? FileManager.default.removeItem(at: url) }
        #expect(try ConfigurationFile.read(url.path) == text)
    }

    @Test(arguments: [
        (Data(count: ConfigurationFile.bytesMaximum + 1), "more than 1048576 bytes"),
        (Data([0x61, 0xff, 0xfe]), "not UTF-8"),
    ])
    func `a file that is too large or not text is refused by name`(bytes: Data, why: String) throws {
        let url = try temporaryFile(bytes)
        defer { try? FileManager.default.removeItem(at: url) }
        let failure = try #require(throws: ProgramFailure.self) { try ConfigurationFile.read(url.path) }
        #expect(failure.exit == .configuration)
        #expect(failure.text.contains(url.path))
        #expect(failure.text.contains(why))
    }

    @Test(arguments: ["/nonexistent/broker.yaml", "/tmp"])
    func `a path without a readable file is refused`(path: String) throws {
        let failure = try #require(throws: ProgramFailure.self) { try ConfigurationFile.read(path) }
        #expect(failure.exit == .configuration)
        #expect(failure.text.contains(path))
    }
}
