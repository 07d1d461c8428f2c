/// Certificates for tests, on P-256, signed by a CA whose key is gone.
enum TLSGolden {
    /// The CA of the certificates below but the stranger.
    static let authority = """
        -----BEGIN CERTIFICATE-----
        MIIBSTCB8aADAgECAhRyrEpt8jyHNvW20U+pL+9QFLM8fTAKBggqhkjOPQQDAjAa
        MRgwFgYDVQQDDA9GYW5mYXJlIHRlc3QgQ0EwIBcNMjYwMTAxMDAwMDAwWhgPMjEy
        NjAxMDEwMDAwMDBaMBoxGDAWBgNVBAMMD0ZhbmZhcmUgdGVzdCBDQTBZMBMGByqG
        SM49AgEGCCqGSM49AwEHA0IABCkiL9oLXeyoFi7sa9H9TA4YpNO4a0BGUHzvtJSp
        ji4VA98g0rSGm7bgJgAnoIwpv9RaY4teScnlF308dbe8l1GjEzARMA8GA1UdEwEB
        /wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgANzsS2BDzzfhcoYT0oicIYVCqvtK
        Z7i+pDIHENbxAxUCIAP1rIb6x16JXf5J2ihRsKCTvdyoEv1nLIj8QcnpA2SK
        -----END CERTIFICATE-----
        """
    /// Another CA, which has signed nothing.
    static let stranger = """
        -----BEGIN CERTIFICATE-----
        MIIBPzCB56ADAgECAhQkbiFYJ5/7bByClPa+OTW8dVhKczAKBggqhkjOPQQDAjAV
        MRMwEQYDVQQDDAphbm90aGVyIENBMCAXDTI2MDEwMTAwMDAwMFoYDzIxMjYwMTAx
        MDAwMDAwWjAVMRMwEQYDVQQDDAphbm90aGVyIENBMFkwEwYHKoZIzj0CAQYIKoZI
        zj0DAQcDQgAEys7YF7b01AZAxmWfnU+IRqNWGI+hHuGl8wABJHoiE2j6Jn8yauv3
        OQT/t7q4ZYL9u/V6cLdlZqQERP461MJQR6MTMBEwDwYDVR0TAQH/BAUwAwEB/zAK
        BggqhkjOPQQDAgNHADBEAiBzyn8tpgF0UWC1lCGTWuKwj03CNvfrieh+HTZg39Hh
        aQIgLo1coeqgjZ30MjTcNmRQS3l1O/kQg8NEN4O2vqlPo7E=
        -----END CERTIFICATE-----
        """
    /// For localhost, broker.test and 127.0.0.1, until 2126.
    static let server = """
        -----BEGIN CERTIFICATE-----
        MIIBaDCCAQ6gAwIBAgIUN4bjfAwpDHrdWkktTMIOczGaGnYwCgYIKoZIzj0EAwIw
        GjEYMBYGA1UEAwwPRmFuZmFyZSB0ZXN0IENBMCAXDTI2MDEwMTAwMDAwMFoYDzIx
        MjYwMTAxMDAwMDAwWjARMQ8wDQYDVQQDDAZicm9rZXIwWTATBgcqhkjOPQIBBggq
        hkjOPQMBBwNCAAQdFkoVKBFaZ/QsUQTFuts9Ko6zXjygpioZkwndBUgHzvjKzwOm
        Jrd76B8+4OTdHyU72D86meOjHwgne6ILpDroozkwNzAMBgNVHRMBAf8EAjAAMCcG
        A1UdEQQgMB6CCWxvY2FsaG9zdIILYnJva2VyLnRlc3SHBH8AAAEwCgYIKoZIzj0E
        AwIDSAAwRQIhAMxz5eQx08dOKsStmwB+shDzO4yGupsGv+jsAgV2LsPWAiBw69Bw
        bq5NtyjDdtQnyiHWtMJT2V8lwv5gdiVFNM54Yg==
        -----END CERTIFICATE-----
        """
    /// As ``server``, until 2021.
    static let expired = """
        -----BEGIN CERTIFICATE-----
        MIIBZjCCAQygAwIBAgIUHQSfcdlPBttsJzY71DvCwxYoyBkwCgYIKoZIzj0EAwIw
        GjEYMBYGA1UEAwwPRmFuZmFyZSB0ZXN0IENBMB4XDTIwMDEwMTAwMDAwMFoXDTIx
        MDEwMTAwMDAwMFowETEPMA0GA1UEAwwGYnJva2VyMFkwEwYHKoZIzj0CAQYIKoZI
        zj0DAQcDQgAEHRZKFSgRWmf0LFEExbrbPSqOs148oKYqGZMJ3QVIB874ys8Dpia3
        e+gfPuDk3R8lO9g/Opnjox8IJ3uiC6Q66KM5MDcwDAYDVR0TAQH/BAIwADAnBgNV
        HREEIDAegglsb2NhbGhvc3SCC2Jyb2tlci50ZXN0hwR/AAABMAoGCCqGSM49BAMC
        A0gAMEUCIQDVfy3tJJpx4DcczEZyb+k3v/71mvG04ZmWLWPQTqJE0QIgaF+rfKqX
        N9fhjOdwTHOprQp0BvpSSnWRjozPmORgFuk=
        -----END CERTIFICATE-----
        """
    /// As ``server``, for elsewhere.test only.
    static let nameless = """
        -----BEGIN CERTIFICATE-----
        MIIBXTCCAQOgAwIBAgIUMRoSkb72EUGqNQquRrgfH5ueuPEwCgYIKoZIzj0EAwIw
        GjEYMBYGA1UEAwwPRmFuZmFyZSB0ZXN0IENBMCAXDTI2MDEwMTAwMDAwMFoYDzIx
        MjYwMTAxMDAwMDAwWjAUMRIwEAYDVQQDDAllbHNld2hlcmUwWTATBgcqhkjOPQIB
        BggqhkjOPQMBBwNCAAQdFkoVKBFaZ/QsUQTFuts9Ko6zXjygpioZkwndBUgHzvjK
        zwOmJrd76B8+4OTdHyU72D86meOjHwgne6ILpDrooyswKTAMBgNVHRMBAf8EAjAA
        MBkGA1UdEQQSMBCCDmVsc2V3aGVyZS50ZXN0MAoGCCqGSM49BAMCA0gAMEUCICPU
        a6ffq6XavAF+AEcNj1Qq9+BoellDoabgsxwvvwc5AiEAuluzoigenm9yVjuR5ulB
        zFAGZIfD5kKGVgc/eRgNi24=
        -----END CERTIFICATE-----
        """
    /// Of a worker.
    static let client = """
        -----BEGIN CERTIFICATE-----
        MIIBPTCB5aADAgECAhRO/onxzeToETYJYn3he12zAE6CPDAKBggqhkjOPQQDAjAa
        MRgwFgYDVQQDDA9GYW5mYXJlIHRlc3QgQ0EwIBcNMjYwMTAxMDAwMDAwWhgPMjEy
        NjAxMDEwMDAwMDBaMBExDzANBgNVBAMMBndvcmtlcjBZMBMGByqGSM49AgEGCCqG
        SM49AwEHA0IABB0WShUoEVpn9CxRBMW62z0qjrNePKCmKhmTCd0FSAfO+MrPA6Ym
        t3voHz7g5N0fJTvYPzqZ46MfCCd7ogukOuijEDAOMAwGA1UdEwEB/wQCMAAwCgYI
        KoZIzj0EAwIDRwAwRAIgTOOFic1XkhpHjH+wNholA0RTj8J+NGck12FSacXHsPgC
        IBVgp11UJ9fnkGE6u7+s9XaBJmxHQUBXm9MYvfpWO7b6
        -----END CERTIFICATE-----
        """
    /// Of every certificate here that is no CA's.
    static let key = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgEj4TkOh7Sl6cjZKw
        38kH6ktb9wZJHZfn/PRIYaCraDihRANCAAQdFkoVKBFaZ/QsUQTFuts9Ko6zXjyg
        pioZkwndBUgHzvjKzwOmJrd76B8+4OTdHyU72D86meOjHwgne6ILpDro
        -----END PRIVATE KEY-----
        """
}
