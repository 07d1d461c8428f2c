package import NIOCore

/// On a NIO channel: programs that bring a NIO loop of their own carry their links so.
extension FrameConnection: ChannelInboundHandler {
    package typealias InboundIn = ByteBuffer

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { open(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        open(context)
    }

    private func open(_ context: ChannelHandlerContext) {
        guard pipelineReader == nil else { return }
        let channel = context.channel
        pipelineReader = PipelineReader(on: context.eventLoop, self) { isHeldBack in
            try? channel.syncOptions?.setOption(.autoRead, value: !isHeldBack)
        }
        let remote = context.channel.remoteAddress.map { "\($0)" } ?? ""
        open(SocketWriter(channel: context.channel), remote: remote)
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        pipelineReader?.received(unwrapInboundIn(data))
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        finishedBurst()
        context.fireChannelReadComplete()
    }

    package func channelInactive(context: ChannelHandlerContext) {
        pipelineReader?.finish()
        pipelineReader = nil
        disconnected()
        context.fireChannelInactive()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or a failed write: the connection is over, `channelInactive` tells the receiver.
        context.close(promise: nil)
    }
}
