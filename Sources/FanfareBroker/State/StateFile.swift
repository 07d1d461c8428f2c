package import FanfareModel
import Glibc

/// The file one start of the broker leaves to the next one. Never needed: without it clients register again.
///
/// Written whole or not at all. The start that reads it removes it, so that nothing is delivered out of it twice.
package struct StateFile: Sendable {
    package let path: String
    /// Bytes it may have.
    private let bytesMaximum: Int
    /// How old it may be.
    private let ageMaximum: Milliseconds

    private static let mode: mode_t = 0o600
    private static let readBytes = 1_048_576
    /// What the two clocks may disagree about while nobody has set one or started the machine again.
    private static let skew = Milliseconds(2_000)

    /// What time it is, on both clocks that matter to a state.
    package struct Moment: Sendable {
        /// Milliseconds since 1970.
        package var wall: UInt64
        /// The clock of the broker's deadlines.
        package var clock: Instant

        package init(wall: UInt64, clock: Instant) {
            self.wall = wall
            self.clock = clock
        }

        /// - Parameter clock: What the loop's clock shows.
        static func now(_ clock: Instant) -> Moment {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            let milliseconds = time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
            return Moment(wall: UInt64(clamping: milliseconds), clock: clock)
        }
    }

    package init(path: String, limits: Limits) {
        self.path = path
        bytesMaximum = limits.stateBytes
        ageMaximum = limits.resumeGrace
    }

    private var folder: String {
        guard let end = path.lastIndex(of: "/") else { return "." }
        return end == path.startIndex ? "/" : String(path[..<end])
    }

    /// Finds out early what writing would fail of.
    ///
    /// - Throws: ``ProgramFailure`` with exit `configuration`: the folder is missing or cannot be written to, or the
    ///   path is no file.
    package func check() throws(ProgramFailure) {
        var facts = stat()
        guard stat(folder, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR else {
            throw ProgramFailure(.configuration, "folder \(folder) of the state file \(path) is missing; make it first")
        }
        guard access(folder, W_OK | X_OK) == 0 else {
            let text = "nothing can be written to the folder of the state file \(path): \(Self.systemReason())"
            throw ProgramFailure(.configuration, "\(text); choose another --state")
        }
        if lstat(path, &facts) == 0, facts.st_mode & S_IFMT != S_IFREG {
            throw ProgramFailure(.configuration, "the state file \(path) is no file; choose another --state")
        }
    }

    // MARK: Writing

    /// Writes a state beside the file and puts it in its place. Blocks.
    ///
    /// - Returns: The size of the file in bytes.
    /// - Throws: Why there is no state file now, not even an earlier one.
    @discardableResult
    package func write(_ state: BrokerState) throws(StateFailure) -> Int {
        let fresh = path + ".new"
        unlink(path)
        unlink(fresh)
        let descriptor = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, Self.mode)
        guard descriptor >= 0 else { throw StateFailure("cannot make \(fresh): \(Self.systemReason())") }
        var written = 0
        do throws(StateFailure) {
            defer { close(descriptor) }
            try StateEncoder.encode(state, bytesMaximum: bytesMaximum) { (bytes) throws(StateFailure) in
                try Self.write(bytes, to: descriptor, fresh)
                written += bytes.count
            }
            guard fsync(descriptor) == 0 else { throw StateFailure("cannot write \(fresh): \(Self.systemReason())") }
        } catch {
            unlink(fresh)
            throw error
        }
        guard rename(fresh, path) == 0 else {
            let reason = Self.systemReason()
            unlink(fresh)
            throw StateFailure("cannot put \(fresh) in its place: \(reason)")
        }
        syncFolder()
        return written
    }

    private static func write(
        _ bytes: UnsafeRawBufferPointer,
        to descriptor: CInt,
        _ path: String
    ) throws(StateFailure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw StateFailure("cannot write \(path): \(systemReason())") }
            rest = rest.dropFirst(count)
        }
    }

    private func syncFolder() {
        let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }

    // MARK: Reading

    /// Reads the state and removes the file, whatever it says. Blocks.
    ///
    /// - Returns: `nil` when there is no file.
    /// - Throws: Why the state is of no use: damaged, too old, another version, somebody else's.
    package func take(at now: Moment) throws(StateFailure) -> BrokerState? {
        let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw StateFailure("it cannot be read: \(Self.systemReason())")
        }
        defer { close(descriptor) }
        // First: what cannot be removed would be applied a second time.
        guard unlink(path) == 0 else { throw StateFailure("it cannot be removed: \(Self.systemReason())") }
        syncFolder()
        let bytes = try read(descriptor)
        let state = try bytes.withUnsafeBufferPointer { (bytes) throws(StateFailure) in
            try StateDecoder.decode(UnsafeRawBufferPointer(bytes))
        }
        try check(state, at: now)
        return state
    }

    private func read(_ descriptor: CInt) throws(StateFailure) -> [UInt8] {
        var facts = stat()
        guard fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFREG else {
            throw StateFailure("it is no file")
        }
        guard facts.st_uid == geteuid(), facts.st_mode & 0o077 == 0 else {
            let mode = String(facts.st_mode & 0o777, radix: 8)
            throw StateFailure("it belongs to user \(facts.st_uid) with mode \(mode), not to this user alone")
        }
        guard facts.st_size <= bytesMaximum else {
            throw StateFailure("it has \(facts.st_size) bytes, the limit \"state_bytes\" is \(bytesMaximum)")
        }
        let size = Int(facts.st_size)
        var failure: StateFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            while count < size {
                let rest = UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
                let read = Glibc.read(descriptor, rest.baseAddress, min(rest.count, Self.readBytes))
                if read < 0, errno == EINTR { continue }
                if read < 0 { failure = StateFailure("it cannot be read: \(Self.systemReason())") }
                guard read > 0 else { break }
                count += read
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// A state is good for as long as clients wait, and only under the clocks it was written by.
    private func check(_ state: BrokerState, at now: Moment) throws(StateFailure) {
        guard now.wall >= state.takenAt else {
            throw StateFailure("it was written \(state.takenAt - now.wall) ms from now: a clock was set back")
        }
        let age = now.wall - state.takenAt
        guard age <= ageMaximum.value else {
            throw StateFailure("it is \(age) ms old, the limit \"resume_grace_seconds\" is \(ageMaximum.value) ms")
        }
        let passed = now.clock.nanoseconds.subtractingReportingOverflow(state.clock.nanoseconds)
        let milliseconds = passed.overflow ? .max : passed.partialValue / 1_000_000
        guard max(milliseconds, age) - min(milliseconds, age) <= Self.skew.value else {
            throw StateFailure("its clock is another: the machine was started again, or its clock was set")
        }
    }

    private static func systemReason() -> String { String(cString: strerror(errno)) }
}
