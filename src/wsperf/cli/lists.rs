//! Values of several parts with commas between: CPUs, sizes with their weights, addresses, names.
//!
//! Owns: their text in both directions. Never: asks which of them this machine has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{RATE_MAX, SIZE_MAX};
use ringway_command::judge::to_usize;
use ringway_command::kinds::{Bare, Words, Wrong};
use ringway_command::values::{self, show_size};

/// Sizes with weights.
const SIZES_MAX: usize = 100;

/// Local addresses: as many as a /16 has.
const ADDRESSES_MAX: u128 = 65_536;

/// The highest number of a CPU that can be pinned to (CPU_SETSIZE).
const CPU_MAX: usize = 1023;

/// `2,3`, `4-7`, both, or `none`.
pub(super) const CPUS: Words<Vec<usize>> = Words {
    value_name: "LIST",
    parse: |text| match text {
        "none" => Ok(Vec::new()),
        _ => cpus(text)
            .ok_or_else(|| Wrong::not("a list of CPUs", "write it as 2,3 or 4-7, or none")),
    },
    show: |cpus| {
        Some(match cpus.as_slice() {
            [] => "none".to_owned(),
            cpus => show_list(cpus),
        })
    },
    bare: Bare::Refused,
};

fn cpus(text: &str) -> Option<Vec<usize>> {
    let cpu = |text: &str| {
        let cpu = text.trim().parse::<usize>().ok();
        cpu.filter(|cpu| *cpu <= CPU_MAX)
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (cpu(first)?, cpu(last)?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Numbers with commas between.
pub(super) fn show_list<T: ToString>(list: &[T]) -> String {
    let shown: Vec<_> = list.iter().map(T::to_string).collect();
    shown.join(",")
}

/// Each part that stands between commas.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Names, in order.
pub(super) const NAMES: Words<Vec<String>> = Words {
    value_name: "LIST",
    parse: |text| Ok(parts(text).map(str::to_owned).collect()),
    show: |names| (!names.is_empty()).then(|| names.join(",")),
    bare: Bare::Refused,
};

/// One size, or several with their weights.
pub(super) const SIZES: Words<Vec<(usize, f64)>> = Words {
    value_name: "SIZE",
    parse: sizes,
    show: |sizes| {
        Some(match sizes.as_slice() {
            [(size, _)] => show_size(*size as u64),
            sizes => {
                let size =
                    |(size, weight): &(usize, f64)| format!("{}:{weight}", show_size(*size as u64));
                sizes.iter().map(size).collect::<Vec<_>>().join(",")
            }
        })
    },
    bare: Bare::Refused,
};

fn sizes(text: &str) -> Result<Vec<(usize, f64)>, Wrong> {
    let wrong = |remedy| {
        let what = "a size from 0 to 64MiB, or several with weights";
        Wrong::not(what, remedy)
    };
    let size = |text: &str| {
        values::size(text)
            .filter(|size| *size <= SIZE_MAX)
            .map(to_usize)
    };
    if !text.contains(':') {
        let size =
            size(text).ok_or_else(|| wrong("write it as 1000, 64KiB, or 20:0.7,1KiB:0.3"))?;
        return Ok(vec![(size, 1.0)]);
    }
    let parts: Option<Vec<_>> = text
        .split(',')
        .map(|part| {
            let (of, weight) = part.split_once(':')?;
            let weight = weight.trim().parse::<f64>().ok()?;
            (weight > 0.0 && weight <= RATE_MAX).then_some((size(of)?, weight))
        })
        .collect();
    match parts {
        Some(parts) if parts.len() <= SIZES_MAX => Ok(parts),
        Some(_) => Err(wrong("give at most 100 sizes")),
        None => Err(wrong("write each as 1KiB:0.2, and weights above 0")),
    }
}

/// Addresses and ranges of them.
pub(super) const ADDRESSES: Words<Vec<IpAddr>> = Words {
    value_name: "LIST",
    parse: addresses,
    show: |addresses| (!addresses.is_empty()).then(|| show_list(addresses)),
    bare: Bare::Refused,
};

fn addresses(text: &str) -> Result<Vec<IpAddr>, Wrong> {
    let mut found = Vec::new();
    for part in parts(text) {
        // Of a long list the part is named.
        let which = if part == text {
            String::new()
        } else {
            format!(" '{part}':")
        };
        let wrong = |why: &str| {
            Wrong::Because(format!(
                ":{which} {why}; write it as 127.0.0.2, or as a range 127.0.0.2-127.0.0.9"
            ))
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let parse = |text: &str| {
            text.trim()
                .parse::<IpAddr>()
                .map_err(|_| wrong("that is no address"))
        };
        let left = ADDRESSES_MAX - found.len() as u128;
        let check = |first: u128, last: u128| match last.checked_sub(first) {
            None => Err(wrong("the range ends before it begins")),
            Some(more) if more >= left => Err(wrong("these are more than 65536 addresses")),
            Some(_) => Ok(()),
        };
        match (parse(first)?, parse(last)?) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                check(first.into(), last.into())?;
                found.extend((first..=last).map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))));
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                check(first, last)?;
                found.extend((first..=last).map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))));
            }
            _ => return Err(wrong("the range mixes IPv4 and IPv6")),
        }
    }
    Ok(found)
}
