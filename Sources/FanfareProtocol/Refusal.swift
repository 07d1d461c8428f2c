package import FanfareModel

/// A request or reply that could not be read: what to answer, and under which id.
package struct Refusal: Error, Sendable, Equatable {
    /// The id of the refused request, when the frame got as far as one.
    package var id: RequestID?
    /// The code decides whether the connection goes on.
    package var failure: Failure

    package init(id: RequestID?, failure: Failure) {
        self.id = id
        self.failure = failure
    }
}
