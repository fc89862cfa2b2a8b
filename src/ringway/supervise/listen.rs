//! The listening sockets. They are bound before anything else, and stay open until serving ends.
//!
//! Owns: the listeners, the options that accepted sockets inherit, and the file of a Unix socket. When the listeners
//! are dropped, the kernel refuses connects and resets queued clients, even if other processes hold descriptors of
//! them. Never: accepts. Every failure is a sentence with its remedy.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use super::error::warning;
use super::options::{Address, Options, Origin};
use super::sys;
use crate::exit::Fatal;
use crate::options::{Backlog, Owner, SocketOptions};

/// The listeners of a server, at each of its addresses.
#[derive(Debug)]
pub struct Listeners {
    /// At least one.
    places: Vec<Place>,
    backlog: u32,
}

/// The listeners at one address.
#[derive(Debug)]
struct Place {
    /// One that all workers share, or one for each worker.
    sockets: Vec<Socket>,
    bound: Bound,
    /// Device and inode of the Unix socket file.
    file: Option<(u64, u64)>,
    /// Whether another process goes on with it when we have ended.
    is_lent: bool,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A TCP address. Its port is never 0: the kernel chose one.
    Tcp(SocketAddr),
    /// A Unix socket file.
    Unix(PathBuf),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // RFC 6874 §2: the percent sign before a zone is encoded.
            Self::Tcp(SocketAddr::V6(address)) if address.scope_id() != 0 => {
                let (ip, zone, port) = (address.ip(), address.scope_id(), address.port());
                write!(f, "ws://[{ip}%25{zone}]:{port}")
            }
            Self::Tcp(address) => write!(f, "ws://{address}"),
            Self::Unix(path) => write!(f, "ws+unix:{}", path.display()),
        }
    }
}

impl Listeners {
    /// Binds and listens according to `options`.
    ///
    /// # Errors
    /// [`Fatal`]: the address cannot be bound.
    pub fn bind(options: &Options) -> Result<Self, Fatal> {
        let backlog = clip_backlog(options.backlog, options.backlog_origin, somaxconn());
        let bind = |address: &Address| match address {
            Address::Tcp(addresses) => bind_tcp(addresses, options, backlog),
            Address::Unix(path) => bind_unix(path, &options.socket, backlog),
            Address::Input => inherit(),
        };
        Ok(Self {
            places: options
                .addresses
                .iter()
                .map(bind)
                .collect::<Result<_, _>>()?,
            backlog,
        })
    }

    /// The addresses of the listeners, as URLs with commas between them.
    pub(super) fn shown(&self) -> String {
        self.urls().collect::<Vec<_>>().join(",")
    }

    /// The URLs of the server: `ws://address:port` with the port that the kernel chose for port 0, or `ws+unix:/path`.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        self.places.iter().map(|place| place.bound.to_string())
    }

    /// The first TCP address; `None` if there are only Unix sockets.
    pub fn address(&self) -> Option<SocketAddr> {
        self.places.iter().find_map(|place| match place.bound {
            Bound::Tcp(address) => Some(address),
            Bound::Unix(_) => None,
        })
    }

    /// The TCP listeners with their addresses.
    pub(super) fn tcp(&self) -> Vec<(&Socket, SocketAddr)> {
        let of_place = |place: &'_ Place| match place.bound {
            Bound::Tcp(address) => Some(address),
            Bound::Unix(_) => None,
        };
        let places = self.places.iter();
        let tcp = places.filter_map(|place| Some((&place.sockets, of_place(place)?)));
        tcp.flat_map(|(sockets, address)| sockets.iter().map(move |socket| (socket, address)))
            .collect()
    }

    /// The length of the accept queue that the kernel granted.
    pub(super) fn backlog(&self) -> u32 {
        self.backlog
    }

    /// Copies of a worker's listeners, for a worker in this process, which closes them.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(crate) fn duplicates_for(&self, worker: usize) -> io::Result<Vec<OwnedFd>> {
        let duplicate = |socket: &Socket| {
            let socket = socket.try_clone()?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        };
        self.of(worker).map(duplicate).collect()
    }

    /// The listeners of a worker.
    pub(super) fn fds_for(&self, worker: usize) -> Vec<RawFd> {
        self.of(worker).map(AsRawFd::as_raw_fd).collect()
    }

    fn of(&self, worker: usize) -> impl Iterator<Item = &Socket> {
        let of_place = move |place: &'_ Place| worker % place.sockets.len();
        self.places
            .iter()
            .map(move |place| &place.sockets[of_place(place)])
    }
}

