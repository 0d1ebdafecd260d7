//! Which port an instance gets: free now, of no other instance, and apart from what other controllers choose.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::Path;

use cutover_core::InstanceId;
use sha2::{Digest, Sha256};

/// The first port of the range that nobody has, beginning at a place that depends on host directory and
/// instance, so that the controllers of two state directories seldom meet.
pub(super) fn choose(
    ports: &RangeInclusive<u16>,
    taken: &BTreeSet<u16>,
    state_directory: &Path,
    id: &InstanceId,
) -> Option<u16> {
    let size = u32::from(*ports.end()).checked_sub(u32::from(*ports.start()))? + 1;
    let digest = Sha256::new().chain_update(state_directory.as_os_str().as_encoded_bytes());
    let digest = digest.chain_update([0]).chain_update(id.as_str()).finalize();
    let offset = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % size;
    let candidates = (0..size).map(|step| u32::from(*ports.start()) + (offset + step) % size);
    candidates
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| !taken.contains(port) && is_free(*port))
}

/// Whether a program could listen there now.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_or_listened_on_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let id: InstanceId = "a".parse().unwrap();
        let choose =
            |ports, taken: &[u16]| choose(&ports, &taken.iter().copied().collect(), Path::new("/s"), &id);
        assert_eq!(choose(port..=port, &[]), None);
        drop(listener);
        assert_eq!(choose(port..=port, &[]), Some(port));
        assert_eq!(choose(port..=port, &[port]), None);
    }
}
