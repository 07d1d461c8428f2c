// swift-tools-version: 6.2
import PackageDescription

// The house, bottom up. A target may import only what stands in its `dependencies`; `scripts/imports`
// checks the sources against this table, and the build refuses an import that is not declared.
let package = Package(
    name: "fanfare",
    products: [
        .library(name: "FanfareClient", targets: ["FanfareModel", "FanfareClient"]),
        .library(name: "FanfareWorker", targets: ["FanfareModel", "FanfareClient", "FanfareWorker"]),
        .library(name: "FanfareTesting", targets: ["FanfareTesting"]),
        .executable(name: "fanfare-broker", targets: ["fanfare-broker"]),
        .executable(name: "fanfare-worker", targets: ["fanfare-worker"]),
        .executable(name: "fanfare", targets: ["fanfare"]),
        .executable(name: "fanfare-bench", targets: ["fanfare-bench"]),
        .executable(name: "fanfare-examples", targets: ["fanfare-examples"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-distributed-tracing.git", from: "1.7.3"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        .package(url: "https://github.com/vapor/jwt-kit.git", from: "5.7.1"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/groue/GRDB.swift.git", from: "7.10.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift.git", from: "0.2.0"),
    ],
    targets: [
        // Plain values and every limit. Imports nothing.
        .target(name: "FanfareModel"),
        // The broker as a pure state machine: time is an argument, effects are the result.
        .target(name: "FanfareCore", dependencies: ["FanfareModel", .collections]),
        // Debian's libmsgpack-dev (4.0): headers in /usr/include, library msgpackc.
        .systemLibrary(name: "CMsgpack", pkgConfig: "msgpack", providers: [.apt(["libmsgpack-dev"])]),
        // Bytes <-> values. No sockets.
        .target(name: "FanfareProtocol", dependencies: ["FanfareModel", "CMsgpack"]),
        // What Swift's Glibc module leaves out: epoll, eventfd, accept4.
        .target(name: "CLinux"),
        // The event loop and its connections, listening, dialling, one frame handler, the gathered write path.
        .target(
            name: "FanfareTransport",
            dependencies: [
                "FanfareModel", "FanfareProtocol", "CLinux", .heap, .nio, .nioPosix, .nioSSL, .nioTLS,
            ]
        ),
        // Logging, configuration files, health, metrics text and lifecycle: what the executables share.
        .target(
            name: "FanfareOps",
            dependencies: [
                "FanfareModel", .nio, .nioPosix, .nioHTTP1, .arguments, .logging, .lifecycle, .yams,
            ]
        ),
        // The loop that owns the core.
        .target(
            name: "FanfareBroker",
            dependencies: [
                "FanfareModel", "FanfareCore", "FanfareProtocol", "FanfareTransport", .nio, .nioPosix, .logging,
                .crypto,
            ]
        ),
        // The channel layer for Swift programs, over a broker or over a core in this process.
        .target(
            name: "FanfareClient",
            dependencies: [
                "FanfareModel", "FanfareCore", "FanfareProtocol", "FanfareTransport", .collections, .nio, .nioPosix,
                .logging, .tracing,
            ]
        ),
        // Debian's zlib1g-dev, for permessage-deflate.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        // WebSockets on top of the client: consumers, routing, middleware, the server.
        .target(
            name: "FanfareWorker",
            dependencies: [
                "FanfareModel", "FanfareProtocol", "FanfareTransport", "FanfareClient", "CZlib", .nio, .nioPosix,
                .nioHTTP1, .nioWebSocket, .nioSSL, .httpTypes, .lifecycle, .signals, .logging, .tracing, .jwt, .crypto,
            ],
            resources: [.embedInCode("Pages")]
        ),
        // Drives consumers without sockets, over a core in the same process.
        .target(
            name: "FanfareTesting",
            dependencies: [
                "FanfareModel", "FanfareTransport", "FanfareClient", "FanfareWorker", .nio, .nioPosix, .httpTypes,
                .logging,
            ]
        ),
        .executableTarget(
            name: "fanfare-broker",
            dependencies: [
                "FanfareModel", "FanfareTransport", "FanfareBroker", "FanfareOps", .arguments, .lifecycle, .logging,
                .nio, .nioPosix,
            ],
            resources: [.embedInCode("Pages")]
        ),
        .executableTarget(
            name: "fanfare-worker",
            dependencies: [
                "FanfareModel", "FanfareTransport", "FanfareClient", "FanfareWorker", "FanfareOps", .arguments,
                .lifecycle, .logging,
                .nio, .nioPosix,
            ]
        ),
        .executableTarget(
            name: "fanfare",
            dependencies: [
                "FanfareModel", "FanfareProtocol", "FanfareClient", "FanfareOps", .arguments, .logging, .crypto, .nio,
                .nioPosix, .nioHTTP1, .nioWebSocket, .histogram,
            ]
        ),
        // The bare epoll loop that servers are measured against.
        .target(name: "CLimit"),
        // Load generator and referee.
        .executableTarget(
            name: "fanfare-bench",
            dependencies: ["FanfareModel", "FanfareProtocol", "CLinux", "CLimit", .arguments, .crypto]
        ),
        // Replaces malloc by one that counts. Only for the program below.
        .target(name: "CAllocations"),
        // Counts what fixed histories allocate and execute, in release builds; exits with 1 when it is too much.
        .executableTarget(
            name: "fanfare-budgets",
            dependencies: [
                "FanfareModel", "FanfareCore", "FanfareProtocol", "FanfareBroker", "FanfareWorker", "CAllocations",
                .arguments, .logging, .nio, .nioPosix,
            ]
        ),
        // The examples of the documentation, runnable: fanfare-examples NAME.
        .executableTarget(
            name: "fanfare-examples",
            dependencies: [
                "FanfareModel", "FanfareClient", "FanfareWorker", .arguments, .httpTypes, .lifecycle, .signals,
                .logging,
                .grdb,
            ],
            path: "Sources/Examples",
            resources: [.embedInCode("Pages")]
        ),
        .testTarget(name: "FanfareModelTests", dependencies: ["FanfareModel"]),
        .testTarget(name: "FanfareCoreTests", dependencies: ["FanfareModel", "FanfareCore", "FanfareBroker"]),
        .testTarget(name: "FanfareProtocolTests", dependencies: ["FanfareModel", "FanfareProtocol", "CMsgpack"]),
        .testTarget(
            name: "FanfareTransportTests",
            dependencies: ["FanfareModel", "FanfareProtocol", "FanfareTransport", .nio, .nioPosix, .nioSSL]
        ),
        .testTarget(
            name: "FanfareBrokerTests",
            dependencies: [
                "FanfareModel", "FanfareCore", "FanfareProtocol", "FanfareTransport", "FanfareBroker", .logging, .nio,
                .nioPosix,
                .nioEmbedded, .crypto,
            ]
        ),
        .testTarget(
            name: "FanfareClientTests",
            dependencies: [
                "FanfareModel", "FanfareProtocol", "FanfareTransport", "FanfareBroker", "FanfareClient", .logging, .nio,
                .nioPosix, .nioEmbedded, .tracing, .inMemoryTracing,
            ]
        ),
        .testTarget(
            name: "FanfareWorkerTests",
            dependencies: [
                "FanfareModel", "FanfareProtocol", "FanfareTransport", "FanfareBroker", "FanfareClient",
                "FanfareWorker", .logging,
                .nio, .nioPosix, .nioHTTP1, .nioWebSocket, .nioEmbedded, .httpTypes, .jwt, .crypto, .tracing,
                .inMemoryTracing,
            ]
        ),
        .testTarget(
            name: "FanfareTestingTests",
            dependencies: ["FanfareModel", "FanfareClient", "FanfareWorker", "FanfareTesting", .httpTypes]
        ),
        .testTarget(
            name: "ExamplesTests",
            dependencies: [
                "FanfareModel", "FanfareClient", "FanfareWorker", "FanfareTesting", "fanfare-examples", .httpTypes,
            ]
        ),
        .testTarget(
            name: "FanfareOpsTests",
            dependencies: [
                "FanfareModel", "FanfareOps", "FanfareBroker", "FanfareWorker", "fanfare-broker", "fanfare-worker",
                .logging, .nio,
                .nioPosix, .httpTypes,
            ]
        ),
        .testTarget(
            name: "FanfareCommandTests",
            dependencies: ["FanfareModel", "FanfareProtocol", "FanfareClient", "fanfare", .arguments]
        ),
        .testTarget(name: "FanfareBenchTests", dependencies: ["FanfareModel", "FanfareProtocol", "fanfare-bench"]),
        // What must hold for any bytes at all, over the inputs that fuzzing has kept.
        .testTarget(
            name: "FuzzingTests",
            dependencies: fuzzed,
            path: "Tests/Fuzzing",
            exclude: ["fanfare-fuzz", "corpus", "regressions"],
            sources: ["Properties", "Replay"]
        ),
    ]
)

// `scripts/fuzz` builds the same properties as a library, under a program whose inputs libFuzzer makes up. Programs
// whose settings are fuzzed are libraries then: one program has one `main`.
if Context.environment["FANFARE_FUZZ"] == "1" {
    let programs = package.targets.filter { ["fanfare-broker", "fanfare-worker"].contains($0.name) }
    package.products = []
    package.targets.removeAll { [.executable, .test].contains($0.type) }
    for program in programs {
        let main = program.name.replacing("-", with: "_") + "_main"
        let settings: [SwiftSetting] = [
            .unsafeFlags(["-Xfrontend", "-entry-point-function-name", "-Xfrontend", main])
        ]
        package.targets.append(
            .target(
                name: program.name,
                dependencies: program.dependencies,
                resources: program.resources,
                swiftSettings: settings
            )
        )
    }
    package.targets += [
        .target(name: "FuzzingProperties", dependencies: fuzzed, path: "Tests/Fuzzing/Properties"),
        .executableTarget(
            name: "fanfare-fuzz",
            dependencies: ["FuzzingProperties"],
            path: "Tests/Fuzzing/fanfare-fuzz"
        ),
    ]
}

/// What the properties of `Tests/Fuzzing` are about.
var fuzzed: [Target.Dependency] {
    [
        "FanfareModel", "FanfareProtocol", "FanfareTransport", "FanfareOps", "FanfareClient", "FanfareWorker",
        "fanfare-broker", "fanfare-worker", "CAllocations", "CMsgpack", .logging, .nio, .nioPosix, .crypto,
    ]
}

extension Target.Dependency {
    static var nio: Self { .product(name: "NIOCore", package: "swift-nio") }
    static var nioPosix: Self { .product(name: "NIOPosix", package: "swift-nio") }
    static var nioHTTP1: Self { .product(name: "NIOHTTP1", package: "swift-nio") }
    static var nioWebSocket: Self { .product(name: "NIOWebSocket", package: "swift-nio") }
    static var nioSSL: Self { .product(name: "NIOSSL", package: "swift-nio-ssl") }
    static var nioTLS: Self { .product(name: "NIOTLS", package: "swift-nio") }
    static var nioEmbedded: Self { .product(name: "NIOEmbedded", package: "swift-nio") }
    static var collections: Self { .product(name: "DequeModule", package: "swift-collections") }
    static var heap: Self { .product(name: "HeapModule", package: "swift-collections") }
    static var arguments: Self { .product(name: "ArgumentParser", package: "swift-argument-parser") }
    static var logging: Self { .product(name: "Logging", package: "swift-log") }
    static var tracing: Self { .product(name: "Tracing", package: "swift-distributed-tracing") }
    static var inMemoryTracing: Self { .product(name: "InMemoryTracing", package: "swift-distributed-tracing") }
    static var lifecycle: Self { .product(name: "ServiceLifecycle", package: "swift-service-lifecycle") }
    static var httpTypes: Self { .product(name: "HTTPTypes", package: "swift-http-types") }
    static var jwt: Self { .product(name: "JWTKit", package: "jwt-kit") }
    static var crypto: Self { .product(name: "Crypto", package: "swift-crypto") }
    static var grdb: Self { .product(name: "GRDB", package: "GRDB.swift") }
    static var signals: Self { .product(name: "UnixSignals", package: "swift-service-lifecycle") }
    static var histogram: Self { .product(name: "Histogram", package: "hdrhistogram-swift") }
    static var yams: Self { .product(name: "Yams", package: "Yams") }
}

for target in package.targets where [.executable, .test, .regular].contains(target.type) {
    target.swiftSettings =
        (target.swiftSettings ?? []) + [
            .swiftLanguageMode(.v6),
            .enableUpcomingFeature("ExistentialAny"),
            .enableUpcomingFeature("MemberImportVisibility"),
            .enableUpcomingFeature("InternalImportsByDefault"),
            .treatAllWarnings(as: .error),
        ]
}
