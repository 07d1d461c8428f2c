import ArgumentParser

/// Asks before something ends that does not come back.
struct Confirmation: ParsableArguments {
    @Flag(name: .customLong("yes"), help: "Do not ask. Only a terminal is asked at all.") var isConfirmed = false

    /// Whether to go on: asked of whoever sits at the terminal. A script has said what it wants and is not asked.
    func isGiven(_ question: String) throws -> Bool {
        guard !isConfirmed, System.inputIsTerminal else { return true }
        System.complain(DisplayText.sanitized(question) + " Type yes to do it.")
        guard readLine() == "yes" else {
            System.complain("fanfare: nothing was done")
            return false
        }
        return true
    }
}
