package import NIOCore

/// A NIO channel over a ``DescriptorConnection``: for as long as a connection needs NIO's handlers, for HTTP or for
/// TLS. Afterwards ``release(to:)`` takes the connection out and what NIO kept for it is gone.
///
/// `@unchecked Sendable`, which NIO asks of channels: its state is used on its loop only, but for the constants.
package final class PipelineChannel: Channel, ChannelCore, @unchecked Sendable {
    package let allocator = ByteBufferAllocator()
    package let remoteAddress: SocketAddress?
    private let loop: EpollLoop
    private let closePromise: EventLoopPromise<Void>
    private var handlers: ChannelPipeline!
    /// `nil` once it is closed or released.
    private var connection: DescriptorConnection?
    private var isAutoReading = true
    private var isOutputClosed = false
    /// Written and not flushed.
    private var unflushed = ByteBuffer()
    private var unflushedPromises: [EventLoopPromise<Void>] = []
    /// Of what the kernel has not taken yet.
    private var waitingPromises: [EventLoopPromise<Void>] = []

    /// Takes over a connected descriptor. On the loop; nothing is read before ``activate()``'s turn has ended.
    package init(_ descriptor: CInt, on loop: EpollLoop, remoteAddress: SocketAddress?) {
        self.loop = loop
        self.remoteAddress = remoteAddress
        closePromise = loop.makePromise()
        handlers = ChannelPipeline(channel: self)
        let connection = DescriptorConnection(descriptor, on: loop, receiver: self)
        self.connection = connection
        connection.writer.onDrained = { [unowned self] in drained() }
    }

    /// Tells the handlers that were added that the connection is up.
    package func activate() {
        handlers.fireChannelRegistered()
        handlers.fireChannelActive()
    }

    /// The connection's own writer, for who will take the connection over. Nothing that was flushed may still wait, and
    /// nothing is written to the channel from here on. `nil` when the connection is closed.
    package func takeWriter() -> SocketWriter? {
        connection?.writer.onDrained = nil
        return connection?.writer
    }

    /// Lets go of the connection: from here on its bytes are `receiver`'s, and this channel and its handlers, which are
    /// not told, are gone.
    package func release(to receiver: any ByteReceiver) {
        guard let connection else { return }
        self.connection = nil
        connection.receiver = receiver
        finish(.success(()))
    }

    /// What is left to do when the connection is not ours any more.
    private func finish(_ result: Result<Void, any Error>) {
        let promises = unflushedPromises + waitingPromises
        unflushedPromises = []
        waitingPromises = []
        unflushed = ByteBuffer()
        for promise in promises { promise.completeWith(result) }
        // Not now: a handler may be in the middle of something.
        loop.onNextTurn { [self] in
            removeHandlers(pipeline: handlers)
            closePromise.succeed()
        }
    }

    // MARK: What NIO asks of a channel

    package var eventLoop: any EventLoop { loop }
    package var pipeline: ChannelPipeline { handlers }
    package var closeFuture: EventLoopFuture<Void> { closePromise.futureResult }
    package var localAddress: SocketAddress? { nil }
    package var parent: (any Channel)? { nil }
    package var isWritable: Bool { waitingPromises.isEmpty }
    package var isActive: Bool { connection != nil }
    package var _channelCore: any ChannelCore { self }
    package var syncOptions: (any NIOSynchronousChannelOptions)? { Options(channel: self) }

    package func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
        loop.submit { [self] in try set(option, value) }
    }

    package func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
        loop.submit { [self] in try get(option) }
    }

    private struct Options: NIOSynchronousChannelOptions {
        let channel: PipelineChannel

        func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) throws {
            try channel.set(option, value)
        }

        func getOption<Option: ChannelOption>(_ option: Option) throws -> Option.Value {
            try channel.get(option)
        }
    }

    private func set<Option: ChannelOption>(_ option: Option, _ value: Option.Value) throws {
        guard option is ChannelOptions.Types.AutoReadOption, let isAutoReading = value as? Bool else {
            throw ChannelError.operationUnsupported
        }
        self.isAutoReading = isAutoReading
        connection?.setReading(isAutoReading)
    }

    private func get<Option: ChannelOption>(_ option: Option) throws -> Option.Value {
        let value: Any? =
            switch option {
            case is ChannelOptions.Types.AutoReadOption: isAutoReading
            case is ChannelOptions.Types.AllowRemoteHalfClosureOption: false
            default: nil
            }
        guard let value = value as? Option.Value else { throw ChannelError.operationUnsupported }
        return value
    }

    // MARK: What the pipeline's head asks for

    package func localAddress0() throws -> SocketAddress {
        throw ChannelError.operationUnsupported
    }

    package func remoteAddress0() throws -> SocketAddress {
        guard let remoteAddress else { throw ChannelError.operationUnsupported }
        return remoteAddress
    }

    package func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard connection != nil else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        unflushed.writeImmutableBuffer(unwrapData(data, as: ByteBuffer.self))
        if let promise { unflushedPromises.append(promise) }
    }

    package func flush0() {
        guard let connection, unflushed.readableBytes > 0 || !unflushedPromises.isEmpty else { return }
        let outcome = unflushed.withUnsafeReadableBytes { connection.writer.write($0) }
        unflushed.clear()
        let promises = unflushedPromises
        unflushedPromises = []
        switch outcome {
        case .written: for promise in promises { promise.succeed() }
        case .failed:
            for promise in promises { promise.fail(isOutputClosed ? ChannelError.outputClosed : ChannelError.eof) }
            // What comes behind the end of our half is no reason not to read the peer's.
            if !isOutputClosed { close0(error: ChannelError.eof, mode: .all, promise: nil) }
        default: waitingPromises += promises
        }
    }

    private func drained() {
        let promises = waitingPromises
        waitingPromises = []
        for promise in promises { promise.succeed() }
    }

    /// Everything is read as it comes unless `autoRead` is off; a single read is not asked for by any handler here.
    package func read0() {}

    package func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        guard let connection else {
            promise?.fail(ChannelError.alreadyClosed)
            return
        }
        switch mode {
        case .all:
            // Comes back as `disconnected()`.
            connection.end()
            promise?.succeed()
        case .output:
            isOutputClosed = true
            connection.writer.closeOutputWhenDrained()
            promise?.succeed()
        case .input:
            promise?.fail(ChannelError.operationUnsupported)
        }
    }

    package func register0(promise: EventLoopPromise<Void>?) { promise?.succeed() }

    package func registerAlreadyConfigured0(promise: EventLoopPromise<Void>?) { promise?.succeed() }

    package func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    package func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    package func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }

    package func channelRead0(_ data: NIOAny) {}

    package func errorCaught0(error: any Error) {}
}

extension PipelineChannel: ByteReceiver {
    package func received(_ bytes: UnsafeRawBufferPointer) {
        handlers.fireChannelRead(allocator.buffer(bytes: bytes))
    }

    package func finishedBurst() {
        guard connection != nil else { return }
        handlers.fireChannelReadComplete()
    }

    package func disconnected() {
        guard connection != nil else { return }
        connection = nil
        finish(.failure(ChannelError.ioOnClosedChannel))
        handlers.fireChannelInactive()
        handlers.fireChannelUnregistered()
    }
}
