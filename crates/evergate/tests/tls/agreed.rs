//! Versions, suites and groups.

use std::sync::Arc;

use evergate_testkit::Stand;
use rustls::{
    CipherSuite, ClientConfig, NamedGroup, ProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::json;

use crate::{BIN, look, refused, tls};

/// A client that speaks that version and resumes nothing.
fn client(stand: &Stand, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = stand.authority.client_of(&[version]);
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn the_highest_version_changes() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.bystanders().await;
    let (old, new) = (client(&stand, &TLS12), client(&stand, &TLS13));
    assert_eq!(look(&stand, &new).await.unwrap().version, ProtocolVersion::TLSv1_3);
    stand.apply(tls(json!({ "max_version": "1.2" }))).await;
    refused(look(&stand, &new).await, "ProtocolVersion");
    assert_eq!(look(&stand, &old).await.unwrap().version, ProtocolVersion::TLSv1_2);
    stand.apply(tls(json!({ "max_version": "1.3" }))).await;
    assert_eq!(look(&stand, &new).await.unwrap().version, ProtocolVersion::TLSv1_3);
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn suites_change() {
    let mut stand = Stand::new(BIN).await;
    // These clients take every suite, so that they should not notice either.
    let crowd = stand.crowd().await;
    let (old, new) = (client(&stand, &TLS12), client(&stand, &TLS13));
    let rows = [
        (json!(["TLS_CHACHA20_POLY1305_SHA256"]), &new, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (json!(["TLS_AES_128_GCM_SHA256"]), &new, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (json!(null), &new, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (
            json!(["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]),
            &old,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (json!(null), &old, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ];
    for (list, client, suite) in rows {
        stand.apply(tls(json!({ "cipher_suites": list }))).await;
        assert_eq!(look(&stand, client).await.unwrap().suite, suite, "{list}");
    }
    // The certificate has no RSA key.
    stand.apply(tls(json!({ "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] }))).await;
    refused(look(&stand, &old).await, "HandshakeFailure");
    crowd.stop().await.assert_unnoticed();
}

#[tokio::test]
async fn groups_change() {
    let mut stand = Stand::new(BIN).await;
    let crowd = stand.crowd().await;
    let new = client(&stand, &TLS13);
    for (curve, group) in [
        ("P-384", NamedGroup::secp384r1),
        ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
        ("P-256", NamedGroup::secp256r1),
        ("X25519", NamedGroup::X25519),
    ] {
        stand.apply(tls(json!({ "curves": [curve], "min_version": "1.3" }))).await;
        assert_eq!(look(&stand, &new).await.unwrap().group, Some(group), "{curve}");
    }
    let mut only = (*new).clone();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    stand.apply(tls(json!({ "curves": null, "min_version": null }))).await;
    only.clone_from(&stand.authority.client_by(provider));
    let seen = look(&stand, &Arc::new(only)).await.unwrap();
    assert_eq!(seen.group, Some(NamedGroup::X25519MLKEM768), "part of the default");
    crowd.stop().await.assert_unnoticed();
}
