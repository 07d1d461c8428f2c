package import FanfareModel

/// Everything a core knows that outlives its process, as plain values; see ``Core/state(at:)``.
///
/// Times are nanoseconds before or after the moment it was taken: the next process has another clock. Elements refer
/// to each other by their places in the lists. Lists are in the order that matters to what comes after: readers as
/// they wait, channels as they came to be, members as they joined.
///
/// Left out because they are the process's: the counters of `status`, the log of drops, rates, and tails.
package struct CoreState: Sendable, Equatable {
    /// Nanoseconds that have passed, or are left.
    package typealias Nanoseconds = UInt64

    package var epoch: UInt64
    /// What must not be given out a second time.
    package var lastSession: UInt64
    package var lastOrder: UInt64
    package var lastToken: UInt64
    package var namespaces: [String] = []
    /// By number.
    package var sessions: [Session] = []
    package var channels: [Channel] = []
    package var groups: [Group] = []
    /// By token.
    package var collections: [Collection] = []

    package struct Session: Sendable, Equatable {
        package var number: UInt64
        /// Without its token and what it resumed; the policy is the one in force.
        package var hello: Hello
        package var age: Nanoseconds
        /// The flush it has been told of and not answered.
        package var flushing: UInt64?
        package var isCongested = false
        /// Group messages it missed and has not been told of.
        package var missed: [Missed] = []
        /// Messages of normal channels it may give back, and how long the last of them lives.
        package var handedOut: UInt64 = 0
        package var handedOutLife: Nanoseconds = 0

        package init(number: UInt64, hello: Hello, age: Nanoseconds) {
            self.number = number
            self.hello = hello
            self.age = age
        }
    }

    package struct Channel: Sendable, Equatable {
        package var namespace: Int
        package var name: String
        /// What the owner said of it; `nil` while it has not.
        package var attributes: [String: String]?
        /// Unread messages, next one first. Only while nobody owns the channel.
        package var queue: [Message] = []
        /// Waiting receives, longest waiting first. Only while the queue is empty.
        package var readers: [Reader] = []
        /// Messages at the owner, oldest first.
        package var pushed: [Pushed] = []
        /// Group messages at the owner.
        package var held: UInt64 = 0
        package var missed: [Missed] = []
        package var messages: UInt64 = 0
        package var drops: UInt64 = 0

        package init(namespace: Int, name: String) {
            self.namespace = namespace
            self.name = name
        }
    }

    package struct Message: Sendable, Equatable {
        package var body: Body
        package var trace: TraceContext?
        package var order: UInt64
        package var life: Nanoseconds
        package var age: Nanoseconds

        package init(
            body: Body,
            trace: TraceContext? = nil,
            order: UInt64,
            life: Nanoseconds,
            age: Nanoseconds
        ) {
            self.body = body
            self.trace = trace
            self.order = order
            self.life = life
            self.age = age
        }
    }

    package struct Reader: Sendable, Equatable {
        package var session: Int
        package var id: RequestID
        /// Messages it still wants.
        package var count: Int

        package init(session: Int, id: RequestID, count: Int) {
            self.session = session
            self.id = id
            self.count = count
        }
    }

    package struct Pushed: Sendable, Equatable {
        package var bytes: Int
        package var age: Nanoseconds

        package init(bytes: Int, age: Nanoseconds) {
            self.bytes = bytes
            self.age = age
        }
    }

    /// Messages an owner missed for one reason and has not been told of.
    package struct Missed: Sendable, Equatable {
        package var reason: DropReason
        package var count: UInt64

        package init(reason: DropReason, count: UInt64) {
            self.reason = reason
            self.count = count
        }
    }

    package struct Group: Sendable, Equatable {
        package var namespace: Int
        package var name: String
        package var age: Nanoseconds
        package var messages: UInt64
        /// Those of each owner together, owners as they came to have some; those of nobody last.
        package var members: [Member] = []

        package init(namespace: Int, name: String, age: Nanoseconds, messages: UInt64) {
            self.namespace = namespace
            self.name = name
            self.age = age
            self.messages = messages
        }
    }

    package struct Member: Sendable, Equatable {
        package var channel: Int
        /// How many groups the channel had joined before and is still in.
        package var rank: Int
        package var age: Nanoseconds
        /// `nil` while it lives with its owner.
        package var life: Nanoseconds?
        package var isLiteral: Bool

        package init(channel: Int, rank: Int, age: Nanoseconds, life: Nanoseconds?, isLiteral: Bool) {
            self.channel = channel
            self.rank = rank
            self.age = age
            self.life = life
            self.isLiteral = isLiteral
        }
    }

    /// A request that waits for owners to answer.
    package struct Collection: Sendable, Equatable {
        package var token: UInt64
        package var session: Int
        package var id: RequestID
        package var life: Nanoseconds
        /// What is known of a group send; `nil` for a flush.
        package var outcome: Outcome?
        package var awaited: [Awaited] = []

        package init(token: UInt64, session: Int, id: RequestID, life: Nanoseconds) {
            self.token = token
            self.session = session
            self.id = id
            self.life = life
        }
    }

    package struct Outcome: Sendable, Equatable {
        package var members: UInt64
        package var accepted: UInt64
        package var dropped: UInt64

        package init(members: UInt64, accepted: UInt64, dropped: UInt64) {
            self.members = members
            self.accepted = accepted
            self.dropped = dropped
        }
    }

    /// An owner that has not answered, and the members it had when it was asked.
    package struct Awaited: Sendable, Equatable {
        package var session: Int
        package var members: UInt64

        package init(session: Int, members: UInt64) {
            self.session = session
            self.members = members
        }
    }

    /// Why no core can be made of a state: it contradicts itself.
    package struct Contradiction: Error, Sendable, Equatable {
        package var text: String
    }

    package init(epoch: UInt64, lastSession: UInt64, lastOrder: UInt64, lastToken: UInt64) {
        self.epoch = epoch
        self.lastSession = lastSession
        self.lastOrder = lastOrder
        self.lastToken = lastToken
    }
}

extension Instant {
    func nanoseconds(until later: Instant) -> CoreState.Nanoseconds {
        later > self ? later.nanoseconds - nanoseconds : 0
    }

    /// Saturates at the ends of the clock.
    func advanced(byNanoseconds duration: CoreState.Nanoseconds) -> Instant {
        Instant(nanoseconds: nanoseconds.addingClamped(duration))
    }

    /// Saturates at the beginning of the clock, which may be younger than what is remembered.
    func before(byNanoseconds duration: CoreState.Nanoseconds) -> Instant {
        Instant(nanoseconds: nanoseconds - min(duration, nanoseconds))
    }
}
