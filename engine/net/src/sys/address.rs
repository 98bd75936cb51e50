//! Socket addresses as the kernel wants them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{AF_INET, AF_INET6, c_int, sa_family_t, sockaddr_in, sockaddr_in6, socklen_t};

/// An IPv4 or IPv6 address in kernel layout.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddress {
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl RawAddress {
    /// Room for any address of the two families.
    pub(crate) const ROOM: socklen_t = size_of::<RawAddress>() as socklen_t;

    /// An address to be filled in by the kernel.
    pub(crate) fn empty() -> Self {
        // SAFETY: both members are plain integers, for which all zeroes is a valid value.
        unsafe { std::mem::zeroed() }
    }

    /// The kernel's form of `address`, and its length.
    pub(crate) fn encode(address: SocketAddr) -> (Self, socklen_t) {
        let mut raw = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = sockaddr_in {
                    sin_family: AF_INET as sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<sockaddr_in>() as socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = sockaddr_in6 {
                    sin6_family: AF_INET6 as sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, size_of::<sockaddr_in6>() as socklen_t)
            }
        }
    }

    /// The address the kernel filled in, `None` for an unknown family or a short one.
    pub(crate) fn decode(&self, length: socklen_t) -> Option<SocketAddr> {
        // SAFETY: the union is always fully initialised (zeroed first), the family is at the same
        // place in both members, and every bit pattern is valid for their integer fields.
        let family = c_int::from(unsafe { self.v4.sin_family });
        let length = length as usize;
        if family == AF_INET && length >= size_of::<sockaddr_in>() {
            // SAFETY: as above; the family says this member was written.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
        } else if family == AF_INET6 && length >= size_of::<sockaddr_in6>() {
            // SAFETY: as above; the family says this member was written.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            // The flow label is not part of a peer's identity: two packets of one peer may differ.
            Some(SocketAddr::V6(SocketAddrV6::new(
                ip,
                u16::from_be(v6.sin6_port),
                0,
                v6.sin6_scope_id,
            )))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.1:5060", "0.0.0.0:0", "[2001:db8::1]:5060", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().expect(text);
            let (raw, length) = RawAddress::encode(address);
            assert_eq!(raw.decode(length), Some(address), "{text}");
            assert_eq!(raw.decode(length - 1), None, "{text} cut short");
        }
        assert_eq!(RawAddress::empty().decode(RawAddress::ROOM), None);
    }
}
