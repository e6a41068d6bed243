//! Ranges of addresses, and sets of them in one normal form.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::service::Family;

/// A range of addresses: those that share the first `prefix` bits. Ordered IPv4 first, then by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    /// The first address; all bits behind the prefix are zero.
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCidr {
    /// It is no address at all.
    #[error("{0:?} is no range of addresses: write ADDRESS/BITS or ADDRESS, such as 10.96.0.0/12 or fd00::1")]
    Malformed(String),
    /// More bits than the address has.
    #[error("{text:?} is no range of addresses: {family} has {max} bits")]
    PrefixTooLong {
        /// What was given.
        text: String,
        /// Of which family it is.
        family: Family,
        /// How many bits there can be.
        max: u8,
    },
    /// An IPv4 address in the clothes of an IPv6 one: the kernel never shows such a destination.
    #[error("{0:?} is an IPv4 range written as IPv6: write it as IPv4")]
    Mapped(String),
}

impl Cidr {
    /// The range that `address` lies in; bits behind the prefix are cleared, a prefix that is too long is cut.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits(address));
        Self { address: masked(address, prefix), prefix }
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && masked(address, self.prefix) == self.address
    }

    fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// The range twice as large, if `other` is its other half.
    fn joined(&self, other: &Self) -> Option<Self> {
        let parent = Self::new(self.address, self.prefix.checked_sub(1)?);
        (self.prefix == other.prefix && parent.contains(other.address)).then_some(parent)
    }
}

impl From<IpAddr> for Cidr {
    fn from(address: IpAddr) -> Self {
        Self::new(address, bits(address))
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let malformed = || InvalidCidr::Malformed(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let max = bits(address);
        let is_number = |prefix: &&str| !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            None => max,
            Some(prefix) => Some(prefix).filter(is_number).and_then(|p| p.parse().ok()).ok_or_else(malformed)?,
        };
        if prefix > max {
            let family = Family::of(address);
            return Err(InvalidCidr::PrefixTooLong { text: text.to_owned(), family, max });
        }
        if prefix >= 96 && matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(InvalidCidr::Mapped(text.to_owned()));
        }
        Ok(Self::new(address, prefix))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        if *prefix == bits(*address) { write!(f, "{address}") } else { write!(f, "{address}/{prefix}") }
    }
}

/// Ranges in normal form: ordered, none within another, no two that make a larger one. Sets of the same addresses are
/// equal and are written alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CidrSet(Vec<Cidr>);

impl CidrSet {
    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Cidr> {
        self.0.iter()
    }

    /// The ranges of one family.
    pub fn of(&self, family: Family) -> impl Iterator<Item = &Cidr> {
        self.0.iter().filter(move |cidr| cidr.family() == family)
    }

    /// Whether it holds no address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it holds an address of this family.
    pub fn has(&self, family: Family) -> bool {
        self.of(family).next().is_some()
    }

    /// Whether it holds this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|cidr| cidr.contains(address))
    }
}

impl FromIterator<Cidr> for CidrSet {
    fn from_iter<I: IntoIterator<Item = Cidr>>(ranges: I) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        // A range sorts behind those that cover it and before its other half.
        ranges.sort();
        let mut normal: Vec<Cidr> = Vec::with_capacity(ranges.len());
        for mut range in ranges {
            if normal.last().is_some_and(|last| last.covers(&range)) {
                continue;
            }
            while let Some(parent) = normal.last().and_then(|last| last.joined(&range)) {
                normal.pop();
                range = parent;
            }
            normal.push(range);
        }
        Self(normal)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}
