//! Health by TCP: a connection is enough.

use crate::connect::Connector;

/// Connects, and goes away again without a word.
pub(super) async fn ask(connector: &Connector) -> Result<(), String> {
    connector.tcp().await.map(drop).map_err(|e| e.to_string())
}
