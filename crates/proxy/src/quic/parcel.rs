//! Packets on their way from one process to another: several in one datagram of a Unix socket, sealed under the
//! secret that both share, since on this machine anybody can send there.

use std::{
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use aws_lc_rs::hmac;
use quinn::udp::{BATCH_SIZE, EcnCodepoint, RecvMeta};

/// A parcel is sent off once it has so many bytes.
pub(super) const FULL: usize = 48 << 10;
/// The largest parcel: what was there before it was full, and what one read of a socket can give.
pub(super) const LARGEST: usize = FULL + (64 << 10) + 256;

const SEAL: usize = 16;

/// A parcel that is being packed, and how many buffers its reader needs.
pub(super) struct Parcel(Vec<u8>, usize);

impl Parcel {
    /// An empty one.
    pub(super) fn new() -> Parcel {
        Parcel(vec![0; SEAL], 0)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= FULL || self.1 >= BATCH_SIZE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == SEAL
    }

    /// Adds what was received together.
    pub(super) fn add(&mut self, meta: &RecvMeta, packets: &[u8]) {
        let out = &mut self.0;
        self.1 += 1;
        put_ip(Some(meta.addr.ip()), out);
        out.extend_from_slice(&meta.addr.port().to_be_bytes());
        put_ip(meta.dst_ip, out);
        out.push(meta.ecn.map_or(0, |ecn| ecn as u8));
        // Lengths of datagrams: they fit.
        out.extend_from_slice(&(meta.stride as u32).to_be_bytes());
        out.extend_from_slice(&(packets.len() as u32).to_be_bytes());
        out.extend_from_slice(packets);
    }

    /// The bytes to send.
    pub(super) fn seal(&mut self, key: &hmac::Key) -> &[u8] {
        if let Some((seal, content)) = self.0.split_at_mut_checked(SEAL) {
            seal.iter_mut().zip(hmac::sign(key, content).as_ref()).for_each(|(to, from)| *to = *from);
        }
        &self.0
    }
}

/// Unpacks a parcel into the buffers of who reads packets. Returns how many of them are used; 0 for what is no parcel.
pub(super) fn unpack(
    parcel: &[u8],
    key: &hmac::Key,
    bufs: &mut [IoSliceMut<'_>],
    metas: &mut [RecvMeta],
) -> usize {
    let Some((seal, mut rest)) = parcel.split_at_checked(SEAL) else { return 0 };
    if !hmac::sign(key, rest).as_ref().starts_with(seal) {
        return 0;
    }
    let mut used = 0;
    for (buf, meta) in bufs.iter_mut().zip(metas) {
        let Some((read, packets)) = next(&mut rest) else { break };
        // Another version of this program may read larger ones; they are lost, as packets may be.
        if let Some(buf) = buf.get_mut(..packets.len()) {
            buf.copy_from_slice(packets);
            *meta = read;
            used += 1;
        } else {
            break;
        }
    }
    used
}

fn next<'p>(rest: &mut &'p [u8]) -> Option<(RecvMeta, &'p [u8])> {
    let ip = take_ip(rest)??;
    let addr = SocketAddr::new(ip, u16::from_be_bytes(take(rest)?));
    let dst_ip = take_ip(rest)?;
    let ecn = EcnCodepoint::from_bits(u8::from_be_bytes(take(rest)?));
    let stride = u32::from_be_bytes(take(rest)?) as usize;
    let len = u32::from_be_bytes(take(rest)?) as usize;
    let (packets, others) = rest.split_at_checked(len)?;
    *rest = others;
    Some((RecvMeta { addr, len, stride, ecn, dst_ip }, packets))
}

fn put_ip(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        None => out.push(0),
        Some(IpAddr::V4(ip)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

/// Outside: whether it can be read. Inside: whether there is one.
fn take_ip(rest: &mut &[u8]) -> Option<Option<IpAddr>> {
    match take(rest)? {
        [0] => Some(None),
        [4] => Some(Some(Ipv4Addr::from(take::<4>(rest)?).into())),
        [6] => Some(Some(Ipv6Addr::from(take::<16>(rest)?).into())),
        _ => None,
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, others) = rest.split_first_chunk()?;
    *rest = others;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    fn packed() -> Vec<u8> {
        let mut parcel = Parcel::new();
        assert!(parcel.is_empty());
        let meta = |addr: &str, dst: Option<&str>, ecn| RecvMeta {
            addr: addr.parse().unwrap(),
            len: 5,
            stride: 3,
            ecn,
            dst_ip: dst.map(|ip| ip.parse().unwrap()),
        };
        parcel.add(&meta("10.0.0.1:5", Some("10.0.0.2"), Some(EcnCodepoint::Ce)), b"abcde");
        parcel.add(&meta("[2001:db8::1]:443", None, None), b"fghij");
        assert!(!parcel.is_empty() && !parcel.is_full());
        parcel.seal(&key(1)).to_vec()
    }

    type Arrived = (String, Option<IpAddr>, Option<EcnCodepoint>, Vec<u8>);

    fn unpacked(parcel: &[u8], room: usize) -> Vec<Arrived> {
        let mut space = [vec![0; room], vec![0; room], vec![0; room]];
        let mut bufs: Vec<_> = space.iter_mut().map(|s| IoSliceMut::new(s)).collect();
        let mut metas = [RecvMeta::default(); 3];
        let used = unpack(parcel, &key(1), &mut bufs, &mut metas);
        let one = |(meta, buf): (&RecvMeta, &IoSliceMut<'_>)| {
            assert_eq!(meta.stride, 3);
            (meta.addr.to_string(), meta.dst_ip, meta.ecn, buf[..meta.len].to_vec())
        };
        metas.iter().zip(&bufs).take(used).map(one).collect()
    }

    #[test]
    fn packets_arrive_as_they_were() {
        let arrived = unpacked(&packed(), 8);
        let dst = Some("10.0.0.2".parse().unwrap());
        assert_eq!(arrived[0], ("10.0.0.1:5".to_owned(), dst, Some(EcnCodepoint::Ce), b"abcde".to_vec()));
        assert_eq!(arrived[1], ("[2001:db8::1]:443".to_owned(), None, None, b"fghij".to_vec()));
        assert_eq!(arrived.len(), 2);
    }

    #[test]
    fn what_is_no_parcel_of_ours_is_dropped() {
        let parcel = packed();
        for end in 0..parcel.len() {
            assert!(unpacked(&parcel[..end], 8).is_empty(), "{end}");
        }
        let mut forged = parcel.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(unpacked(&forged, 8).is_empty());
        assert!(unpacked(&parcel, 4).is_empty(), "larger than there is room for");
        let mut broken = Parcel::new();
        broken.0.extend_from_slice(&[4, 1, 2]);
        assert!(unpacked(broken.seal(&key(1)), 8).is_empty());
    }
}
