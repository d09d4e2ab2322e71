//! Raw bytes both ways, after an upgrade (RFC 9110 §7.8). Each direction ends by itself (half-close).

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};

/// A side of a tunnel: its stream, and what was read from it before the tunnel began.
#[derive(Debug)]
pub struct Side<S> {
    /// The stream.
    pub io: S,
    /// Read already, meant for the other side.
    pub early: BytesMut,
}

/// Carries bytes until both directions have ended. Returns bytes from `a` to `b`, and from `b` to `a`.
pub async fn relay<A, B>(mut a: Side<A>, mut b: Side<B>) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    b.io.write_all(&a.early).await?;
    a.io.write_all(&b.early).await?;
    let (early_a, early_b) = (a.early.len() as u64, b.early.len() as u64);
    drop((a.early, b.early));
    let (up, down) = copy_bidirectional(&mut a.io, &mut b.io).await?;
    Ok((up + early_a, down + early_b))
}
