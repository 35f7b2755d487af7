//! Ports that are free now.

use crate::failure::{Attempt, Outcome};
use std::net::{Ipv4Addr, TcpListener};

/// One port per wish: the first of its preferred ports that is free, else any free one. All are
/// different. Free means now: whoever starts a server must be ready to lose the race and ask again.
pub fn choose<const N: usize>(wishes: [&[u16]; N]) -> Outcome<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    for preferred in wishes {
        let listener = preferred
            .iter()
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).ok())
            .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
            .attempt("find a free port on 127.0.0.1")?;
        held.push(listener);
    }
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr().attempt("read a listener's own port")?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let [chosen] = choose([&[port]]).unwrap();
        assert_ne!(chosen, port);
        assert_ne!(chosen, 0);
    }

    #[test]
    fn ports_chosen_together_differ() {
        let [a, b, c] = choose([&[], &[], &[]]).unwrap();
        assert!(a != b && b != c && a != c, "{a} {b} {c}");
    }

    #[test]
    fn one_free_port_is_not_given_out_twice() {
        let [free] = choose([&[]]).unwrap();
        let wish: &[u16] = &[free];
        let [a, b] = choose([wish, wish]).unwrap();
        assert_ne!(a, b);
    }
}
