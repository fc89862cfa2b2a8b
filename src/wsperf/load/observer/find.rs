//! Which processes are the server of an address: those that hold its listening socket.
//!
//! Owns: the search, and the sentence when it finds nothing. Never: counts this process, or a server on another machine.
//!
//! Workers that share a listener hold the same socket, and the supervisor that bound it does too. Workers with
//! SO_REUSEPORT each hold a socket on the same port. All of these processes are the server.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::procfs::{self, Listening, Stat};
use crate::io::Address;

/// PID of init. It does not count: systemd, for example, holds the listeners of every socket unit.
const INIT: i32 = 1;

/// A process, distinguished by its start time from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// When it started, in clock ticks since boot.
    pub(super) started: u64,
}

/// The processes of the server, and how to find them again.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) processes: Vec<Process>,
    pub(super) notes: Vec<String>,
    address: Address,
    by: By,
}

#[derive(Clone, Copy, Debug)]
enum By {
    Listener,
    Pid(i32),
}

/// Finds the processes of the server at `address`: the process `pid` with its descendants if given, otherwise those that
/// listen there. The error is a sentence for the notes of the result.
pub(super) fn find(address: &Address, pid: Option<i32>) -> Result<Found, String> {
    let by = match (pid, address.tcp()) {
        (Some(pid), _) => By::Pid(pid),
        (None, None) => By::Listener,
        (None, Some(address)) if is_local(address.ip()) => By::Listener,
        (None, Some(address)) => {
            return Err(format!(
                "the server is on another machine ({}): its CPU time and memory are not known",
                address.ip()
            ));
        }
    };
    let (processes, notes) = search(address, by)?;
    Ok(Found {
        processes,
        notes,
        address: address.clone(),
        by,
    })
}

impl Found {
    /// Searches again, because processes may have been replaced. If nothing is found, the last finding stays.
    pub(super) fn refresh(&mut self) {
        if let Ok((processes, _)) = search(&self.address, self.by) {
            self.processes = processes;
        }
    }
}

fn search(address: &Address, by: By) -> Result<(Vec<Process>, Vec<String>), String> {
    let everyone = everyone();
    let mut notes = Vec::new();
    let pids = match by {
        By::Pid(pid) if everyone.iter().any(|(one, _)| *one == pid) => descendants(pid, &everyone),
        By::Pid(pid) => {
            return Err(format!(
                "there is no process {pid} (--server-pid), so the server's CPU time and memory are not known"
            ));
        }
        By::Listener => {
            let pids = holders(address)?;
            notes.extend(note_on_children(&pids, &everyone));
            pids
        }
    };
    let identified = everyone.into_iter().filter(|(pid, _)| pids.contains(pid));
    let processes = identified
        .map(|(pid, stat)| Process {
            pid,
            started: stat.started,
        })
        .collect();
    Ok((processes, notes))
}

/// The other listeners of the server's processes, and behind them those of their parents on this machine. One of them may
/// serve a statistics page. A parent may be a shell, or a program with many listeners of its own.
pub(super) fn other_listeners(found: &Found) -> Vec<SocketAddr> {
    let everyone = everyone();
    let own: BTreeSet<i32> = found.processes.iter().map(|process| process.pid).collect();
    let parents = everyone.iter().filter(|(pid, _)| own.contains(pid));
    let parents: BTreeSet<i32> = parents
        .map(|(_, stat)| stat.parent)
        .filter(|pid| *pid > INIT && !is_self(*pid) && !own.contains(pid))
        .collect();
    let served = found.address.tcp().map(|served| served.port());
    let listening = all_listening();
    let mut all = Vec::new();
    for pids in [own, parents] {
        let inodes: BTreeSet<u64> = pids
            .into_iter()
            .flat_map(|pid| sockets(pid).unwrap_or_default())
            .collect();
        let others = listening
            .iter()
            .filter(|one| inodes.contains(&one.inode) && Some(one.address.port()) != served);
        let mut addresses: Vec<_> = others.map(|one| reachable(one.address)).collect();
        addresses.sort();
        all.extend(addresses);
    }
    all.dedup();
    all
}

