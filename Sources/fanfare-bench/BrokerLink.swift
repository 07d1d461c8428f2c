import CLinux
import FanfareModel
import Foundation

/// One connection of the broker load: writes are gathered until the turn ends, frames are read where they arrived.
final class BrokerLink {
    /// Its place among the links of the run.
    let index: Int
    /// The node whose process channels it owns.
    let node: String
    let descriptor: Int32
    private unowned let poller: BrokerPoller
    private let dialect: any BrokerDialect

    private var outgoing: [UInt8] = []
    private var outgoingHead = 0
    fileprivate(set) var isDirty = false
    private var waitsForRoom = false
    /// The beginning of a frame whose end has not come yet.
    private var partial: [UInt8] = []

    /// Requests acknowledged since the link was opened.
    private(set) var acknowledged: UInt64 = 0
    private(set) var isOpen = false
    /// Requests with an id that were asked so far; the next one's id follows from it.
    var asked: UInt64 = 0

    init(index: Int, node: String, to endpoint: Endpoint, _ dialect: any BrokerDialect, poller: BrokerPoller) throws {
        self.index = index
        self.node = node
        self.poller = poller
        self.dialect = dialect
        descriptor = try BrokerSocket.connect(to: endpoint)
        BrokerSocket.makeNonblocking(descriptor)
        poller.watch(self)
        let opening = dialect.opening(node: node)
        isOpen = opening.isEmpty
        append(opening)
    }

    deinit {
        close(descriptor)
    }

    /// The id of the next request, for those that have one.
    func nextID() -> UInt64 {
        defer { asked += 1 }
        return BrokerTemplate.id(asked)
    }

    // MARK: Writing

    /// Sends when the turn ends.
    func append(_ bytes: [UInt8]) {
        outgoing.append(contentsOf: bytes)
        guard !isDirty, !bytes.isEmpty else { return }
        isDirty = true
        poller.markDirty(self)
    }

    /// Writes what the kernel takes; the rest follows when it has room.
    func flush() throws {
        isDirty = false
        while outgoingHead < outgoing.count {
            let sent = outgoing.withUnsafeBytes {
                send(descriptor, $0.baseAddress! + outgoingHead, $0.count - outgoingHead, Int32(MSG_NOSIGNAL))
            }
            if sent < 0, errno == EAGAIN {
                if !waitsForRoom { poller.watch(self, forRoom: true) }
                waitsForRoom = true
                return
            }
            guard sent > 0 else { throw ended(String(cString: strerror(errno))) }
            outgoingHead += sent
        }
        outgoing.removeAll(keepingCapacity: true)
        outgoingHead = 0
        if waitsForRoom { poller.watch(self, forRoom: false) }
        waitsForRoom = false
    }

    // MARK: Reading

    /// Takes what has arrived, at most one buffer of it: the others come to their turn too.
    func read(through buffer: UnsafeMutableRawBufferPointer) throws {
        let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        guard count > 0 else { throw ended(count == 0 ? "closed by the server" : String(cString: strerror(errno))) }
        poller.refreshClock()
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        if partial.isEmpty {
            let taken = try take(bytes)
            if taken < count { partial.append(contentsOf: bytes[taken...]) }
        } else {
            var whole: [UInt8] = []
            swap(&whole, &partial)
            whole.append(contentsOf: bytes)
            let taken = try whole.withUnsafeBytes { try take($0) }
            whole.removeFirst(taken)
            partial = whole
        }
    }

    /// Takes the frames that are whole; returns how many bytes they had.
    private func take(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        let (receiver, sequences, time) = (poller.receiver, poller.sequences, poller.now)
        var frame = BrokerFrame()
        var offset = 0
        var collected = 0
        while offset < bytes.count {
            let taken = try dialect.read(UnsafeRawBufferPointer(rebasing: bytes[offset...]), into: &frame)
            guard taken > 0 else { break }
            offset += taken
            switch frame.kind {
            case .delivery:
                sequences[collected] = frame.number
                collected += 1
                guard collected == sequences.count else { continue }
                try receiver?.delivered(UnsafeBufferPointer(sequences), at: time, on: self)
                collected = 0
            case .acknowledged: try acknowledge(frame)
            case .opened: isOpen = true
            case .ping: append(dialect.pong(frame.number))
            case .other: break
            }
        }
        if collected > 0 {
            let last = UnsafeBufferPointer(rebasing: sequences[..<collected])
            try receiver?.delivered(last, at: time, on: self)
        }
        return offset
    }

    private func acknowledge(_ frame: BrokerFrame) throws {
        let expected = BrokerTemplate.id(acknowledged)
        guard frame.number == 0 || frame.number == expected else {
            throw LoadFailure("the broker acknowledged request \(frame.number) where \(expected) is next")
        }
        acknowledged += UInt64(frame.count)
        try poller.receiver?.acknowledged(frame.count, on: self)
    }

    private func ended(_ why: String) -> LoadFailure {
        LoadFailure("link \(index) is gone: \(why)")
    }
}
