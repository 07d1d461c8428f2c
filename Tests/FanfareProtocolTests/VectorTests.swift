import FanfareModel
import FanfareProtocol
import Testing

struct VectorTests {
    private let reader = FrameReader(limits: Limits())

    @Test("a valid vector is read as what it means", arguments: Vector.valid)
    func meaning(_ vector: Vector) throws {
        let meaning = try #require(vector.meaning)
        // Compared as encoded, keys in order: a NaN equals itself there.
        #expect(MessagePack.encode(try read(vector)) == MessagePack.encode(meaning))
    }

    @Test("a canonical vector is written with the same bytes", arguments: Vector.valid.filter(\.isCanonical))
    func canonicalBytes(_ vector: Vector) throws {
        #expect(try rewritten(vector) == vector.bytes)
    }

    @Test(
        "a vector in another form than the canonical one is written differently and means the same",
        arguments: Vector.valid.filter { !$0.isCanonical }
    )
    func otherForms(_ vector: Vector) throws {
        let bytes = try rewritten(vector)
        #expect(bytes != vector.bytes)
        var again = vector
        again.bytes = bytes
        #expect(MessagePack.encode(try read(again)) == MessagePack.encode(try read(vector)))
    }

    @Test("an invalid vector is refused with its code and id", arguments: Vector.invalid)
    func refused(_ vector: Vector) throws {
        let expected = try #require(vector.expected)
        let refusal = try #require(try refusal(vector))
        #expect(refusal.failure.code.name == expected.error, "\(refusal.failure.text)")
        #expect(refusal.failure.code.isFatal == expected.closes)
        #expect(refusal.id == expected.id)
        #expect(!refusal.failure.text.isEmpty)
    }

    @Test func `every operation has a valid vector`() throws {
        let shown = Set(Vector.valid.compactMap { $0.meaning?["operation"]?.string })
        #expect(shown == Set(Operation.allCases.map(\.name)))
    }

    @Test func `names of vectors are unique in their file`() {
        for file in Vector.files {
            let names = Vector.load(file).map(\.name)
            #expect(Set(names).count == names.count, "\(file)")
        }
    }

    private func frames(_ vector: Vector) throws -> [[UInt8]] {
        guard vector.kind != .body else { return [vector.bytes] }
        let decoder = FrameDecoder(limit: vector.limit)
        var frames: [[UInt8]] = []
        try vector.bytes.withUnsafeBytes { try decoder.feed($0) { frames.append([UInt8]($0)) } }
        #expect(decoder.bufferedBytes == 0, "the vector holds less than its length says")
        return frames
    }

    private func read(_ vector: Vector) throws -> MessageValue {
        let frame = try #require(try frames(vector).first)
        return try frame.withUnsafeBytes {
            switch vector.kind {
            case .request: MeaningOfFrames.of(try reader.request($0))
            case .reply: MeaningOfFrames.of(try reader.reply($0))
            case .body: try reader.value(frame)
            }
        }
    }

    private func rewritten(_ vector: Vector) throws -> [UInt8] {
        let frame = try #require(try frames(vector).first)
        let buffer = FrameBuffer()
        try frame.withUnsafeBytes {
            switch vector.kind {
            case .request: buffer.append(try reader.request($0))
            case .reply: for reply in try reader.reply($0) { buffer.append(reply) }
            case .body: MessagePack.encode(try reader.value(frame)).withUnsafeBytes { buffer.append(copying: $0) }
            }
        }
        return buffer.withUnsafeBytes { [UInt8]($0) }
    }

    private func refusal(_ vector: Vector) throws -> Refusal? {
        do {
            _ = try read(vector)
            return nil
        } catch let refusal as Refusal {
            return refusal
        } catch let failure as Failure {
            return Refusal(id: nil, failure: failure)
        }
    }
}
