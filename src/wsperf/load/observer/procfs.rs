//! Parses the files of `/proc`: proc(5), proc_net(5). Owns: their formats. Never: opens a file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// `st` of a socket that listens: TCP_LISTEN of include/net/tcp_states.h.
const LISTENING: &str = "0A";

/// A flag of a Unix socket that listens: __SO_ACCEPTCON of include/linux/net.h.
const ACCEPTS: u32 = 1 << 16;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// The listening sockets in the text of `/proc/net/tcp` or `/proc/net/tcp6`. Lines in an unknown format are skipped.
pub(super) fn listening(text: &str) -> Vec<Listening> {
    // The first line is a heading.
    text.lines().skip(1).filter_map(listening_line).collect()
}

fn listening_line(line: &str) -> Option<Listening> {
    // sl, local_address, rem_address, st, queues, timer, retrnsmt, uid, timeout, inode.
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?.parse().ok()?;
    if state != LISTENING {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = SocketAddr::new(address(ip)?, port);
    Some(Listening { address, inode })
}

/// The inodes of the Unix sockets in the text of `/proc/net/unix` that listen at `path`.
pub(super) fn listening_unix(text: &str, path: &Path) -> Vec<u64> {
    let lines = text.lines().skip(1);
    let inode = |line: &str| {
        // Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
        let mut columns = line.split_whitespace();
        let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
        let inode = columns.nth(2)?;
        let (_, bound) = line.split_once(&format!(" {inode} "))?;
        (flags & ACCEPTS != 0 && Path::new(bound) == path).then(|| inode.parse().ok())?
    };
    lines.filter_map(inode).collect()
}

/// Parses an address of 8 or 32 hexadecimal digits: words of four bytes in network order, each printed as an integer in
/// this machine's byte order.
fn address(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = digits.get(at..at + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    match digits.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, into) in (0..).step_by(8).zip(bytes.chunks_exact_mut(4)) {
                into.copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

/// The inode of a socket, from the target of a link in `/proc/PID/fd`.
pub(super) fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// The fields of `/proc/PID/stat` that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: i32,
    /// When it started, in clock ticks since boot. With the pid it identifies the process.
    pub(super) started: u64,
}

/// Parses `/proc/PID/stat`.
pub(super) fn stat(text: &str) -> Option<Stat> {
    // The process chooses its name, which may contain parentheses and blanks.
    let (head, rest) = text.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace();
    Some(Stat {
        name: name.to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        // Field 22; state and parent were 3 and 4.
        started: fields.nth(17)?.parse().ok()?,
    })
}

/// Run time and run delay in nanoseconds, from `/proc/PID/task/TID/schedstat`.
pub(super) fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The text after `name` on its line, in `status`, `smaps_rollup` and similar files.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line?.strip_prefix(':').map(str::trim)
}

/// The number on the line of `name`. 0 without such a line.
pub(super) fn count(text: &str, name: &str) -> u64 {
    field(text, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// The size on the line of `name`, which is in kB; returned in bytes.
pub(super) fn kib(text: &str, name: &str) -> Option<u64> {
    let value = field(text, name)?.strip_suffix("kB")?;
    value.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many CPUs a list such as `0-3,8` names.
pub(super) fn cpus(list: &str) -> Option<usize> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        Some(last.checked_sub(first)? + 1)
    });
    ranges.sum()
}

/// Pages of kernel memory that TCP uses, from `/proc/net/sockstat`.
pub(super) fn tcp_pages(text: &str) -> Option<u64> {
    let mut words = field(text, "TCP")?.split_whitespace();
    words.by_ref().find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_that_listens_is_found_by_its_path() {
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 101 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 102 /run/a b\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 103 /run/c\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 104\n";
        assert_eq!(listening_unix(text, Path::new("/run/a b")), [101]);
        assert_eq!(listening_unix(text, Path::new("/run/c")), [103]);
        assert_eq!(listening_unix(text, Path::new("/run")), [0; 0]);
    }

    #[test]
    fn only_sockets_that_listen_are_listed() {
        // The words are little endian on the machines these tests run on.
        let tcp = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41 1 0000000000000000 100 0 0 10 0
   1: 0100007F:2328 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 42 1 0000000000000000 20 4 30 10 -1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 43 1 0000000000000000 100 0 0 10 0
   3: 00000000:1F9
";
        let tcp6 = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:2328 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 44 1 0000000000000000 100 0 0 10 0
   1: B80D012000000000000000000100FE02:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 45 1 0000000000000000 100 0 0 10 0
";
        let shown = |text| -> Vec<_> {
            let found = listening(text).into_iter();
            found
                .map(|one| (one.address.to_string(), one.inode))
                .collect()
        };
        assert_eq!(
            shown(tcp),
            [
                ("127.0.0.1:9000".to_owned(), 41),
                ("0.0.0.0:8080".to_owned(), 43)
            ]
        );
        assert_eq!(
            shown(tcp6),
            [
                ("[::1]:9000".to_owned(), 44),
                ("[2001:db8::2fe:1]:80".to_owned(), 45)
            ]
        );
    }

    #[test]
    fn a_link_to_a_socket_names_its_inode() {
        assert_eq!(socket_inode("socket:[123]"), Some(123));
        assert_eq!(socket_inode("pipe:[123]"), None);
        assert_eq!(socket_inode("/dev/null"), None);
    }

    #[test]
    fn a_name_with_parentheses_and_blanks_confuses_nobody() {
        let text = "77 (a) (b c) S 12 77 77 0 -1 4194304 1 0 0 0 5 6 0 0 20 0 9 0 4711 1000 2 18446744073709551615";
        let expected = Stat {
            name: "a) (b c".to_owned(),
            state: 'S',
            parent: 12,
            started: 4711,
        };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("77 (cut"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Name:\tserver\nVmRSS:\t    5120 kB\nThreads:\t3\nCpus_allowed_list:\t0-3,8\n\
                      voluntary_ctxt_switches:\t15\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "Name"), Some("server"));
        assert_eq!(kib(status, "VmRSS"), Some(5120 * 1024));
        assert_eq!(count(status, "voluntary_ctxt_switches"), 15);
        assert_eq!(count(status, "nonvoluntary_ctxt_switches"), 7);
        assert_eq!(count(status, "Thread"), 0);
        assert_eq!(kib(status, "Threads"), None);
    }

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(cpus("0-3,8"), Some(5));
        assert_eq!(cpus("1"), Some(1));
        assert_eq!(cpus("3-1"), None);
        assert_eq!(cpus(""), None);
    }

    #[test]
    fn run_time_and_delay_are_the_first_two_figures() {
        assert_eq!(schedstat("12345 678 9\n"), Some((12345, 678)));
        assert_eq!(schedstat("12345"), None);
    }

    #[test]
    fn memory_of_tcp_is_on_its_own_line() {
        let text =
            "sockets: used 18\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 125\nUDP: inuse 0 mem 0\n";
        assert_eq!(tcp_pages(text), Some(125));
        assert_eq!(tcp_pages("sockets: used 18\n"), None);
    }
}