/// The address to which a client on this machine connects to reach a listener.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The processes that hold a listening socket of `address`.
fn holders(address: &Address) -> Result<BTreeSet<i32>, String> {
    let inodes: BTreeSet<u64> = match address {
        Address::Tcp(address) => {
            let serving = serving(&all_listening(), *address);
            serving.into_iter().map(|one| one.inode).collect()
        }
        Address::Unix(path) => {
            let table = fs::read("/proc/net/unix").unwrap_or_default();
            let sockets = procfs::listening_unix(&String::from_utf8_lossy(&table), path);
            sockets.into_iter().collect()
        }
    };
    if inodes.is_empty() {
        return Err(format!(
            "nobody listens on {address} in this network namespace, so the server's CPU time and memory are not known; \
             --server-pid says which process it is"
        ));
    }
    let mut denied = 0_usize;
    let mut found = BTreeSet::new();
    for pid in pids().filter(|pid| !is_self(*pid)) {
        match sockets(pid) {
            Ok(sockets) if !sockets.is_disjoint(&inodes) => drop(found.insert(pid)),
            Ok(_) => {}
            // NotFound: the process ended meanwhile.
            Err(error) => {
                denied += usize::from(error.kind() == std::io::ErrorKind::PermissionDenied)
            }
        }
    }
    if found.len() > 1 {
        found.remove(&INIT);
    }
    match (found.is_empty(), denied) {
        (false, _) => Ok(found),
        (true, 0) => Err(format!(
            "no process was found that listens on {address} (perhaps it is this one), so its CPU time and memory are not \
             known; --server-pid says which process it is"
        )),
        (true, _) => Err(format!(
            "the server's CPU time and memory are not known: who listens on {address} is hidden from this user among \
             {denied} processes; run as the server's user or as root, or give --server-pid"
        )),
    }
}

