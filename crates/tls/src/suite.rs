//! From the document's words for versions, cipher suites and groups to rustls's.

use std::sync::Arc;

use evergate_contract::config::{CipherSuite, Curve, TlsVersion};
use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{cipher_suite as suite, kx_group},
    },
    version::{TLS12, TLS13},
};

/// The versions between two, both included.
pub(crate) fn versions(least: TlsVersion, most: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (least..=most).contains(version))
        .map(|(_, version)| version)
        .collect()
}

/// The cryptography with these suites and groups alone. A version of TLS of which no suite is listed keeps its own.
pub(crate) fn provider(
    whole: &CryptoProvider,
    suites: &[CipherSuite],
    curves: &[Curve],
) -> Arc<CryptoProvider> {
    let listed = suites.iter().copied();
    let is_listed = |version| suites.iter().any(|suite| suite.version() == version);
    let kept = whole.cipher_suites.iter().copied().filter(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => !is_listed(TlsVersion::V1_3),
        SupportedCipherSuite::Tls12(_) => !is_listed(TlsVersion::V1_2),
    });
    Arc::new(CryptoProvider {
        cipher_suites: listed.map(cipher_suite).chain(kept).collect(),
        kx_groups: curves.iter().copied().map(group).collect(),
        ..whole.clone()
    })
}

fn cipher_suite(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::Aes256 => suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Aes128 => suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Chacha20 => suite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes256 => suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaAes128 => suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaChacha20 => suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes256 => suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaAes128 => suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaChacha20 => suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(curve: Curve) -> &'static dyn SupportedKxGroup {
    match curve {
        Curve::X25519Mlkem768 => kx_group::X25519MLKEM768,
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    }
}
