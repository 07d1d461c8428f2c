import ArgumentParser

/// Asks before something ends that does not come back.
struct Confirmation: ParsableArguments {
    @Flag(
        name: .customLong("yes"),
        help: "Do not ask. Only a terminal is asked at all; any answer but yes does nothing and exits with 1."
    )
    var isConfirmed = false

    /// Asks whoever sits at the terminal. A script has said what it wants and is not asked.
    ///
    /// - Throws: ``Declined`` unless the answer is yes.
    func ask(_ question: String) throws {
        guard !isConfirmed, System.inputIsTerminal else { return }
        System.complain(DisplayText.sanitized(question) + " Type yes to do it.")
        guard readLine() == "yes" else { throw Declined("nothing was done") }
    }
}

/// Whoever was asked said no.
struct Declined: Error {
    /// What became of it.
    let text: String

    init(_ text: String) {
        self.text = text
    }
}
