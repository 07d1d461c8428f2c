import Dispatch

/// Tasks that are resumed by other threads, as the documentation of continuations shows it: nothing here races. See
/// thread.supp.
@main enum Program {
    static func main() async {
        let queue = DispatchQueue(label: "other", attributes: .concurrent)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for number in 0..<30_000 {
                        let same: Int? = try? await withUnsafeThrowingContinuation { continuation in
                            queue.async { continuation.resume(returning: number) }
                        }
                        precondition(same == number, "resumed with another number")
                    }
                }
            }
        }
    }
}
