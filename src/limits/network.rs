//! The networks that stand for an address: limits count IPv6 addresses by network, and an IPv4 address by itself.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Bits of an IPv6 address that stand for one subscriber: providers assign at least a /64.
const SUBSCRIBER_BITS: u8 = 64;

/// Bits of an IPv6 address that stand for one site: many providers assign a /48, which is 65,536 subscribers.
const SITE_BITS: u8 = 48;

/// The limit of a site as a multiple of a subscriber's: a /48 may also be a small provider with many homes.
pub const SITE_SHARE: u32 = 16;

/// The networks for which an address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networks {
    /// The address itself, or the /64 of an IPv6 address.
    pub subscriber: IpNet,
    /// The /48 of an IPv6 address, with [`SITE_SHARE`] times the limit.
    pub site: Option<IpNet>,
}

impl Networks {
    pub fn of(address: IpAddr) -> Networks {
        match address.to_canonical() {
            IpAddr::V4(v4) => Networks {
                subscriber: Ipv4Net::from(v4).into(),
                site: None,
            },
            IpAddr::V6(v6) => {
                let network = |bits| {
                    let net = Ipv6Net::new(v6, bits).expect("both are below 128 bits");
                    IpNet::from(net.trunc())
                };
                Networks {
                    subscriber: network(SUBSCRIBER_BITS),
                    site: Some(network(SITE_BITS)),
                }
            }
        }
    }
}

/// Returns the address under which a limit per address counts: the subscriber's.
pub fn subscriber(address: IpAddr) -> IpAddr {
    Networks::of(address).subscriber.addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_for_its_subscriber_and_its_site_and_an_ipv4_address_for_itself() {
        let of = |text: &str| Networks::of(text.parse().unwrap());

        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        let other = of("2001:db8:1:3::1");
        assert_ne!(of("2001:db8:1:2::1").subscriber, other.subscriber);
        assert_eq!(of("2001:db8:1:2::1").site, other.site);
        assert_ne!(of("2001:db8:2:2::1").site, other.site);
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_eq!(of("192.0.2.1").site, None);
        assert_eq!(
            subscriber("2001:db8:1:2:3::4".parse().unwrap()).to_string(),
            "2001:db8:1:2::"
        );
    }
}
