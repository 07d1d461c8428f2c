import Dispatch
import Synchronization

/// Threads that meet at one Mutex, as its documentation shows it: nothing here races. See locks.c.
private final class Shared: Sendable {
    let numbers = Mutex<[Int]>([])
}

@main enum Program {
    static func main() {
        let shared = Shared()
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for number in 0..<200_000 {
                shared.numbers.withLock { numbers in
                    numbers.append(number)
                    if numbers.count > 100 { numbers = [] }
                }
            }
        }
    }
}
