import Dispatch

/// Tasks that are resumed by other threads, as the documentation of continuations shows it: nothing here races. See
/// locks.c.
private final class Number: Sendable {
    let value: Int

    init(_ value: Int) {
        self.value = value
    }
}

@main enum Program {
    static func main() async {
        let queue = DispatchQueue(label: "other", attributes: .concurrent)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for number in 0..<30_000 {
                        let same: Number? = try? await withUnsafeThrowingContinuation { continuation in
                            queue.async { continuation.resume(returning: Number(number)) }
                        }
                        precondition(same?.value == number, "resumed with another number")
                    }
                }
            }
        }
    }
}