impl Drop for Place {
    /// Shuts the sockets down. Closing our descriptors would not be enough: workers hold the same sockets, and a
    /// stopped worker would keep the kernel accepting. shutdown(2) takes the socket itself out of service.
    fn drop(&mut self) {
        if let Bound::Unix(path) = &self.bound {
            // Removes only our own file: another server may have replaced it.
            if self.file.is_some() && identity(path) == self.file {
                let _ = fs::remove_file(path);
            }
        }
        if self.is_lent {
            return;
        }
        for socket in &self.sockets {
            let _ = socket.shutdown(std::net::Shutdown::Read);
            // TCP has reset the queued clients. A Unix socket still has its queue, and does not block after
            // shutdown(2).
            while matches!(self.bound, Bound::Unix(_)) && socket.accept().is_ok() {}
        }
    }
}

/// The kernel's limit for accept queues, `net.core.somaxconn`.
fn somaxconn() -> Option<u32> {
    fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The length that the kernel grants. Warns if it is shorter than the user asked for.
fn clip_backlog(asked: Backlog, origin: Origin, limit: Option<u32>) -> u32 {
    match (asked, limit) {
        // If /proc is not mounted: 4096, the kernel's default since 5.4.
        (Backlog::Somaxconn, limit) => limit.unwrap_or(4096),
        (Backlog::Depth(depth), Some(limit)) if depth > limit => {
            // Most systems grant less than the default. `ringway tune check` reports that.
            if origin == Origin::User {
                warning(format!(
                    "the accept queue is {limit} long, not {depth}: net.core.somaxconn clips it; \
                     run: sysctl -w net.core.somaxconn={depth}"
                ));
            }
            limit
        }
        (Backlog::Depth(depth), _) => depth,
    }
}

/// Binds the first address that this machine has, and no other. If its port is taken, a server on another address of
/// the same name would surprise the user.
fn bind_tcp(addresses: &[SocketAddr], options: &Options, backlog: u32) -> Result<Place, Fatal> {
    let is_ours = |address: &&SocketAddr| {
        let mut any_port = **address;
        any_port.set_port(0);
        std::net::TcpListener::bind(any_port).is_ok()
    };
    match addresses.iter().find(is_ours).or_else(|| addresses.first()) {
        Some(address) => bind_one(*address, options, backlog),
        None => Err(Fatal::usage(
            "the host of --wsuri has no address: give one, as ws://127.0.0.1:9000",
        )),
    }
}

fn bind_one(address: SocketAddr, options: &Options, backlog: u32) -> Result<Place, Fatal> {
    let count = if options.reuseport {
        options.workers
    } else {
        1
    };
    let mut sockets = Vec::with_capacity(count);
    let mut bound = address;
    for _ in 0..count {
        let socket = tcp_socket(bound, options)?;
        socket
            .bind(&bound.into())
            .map_err(|error| refuse_tcp("listen on", &bound, "--wsuri", &error))?;
        // SO_REUSEPORT: after the first bind to port 0, the other listeners use the port that the kernel chose.
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        bound = local.ok_or_else(|| {
            Fatal::environment(format!("cannot learn the address bound for {address}"))
        })?;
        listen(&socket, backlog)
            .map_err(|error| refuse_tcp("listen on", &bound, "--wsuri", &error))?;
        sockets.push(socket);
    }
    Ok(Place {
        sockets,
        bound: Bound::Tcp(bound),
        file: None,
        is_lent: false,
    })
}

/// The listening socket that is the standard input.
fn inherit() -> Result<Place, Fatal> {
    let failed =
        |error: io::Error| Fatal::environment(format!("the standard input as a listener: {error}"));
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    let socket = Socket::from(input);
    socket.set_nonblocking(true).map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    let bound = match local.as_socket() {
        Some(address) => Bound::Tcp(address),
        // One without a name has none to show.
        None => Bound::Unix(
            local
                .as_pathname()
                .map_or_else(PathBuf::new, Path::to_owned),
        ),
    };
    Ok(Place {
        sockets: vec![socket],
        bound,
        file: None,
        is_lent: true,
    })
}

fn tcp_socket(address: SocketAddr, options: &Options) -> Result<Socket, Fatal> {
    let make = || -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        // Lets a restarted server bind while old connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        if options.reuseport {
            socket.set_reuse_port(true)?;
        }
        Ok(socket)
    };
    let socket = make().map_err(|error| refuse_tcp("listen on", &address, "--wsuri", &error))?;
    set_stream_options(&socket, &options.socket)?;
    set_tcp_options(&socket, &options.socket)?;
    Ok(socket)
}

