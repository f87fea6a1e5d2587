//! Which addresses may be asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reach;

/// What an address is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The public network.
    Public,
    /// This machine, or the private network around it.
    Local,
    /// Link-local, multicast, reserved, documentation: nothing that is ever meant.
    Never,
}

/// Whether an address may be asked.
pub(super) fn may_be_asked(address: IpAddr, reach: Reach) -> bool {
    match kind(address) {
        Kind::Public => true,
        Kind::Local => reach == Reach::Local,
        Kind::Never => false,
    }
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // Loopback, private, and what carriers share behind one address.
        (10 | 127, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Kind::Local,
        // This network, link-local, protocol assignments, documentation, relays, benchmarks, multicast, reserved.
        (0, _, _)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (224..=255, _, _) => Kind::Never,
        _ => Kind::Public,
    }
}

fn kind_v6(address: Ipv6Addr) -> Kind {
    let s = address.segments();
    let low = || v4(s[6], s[7]);
    match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Local,
        // IPv4 in IPv6: mapped, translated (NAT64), 6to4. What is inside counts.
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => kind_v4(low()),
        [0x2002, high, low, ..] => kind_v4(v4(high, low)),
        // Compatible: given up long ago, so only its worse meanings are left.
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => Kind::Never,
        [0xfc00..=0xfdff, ..] => Kind::Local,
        // Local translation, discard, special assignments (Teredo among them), documentation, link-local,
        // site-local, multicast.
        [0x64, 0xff9b, ..]
        | [0x100, 0, 0, ..]
        | [0x2001, 0..=0x1ff, ..]
        | [0x2001, 0xdb8, ..]
        | [0x3fff, 0..=0xfff, ..]
        | [0x5f00, ..]
        | [0xfe80..=0xfeff, ..]
        | [0xff00..=0xffff, ..] => Kind::Never,
        // Only what is given out at all.
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Never,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn public(address: &str) -> bool {
        address.parse().is_ok_and(|address| may_be_asked(address, Reach::Public))
    }

    #[test]
    fn t52_no_private_address_passes_in_any_dress() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::ffff:0:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(!public(address), "{address}");
        }
        for address in
            ["1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::"]
        {
            assert!(public(address), "{address}");
        }
        // Whoever may ask inside may still not ask where clouds keep their secrets.
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0"] {
            assert!(!address.parse().is_ok_and(|address| may_be_asked(address, Reach::Local)), "{address}");
        }
        assert!(may_be_asked(IpAddr::V4(Ipv4Addr::LOCALHOST), Reach::Local));
    }

    proptest! {
        /// What is wrapped is judged as what is inside it.
        #[test]
        fn t52_wrapped_addresses_are_unwrapped(bits in any::<u32>()) {
            let inside = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = inside.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for outside in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(kind(outside.into()), kind(inside.into()));
            }
        }
    }
}