/// Those of `listening` to which the kernel gives a connection to `address`: a socket with the exact address if there is
/// one, else the wildcard of its family, else the wildcard of both families.
fn serving(listening: &[Listening], address: SocketAddr) -> Vec<Listening> {
    let on_port = |ip: IpAddr| -> Vec<Listening> {
        let wanted = SocketAddr::new(ip, address.port());
        let same =
            |one: &&Listening| SocketAddr::new(one.address.ip(), one.address.port()) == wanted;
        listening.iter().filter(same).copied().collect()
    };
    let candidates = match address.ip() {
        IpAddr::V4(ip) => vec![
            ip.into(),
            ip.to_ipv6_mapped().into(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ],
        IpAddr::V6(ip) => vec![ip.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let groups = candidates.into_iter().map(on_port);
    groups
        .into_iter()
        .find(|group| !group.is_empty())
        .unwrap_or_default()
}

/// A note for a server whose child processes serve accepted connections: only the parent is measured.
fn note_on_children(holders: &BTreeSet<i32>, everyone: &[(i32, Stat)]) -> Option<String> {
    let mut all = BTreeSet::new();
    holders
        .iter()
        .for_each(|pid| all.extend(descendants(*pid, everyone)));
    let others = all.difference(holders).count();
    (others > 0).then(|| {
        let first = holders.first().copied().unwrap_or_default();
        format!(
            "{others} more processes were started by the server and do not hold its listening socket, so their CPU time is \
             not counted; --server-pid={first} counts them too"
        )
    })
}

/// `pid` and all of its descendants, except this process.
fn descendants(pid: i32, everyone: &[(i32, Stat)]) -> BTreeSet<i32> {
    let mut family = BTreeSet::from([pid]);
    loop {
        let children = everyone
            .iter()
            .filter(|(_, stat)| family.contains(&stat.parent));
        let children: Vec<_> = children.map(|(pid, _)| *pid).collect();
        let before = family.len();
        family.extend(children);
        if family.len() == before {
            break;
        }
    }
    family.retain(|pid| !is_self(*pid));
    family
}

/// Every process of the machine.
fn everyone() -> Vec<(i32, Stat)> {
    let alive = |stat: &Stat| !matches!(stat.state, 'Z' | 'X');
    pids()
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .filter(|(_, stat)| alive(stat))
        .collect()
}

/// Reads `/proc/PID/stat`.
pub(super) fn stat(pid: i32) -> Option<Stat> {
    // The name in it may hold any bytes.
    let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
    procfs::stat(&String::from_utf8_lossy(&bytes))
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The sockets that a process holds, by inode.
fn sockets(pid: i32) -> std::io::Result<BTreeSet<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links
        .filter_map(|link| procfs::socket_inode(link.to_str()?))
        .collect())
}

fn all_listening() -> Vec<Listening> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    texts
        .iter()
        .flat_map(|text| procfs::listening(text))
        .collect()
}

fn is_self(pid: i32) -> bool {
    i64::from(pid) == i64::from(std::process::id())
}

/// Whether `ip` is an address of this machine. The test is whether it can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn listening(rows: &[(&str, u64)]) -> Vec<Listening> {
        let row = |(address, inode): &(&str, u64)| Listening {
            address: address.parse().expect("an address"),
            inode: *inode,
        };
        rows.iter().map(row).collect()
    }

    fn inodes(rows: &[(&str, u64)], address: &str) -> Vec<u64> {
        let found = serving(&listening(rows), address.parse().expect("an address"));
        found.into_iter().map(|one| one.inode).collect()
    }

    fn at(address: &str) -> Address {
        Address::Tcp(address.parse().expect("an address"))
    }

    #[test]
    fn the_exact_address_wins_over_the_wildcards() {
        let rows = [
            ("0.0.0.0:9000", 1),
            ("127.0.0.1:9000", 2),
            ("[::]:9000", 3),
            ("127.0.0.1:9001", 4),
        ];
        assert_eq!(inodes(&rows, "127.0.0.1:9000"), [2]);
        assert_eq!(inodes(&rows, "127.0.0.2:9000"), [1]);
        assert_eq!(inodes(&rows, "[::1]:9000"), [3]);
        assert_eq!(inodes(&rows[2..], "127.0.0.1:9000"), [3]);
        assert_eq!(inodes(&rows, "127.0.0.1:9002"), [0; 0]);
        assert_eq!(
            inodes(&[("[::ffff:127.0.0.1]:9000", 5)], "127.0.0.1:9000"),
            [5]
        );
    }

    #[test]
    fn a_reuseport_group_is_found_whole() {
        let rows = [("127.0.0.1:9000", 1), ("127.0.0.1:9000", 2)];
        assert_eq!(inodes(&rows, "127.0.0.1:9000"), [1, 2]);
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let stat = |parent| Stat {
            name: String::new(),
            state: 'S',
            parent,
            started: 0,
        };
        let everyone = [(40, stat(30)), (30, stat(20)), (20, stat(1)), (21, stat(1))];
        assert_eq!(descendants(20, &everyone), BTreeSet::from([20, 30, 40]));
        let note = note_on_children(&BTreeSet::from([20, 30]), &everyone).expect("one is left out");
        assert!(note.starts_with("1 more processes"), "{note}");
        assert_eq!(
            note_on_children(&BTreeSet::from([20, 30, 40]), &everyone),
            None
        );
    }

    #[test]
    fn this_process_is_never_the_server() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
        let address = listener.local_addr().expect("bound").into();
        let why = find(&address, None).expect_err("nobody else listens there");
        assert!(why.contains("--server-pid"), "{why}");
    }

    #[test]
    fn an_address_of_another_machine_is_not_looked_for() {
        // TEST-NET-1 of RFC 5737: no machine has it.
        let why = find(&at("192.0.2.1:9000"), None).expect_err("not local");
        assert!(why.starts_with("the server is on another machine"), "{why}");
    }

    #[test]
    fn nobody_listening_and_no_such_process_say_so() {
        let address = at("127.0.0.1:1");
        let why = find(&address, None).expect_err("nobody listens on port 1");
        assert!(why.starts_with("nobody listens on 127.0.0.1:1"), "{why}");
        // Above PID_MAX_LIMIT, 2^22.
        let why = find(&address, Some(1 << 23)).expect_err("no such process");
        assert!(why.starts_with("there is no process 8388608"), "{why}");
    }
}
