import CMsgpack
import FanfareModel

/// The fields of one frame with what a refusal has to say about it.
///
/// Texts name the operation, the field by number and name, and what was found there.
struct Fields {
    /// The operation, by its name in the protocol.
    let operation: Operation
    /// What a badly shaped field is answered with.
    let code: ErrorCode
    /// Field 0 is the operation itself.
    private let elements: UnsafeBufferPointer<msgpack_object>
    /// Set once the id field has been read: refusals after that are answered under it.
    private(set) var id: RequestID?

    init(_ operation: Operation, _ elements: UnsafeBufferPointer<msgpack_object>) {
        self.operation = operation
        self.elements = elements
        code = operation == .hello ? .badHello : .badRequest
    }

    /// The number of fields after the operation.
    var count: Int { elements.count - 1 }

    /// Reads the id of a request that has to have one.
    mutating func requiredID(_ index: Int = 1) throws(Refusal) -> RequestID {
        let id = try required(index, "id", Wire.requestID)
        self.id = id
        return id
    }

    /// Reads the id of a request that may do without an answer.
    mutating func optionalID() throws(Refusal) -> RequestID? {
        id = try required(1, "id") { (object) throws(Mismatch) in
            Wire.isNil(object) ? nil : try Wire.requestID(object)
        }
        return id
    }

    /// Reads a field that has to be there.
    func required<T>(
        _ index: Int,
        _ name: String,
        _ convert: (msgpack_object) throws(Mismatch) -> T
    ) throws(Refusal) -> T {
        guard let value = try optional(index, name, convert) else {
            throw refusal("field \(index) (\(name)) is missing")
        }
        return value
    }

    /// Reads a field that may be left out at the end.
    func optional<T>(
        _ index: Int,
        _ name: String,
        _ convert: (msgpack_object) throws(Mismatch) -> T
    ) throws(Refusal) -> T? {
        guard index < elements.count else { return nil }
        do {
            return try convert(elements[index])
        } catch {
            throw refusal("field \(index) (\(name)) \(error.text)", code: error.code)
        }
    }

    /// Reads a list of names, bounded by `Limits.namesPerFrame`.
    func names(_ index: Int, _ name: String, _ limits: Limits) throws(Refusal) -> [String] {
        try required(index, name) { (object) throws(Mismatch) in
            try Wire.list(object, atMost: limits.namesPerFrame, code: .tooManyNames, of: Wire.string)
        }
    }

    /// A refusal of this frame.
    func refusal(_ text: String, code: ErrorCode? = nil) -> Refusal {
        Refusal(id: id, failure: Failure(code ?? self.code, "\(operation.name): \(text)"))
    }
}
