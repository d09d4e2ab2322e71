//! What a trusted proxy says of a connection before its first byte (PROXY protocol).

use std::io;

use evergate_wire::{
    Plain,
    proxy_protocol::{Said, parse},
};
use rustix::net::RecvFlags;
use tokio::io::Interest;

/// What is looked at in one go: more than a header is long, unless it carries a certificate.
const LOOK: usize = 512;

/// Reads the header and not a byte more: what follows it may be the business of TLS.
pub(super) async fn read(plain: &Plain) -> io::Result<Said> {
    let mut seen = Vec::new();
    loop {
        plain.readable().await?;
        let mut piece = [0; LOOK];
        let before = seen.len();
        match receive(plain, &mut piece, RecvFlags::PEEK) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => seen.extend_from_slice(piece.get(..n).unwrap_or(&piece)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        }
        let parsed = parse(&seen).map_err(io::Error::other)?;
        let header = parsed.map_or(seen.len(), |(_, length)| length);
        seen.truncate(header);
        take(plain, piece.get_mut(..header.saturating_sub(before)).unwrap_or_default())?;
        if let Some((said, _)) = parsed {
            return Ok(said);
        }
    }
}

/// Takes what was looked at.
fn take(plain: &Plain, mut piece: &mut [u8]) -> io::Result<()> {
    while !piece.is_empty() {
        let n = receive(plain, piece, RecvFlags::empty())?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece = piece.get_mut(n..).unwrap_or_default();
    }
    Ok(())
}

fn receive(plain: &Plain, piece: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    plain.try_io(Interest::READABLE, || Ok(rustix::net::recv(plain, &mut *piece, flags)?.0))
}
