//! What clusters are built from besides their upstream. Brought by who builds a snapshot.

use evergate_kit::Keep;
use evergate_tls::{Credential, Crypto, Pem};

/// What a cluster is built from besides its upstream.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// State that outlives snapshots.
    pub keep: &'a Keep,
    /// The process's cryptography.
    pub crypto: &'a Crypto,
    /// The content of `tls.ca` as the revision pinned it, if that is set.
    pub ca: Option<Pem<'a>>,
    /// The certificate that `tls.certificate` names, if that is set.
    pub own: Option<&'a Credential>,
}