/// The sentence for a TCP address that cannot be bound. `option` is the one that changes it.
pub(super) fn refuse_tcp(
    what: &str,
    address: &SocketAddr,
    option: &str,
    error: &io::Error,
) -> Fatal {
    let (port, host) = (address.port(), address.ip());
    let why = match error.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "another process has it; find it with: ss -ltnp 'sport = :{port}', or choose another port with {option}"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has the address {host}; see: ip address")
        }
        ErrorKind::PermissionDenied if port < 1024 => format!(
            "port {port} is privileged; choose one above 1023 with {option}, or run: sysctl -w \
             net.ipv4.ip_unprivileged_port_start={port}"
        ),
        ErrorKind::PermissionDenied => {
            "the system forbids it; see the security policy of this container".to_owned()
        }
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            "this system has no such address family; use an IPv4 address".to_owned()
        }
        _ => format!("{error}"),
    };
    Fatal::environment(format!("cannot {what} {address}: {why}"))
}

fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

fn bind_unix(path: &Path, options: &SocketOptions, backlog: u32) -> Result<Place, Fatal> {
    let shown = path.display();
    let refuse = |error: io::Error| {
        let why = match error.kind() {
            ErrorKind::PermissionDenied => {
                "no permission to write there; choose another directory".to_owned()
            }
            ErrorKind::NotFound => "its directory does not exist; create it first".to_owned(),
            ErrorKind::AddrInUse => {
                "another process took the path just now; choose another one".to_owned()
            }
            _ => error.to_string(),
        };
        Fatal::environment(format!("cannot listen on {shown}: {why}"))
    };
    remove_stale(path)?;
    let address = SockAddr::unix(path).map_err(refuse)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(refuse)?;
    socket.set_nonblocking(true).map_err(refuse)?;
    set_stream_options(&socket, options)?;
    let owner = options.unix_owner.as_ref().map(ids).transpose()?;
    socket.bind(&address).map_err(refuse)?;
    // Dropped on a failure below, and then the file goes as well.
    let place = Place {
        sockets: vec![socket],
        bound: Bound::Unix(path.to_owned()),
        file: identity(path),
        is_lent: false,
    };
    // Nobody can connect before listen(2), so nobody comes in by the mode that the umask left.
    if let Some([user, group]) = owner {
        std::os::unix::fs::chown(path, user, group).map_err(|error| {
            Fatal::environment(format!(
                "--unix-owner: cannot give {shown} away: {error}; only root may, or to a group of one's own"
            ))
        })?;
    }
    if let Some(mode) = options.unix_mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(refuse)?;
    }
    listen(&place.sockets[0], backlog).map_err(refuse)?;
    Ok(place)
}

/// The numbers of a user and a group, either of which may be left as it is.
fn ids(Owner { user, group }: &Owner) -> Result<[Option<u32>; 2], Fatal> {
    let find = |what: &str, name: &Option<String>, look_up: fn(&str) -> Option<u32>| {
        let Some(name) = name else { return Ok(None) };
        let id = name.parse().ok().or_else(|| look_up(name));
        id.map(Some).ok_or_else(|| {
            Fatal::usage(format!(
                "--unix-owner: there is no {what} '{name}' on this system; give one that is, or its number"
            ))
        })
    };
    Ok([
        find("user", user, sys::user)?,
        find("group", group, sys::group)?,
    ])
}

