import FanfareModel
import FanfareWorker
import Logging

/// What a worker reads again on SIGHUP. What cannot be used changes nothing: what was in force stays.
struct WorkerReload: Sendable {
    let tls: WorkerServer.TLSFiles?
    let site: SitePlan
    /// Those the router checks tokens with.
    let credentials: Credentials

    func run(_ worker: WorkerServer, _ logger: Logger) async {
        let hasKeys = site.jwt != nil || site.tokens?.isInFile == true
        guard tls != nil || hasKeys else {
            return logger.notice("nothing to read again: no TLS certificate and no keys for tokens in files")
        }
        if let tls { await reload(tls, worker, logger) }
        if hasKeys { await reloadKeys(worker, logger) }
    }

    private func reload(_ files: WorkerServer.TLSFiles, _ worker: WorkerServer, _ logger: Logger) async {
        do {
            try await worker.replace(files)
            await worker.count(.tlsOK)
            logger.notice("TLS certificate read again", metadata: ["certificate": "\(files.certificateFile)"])
        } catch {
            await worker.count(.tlsFailed)
            logger.error("TLS certificate cannot be used; the one in force stays", metadata: ["error": "\(error)"])
        }
    }

    private func reloadKeys(_ worker: WorkerServer, _ logger: Logger) async {
        do throws(ProgramFailure) {
            try await credentials.readAgain(site)
            await worker.count(.tokenKeysOK)
            logger.notice("keys for tokens read again")
            credentials.logWarnings(logger)
        } catch {
            await worker.count(.tokenKeysFailed)
            logger.error("keys for tokens cannot be used; those in force stay", metadata: ["error": "\(error)"])
        }
    }
}

extension Credentials {
    /// Says what was noticed about key files that can be used all the same.
    func logWarnings(_ logger: Logger) {
        for warning in jwt?.current.warnings ?? [] {
            logger.warning("a key file", metadata: ["problem": "\(warning)"])
        }
    }
}
