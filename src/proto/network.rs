//! Networks of addresses, and the address for which a trusted proxy speaks.
//!
//! Owns: CIDR texts (RFC 4632, RFC 4291 §2.3), and the meaning of `X-Forwarded-For`. Never: decides whom to trust.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`. An address without a length is that
/// address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no network: the rest of a sentence that begins with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNetwork(&'static str);

impl fmt::Display for BadNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadNetwork {}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            BadNetwork(
                "is no address or network: write it as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32",
            )
        })?;
        let (_, bits_max) = bits(address);
        let prefix_bits = match prefix {
            None => bits_max,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= bits_max && !prefix.starts_with('+'))
                .ok_or(BadNetwork(
                    "has a length that is no number from 0 to 32 for IPv4 and to 128 for IPv6",
                ))?,
        };
        let network = Self {
            address,
            prefix_bits,
        };
        if network.first(address) != bits(address).0 {
            return Err(BadNetwork(
                "has bits behind its length: set them to 0, or give a longer length",
            ));
        }
        Ok(network)
    }
}

/// The bits of an address, and how many there are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl Network {
    /// The first address, as bits, of the network of this size that has `address`.
    fn first(&self, address: IpAddr) -> u128 {
        let (bits, bits_max) = bits(address);
        let free = u32::from(bits_max.saturating_sub(self.prefix_bits));
        // A shift by all 128 bits leaves nothing.
        bits.checked_shr(free)
            .and_then(|kept| kept.checked_shl(free))
            .unwrap_or(0)
    }

    /// Whether the address is in the network. An IPv4 address may be written as an IPv6 one (`::ffff:192.0.2.7`), as a
    /// socket for both families has it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && self.first(address) == bits(self.address).0
    }
}

/// The address of the client according to `X-Forwarded-For`, in which each proxy has appended the address of its own
/// client: the `from_right`-th address counted from the right, from 1, or the leftmost one if there are fewer. `None` if
/// there is none, or if the text there is no address (`unknown`, say): what stands further left is the client's word.
/// A port is left out.
pub fn forwarded_for<'b>(
    values: impl Iterator<Item = &'b [u8]>,
    from_right: usize,
) -> Option<IpAddr> {
    let lists = values.flat_map(|value| value.split(|b| *b == b','));
    let texts: Vec<&[u8]> = lists
        .map(<[u8]>::trim_ascii)
        .filter(|text| !text.is_empty())
        .collect();
    let at = texts.len().saturating_sub(from_right.max(1));
    parse_forwarded(str::from_utf8(texts.get(at)?).ok()?)
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:80`.
fn parse_forwarded(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        return Some(socket.ip());
    }
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    inside.parse().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_with_its_bits() {
        for (network, address, is_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "127.0.0.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().expect("a network");
            let address = address.parse().expect("an address");
            assert_eq!(parsed.contains(address), is_in, "{network} {address}");
        }
    }

    #[test]
    fn what_is_no_network_says_why_and_the_others_are_shown_as_they_are_read() {
        for (text, why) in [
            ("", "is no address"),
            ("10.0.0/8", "is no address"),
            ("localhost", "is no address"),
            ("10.0.0.0/33", "has a length"),
            ("10.0.0.0/+8", "has a length"),
            ("10.0.0.0/", "has a length"),
            ("::/129", "has a length"),
            ("10.0.0.1/8", "has bits"),
        ] {
            let error = text.parse::<Network>().expect_err("no network");
            assert!(error.to_string().starts_with(why), "{text}: {error}");
        }
        for text in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(text.parse::<Network>().expect("one").to_string(), text);
        }
    }

    #[test]
    fn the_nth_address_from_the_right_is_the_client() {
        let of = |values: &[&str], n| {
            forwarded_for(values.iter().map(|value| value.as_bytes()), n).map(|ip| ip.to_string())
        };
        let three = ["1.1.1.1, 2.2.2.2", "3.3.3.3"];
        assert_eq!(of(&three, 1).as_deref(), Some("3.3.3.3"));
        assert_eq!(of(&three, 2).as_deref(), Some("2.2.2.2"));
        assert_eq!(of(&three, 3).as_deref(), Some("1.1.1.1"));
        assert_eq!(of(&three, 9).as_deref(), Some("1.1.1.1"));
        assert_eq!(of(&[], 1), None);
        assert_eq!(of(&["", " , "], 1), None);
        // What stands left of something that is no address is the client's word.
        assert_eq!(of(&["1.1.1.1, unknown"], 1), None);
        assert_eq!(of(&["1.1.1.1:99"], 1).as_deref(), Some("1.1.1.1"));
        assert_eq!(of(&["[2001:db8::7]:80"], 1).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(&["[2001:db8::7]"], 1).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(&["2001:db8::7"], 1).as_deref(), Some("2001:db8::7"));
        assert_eq!(of(&["\u{ff}"], 1), None);
    }
}
