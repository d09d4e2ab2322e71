//! Cipher suites by their IANA names, and groups for the exchange of keys.

use super::*;

/// A cipher suite by its IANA name. All of them encrypt with authentication and keep what was sent secret if the key of the
/// certificate becomes known later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum CipherSuite {
    #[serde(rename = "TLS_AES_256_GCM_SHA384")]
    Aes256,
    #[serde(rename = "TLS_AES_128_GCM_SHA256")]
    Aes128,
    #[serde(rename = "TLS_CHACHA20_POLY1305_SHA256")]
    Chacha20,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    EcdsaAes256,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    EcdsaAes128,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")]
    EcdsaChacha20,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")]
    RsaAes256,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]
    RsaAes128,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")]
    RsaChacha20,
}

/// A group for the exchange of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Curve {
    /// X25519 with ML-KEM-768: what is recorded today stays secret when there are quantum computers. TLS 1.3 only.
    #[serde(rename = "X25519MLKEM768")]
    X25519Mlkem768,
    /// RFC 7748.
    #[serde(rename = "X25519")]
    X25519,
    /// secp256r1.
    #[serde(rename = "P-256")]
    P256,
    /// secp384r1.
    #[serde(rename = "P-384")]
    P384,
}

impl CipherSuite {
    /// The version of TLS that it belongs to.
    #[must_use]
    pub fn version(self) -> TlsVersion {
        match self {
            CipherSuite::Aes256 | CipherSuite::Aes128 | CipherSuite::Chacha20 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        }
    }
}

impl Curve {
    pub(super) fn all() -> Vec<Curve> {
        vec![Curve::X25519Mlkem768, Curve::X25519, Curve::P256, Curve::P384]
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
