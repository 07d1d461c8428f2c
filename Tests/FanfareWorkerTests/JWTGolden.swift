/// Tokens and keys that other programs made: PyJWT 2.15 with pyca/cryptography, and Python's `hmac` where PyJWT refuses.
///
/// All are about second 1 800 000 000, and expire 600 s later. The private halves of the keys were thrown away.
enum JWTGolden {
    static let secret = "an HS256 secret of enough bytes, written by hand, for tests only, 64+"

    /// PEM files by name.
    static let keys: [String: String] = [
        "rsa": """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAqvZkf9qDjXmkd65arkum
        KmvrRsEKZlQCxMocJ4Fc8SzCSOiCYar22wze+4jiXUfEiI1Qm78gklJ5gO4fPykF
        NTIqDEChplPSsJx/B/nQAty7VugCXwR+56XeKaub4KssbrgdZdRz8F2Jw8e3mm/D
        Kt6nBVtSprwuqRBLGlzNKQ9X99/X3orj03eSMwZfALF6FT5yRJxI8tQbW1Oo5IBm
        V6xxqS7FIhIRdZ9g3hqacnSzzBbwHL6jQfLo4NUqZEZDwnV0cv10ESGcrvLBucU8
        kAO5Haxl7GO6+gcORW/ocbpnKkyVfwYRdBlmLYpSK3HOgsWWLEUbsHtHKxoRUchu
        NQIDAQAB
        -----END PUBLIC KEY-----

        """,
        "rsa two": """
        -----BEGIN PUBLIC KEY-----
        MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuD08dsifXF7BsFZUaK1P
        JAqQaAN/u0DSYLEn3zt75sJSxu1LasplPODZ10xkPq3qC2jaZAKkoWWVJX74cUg9
        rW4/Hqu8TgiiZwDgdm5jKoe50CdbXxGeD1KpUlHXFM33jAL5Zy2NY0PGwjVyz+YQ
        QLPpWS9h3YkdTcoABOflEfmOZO8X6H6wxXwsHF8uBmbWkkvhPak99aMgrsWBMyug
        w23UDwDi4IZDcSvDNITz5HNGUzsLlf+CZlzvdtqEkQcjVhCQNC5VxslKDKCTQfYG
        jf4/vrT8wrlK5YR9cvydqROYxRb+fkNM+e2iZRWbWyZslvxWMnwvlpqYIFwPmfQj
        FQIDAQAB
        -----END PUBLIC KEY-----

        """,
        "rsa 1024": """
        -----BEGIN PUBLIC KEY-----
        MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCqGv89jaBD3ZDooN88HTbFrAWl
        fGvjrOz/WwHCTVDEb4sEd4mrSpiBZSopk5K1ly/xxTL6hZbePrXvnexgXSVePyBX
        oCyoB0xIwjdeCGouNPuMTfvUHwsUZjKZnhiY2D7lUnQfixtgg1GjlKR3hwhCi06d
        h8bRB9nl595RubxoIwIDAQAB
        -----END PUBLIC KEY-----

        """,
        "secp256r1": """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEDjPx+FD4zAb8hgh9RRipuatr/Eif
        3TI7WHlXPXhWarjhPGUoORcs8k7MBZ1j0CrCQqx8L7+f4s/NCSC2npew+w==
        -----END PUBLIC KEY-----

        """,
        "secp384r1": """
        -----BEGIN PUBLIC KEY-----
        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEPXZBlL6pWAzs+5reLkMz0GcMN00uSGV8
        oLCv2BvXkV4dXmMbWpUfftGN5MjRAsrmBLlR9p3skqmY4a+YkjZBkTsfrHefiPe6
        vgNlKQF1IjTzRi4RwMlhQaMRpIFAvtS7
        -----END PUBLIC KEY-----

        """,
        "secp521r1": """
        -----BEGIN PUBLIC KEY-----
        MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBxwOBVqlvQpulLQXmw4mR2Ia3e0db
        yx7in2aAyocBfdL0hYvFQhOfUufyZHI4YOFwzWVYkO/bv+b09k0HSLTfT2sAIApx
        zgGuqjrLZcBzE9OOT2RNgThGHCuquNQiMXbOfzNSRs/+3Kxm5xr9NAdKXHaENgGB
        zp8R5x9bwoq0+3OGwGM=
        -----END PUBLIC KEY-----

        """,
        "secp256k1": """
        -----BEGIN PUBLIC KEY-----
        MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE7x0MVGFmmF11urEGrFJtMOerDrBQkuOx
        IuJYx3bDke7TBdZ+HvAbHNB1BVeBJVEHSvsOmPRmDTyMl4m1Iat9ww==
        -----END PUBLIC KEY-----

        """,
        "ed25519": """
        -----BEGIN PUBLIC KEY-----
        MCowBQYDK2VwAyEAYo913JQKAfr/2W0auodAme5IYQhDxL9SC/MiGe6mANI=
        -----END PUBLIC KEY-----

        """,
        "certificate": """
        -----BEGIN CERTIFICATE-----
        MIIB
        -----END CERTIFICATE-----

        """,
    ]

