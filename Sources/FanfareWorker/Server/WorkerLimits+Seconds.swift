import FanfareModel
import FanfareTransport

/// The bounds that are lengths of time, in seconds, and the policy for slow readers.
extension WorkerLimits {
    /// A connection that is no WebSocket by then is closed, pages included.
    public var handshakeWithinSeconds: Double {
        get { handshakeWithin.seconds }
        set { handshakeWithin = Milliseconds(seconds: newValue) }
    }

    /// A socket is pinged this often; one that was not heard at all between two pings is gone. At least 1.
    public var pingAfterSeconds: Double {
        get { pingAfter.seconds }
        set { pingAfter = Milliseconds(seconds: newValue) }
    }

    /// A peer has this long to answer a close frame.
    public var closeWithinSeconds: Double {
        get { closeWithin.seconds }
        set { closeWithin = Milliseconds(seconds: newValue) }
    }

    /// A socket whose client says nothing for this long is closed with 3008; pings do not count. 0: never.
    public var idleSeconds: Double {
        get { idle.seconds }
        set { idle = Milliseconds(seconds: newValue) }
    }

    /// A socket is closed with 1012, which invites to connect again, after this long or up to a tenth less. 0: never.
    public var lifetimeSeconds: Double {
        get { lifetime.seconds }
        set { lifetime = Milliseconds(seconds: newValue) }
    }

    /// Handlers of a closed connection that still run by then are cancelled, and its groups are left.
    public var disconnectWithinSeconds: Double {
        get { disconnectWithin.seconds }
        set { disconnectWithin = Milliseconds(seconds: newValue) }
    }

    /// What is sent while there is no broker waits for one this long, and then fails. 0: it fails at once.
    public var sendsWaitSeconds: Double {
        get { sendsWait.seconds }
        set { sendsWait = Milliseconds(seconds: newValue) }
    }

    /// How long a byte may wait for a peer to read. Longer: close 1013, whatever the policy.
    public var outgoingAgeSeconds: Double {
        get { outgoingAge.seconds }
        set { outgoingAge = Milliseconds(seconds: newValue) }
    }

    /// What happens to a message for a socket that has ``outgoingMessages`` or ``outgoingBytes`` waiting.
    public enum SlowReaders: Sendable, Equatable {
        /// The socket is closed with 1013, try again later; what waits is dropped.
        case disconnect
        /// The message is dropped.
        case dropNewest
        /// The oldest messages that have not begun are dropped until it fits.
        case dropOldest
    }

    /// What happens to those who do not read.
    public var slowReaders: SlowReaders {
        get {
            switch outgoingPolicy {
            case .disconnect: .disconnect
            case .dropNewest: .dropNewest
            case .dropOldest: .dropOldest
            }
        }
        set {
            outgoingPolicy =
                switch newValue {
                case .disconnect: .disconnect
                case .dropNewest: .dropNewest
                case .dropOldest: .dropOldest
                }
        }
    }
}

extension Milliseconds {
    fileprivate var seconds: Double { Double(value) / 1_000 }
}
