import FanfareModel
import Foundation
import Testing

@testable import FanfareOps

/// Runs the built programs for what needs no broker.
@Suite struct ExecutableTests {
    struct Ended {
        var code: Int32
        var output: String
        var error: String
    }

    /// Runs a program of this package to its end, with an environment of our own.
    private func run(
        _ program: String,
        _ arguments: [String],
        environment: [String: String] = [:]
    ) throws -> Ended {
        let process = Process()
        let output = Pipe(), error = Pipe()
        // The test bundle lies beside the programs it was built with.
        let folder = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        process.executableURL = folder.appending(path: program)
        process.arguments = arguments
        process.environment = environment
        process.standardOutput = output
        process.standardError = error
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let said = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        let complained = String(decoding: try error.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        return Ended(code: process.terminationStatus, output: said, error: complained)
    }

    private func withFile(_ text: String, _ body: (String) throws -> Void) throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "fanfare-\(UUID().uuidString).yaml")
        try Data(text.utf8).write(to: url)
        defer { try? FileManager.default.removeItem(at: url) }
        try body(url.path)
    }

    private static let programs = ["fanfare-broker", "fanfare-worker"]

    @Test(arguments: programs)
    func `--version says program and version`(program: String) throws {
        let ended = try run(program, ["--version"])
        #expect(ended.code == 0)
        #expect(ended.output == "\(program) \(Version.current)\n")
    }

    @Test(arguments: programs)
    func `a flag that does not exist exits with 64 and the usage`(program: String) throws {
        let ended = try run(program, ["--no-such-flag"])
        #expect(ended.code == 64)
        #expect(ended.output == "")
        #expect(ended.error.contains("--no-such-flag"))
        #expect(ended.error.contains("Usage: \(program)"))
    }

    @Test(arguments: programs)
    func `--help names every flag and every exit code`(program: String) throws {
        let ended = try run(program, ["--help"])
        #expect(ended.code == 0)
        let flags = ["--listen", "--ops", "--config", "--check-config", "--print-config", "--limit", "--log-format"]
        for flag in flags + ["--log-level", "--version"] { #expect(ended.output.contains(flag)) }
        for code in ["0 ", "64", "69", "70", "78"] { #expect(ended.output.contains("\n  \(code)")) }
    }

    @Test(
        arguments: programs,
        [
            (["--config", "/nonexistent.yaml"], "/nonexistent.yaml"),
            (["--limit", "nestign=3"], "did you mean \"nesting\"?"),
            (["--log-level", "loud"], "--log-level must be one of"),
            (["--ops", "nowhere"], "--ops: "),
        ]
    )
    func `a setting that cannot be used exits with 78 and one line`(
        program: String,
        use: (arguments: [String], text: String)
    ) throws {
        let ended = try run(program, use.arguments)
        #expect(ended.code == 78)
        #expect(ended.output == "")
        #expect(ended.error.hasPrefix("\(program): "))
        #expect(ended.error.contains(use.text))
        #expect(ended.error.filter(\.isNewline).count == 1)
    }

    @Test(arguments: [
        ("fanfare-broker", ["--listen", "tls://localhost:1"], "--tls-certificate"),
        ("fanfare-broker", ["--listen", "unix:/a", "--socket-mode", "0666"], "--credentials"),
        ("fanfare-broker", ["--credentials", "/nonexistent.yaml"], "/nonexistent.yaml"),
        ("fanfare-broker", ["--listen", "tcp://0.0.0.0:7411"], "--allow-remote-tcp"),
        ("fanfare-broker", ["--listen", "tcp://127.example.com:7411"], "--allow-remote-tcp"),
        ("fanfare-broker", ["--listen", "unix:/a", "--listen", "unix:/a"], "given twice"),
        ("fanfare-broker", ["--listen", "unix:/nonexistent/broker.sock"], "mkdir -p /nonexistent"),
        ("fanfare-worker", ["--listen", "8000"], "--listen: "),
        ("fanfare-worker", ["--name", String(repeating: "n", count: 300)], "1 to 256 bytes"),
    ])
    func `an address or name that cannot be used exits with 78 and one line`(
        program: String,
        arguments: [String],
        text: String
    ) throws {
        let ended = try run(program, arguments)
        #expect(ended.code == 78)
        #expect(ended.error.hasPrefix("\(program): "))
        #expect(ended.error.contains(text))
        #expect(ended.error.filter(\.isNewline).count == 1)
    }

    @Test(arguments: programs)
    func `a file's mistake is reported with its line`(program: String) throws {
        try withFile("ops: 127.0.0.1:1\nlimits:\n  expiri: 3\n") { path in
            let ended = try run(program, ["--check-config", "--config", path])
            #expect(ended.code == 78)
            #expect(
                ended.error
                    == "\(program): \(path):3: unknown key \"expiri\"; did you mean \"expiry_default_seconds\"?\n"
            )
        }
    }

    @Test func `--check-config sums up what the broker would do`() throws {
        try withFile("ops: 127.0.0.1:7412\nlimits: {sessions: 9}\n") { path in
            let ended = try run(
                "fanfare-broker",
                ["--check-config", "--config", path, "--capacity", "200", "--expiry", "0.5"],
                environment: ["XDG_RUNTIME_DIR": "/run/user/1"]
            )
            #expect(ended.code == 0)
            #expect(ended.error == "")
            #expect(
                ended.output == """
                    configuration is valid
                    listen: unix:/run/user/1/fanfare/broker.sock
                    security: everybody who can connect, no TLS
                    ops: http://127.0.0.1:7412
                    state: none
                    limits: capacity_default=200 expiry_default_seconds=0.5 sessions=9

                    """
            )
        }
    }

    @Test func `--check-config sums up what the worker would do`() throws {
        let ended = try run(
            "fanfare-worker",
            [
                "--check-config", "--broker", "unix:/a", "--broker", "tcp://[::1]:5", "--listen", "[::1]:80", "--name",
                "w",
            ]
        )
        #expect(ended.code == 0)
        #expect(ended.error == "")
        #expect(
            ended.output == """
                configuration is valid
                brokers: unix:/a tcp://[::1]:5
                listen: http://[::1]:80
                route: / and /chat/<room>/ pages, /ws/chat/<str:room>/ chat
                ops: none
                name: w
                sockets: the defaults
                limits: the defaults

                """
        )
    }

    @Test(arguments: programs)
    func `the printed configuration is one the program takes and prints again`(program: String) throws {
        let first = try run(program, ["--print-config", "--limit", "capacity_default=7"])
        #expect(first.code == 0)
        #expect(first.output.contains("\n  capacity_default: 7\n"))
        try withFile(first.output) { path in
            let again = try run(program, ["--print-config", "--config", path])
            #expect(again.code == 0)
            #expect(again.output == first.output)
        }
    }
}
