import FanfareModel
import FanfareOps

/// What a person can set about who may reach the broker and what they may do.
struct SecurityValues: Sendable {
    var credentials: String?
    var tlsCertificate: String?
    var tlsKey: String?
    var tlsClientCA: String?
    var socketMode: String = "0660"
    var socketGroup: String?

    /// The rows of the broker's table, on its first level.
    static let table: [Setting<BrokerValues>] = [
        .text(
            "credentials",
            \.security.credentials,
            example: "/etc/fanfare/credentials.yaml",
            flag: "--credentials",
            "The file of who is let in, by token or by user, and what each may do (SECURITY.md). With it nobody else "
                + "is. Without it everybody who can connect may do everything. Read again on SIGHUP."
        ),
        .text(
            "tls_certificate",
            \.security.tlsCertificate,
            example: "/etc/fanfare/broker.pem",
            flag: "--tls-certificate",
            "PEM file with the broker's certificate and the chain behind it, for tls:// endpoints. Read again on SIGHUP."
        ),
        .text(
            "tls_key",
            \.security.tlsKey,
            example: "/etc/fanfare/broker.key",
            flag: "--tls-key",
            "PEM file with the key of the certificate. Read again on SIGHUP."
        ),
        .text(
            "tls_client_ca",
            \.security.tlsClientCA,
            example: "/etc/fanfare/clients.pem",
            flag: "--tls-client-ca",
            "PEM file with the authorities one of which must have signed the certificate a client shows on tls:// "
                + "endpoints. Without it clients show none. Read again on SIGHUP."
        ),
        .text(
            "socket_mode",
            \.security.socketMode,
            example: "0660",
            flag: "--socket-mode",
            "Permissions of Unix sockets, as chmod takes them; who may write may connect."
        ),
        .text(
            "socket_group",
            \.security.socketGroup,
            example: "www-data",
            flag: "--socket-group",
            "Group of Unix sockets, by name or number. Without it: that of the broker's process."
        ),
    ]
}
