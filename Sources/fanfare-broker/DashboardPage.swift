import FanfareModel
import FanfareOps

/// The dashboard's document: one file with its style and its program inside, from the folder `Pages`.
enum DashboardPage {
    /// Stands where each answer has its own number.
    private static let nonce = "%NONCE%"

    private static let document = text(PackageResources.dashboard_html)
        .replacing("%STYLE%", with: text(PackageResources.dashboard_css))
        .replacing(
            "%SCRIPT%",
            with: [
                PackageResources.elements_js, PackageResources.broker_js, PackageResources.charts_js,
                PackageResources.tables_js, PackageResources.details_js, PackageResources.tail_js,
                PackageResources.dashboard_js,
            ].map(text).joined(separator: "\n")
        )
        // What is for people who read these files is not sent to everybody who looks.
        .replacing(/\n *(\/\/|\/\*\*)[^\n]*/, with: "")
        .replacing(/\n +/, with: "\n")

    private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    /// The page. Only its own style and program run in it, whatever names and messages it shows: each answer has a
    /// number nobody knows before, and the policy names it (Content Security Policy Level 3).
    static func response() -> OpsResponse {
        let number = TokenHash.hexadecimal((0..<16).map { _ in UInt8.random(in: .min ... .max) })
        var response = OpsResponse(
            status: 200,
            contentType: "text/html; charset=utf-8",
            body: document.replacing(nonce, with: number)
        )
        response.fields["content-security-policy"] =
            "default-src 'none'; script-src 'nonce-\(number)'; style-src 'nonce-\(number)'; img-src data:; "
            + "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        return response
    }
}
