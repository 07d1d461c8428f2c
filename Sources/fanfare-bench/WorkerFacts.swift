import Foundation

/// What a worker says of itself on `/healthz` of its operations port.
struct WorkerFacts: Decodable, Sendable {
    var pid: Int32
    /// Sockets closed, by the code that began it.
    var closes: [String: Int]

    /// Asks and waits for the answer.
    ///
    /// - Parameter address: `HOST:PORT`.
    static func read(from address: String) throws -> WorkerFacts {
        let target = try ServerAddress(address)
        let descriptor = try target.makeSocket(isBlocking: true)
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try target.connect(descriptor)
        let request = "GET /healthz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n"
        try file.write(contentsOf: Data(request.utf8))
        let answer = String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
        let parts = answer.components(separatedBy: "\r\n\r\n")
        guard parts.count > 1 else { throw LoadFailure("\(address) gave no answer to GET /healthz") }
        return try JSONDecoder().decode(WorkerFacts.self, from: Data(parts[1].utf8))
    }
}