/// Device and inode of the file at `path`. `None`: there is no file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Removes a socket file without a listener. Any other file in the way is an error.
fn remove_stale(path: &Path) -> Result<(), Fatal> {
    let shown = path.display();
    let Ok(before) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !before.file_type().is_socket() {
        return Err(Fatal::environment(format!(
            "cannot listen on {shown}: a file that is no socket is in the way; choose another path or move it"
        )));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|probe| {
        probe.set_nonblocking(true)?; // a full accept queue must not hold us: EAGAIN means alive
        probe.connect(&SockAddr::unix(path)?)
    });
    match probe {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Fatal::environment(format!(
                "cannot listen on {shown}: a socket of another user is in the way; choose another path"
            )));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        _ => {
            return Err(Fatal::environment(format!(
                "cannot listen on {shown}: another process listens on it; stop it or choose another path"
            )));
        }
    }
    // Removes the file that was probed, not one that a starting server has created since.
    if identity(path) != Some((before.dev(), before.ino())) {
        return Ok(());
    }
    fs::remove_file(path).map_err(|error| {
        Fatal::environment(format!(
            "cannot remove the stale socket file {shown}: {error}; remove it by hand"
        ))
    })
}

/// Sets the options of every stream socket.
fn set_stream_options(socket: &Socket, options: &SocketOptions) -> Result<(), Fatal> {
    if let Some(bytes) = options.rcvbuf {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        set("rcvbuf", socket.set_recv_buffer_size(bytes))?;
    }
    if let Some(bytes) = options.sndbuf {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        set("sndbuf", socket.set_send_buffer_size(bytes))?;
    }
    Ok(())
}

/// Sets the options of TCP sockets. The kernel copies all of them to accepted sockets.
fn set_tcp_options(socket: &Socket, options: &SocketOptions) -> Result<(), Fatal> {
    set("nodelay", socket.set_tcp_nodelay(options.nodelay))?;
    if let Some(name) = &options.congestion {
        socket
            .set_tcp_congestion(name.as_bytes())
            .map_err(|error| refuse_congestion(name, &error))?;
    }
    if let Some(idle) = options.keepalive {
        let mut keepalive = TcpKeepalive::new().with_time(idle);
        if let Some(interval) = options.keepalive_interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = options.keepalive_count {
            keepalive = keepalive.with_retries(count);
        }
        set("keepalive", socket.set_tcp_keepalive(&keepalive))?;
    }
    if options.user_timeout.is_some() {
        set(
            "user-timeout",
            socket.set_tcp_user_timeout(options.user_timeout),
        )?;
    }
    if let Some(bytes) = options.notsent_lowat {
        set("notsent-lowat", socket.set_tcp_notsent_lowat(bytes))?;
    }
    if let Some(bytes) = options.maxseg {
        set("maxseg", socket.set_tcp_mss(bytes))?;
    }
    if let Some(time) = options.defer_accept {
        let seconds = clamp_i32(time.as_secs() + u64::from(time.subsec_nanos() > 0));
        set(
            "defer-accept",
            sys::set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds),
        )?;
    }
    if let Some(pending) = options.fastopen {
        let pending = clamp_i32(pending.into());
        set(
            "fastopen",
            sys::set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, pending),
        )?;
    }
    if let Some(time) = options.busy_poll {
        set(
            "busy-poll",
            sys::set_option(socket, libc::SOL_SOCKET, libc::SO_BUSY_POLL, micros(time)),
        )?;
    }
    Ok(())
}

fn micros(time: Duration) -> i32 {
    i32::try_from(time.as_micros()).unwrap_or(i32::MAX)
}

fn clamp_i32(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn set(name: &str, outcome: io::Result<()>) -> Result<(), Fatal> {
    outcome.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Fatal::environment(format!(
            "--{name}: the system forbids it; run with CAP_NET_ADMIN, or leave --{name} off"
        )),
        ErrorKind::InvalidInput => Fatal::usage(format!(
            "--{name}: the kernel does not take this value; try another, or leave it off"
        )),
        _ => Fatal::environment(format!(
            "--{name}: the kernel refuses it ({error}); leave --{name} off"
        )),
    })
}

fn refuse_congestion(name: &str, error: &io::Error) -> Fatal {
    let read =
        |file: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).unwrap_or_default();
    let available = read("tcp_available_congestion_control");
    let available = available.split_whitespace().collect::<Vec<_>>().join(", ");
    match error.kind() {
        ErrorKind::NotFound => Fatal::usage(format!(
            "--congestion {name}: the kernel does not know it; it has: {available}; perhaps run: modprobe tcp_{name}"
        )),
        ErrorKind::PermissionDenied => Fatal::environment(format!(
            "--congestion {name}: not allowed for this user; add it to net.ipv4.tcp_allowed_congestion_control"
        )),
        _ => Fatal::environment(format!(
            "--congestion {name}: the kernel refuses it ({error}); it has: {available}"
        )),
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
