package import FanfareModel
import Glibc

/// Facts about this process: its id, and where its environment says the broker is.
package enum ProcessFacts {
    package static var identifier: Int32 { getpid() }

    /// The endpoints as given, or the standard one.
    package static func endpoints(_ texts: [String]) throws(ProgramFailure) -> [Endpoint] {
        guard texts.isEmpty else {
            var endpoints: [Endpoint] = []
            for text in texts { endpoints.append(try Endpoint(text)) }
            return endpoints
        }
        let environment = environment(["FANFARE_BROKER", "XDG_RUNTIME_DIR"])
        return [try Endpoint.standard(environment: environment, userID: geteuid())]
    }

    /// The environment variables of these names that are set.
    package static func environment(_ names: [String]) -> [String: String] {
        var environment: [String: String] = [:]
        for name in names {
            if let value = getenv(name) { environment[name] = String(cString: value) }
        }
        return environment
    }
}