    /// A JSON Web Key Set with the same keys, and some that are to be left out.
    static let keySet = #"""
        {"keys":[
        {"kty":"RSA","n":"qvZkf9qDjXmkd65arkumKmvrRsEKZlQCxMocJ4Fc8SzCSOiCYar22wze-4jiXUfEiI1Qm78gklJ5gO4fPykFNT\#
        IqDEChplPSsJx_B_nQAty7VugCXwR-56XeKaub4KssbrgdZdRz8F2Jw8e3mm_DKt6nBVtSprwuqRBLGlzNKQ9X99_X3orj03eSMwZfAL\#
        F6FT5yRJxI8tQbW1Oo5IBmV6xxqS7FIhIRdZ9g3hqacnSzzBbwHL6jQfLo4NUqZEZDwnV0cv10ESGcrvLBucU8kAO5Haxl7GO6-gcORW\#
        _ocbpnKkyVfwYRdBlmLYpSK3HOgsWWLEUbsHtHKxoRUchuNQ","e":"AQAB","kid":"one"},
        {"kty":"RSA","n":"uD08dsifXF7BsFZUaK1PJAqQaAN_u0DSYLEn3zt75sJSxu1LasplPODZ10xkPq3qC2jaZAKkoWWVJX74cUg9rW\#
        4_Hqu8TgiiZwDgdm5jKoe50CdbXxGeD1KpUlHXFM33jAL5Zy2NY0PGwjVyz-YQQLPpWS9h3YkdTcoABOflEfmOZO8X6H6wxXwsHF8uBm\#
        bWkkvhPak99aMgrsWBMyugw23UDwDi4IZDcSvDNITz5HNGUzsLlf-CZlzvdtqEkQcjVhCQNC5VxslKDKCTQfYGjf4_vrT8wrlK5YR9cv\#
        ydqROYxRb-fkNM-e2iZRWbWyZslvxWMnwvlpqYIFwPmfQjFQ","e":"AQAB","kid":"two","alg":"RS256","use":"sig"},
        {"kty":"EC","crv":"P-256","x":"DjPx-FD4zAb8hgh9RRipuatr_Eif3TI7WHlXPXhWarg","y":"4TxlKDkXLPJOzAWdY9AqwkK\#
        sfC-_n-LPzQkgtp6XsPs","kid":"ec"},
        {"kty":"EC","crv":"P-384","x":"PXZBlL6pWAzs-5reLkMz0GcMN00uSGV8oLCv2BvXkV4dXmMbWpUfftGN5MjRAsrm","y":"BL\#
        lR9p3skqmY4a-YkjZBkTsfrHefiPe6vgNlKQF1IjTzRi4RwMlhQaMRpIFAvtS7"},
        {"kty":"EC","crv":"P-521","x":"AccDgVapb0KbpS0F5sOJkdiGt3tHW8se4p9mgMqHAX3S9IWLxUITn1Ln8mRyOGDhcM1lWJDv2\#
        7_m9PZNB0i0309r","y":"ACAKcc4Brqo6y2XAcxPTjk9kTYE4RhwrqrjUIjF2zn8zUkbP_tysZuca_TQHSlx2hDYBgc6fEecfW8KKtP\#
        tzhsBj"},
        {"x":"Yo913JQKAfr_2W0auodAme5IYQhDxL9SC_MiGe6mANI","kty":"OKP","crv":"Ed25519","kid":"ed"},
        {"kty":"RSA","n":"qvZkf9qDjXmkd65arkumKmvrRsEKZlQCxMocJ4Fc8SzCSOiCYar22wze-4jiXUfEiI1Qm78gklJ5gO4fPykFNT\#
        IqDEChplPSsJx_B_nQAty7VugCXwR-56XeKaub4KssbrgdZdRz8F2Jw8e3mm_DKt6nBVtSprwuqRBLGlzNKQ9X99_X3orj03eSMwZfAL\#
        F6FT5yRJxI8tQbW1Oo5IBmV6xxqS7FIhIRdZ9g3hqacnSzzBbwHL6jQfLo4NUqZEZDwnV0cv10ESGcrvLBucU8kAO5Haxl7GO6-gcORW\#
        _ocbpnKkyVfwYRdBlmLYpSK3HOgsWWLEUbsHtHKxoRUchuNQ","e":"AQAB","kid":"enc","use":"enc"},
        {"kty":"oct","k":"YW4gSFMyNTYgc2VjcmV0IG9mIGVub3VnaCBieXRlcywgd3JpdHRlbiBieSBoYW5kLCBmb3IgdGVzdHMgb25seS\#
        wgNjQr","alg":"HS256","kid":"shared"},
        {"kty":"XYZ","kid":"new"},
        {"kty":"RSA","n":"qvZkf9qDjXmkd65arkumKmvrRsEKZlQCxMocJ4Fc8SzCSOiCYar22wze-4jiXUfEiI1Qm78gklJ5gO4fPykFNT\#
        IqDEChplPSsJx_B_nQAty7VugCXwR-56XeKaub4KssbrgdZdRz8F2Jw8e3mm_DKt6nBVtSprwuqRBLGlzNKQ9X99_X3orj03eSMwZfAL\#
        F6FT5yRJxI8tQbW1Oo5IBmV6xxqS7FIhIRdZ9g3hqacnSzzBbwHL6jQfLo4NUqZEZDwnV0cv10ESGcrvLBucU8kAO5Haxl7GO6-gcORW\#
        _ocbpnKkyVfwYRdBlmLYpSK3HOgsWWLEUbsHtHKxoRUchuNQ","e":"AQAB","kid":"oaep","alg":"RSA-OAEP"}
        ]}
        """#

    /// Tokens by name.
    static let tokens: [String: String] = [
        "HS256": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.vcfC71OZQtnNLvkwftF4OYatqr\
        b0jiCxiQMB5Yg-oo0
        """,
        "HS384": """
        eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.PQZAApDzivxyfi7EItJO18_-RE\
        BfORD-OULzOZ5V9wyvInFyrByt8-kBwRJoHxmw
        """,
        "HS512": """
        eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.rcionGKkzJe_j-oMCK19L79ZWQ\
        hm1Vt6zWuWoJLf-KtR8Qcz8bq1EEQ1__m2gxpWUIQOqF2pPka4rVr2uEpCCQ
        """,
        "RS256": """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.J_EMWIkvJ8xUg_8YpftssGFlf5\
        WvTK7WxfQp71aN87lOZ6LzCNju_XlenTX_A6PgZkkpdDEsHWWAZVUjaVkEsFEtsqHYYFBqIJUTjywbzV295YRa-vFc5I190RjKdfuEY_\
        wjEBqRe-w--_iTvxiqnJmnPZkGSeyMI7v4Gv05ZFfQyx_Ydpi3k6sS3JyBFzNMFCUveur2WVAeqto43qAR3o-lnqjLxDSWZWbwODwtAh\
        ZT4508Rcc4-Wzpts59433AxSLpNaiUtJLLVNMWiyzpVaaEPUGJjgdCIC8lUa-XFTObmLUBFu9R4HwdI4S4nNWYh8PzbPHzUxyVauvM4T\
        S9UQ
        """,
        "RS384": """
        eyJhbGciOiJSUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.H8SfD4dnXQ0nDql3jBzIU-RFdb\
        cHMyRsXmk1lvUtt0CzzziNnh1v8-HMxvsC2PxCEYR8HIY0NB-zrgeR-iDBgWRJzHsRxjA_VvT0Kj5TD7FIWPFsWFe1-yc6lpzG-qlDDE\
        BZNdFUrrYgHPDBu6c0Rb8xkAPvlf86gMc6gf-pqyseCgX6HGLLpJVKHh3My4mJCtt-Q2054JCIbzrZmhM0ShCienSAs3G6Qngw_cMHhq\
        REAU_iN0DV5CvECHjQsBIAR379QERBIjrOzJPl71gXHuRXwmX57cWxUHSIngwNm1si5R8U1rSZw1GcyuLx99gikjMJQLzf9LNOJyBn7q\
        _-rw
        """,
        "RS512": """
        eyJhbGciOiJSUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.RO8WV18hLX12DyRrWsumGe2_f2\
        CJGqVx63Qq-YbtH5ofjNRuC1ubjhGLdNAgNv8W2abdVP29a0q5BkUfnNziMBQznt_Jb3_GWoRyCkAmBSN776h9puxesMH9YEhM9_P5DT\
        5vvwauE_wQByI9rHKOTXUjCDiyJb1YEJJfoyhN7ZsGdcs-gmnd2RDkHE0JdCJbCM2QplsM4aph1PnbGvXueTilIxsK_VCMFAKzqjJQ3b\
        uw1QFb8fQnzU_fRWjgSYaR_23qbP4ggpXzAi65TvsX0ejKGqTm_iq2wmR3Md9xCHqkBlkLdFPNBo1swLmRmDo5MYNVMIjLHm7gSFyQRb\
        eHxg
        """,
        "PS256": """
        eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.OnRVBEQRuth3uTzUyt1dMNDsLb\
        Wask2ZupjkqRXcDYOkHmj1nv3yuBlU4KRuUu6hUqkmM9ifvHeRJa9UGkKqFIXn6VM3UNWRqHdMpWWBl0KYHi-yqRDd3GKnPo7VfVCng_\
        Pr7uQAIzZbSlIjvod-nvIeLbRdZwefMDcQ85WUMzmgq3fFwTxGtimwAn-onrOSTo7RKi2xia9TGLEk8iIaj3rs0R9QAtD-u0eWb-Oowt\
        woTCXyHc87nSR_rcKfSrn3vGsBeCYXZVNNCU67ZImCTpb69xja6AmWnK7G7xbagq7D7w_PfsRdIrmJvZWp4bNWCuJss_Vt-qRjuGpu3Z\
        5FuQ
        """,
        "PS384": """
        eyJhbGciOiJQUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.gtHY4m3oIHl-Ibz_DWMZ1MiY6s\
        7f4KazILc88slIcBFWcDIgc0oVAzW5RWoAMVjf0yWEPMfEYIetyFu6tkGCpoVZMI3u558fp-ZEcMwOh1Z4lVOHKGA6FbHDChJIWvdBVK\
        o2OwQGEJW_MsypRcLNEHiRbGYHPd_NBEFluCy7ViiHUM9U2Q2ti9hmVQve43hDZdWnxEptHwzgEFSAwDrVhuZfflHCHVtIuYy4V1UQkH\
        7AO5FmIwULalcJur_F7YCr8YtILDZJzQPCETBO4SpVKEYPZ4ZVEqbi-iGkh8Vy36png2-wVTjGr1pG6l7Fh7-BDEuOm9K2tr4D4iwL22\
        n00w
        """,
        "PS512": """
        eyJhbGciOiJQUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.krsMz0c0MSdUFMWkxACclGLcT8\
        Uih6w_V2olgtWqMrcUI3x-RjXoqDugEkUB5FMaiGc7vFln-ZXrrg1qzEqgVfrFkWgL2sy-ujcgv0E5yw0f6NqMkfIg6YUeJFvRnJjPjk\
        U8_v2hLxaFlAF2oYyPHUylMEdmUqpjZN8CJYrcWpV0vuDlPHi0gugJSJ1CMyYGIWcdlC-6IVGKvp1cAxlYOXGCq7IVIvyH3gTPPoLaog\
        DKpTSPSINMEdNCzEjLrHadTaQ2Y-rekN1tf61bF5NiJSulDknCghB5B54T4NmBGeC1QyUKBgsBYqAGxhmnB_CCwcul6SF41bRudqUO56\
        dtIQ
        """,
        "ES256": """
        eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.LkD5JwjwgTBRPK8KQ0ciHp3RO7\
        rTwebuc_9tviQHq4D575y7TxN41hEN-ylMVrdwnrVIfHOcyUotLYQpEV_Fow
        """,
        "ES384": """
        eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.qrj8Ihs289L2_J28cNLy67XIv4\
        p1Mi81egnzYocDspVQLq7hd6wtqkiXQ8SM0KA7jZeo4n2vVfgfmcMaM7g3YWTZjQbLfCHC35w-aXMeeD_lGBV0wrOS6lwcgkCxs89J
        """,
        "ES512": """
        eyJhbGciOiJFUzUxMiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.AVQYM_R2df2U7Rnh9wteHVFeDN\
        _lILA0ZW4Lxkic_EuSSvqWS4yTIvkmiBGg78i8EGT_04PtEEmEDoPFDIkRnTwTAPWI4sQafeBnoxt-TdjAU5Q_3GI3R161EsTcUnZiRe\
        b9GXKQKmUE3WLuptedaqTFMaGiyWRVqeGDkr0qaf5n1S-i
        """,
        "EdDSA": """
        eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.TqeBeS62xYbqif9-lSVt0B_Fi1\
        rwF0WWdoqm5W4NxgUpJHShnNm9Yoj4s0vPfS19oBpzXnX-eMsF9mBVJ3b0Dg
        """,
        "RS256 kid one": """
        eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.MxTdA0jawT\
        ddfYDC-lTVCscB8saq_dnhmk4U8cIuC3UhjYqqvxWbByVQ_kNQg-h8FyOONVVXcln0KPSK33Y2_tGPQHOfcWI8xwT6c8oyV5SamDzDU4\
        aHUdAGK9XkTEHUjesz5u_diiye5NRjK5kWjGmoGWsZYq9S_PUjUTmUgYJ_BRlXUn5IjZX28XOy2rWgFN-lEPY8ORAvJMdYNPZTQumtOl\
        KJMc1MCivx1xWEzgEHRx-5MYWry5mpSDKCN9VeisuDf4_bGxCke6vwgTj6KsjniBlDOsyNSM-BwCa-ganB1rlNt3qPgTF2OIlq5l8Qdl\
        T_jV6ttJs-eYTdMcFe4Q
        """,
        "RS256 kid two": """
        eyJhbGciOiJSUzI1NiIsImtpZCI6InR3byIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.c6pFSw66YB\
        fiZEybBmA7QmkNKR4yQy61j9f4Xzws0qa3WGBqr6UP-L4XEpaXHqKAladsK1Cjdg03MHJQ4NUvjwh8fSUIwtMFDqOrUPE4PPmDCU3Dct\
        47ORQNIhcg8KXCcyBnELKVuS2y608OH9WI6NC9IjDWhJ9sZPe2ha-VlRfn4_3rjHhIEBg71SO6d0sdD8Y7sIMtD2oqvV59gTEHyOzNk4\
        55vCsva70DqRguTxdPF7tRaKHxuGbeOQCxFbpteji67UqlCBHUvLz7dIaL2Tw2yDIiMWVREkXGg9ojRlz87F-IIMzl-Zxpy0rD6hFlRd\
        owFGfgTK1aWThBnWjWHw
        """,
        "RS256 kid three": """
        eyJhbGciOiJSUzI1NiIsImtpZCI6InRocmVlIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.QfXQPih\
        AygilflrPSCEZvGGtaalHUneJsHv2bjG_LzZhZXbRu7RmPz1vq4FigwR8UYRO-ehUPIUHTGA_8EtTHN5cjBGADsUFgDJ-0gYoUQnF8ly\
        JGC2IJvXvamgIs_n_K1uwHDC7Sl3hjIGWQSBeFxJ6v9yOsA7WlVEFGxetXb4LGGYFqne-NRsokWceBtsICmkhFdquv3Nl0cqR3QXGr1u\
        NHmPYE4kcljNFnQJIkR8sScst3hmaZMTwxF8gB3reVoBDq21qXgRAsfpJ_rqW3X5FTm1RSkyRqdtyQQ2T4uSI19UG_PsGUQ2c6h1OrxU\
        4e6AR5f2WzspkiTqUBKBF4A
        """,
        "RS256 kid one by two": """
        eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.jRQItifiY5\
        6G-89arn9oBo6708zJbYcaqyHJE1T3F4m6i87CebI90IGzkycNYEQUUFi6iCsuL53V92qQFc0fzIEdwREPjokTy6bH25_6VPJ2B3DaeM\
        KDzrjCZ4-TOZCBNKMGCs06olnIjlqEfceitcgSetsiW6CCD-hhe9r5Es3K4vnCx4k7LWz_MyKMA0_cGdgiY9eaTCrpjmtAlCc6VGGm8S\
        -y8MGCdp_2_YnkrTAIyZBg6mtGdsLhJqfbAYjW37RP7kYfDAyMl8Semmqr0qKIt3nc2QOvBdxE5fYKyfg4T_rQNDegBYqL0NvfxB2LNb\
        2V7fhqJvTikQfUuO3vyg
        """,
        "RS256 by two without kid": """
        eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.pvS2w0qTxmsRo94GtFm8vsnBmL\
        P_BQG-6qJbgQ2vVfISgVQ00o4jKVJJ7D12aRFxoMWYMWgsFvTPx3y6Kvc85Qi8IHNDPiGZMRtsDPNfNYvEDCgYvhdug0FJtqISziCsI9\
        O61pJUtKufPoFVVW2Y9s9jQnGWsMTR99FJ3rET_Sn0SZ9Zp36R6QZXX5C69rQx2DFwdhq_PjqcPfpMcWyzAzyA9zYC2X00NebxAuSD1N\
        pLSsIreK1U0HSWJkA1VlbZGm9Sxsh8i7D2uN4deBGA1lD0DPBIgSgEVyOaIFK5oFmRsksjM24TfGI3NkDatt2doc2j12Mj14vyhtnWYi\
        j_lA
        """,
        "numbers": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImJpZyI6OTAwNzE5OTI1NDc0MDk\
        5Mywib25lIjoxLjAsImhhbGYiOjAuNSwibmVzdGVkIjp7Imxpc3QiOlsxLG51bGwsdHJ1ZSwiXHUwMGZjIl19fQ.x8Qi2s2cxaKuZfsB\
        PwEBkZEQRA0fFNg6omeTaOSTgaM
        """,
        "no exp": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEifQ.FybI2LygbJrFXlJUABBffTdXFJJjBKLj0uP6FaQfZWQ
        """,
        "exp text": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOiIxODAwMDAwNjAwIn0.tEj5HS2LfZdxpCIaov8mxUJ\
        93n4IJ1zSA6_SWeuaNxY
        """,
        "exp huge": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjFlMzAwfQ.ZjsMQnoNvyakVbRwRMzmmMlGB36BEQQb\
        767vTWnvZBQ
        """,
        "exp half": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAuNX0.Ea5Fajk06rSGP5X4A-pumgn\
        P3312zV956GW-TNuZTFI
        """,
        "sub true": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOnRydWUsImV4cCI6MTgwMDAwMDYwMH0.rwGmXk5PY4t9697jq0E3_7xI0xr\
        p236Op0QHVCMVBss
        """,
        "sub integer": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOjQyLCJleHAiOjE4MDAwMDA2MDB9.zxTzRbR3cxWSmUzfilDqM9je1P_e2w\
        9ZtxQQzUpvyt8
        """,
        "user_id": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjo3LCJleHAiOjE4MDAwMDA2MDB9.gDXbHMiTtF_58-a6JNlJ1k5G49\
        jmPKqzKwScMDFGvd8
        """,
        "list payload": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.WzFd.Q1kLm5HQUkbCTDnXCN4aLrfF4UlzHGJ_tP2eNQ06LF4
        """,
        "integer beyond": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDAwMDA2MDAsIm4iOjk5OTk5OTk5OTk5OTk5OTk5OTk5fQ.lfUdyZBf\
        mmPom9g9BuM7ngijYO9dIdQ2cDQBJAWs-aQ
        """,
        "deep payload": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDAwMDA2MDAsIm4iOltbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1t\
        bW1tbW1tbW1tbW1tdXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dfQ.yozXki7Txgx54fYGMkwvB-OycPbh9Kev\
        Buu3KQX3t-o
        """,
        "not utf8": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MDAwMDA2MDAsIm4iOiL_In0.FFj4eiwuLh7CELIH_Bw1U7V_b4B4Pyh\
        Ij9XCFUPAo3A
        """,
        "crit": """
        eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.5AtirW\
        -tCiwe50QVz7-LBUlZ6VQMXmLLaS9ClG8kl9E
        """,
        "kid number": """
        eyJhbGciOiJIUzI1NiIsImtpZCI6MX0.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.D6Onw-yT2IlUQreBMESlxaSZRC6hHYa\
        oxoxoP6UzqZ4
        """,
        "no alg": """
        eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.7RjCQxQTcPk45msAT0CmJZPmTcVGhgGX8LEnwOjzf8w
        """,
        "alg lower case": """
        eyJhbGciOiJoczI1NiJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDB9.0OdG3l493oXBr4hryNJoLVip-kWSlEjOCKP2sgchvt\
        U
        """,
        "confusion": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJtYWxsb3J5IiwiZXhwIjoxODAwMDAwNjAwfQ.PQ0dFJ_34VGQsqQotcwg\
        uxYUibGn66ABFy54lXDnBAk
        """,
        "confusion trimmed": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJtYWxsb3J5IiwiZXhwIjoxODAwMDAwNjAwfQ.JSNJTuIjnD2mNeQ55ET4\
        H5-OycozzX8fK2rHwklneXM
        """,
        "empty secret": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJtYWxsb3J5IiwiZXhwIjoxODAwMDAwNjAwfQ.s1BZUQhPrbLMrAdtRl9I\
        8HHlXt1FFul9n3SO32V56eM
        """,
        "nbf and iat": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsIm5iZiI6MTc5OTk5OTkwMCwiaWF\
        0IjoxNzk5OTk5OTAwfQ.QQnAy7F2rUbycUVH5FmPHYshfTUI5FklM83Ra8wMsIk
        """,
        "nbf later": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsIm5iZiI6MTgwMDAwMDEwMH0.ZZN\
        wfhwv6GFsBLYNo8H8b8cJLwrOfObRXmmfYPc6JCg
        """,
        "iat later": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImlhdCI6MTgwMDAwMDEwMH0.gtI\
        euASXyaHV28pGZyOdB-Mui7Xz_NLC3hi3AWy1dvs
        """,
        "aud text": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImF1ZCI6ImNoYXQifQ.EuhI_aSv\
        vptMdrcgxioPO-0HEKn_HHdyk_CSM0btYwE
        """,
        "aud list": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImF1ZCI6WyJzaG9wIiwiY2hhdCJ\
        dfQ.z8ohBFz1PrJaR6kawnQM3qaTb1KGgET7YdYQ63X4_9s
        """,
        "aud other": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImF1ZCI6InNob3AifQ.ab_Afo2h\
        V-bIBBfqKLG8tOiAORn94W4se3wg32OQa_A
        """,
        "aud number": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImF1ZCI6M30.2aftZn-6ts56qcA\
        nyl56jlqGQcAKIrzkXLw-N_D8A-s
        """,
        "iss": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImlzcyI6Imh0dHBzOi8vaWQuZXh\
        hbXBsZSJ9.I8fIrlvWT_H0p2Yhl0H2b3niX2UeHjtOsUv9mhpO9js
        """,
        "iss other": """
        eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjE4MDAwMDA2MDAsImlzcyI6Imh0dHBzOi8vaWQuZXh\
        hbXBsZS5ldmlsIn0.wK-of2sbjGCLlV14o-Bb3Vh8ktsUrm0uI3oas5CitFg
        """,
    ]
}
