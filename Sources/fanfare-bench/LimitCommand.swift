import ArgumentParser
import CLimit
import Crypto
import Foundation

/// `fanfare-bench limit`: the server that no other can beat, to measure the others against.
struct LimitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "limit",
        abstract: "Serves the bare epoll loop in C: what fan-out costs at least on this machine.",
        discussion: """
            With --listen it takes WebSockets: the path is the room, and every message of a member goes to all members \
            as it is, the sender included. With --unix it takes links in the framing of Sources/CLimit/framing.c. \
            Prints "listening" when it serves, and serves until it is killed.
            """
    )

    @Option(help: "HOST:PORT for WebSockets, the host an IPv4 address.") var listen: String?
    @Option(help: "Path of a Unix socket for links.") var unix: String?
    @Flag(help: "All frames one turn of the loop has for a socket go in one send(); otherwise each in its own.")
    var merge = false

    func validate() throws {
        guard (listen == nil) != (unix == nil) else { throw ValidationError("give either --listen or --unix") }
    }

    func run() throws {
        DescriptorLimit.raise()
        let listener =
            if let unix { try ServerAddress(unixPath: unix).listen() } else {
                try ServerAddress(listen ?? "").listen()
            }
        print("listening")
        fflush(nil)
        let failure = fanfare_limit_serve(listener, unix == nil ? Self.acceptKey : nil, merge)
        throw LoadFailure("the limit server stopped: \(String(cString: strerror(failure)))")
    }

    /// RFC 6455, section 4.2.2: the SHA-1 of the key and a constant, in Base64.
    private static let acceptKey: fanfare_limit_accept = { key, length, accept in
        guard let key, let accept else { return }
        var hash = Insecure.SHA1()
        hash.update(bufferPointer: UnsafeRawBufferPointer(start: key, count: length))
        hash.update(data: Data("258EAFA5-E914-47DA-95CA-C5AB0DC85B11".utf8))
        let text = Data(hash.finalize()).base64EncodedString()
        for (index, byte) in text.utf8.enumerated() { accept[index] = CChar(byte) }
    }
}

/// The number of descriptors this process may open.
enum DescriptorLimit {
    /// Raises it as far as the system lets it; a bench with many sockets needs one for each.
    static func raise() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
