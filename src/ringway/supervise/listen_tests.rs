//! Binding: what works, what is inherited, and what each refusal says.

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;
use crate::exit::Exit;
use crate::supervise::options::Origin;
use crate::supervise::options::tests::options as any_port;

fn options(address: Address) -> Options {
    let options = any_port();
    Options { address, ..options }
}

fn tcp_address(listeners: &Listeners) -> SocketAddr {
    match listeners.bound() {
        Bound::Tcp(address) => *address,
        Bound::Unix(path) => panic!("{}", path.display()),
    }
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
    listeners.sockets[0].set_nonblocking(false).expect("a flag");
    let _client = TcpStream::connect(address).expect("it listens");
    let (accepted, _) = listeners.sockets[0].accept().expect("a client came");
    assert!(accepted.tcp_nodelay().expect("an option"));
    assert!(accepted.keepalive().expect("an option"));
    assert_eq!(
        accepted.tcp_user_timeout().expect("an option"),
        Some(Duration::from_millis(1500))
    );
    assert_eq!(accepted.tcp_notsent_lowat().expect("an option"), 16384);
}

#[test]
fn reuseport_gives_each_worker_a_listener_on_the_same_port() {
    let mut options = any_port();
    options.reuseport = true;
    let listeners = Listeners::bind(&options).expect("port 0 is free");
    assert_eq!(listeners.sockets.len(), 2);
    let ports: Vec<_> = listeners
        .sockets
        .iter()
        .map(|s| s.local_addr().unwrap().as_socket().unwrap().port())
        .collect();
    assert_eq!(ports[0], ports[1]);
    assert_ne!(listeners.fd_for(0), listeners.fd_for(1));
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
    let _held_by_a_worker = listeners.sockets[0].try_clone().expect("a descriptor");
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
    let _held_by_a_worker = listeners.sockets[0].try_clone().expect("a descriptor");
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
    assert_eq!(listeners.bound(), &Bound::Unix(path.clone()));
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
