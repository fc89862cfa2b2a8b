//! Binding: what works, what is inherited, and what each refusal says.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::exit::Exit;
use crate::supervise::options::Origin;
use crate::supervise::options::tests::options as any_port;

fn options(address: Address) -> Options {
    let options = any_port();
    Options {
        addresses: vec![address],
        ..options
    }
}

fn tcp_address(listeners: &Listeners) -> SocketAddr {
    listeners.address().expect("a TCP address")
}

#[test]
fn port_zero_becomes_a_real_port_and_options_reach_accepted_sockets() {
    let mut options = any_port();
    options.socket.keepalive = Some(Duration::from_secs(60));
    options.socket.user_timeout = Some(Duration::from_millis(1500));
    options.socket.notsent_lowat = Some(16384);
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    let address = tcp_address(&listeners);
    assert_ne!(address.port(), 0);
    listeners.places[0].sockets[0]
        .set_nonblocking(false)
        .expect("a flag");
    let _client = TcpStream::connect(address).expect("it listens");
    let (accepted, _) = listeners.places[0].sockets[0]
        .accept()
        .expect("a client came");
    assert!(accepted.tcp_nodelay().expect("an option"));
    assert!(accepted.keepalive().expect("an option"));
    assert_eq!(
        accepted.tcp_user_timeout().expect("an option"),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(accepted.tcp_notsent_lowat().expect("an option"), 16384);
}

/// What the kernel says of an integer option of a socket.
fn option(socket: &Socket, level: i32, name: i32) -> i32 {
    sys::option(socket, level, name).expect("the kernel knows it")
}

/// The listener and a connection that it accepted, with these options.
fn accepted(set: impl FnOnce(&mut SocketOptions)) -> (Listeners, Socket, TcpStream) {
    let mut options = any_port();
    set(&mut options.socket);
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    listeners.places[0].sockets[0]
        .set_nonblocking(false)
        .expect("a flag");
    let mut client = TcpStream::connect(tcp_address(&listeners)).expect("it listens");
    // With TCP_DEFER_ACCEPT the connection is there only once it has bytes.
    io::Write::write_all(&mut client, b"x").expect("it is connected");
    let (accepted, _) = listeners.places[0].sockets[0]
        .accept()
        .expect("a client came");
    (listeners, accepted, client)
}

#[test]
fn buffer_sizes_reach_accepted_sockets() {
    let (_listeners, accepted, _client) = accepted(|socket| {
        (socket.rcvbuf, socket.sndbuf) = (Some(50_000), Some(60_000));
    });
    // socket(7): the kernel doubles the value.
    assert_eq!(
        option(&accepted, libc::SOL_SOCKET, libc::SO_RCVBUF),
        100_000
    );
    assert_eq!(
        option(&accepted, libc::SOL_SOCKET, libc::SO_SNDBUF),
        120_000
    );
}

#[test]
fn times_and_count_of_probes_reach_accepted_sockets() {
    let (_listeners, accepted, _client) = accepted(|socket| {
        socket.keepalive = Some(Duration::from_secs(70));
        socket.keepalive_interval = Some(Duration::from_secs(7));
        socket.keepalive_count = Some(3);
    });
    assert_eq!(option(&accepted, libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    let probes = [libc::TCP_KEEPIDLE, libc::TCP_KEEPINTVL, libc::TCP_KEEPCNT];
    let probes = probes.map(|name| option(&accepted, libc::IPPROTO_TCP, name));
    assert_eq!(probes, [70, 7, 3]);
}

#[test]
fn a_deferred_accept_hides_a_connection_that_has_said_nothing() {
    let mut options = any_port();
    options.socket.defer_accept = Some(Duration::from_secs(30));
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    let seconds = option(
        &listeners.places[0].sockets[0],
        libc::IPPROTO_TCP,
        libc::TCP_DEFER_ACCEPT,
    );
    assert!(
        seconds >= 30,
        "{seconds}: the kernel rounds up to a retransmission"
    );
    let mut client = TcpStream::connect(tcp_address(&listeners)).expect("it listens");
    let waits = listeners.places[0].sockets[0]
        .accept()
        .expect_err("it has said nothing");
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
    io::Write::write_all(&mut client, b"x").expect("it is connected");
    listeners.places[0].sockets[0]
        .set_nonblocking(false)
        .expect("a flag");
    listeners.places[0].sockets[0]
        .accept()
        .expect("now it is there");
}

#[test]
fn the_largest_segment_reaches_accepted_sockets() {
    let (_listeners, accepted, _client) = accepted(|socket| socket.maxseg = Some(1000));
    let bytes = option(&accepted, libc::IPPROTO_TCP, libc::TCP_MAXSEG);
    // Less than 1000 by the TCP timestamps, which each segment carries.
    assert!((900..=1000).contains(&bytes), "{bytes}");
}

#[test]
fn the_queue_of_fast_opens_is_on_the_listener() {
    let mut options = any_port();
    options.socket.fastopen = Some(77);
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    let length = option(
        &listeners.places[0].sockets[0],
        libc::IPPROTO_TCP,
        libc::TCP_FASTOPEN,
    );
    assert_eq!(length, 77);
}

/// Without CAP_NET_ADMIN the kernel lets nobody raise the time, and the refusal says so.
#[test]
fn the_time_of_busy_polling_reaches_accepted_sockets() {
    let mut options = any_port();
    options.socket.busy_poll = Some(Duration::from_micros(50));
    match Listeners::bind(&options) {
        Ok(listeners) => {
            let micros = option(
                &listeners.places[0].sockets[0],
                libc::SOL_SOCKET,
                libc::SO_BUSY_POLL,
            );
            assert_eq!(micros, 50);
        }
        Err(fatal) => assert!(
            fatal.sentence.contains("CAP_NET_ADMIN"),
            "{}",
            fatal.sentence
        ),
    }
}

#[test]
fn a_unix_socket_has_the_mode_and_the_owner_that_were_given() {
    let directory = Directory::new("mode");
    let path = directory.0.join("echo.sock");
    let mut options = options(Address::Unix(path.clone()));
    options.socket.unix_mode = Some(0o600);
    // Our own user, by number and by name: nobody but root may give a file away.
    let me = fs::metadata(&directory.0).expect("it is there");
    options.socket.unix_owner = Some(Owner {
        user: Some(me.uid().to_string()),
        group: Some(me.gid().to_string()),
    });
    let listeners = Listeners::bind(&options).expect("it is free");
    let file = fs::metadata(&path).expect("the socket");
    let seen = (file.mode() & 0o777, file.uid(), file.gid());
    assert_eq!(seen, (0o600, me.uid(), me.gid()));
    drop(listeners);
    let nobody = |user: &str| {
        let mut options = options.clone();
        options.socket.unix_owner = Some(Owner {
            user: Some(user.to_owned()),
            group: None,
        });
        Listeners::bind(&options)
    };
    let fatal = nobody("no such user").expect_err("there is none");
    let why = "--unix-owner: there is no user 'no such user' on this system";
    assert!(fatal.sentence.starts_with(why), "{}", fatal.sentence);
    assert!(!path.exists(), "nothing stays");
    if me.uid() == 0 {
        let _listeners = nobody("root").expect("ourselves");
    }
}

#[test]
fn an_ipv6_address_with_a_zone_is_bound_there() {
    // Address, device number, prefix, scope (20 is a link), flags, device.
    let all = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let of_links = all
        .lines()
        .filter(|line| line.split_whitespace().nth(3) == Some("20"));
    for line in of_links {
        let columns: Vec<_> = line.split_whitespace().collect();
        let ip = u128::from_str_radix(columns[0], 16)
            .expect("an address")
            .into();
        let zone = u32::from_str_radix(columns[1], 16).expect("a number");
        let address = std::net::SocketAddrV6::new(ip, 0, 0, zone);
        let listeners = Listeners::bind(&options(Address::Tcp(vec![address.into()])));
        let listeners = listeners.expect("it is one of ours");
        let port = listeners.address().expect("a port").port();
        assert_eq!(listeners.shown(), format!("ws://[{ip}%25{zone}]:{port}"));
        TcpStream::connect(tcp_address(&listeners)).expect("it listens");
    }
}

#[test]
fn reuseport_gives_each_worker_a_listener_on_the_same_port() {
    let mut options = any_port();
    options.reuseport = true;
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    assert_eq!(listeners.places[0].sockets.len(), 2);
    let ports: Vec<_> = listeners.places[0]
        .sockets
        .iter()
        .map(|s| s.local_addr().unwrap().as_socket().unwrap().port())
        .collect();
    assert_eq!(ports[0], ports[1]);
    assert_ne!(listeners.fds_for(0), listeners.fds_for(1));
}

#[test]
fn a_port_in_use_names_the_cause_and_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    let address = taken.local_addr().expect("bound");
    let fatal = Listeners::bind(&options(Address::Tcp(vec![address]))).expect_err("it is taken");
    assert_eq!(fatal.exit, Exit::Environment);
    let start =
        format!("cannot listen on {address}: another process has it; find it with: ss -ltnp");
    assert!(fatal.sentence.starts_with(&start), "{}", fatal.sentence);
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let fatal = Listeners::bind(&options(Address::Tcp(vec![SocketAddr::from((
        [192, 0, 2, 1],
        0,
    ))])))
    .expect_err("not ours");
    assert!(
        fatal
            .sentence
            .contains("no interface of this machine has the address 192.0.2.1"),
        "{}",
        fatal.sentence
    );
}

#[test]
fn an_unknown_congestion_control_lists_the_known_ones() {
    let mut options = any_port();
    options.socket.congestion = Some("nosuchthing".to_owned());
    let fatal = Listeners::bind(&options).expect_err("there is none");
    assert_eq!(fatal.exit, Exit::Usage);
    assert!(
        fatal
            .sentence
            .contains("the kernel does not know it; it has:"),
        "{}",
        fatal.sentence
    );
}

#[test]
fn a_backlog_is_clipped_to_what_the_kernel_grants() {
    let clip = |asked, limit| clip_backlog(asked, Origin::Default, limit);
    assert_eq!(clip(Backlog::Depth(8192), Some(4096)), 4096);
    assert_eq!(clip(Backlog::Depth(100), Some(4096)), 100);
    assert_eq!(clip(Backlog::Somaxconn, Some(5)), 5);
    assert_eq!(clip(Backlog::Depth(100), None), 100);
}

#[test]
fn closed_listeners_refuse_connects_at_once_although_another_process_holds_them() {
    let listeners = Listeners::bind(&any_port()).expect("port 0 is free");
    let address = tcp_address(&listeners);
    let _held_by_a_worker = listeners.places[0].sockets[0]
        .try_clone()
        .expect("a descriptor");
    let mut queued = TcpStream::connect(address).expect("it listens");
    drop(listeners);
    let refused = TcpStream::connect(address).expect_err("it listens no more");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let ended = io::Read::read(&mut queued, &mut [0; 1]);
    let reset = ended.expect_err("a connection that nobody accepted is reset");
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let again = options(Address::Tcp(vec![address]));
    assert!(Listeners::bind(&again).is_ok(), "the port is free at once");
}

#[test]
fn a_closed_unix_listener_leaves_nobody_hanging() {
    let directory = Directory::new("closed");
    let path = directory.0.join("echo.sock");
    let listeners = Listeners::bind(&options(Address::Unix(path.clone()))).expect("free");
    let _held_by_a_worker = listeners.places[0].sockets[0]
        .try_clone()
        .expect("a descriptor");
    let mut queued = UnixStream::connect(&path).expect("it listens");
    drop(listeners);
    assert!(!path.exists());
    assert!(UnixStream::connect(&path).is_err());
    let ended = io::Read::read(&mut queued, &mut [0; 1]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("ringway-listen-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_unix_socket_replaces_a_stale_file_and_leaves_none() {
    let directory = Directory::new("stale");
    let path = directory.0.join("echo.sock");
    drop(UnixListener::bind(&path).expect("a fresh path")); // the file stays, nobody listens
    let listeners =
        Listeners::bind(&options(Address::Unix(path.clone()))).expect("stale is no obstacle");
    assert_eq!(listeners.places[0].bound, Bound::Unix(path.clone()));
    drop(listeners);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_in_use_or_another_file_is_left_alone() {
    let directory = Directory::new("live");
    let path = directory.0.join("echo.sock");
    let _live = UnixListener::bind(&path).expect("a fresh path");
    let fatal = Listeners::bind(&options(Address::Unix(path.clone()))).expect_err("it is live");
    assert!(
        fatal.sentence.contains("another process listens on it"),
        "{}",
        fatal.sentence
    );
    assert!(path.exists());

    let file = directory.0.join("notes.txt");
    fs::write(&file, "mine").expect("a file");
    let fatal = Listeners::bind(&options(Address::Unix(file.clone()))).expect_err("it is a file");
    assert!(
        fatal
            .sentence
            .contains("a file that is no socket is in the way"),
        "{}",
        fatal.sentence
    );
    assert_eq!(fs::read_to_string(&file).expect("untouched"), "mine");

    let fatal = Listeners::bind(&options(Address::Unix(directory.0.join("no/such/dir"))))
        .expect_err("nowhere");
    assert!(
        fatal.sentence.contains("its directory does not exist"),
        "{}",
        fatal.sentence
    );
}

#[test]
fn a_server_listens_at_several_places_and_binds_all_or_none() {
    let directory = Directory::new("several");
    let path = directory.0.join("socket");
    let mut options = any_port();
    options.addresses.push(Address::Tcp(vec![SocketAddr::from((
        [0, 0, 0, 0, 0, 0, 0, 1],
        0,
    ))]));
    options.addresses.push(Address::Unix(path.clone()));
    let listeners = Listeners::bind(&options).expect("all are free");
    assert_eq!(listeners.fds_for(0).len(), 3);
    let urls: Vec<_> = listeners.urls().collect();
    assert!(urls[0].starts_with("ws://127.0.0.1:"), "{urls:?}");
    assert!(urls[1].starts_with("ws://[::1]:"), "{urls:?}");
    assert_eq!(urls[2], format!("ws+unix:{}", path.display()));
    let port = listeners.address().expect("a TCP address").port();
    drop(listeners);
    assert!(!path.exists());
    // The second place is taken, so the first one is free again.
    let taken = TcpListener::bind("[::1]:0").expect("a port");
    options.addresses[0] = Address::Tcp(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
    options.addresses[1] = Address::Tcp(vec![taken.local_addr().expect("bound")]);
    let fatal = Listeners::bind(&options).expect_err("one is taken");
    assert!(
        fatal.sentence.contains("another process has it"),
        "{fatal:?}"
    );
    assert!(!path.exists());
    TcpListener::bind(("127.0.0.1", port)).expect("the first place was given up");
}
