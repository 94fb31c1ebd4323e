//! Addresses that no artifact comes from: those at which clouds give out identities and settings to whoever asks from
//! within. A uri or a redirect that leads there is an attempt to get at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;

/// Metadata services outside the link-local ranges. Sources: the clouds' own manuals.
const SERVICES: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                   // Azure's host
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                 // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),  // Scaleway
];

/// Whether nothing may be fetched from `address`.
#[must_use]
pub fn is_forbidden(address: IpAddr) -> bool {
    let is_one = |address: IpAddr| {
        SERVICES.contains(&address)
            || match address {
                IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
                // The second range is that of AWS' own services: metadata, time, pod identity.
                IpAddr::V6(v6) => v6.is_unicast_link_local() || matches!(v6.segments(), [0xfd00, 0xec2, ..]),
            }
    };
    let within = match address {
        IpAddr::V6(v6) => v4_within(v6),
        IpAddr::V4(_) => None,
    };
    is_one(address) || within.is_some_and(|v4| is_one(v4.into()))
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, translated (NAT64), 6to4.
fn v4_within(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // NAT64 is RFC 6052 and, for networks of one's own, RFC 8215.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, last]
        | [0, 0, 0, 0, 0xffff, 0, high, last]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, last]
        | [0x64, 0xff9b, 1, _, 0, 0, high, last]
        | [0x2002, high, last, ..] => low(high, last),
        // Under a prefix of 48 bits the address has a byte of zeros within.
        [0x64, 0xff9b, 1, high, middle, last, ..] if middle < 0x100 => low(high, (middle << 8) | (last >> 8)),
        _ => None,
    }
}

/// Looks that the host of `url`, where it is an address in any notation, may be asked.
///
/// # Errors
///
/// [`Reason::ArtifactUriInvalid`] when it may not.
pub fn check(url: &Url) -> Result<(), Failure> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_forbidden(address) { Err(refusal(&address.to_string())) } else { Ok(()) }
}

fn refusal(host: &str) -> Failure {
    let act = format!("{host} is an address of this machine's own services, from which nothing is fetched");
    Failure::new(Reason::ArtifactUriInvalid, act)
}

/// Resolves names as the system does, without the addresses that are forbidden.
#[derive(Clone, Copy, Debug)]
pub struct Resolver;

/// All addresses of a name are forbidden.
#[derive(Debug, thiserror::Error)]
#[error("{0} leads to an address of this machine's own services, from which nothing is fetched")]
pub struct Forbidden(String);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = all.iter().copied().filter(|address| !is_forbidden(address.ip())).collect();
            if allowed.is_empty() && !all.is_empty() {
                return Err(Forbidden(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The resolver, as the client takes it.
#[must_use]
pub fn resolver() -> Arc<Resolver> {
    Arc::new(Resolver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(url: &str) -> bool {
        check(&Url::parse(url).unwrap()).is_err()
    }

    #[test]
    fn a_metadata_service_is_refused_in_every_notation() {
        for host in [
            "169.254.169.254",
            "169.254.0.1",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "0xa9.0xfe.0xa9.0xfe",
            "169.254.43518",
            "169.16689662",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[64:ff9b:1:a9fe:a9:fe00::]",
            "[fd00:ec2::23]",
            "[fd00:c1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "[::ffff:0:169.254.169.254]",
            "[fe80::1]",
            "[febf::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "168.63.129.16",
            "[::ffff:168.63.129.16]",
            "100.100.100.200",
            "192.0.0.192",
            "169.254.169.254.",
            "１６９.254.169.254",
        ] {
            assert!(is_refused(&format!("http://{host}/latest/meta-data")), "{host}");
        }
    }

    #[test]
    fn other_addresses_are_not() {
        for host in ["10.0.0.1", "127.0.0.1", "[::1]", "192.168.1.1", "169.253.1.1", "[fd00::1]", "[2001:db8::1]", "h"]
        {
            assert!(!is_refused(&format!("https://{host}/m")), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_there_is_refused() {
        // The system takes an address for a name, too.
        let refused = Resolver.resolve("169.254.169.254".parse().unwrap()).await.err().unwrap();
        assert!(refused.is::<Forbidden>());
        assert!(Resolver.resolve("127.0.0.1".parse().unwrap()).await.is_ok());
    }
}
