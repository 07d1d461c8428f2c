import Dispatch
import Foundation
import Testing

/// Runs every property over the inputs that fuzzing has kept: those that cover the most, and those that once failed.
@Suite(.timeLimit(.minutes(10))) struct ReplayTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

    static func inputs(_ property: String, in kind: String) throws -> [URL] {
        let folder = folder.appending(components: kind, property)
        guard FileManager.default.fileExists(atPath: folder.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.path < $1.path }
    }

    @Test(arguments: Property.all.map(\.name))
    func `every kept input has its property`(_ name: String) async throws {
        let property = try #require(Property.all.first { $0.name == name })
        let corpus = try Self.inputs(name, in: "corpus")
        #expect(!corpus.isEmpty, "nothing is kept for \(name)")
        for file in try corpus + Self.inputs(name, in: "regressions") {
            let input = try Data(contentsOf: file)
            // Some of them wait for loops and tasks, which no task may do.
            let failure: (any Error)? = await withCheckedContinuation { continuation in
                DispatchQueue.global().async {
                    do {
                        try input.withUnsafeBytes { try property.check($0) }
                        continuation.resume(returning: nil)
                    } catch {
                        continuation.resume(returning: error)
                    }
                }
            }
            #expect(failure == nil, "\(file.lastPathComponent): \(String(describing: failure))")
        }
    }

    @Test func `there is nothing kept for a property that is gone`() throws {
        for kind in ["corpus", "regressions"] {
            let folder = Self.folder.appending(component: kind)
            guard FileManager.default.fileExists(atPath: folder.path) else { continue }
            for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) where name != "README.md" {
                #expect(Property.all.contains { $0.name == name }, "\(kind)/\(name)")
            }
        }
    }
}
