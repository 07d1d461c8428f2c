extension UInt64 {
    /// The sum, or the largest number when it does not fit.
    @inlinable package func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, overflows) = addingReportingOverflow(other)
        return overflows ? .max : sum
    }
}
