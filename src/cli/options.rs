//! The options of `ringway server`. Each is defined once: name, field, kind of value with its range, and help. The
//! default is the field's value in [`ServerOptions::new`].
//!
//! Owns: these definitions. Never: judges how options go together (`resolve` does), makes a system call.

use std::path::PathBuf;
use std::time::Duration;

use ringway::bus::Policy;
use ringway::options::{
    Backlog, BusOptions, ClientAuth, FRAGMENT_BYTES_MIN, Format, IoChoice, LOG_BYTES_MAX, Owner,
    ServerOptions, TlsMode, TlsVersion,
};
use ringway::{Cipher, KeyPassword};
use ringway_command::endpoint::{
    CONGESTION, HEAD_MAX, HEAD_MIN, HEADERS_MAX, HEADERS_MIN, URIS, WEB_PORT,
};
use ringway_command::kinds::{
    Bare, Choice, Count, FILE, OrOff, Size, Switch, Time, Unless, Without, Words, Wrong,
};
use ringway_command::options::{Defined, Definition, define, under};
use ringway_command::values;

use super::gateway::programs;
use super::{access, opening, services, web};

/// Most workers: no machine that we know has more CPUs.
const WORKERS_MAX: u64 = 1024;

/// Most bytes of messages, frames and queues (1 TiB): less than half of the smallest useful address space.
const SIZE_MAX: u64 = 1 << 40;

/// Largest size of a socket buffer that the kernel accepts, bytes.
const BUFFER_MAX: u64 = 0x7fff_ffff;

/// The shortest time that a user can write.
const ANY: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The options of `ringway server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerArgs;

impl Defined for ServerArgs {
    type Options = ServerOptions;

    fn definitions() -> Vec<Definition<ServerOptions>> {
        let mut all = Vec::from(general());
        all.extend(under("Topics (--app=broadcast, --app=pubsub)", topics()));
        all.extend(under(
            "Rights (--app=broadcast, --app=pubsub)",
            access::definitions(),
        ));
        all.extend(openings());
        all.extend(under(
            "Compression (permessage-deflate, RFC 7692, and others)",
            compression(),
        ));
        all.extend(connections());
        all
    }

    fn defaults() -> ServerOptions {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        ServerOptions::new(cpus)
    }
}

impl ServerArgs {
    /// The options that do not depend on the application, except that some of the general ones do.
    pub(super) fn of_every_application() -> Vec<Definition<ServerOptions>> {
        let mut all = Vec::from(general());
        all.extend(openings());
        all.extend(connections());
        all
    }

    /// Those of permessage-deflate.
    pub(super) fn deflate() -> impl Iterator<Item = Definition<ServerOptions>> {
        let all = under("Compression (permessage-deflate, RFC 7692)", compression());
        all.into_iter()
            .filter(|definition| definition.name().starts_with("deflate"))
    }
}

fn openings() -> Vec<Definition<ServerOptions>> {
    let mut all = Vec::from(under("Opening handshake", opening::definitions()));
    all.extend(under("HTTP on the same port", web::definitions()));
    all.extend(under("HTTP on the same port", programs::of_processes()));
    all.extend(under("Closing", closing()));
    all.extend(under("Limits", limits()));
    all.extend(under("Limits", timeouts()));
    all
}

fn connections() -> Vec<Definition<ServerOptions>> {
    let mut all = Vec::from(under("TLS", tls()));
    all.extend(under(SOCKETS, sockets()));
    all
}

macro_rules! field {
    ($($name:ident).+) => { ringway_command::field!(ServerOptions: $($name).+) };
}

#[rustfmt::skip] // one option per block, help last
fn general() -> [Definition<ServerOptions>; 18] {
    [
        define("wsuri", field!(endpoints), URIS,
            "Where to listen: ws://host:port, or ws+unix:/path; up to 16 places, by commas or by further --wsuri. Port 0 is any free \
             port, and [fe80::1%25eth0] an address of a link").repeated(),
        define("unix-mode", field!(socket.unix_mode), Unless(MODE), "Mode of the file of a Unix socket, as 0660: who may connect")
            .default_said("as the umask leaves it"),
        define("unix-owner", field!(socket.unix_owner), Unless(OWNER),
            "Owner of that file, as user:group, user or :group; names or numbers")
            .default_said("the user and the group of this process"),
        define("port", field!(web_port), WEB_PORT,
            "Web pages of the supervisor: status, /stats.json, /metrics. A port, `auto` for any free one, 0 = off. On loopback \
             only, unless an address is in front, as 0.0.0.0:8080")
            .default_said("{}, or off if that is taken"),
        define("workers", field!(workers),
            Count(1..=WORKERS_MAX, "a server needs at least 1 worker, one per CPU is best"),
            "Worker processes")
            .default_said("the CPUs this process may use"),
        define("noaffinity", field!(affinity), Without, "Do not pin workers to CPUs"),
        define("backlog", field!(backlog), BACKLOG,
            "Length of the accept queue; without a value as long as the kernel allows (net.core.somaxconn)"),
        define("silence", field!(silence), Switch, "Print neither the start-up line nor statistics"),
        define("debug", field!(debug), Switch, "Log debug messages on stderr"),
        define("log-frames", field!(log_frames), OrOff(Count(1..=u64::from(u32::MAX), "1 logs every connection, 100 one in a hundred")),
            "Log the frames of one connection in N on stderr, up to 64 connections and 1000 lines a second in each worker; 0 = none"),
        define("log-bytes", field!(log_bytes), Count(0..=LOG_BYTES_MAX as u64, "a line has room for so many"),
            "With --log-frames: payload bytes of each frame that are shown, unmasked; they may be somebody's secrets"),
        define("interval", field!(interval), Time::from(Duration::from_millis(10)), "Time between statistics"),
        define("format", field!(format),
            Choice("FORMAT", &[("table", Format::Table), ("json", Format::Json)]),
            "How statistics are printed: table, or json for one object per line"),
        define("io", field!(io),
            Choice("TIER", &[("auto", IoChoice::Auto), ("uring", IoChoice::Uring), ("epoll", IoChoice::Epoll)]),
            "I/O of the workers: auto, uring or epoll"),
        define("app", field!(application), Choice("KIND", &services::APPLICATIONS),
            "The application on every path: echo, broadcast (every message goes to all clients of the same path, on all workers), or pubsub (topics, see docs/pubsub.md)"),
        define("service", field!(applications), services::KIND,
            "Applications by path, as /echo=echo,/live/*=broadcast; other paths are answered 404. Kinds: as --app")
            .default_said("--app on every path"),
        define("reuseport", field!(reuseport), Switch,
            "One listener per worker (SO_REUSEPORT) instead of one that all share"),
        define("subprotocol", field!(subprotocols), SUBPROTOCOLS,
            "Subprotocols to choose from, as a,b: the first one that the client offers is chosen, and none if none of them is \
             offered. `any`: its first one, whatever it is; `none`: never one, and then browsers that offer some fail the \
             connection"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn topics() -> [Definition<ServerOptions>; 11] {
    [
        define("echo-self", field!(echo_self), Switch, "Whether a broadcast goes to the client that sent it, too"),
        define("tick", field!(tick), OrOff(Time::from(Duration::from_millis(10))),
            "Time between messages `tick 1`, `tick 2` … to all clients of a broadcast; 0 = none"),
        define("bus-log", field!(bus_options.log_bytes), Size(BusOptions::LOG_BYTES_MIN as u64..=BusOptions::LOG_BYTES_MAX as u64),
            "Memory of each worker for what it publishes, a power of two: what another worker may fall behind before it misses \
             messages. A message has at most an eighth of it (1009 above)"),
        define("slow-policy", field!(bus_options.policy),
            Choice("POLICY", &[("drop-oldest", Policy::DropOldest), ("drop-newest", Policy::DropNewest),
                ("conflate", Policy::Conflate), ("close", Policy::Close)]),
            "What happens when the queue of a client that does not keep up is full: drop-oldest, drop-newest, conflate (a newer \
             message replaces the older one of its topic), or close (with 1013). Every drop is counted"),
        define("slow-messages", field!(bus_options.queue.messages_max), Count(1..=1 << 32, "write it as 1000 or 1k"),
            "Messages that wait for a client that does not keep up; about 50 bytes for each"),
        define("slow-bytes", field!(bus_options.queue.bytes_max), Size(1..=SIZE_MAX),
            "Their bytes. They are shared by all clients that wait for the same message"),
        define("history-messages", field!(history.messages_max), Count(0..=1 << 32, "0 keeps only retained messages"),
            "Messages of each topic that a pubsub keeps for `since`"),
        define("history-time", field!(history.age_max), Time::from(MILLISECOND), "How long it keeps them"),
        define("history-bytes", field!(history.bytes_max), Size(0..=SIZE_MAX),
            "Memory of each worker for them, with retained messages and the topics' names"),
        define("backplane", field!(backplane.url), Unless(URL),
            "Broker through which several servers share their topics: nats://host:4222 or redis://host:6379, over TLS tls:// or \
             rediss://, with user:password@ before the host if it asks for that. See docs/backplane.md")
            .default_said("none: topics stay on this server"),
        define("backplane-prefix", field!(backplane.prefix), PREFIX,
            "First part of all names at the broker, letters, digits, '_' and '-': servers with the same one share their topics"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn limits() -> [Definition<ServerOptions>; 9] {
    [
        define("max-connections", field!(max_connections), OrOff(Count(1..=1 << 32, "write it as 1000, 50k or 1M")),
            "Open WebSockets of the whole server: one more is answered 503. 0 = no limit"),
        define("connections-per-address", field!(connections_per_address),
            OrOff(Count(1..=u64::from(u32::MAX), "write it as 20 or 1k")),
            "Sockets of one address, or IPv6 /64, in each worker: one more is reset, or answered 429 if a proxy names the client; \
             about 100 bytes for each socket. 0 = no limit"),
        define("handshakes-per-address", field!(handshakes_per_address),
            OrOff(Count(1..=u64::from(u32::MAX), "write it as 20 or 1k")),
            "Connections per second of one address in each worker, and as many at once; at most 6 MiB in a worker. 0 = no limit"),
        define("max-message", field!(max_message), Size(1..=SIZE_MAX), "Longest message accepted"),
        define("max-frame", field!(max_frame), Size(1..=SIZE_MAX), "Longest frame accepted")
            .default_said("as --max-message"),
        define("fragment-size", field!(fragment_size), OrOff(Size(FRAGMENT_BYTES_MIN as u64..=SIZE_MAX)),
            "Longest frame that is sent: a longer message leaves in several, and is copied once more; 0 = a frame has any length"),
        define("send-queue", field!(send_queue), Size(1024..=SIZE_MAX),
            "Bytes queued for a peer above which reading from it pauses"),
        define("max-head", field!(max_head), Size(HEAD_MIN..=HEAD_MAX),
            "Longest head of a request, cookies and all (431 above, 414 when it is the target); held only while a head is \
             incomplete"),
        define("max-headers", field!(max_headers),
            Count(HEADERS_MIN..=HEADERS_MAX, "an opening handshake has 5, a browser's about 20"),
            "Header fields of a request (431 above)"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn timeouts() -> [Definition<ServerOptions>; 7] {
    [
        define("handshake-timeout", field!(handshake_timeout), Time::from(MILLISECOND),
            "Time for the opening handshake"),
        define("write-timeout", field!(write_timeout), OrOff(Time::from(ANY)),
            "Drop a peer that takes nothing of what is queued for it for this long; a slow reader stays; 0 = never"),
        define("idle-timeout", field!(idle_timeout), OrOff(Time::from(ANY)),
            "Close a connection with 1001 on which nothing arrived for this long (Pongs count); 0 = never"),
        define("ping-interval", field!(ping_interval), OrOff(Time::from(ANY)),
            "Ping a peer that was silent for this long, drop it after --ping-timeout; finds out peers behind proxies, which \
             --keepalive does not, at about 6 us of CPU each time; 0 = never"),
        define("ping-timeout", field!(ping_timeout), Unless(Time::from(ANY)), "Drop a peer that stays silent for this long after a Ping")
            .default_said("as --ping-interval"),
        define("close-timeout", field!(close_timeout), Time::from(MILLISECOND),
            "Time for the closing handshake, anew whenever the peer takes some of what is left for it"),
        define("drain-timeout", field!(drain_timeout), Time::from(Duration::ZERO),
            "Time for connections to end after SIGINT or SIGTERM"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn compression() -> [Definition<ServerOptions>; 12] {
    [
        define("deflate", field!(deflate), Switch,
            "Compress messages for clients that offer it. A text that a stranger chooses beside a secret, in one message or one \
             after the other, lets whoever sees their lengths guess the secret"),
        define("deflate-level", field!(compression.level), Count(1..=9, "1 is fast, 9 is small"),
            "Effort; 6 makes 8 % less of JSON than 1, in 1.5 times the time"),
        define("deflate-memory", field!(compression.mem_level), Count(1..=9, "as zlib's memLevel"),
            "Memory of a compressor, as zlib's memLevel; each worker has up to 4"),
        define("deflate-takeover", field!(compression.sends.takeover), Switch,
            "Messages that the server sends refer to those before them; each connection keeps its last --deflate-window bytes"),
        define("deflate-window", field!(compression.sends.window_bits), Count(9..=15, "12 bits are 4 KiB, 15 are 32 KiB"),
            "How far back they refer: 2 to the power of so many bytes; with many connections, 15 takes four times the CPU time of 12"),
        define("deflate-client-takeover", field!(compression.receives.takeover), Switch,
            "Messages that clients send may do so too; each connection keeps its last --deflate-client-window bytes"),
        define("deflate-client-window", field!(compression.receives.window_bits), Count(8..=15, "12 bits are 4 KiB, 15 are 32 KiB"),
            "How far back a client may refer; one that cannot be told so (Firefox, Safari) gets no takeover below 15"),
        define("deflate-threshold", field!(compression.bytes_min), Size(1..=SIZE_MAX), "Shortest message that is compressed"),
        define("snappy", field!(snappy), Switch,
            "Compress messages of 256 bytes and more for clients that offer permessage-snappy (Autobahn's): little, and fast. \
             Only in a program built with the feature snappy"),
        define("bzip2", field!(bzip2), Switch,
            "Compress messages of 256 bytes and more for clients that offer permessage-bzip2 (Autobahn's): most, and slowly; a \
             message in work takes up to 8 MB. Only in a program built with the feature bzip2"),
        define("bzip2-level", field!(bzip2_compression.sends_level), Count(1..=9, "blocks of 100 kB times this"),
            "Blocks of what the server sends by --bzip2; a client needs 0.4 MB times this to read them"),
        define("bzip2-client-level", field!(bzip2_compression.receives_level), Count(1..=9, "blocks of 100 kB times this"),
            "Blocks of what clients may send; a message in work takes 0.4 MB times this, and below 9 a client must let itself be told"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn closing() -> [Definition<ServerOptions>; 2] {
    [
        define("echo-close-reason", field!(echo_close_reason), Switch,
            "Answer a Close with its code and its reason, not with its code alone"),
        define("fail-by-drop", field!(fail_by_drop), Switch,
            "Reset a peer that breaks the protocol, without the Close that tells it why; what waits for it is dropped"),
    ]
}

#[rustfmt::skip] // one option per block, help last
fn tls() -> [Definition<ServerOptions>; 8] {
    [
        define("cert", field!(tls.certificates), FILES,
            "Certificate with its chain, PEM; several as a.pem,b.pem: a client gets the first that is valid for the name it asks \
             for, else the first of all")
            .default_said("none, and then no TLS"),
        define("key", field!(tls.keys), FILES, "Private key of each --cert, PEM, in the same order")
            .default_said("none"),
        define("key-password", field!(tls.key_password), Unless(PASSWORD),
            "Password of the keys that are encrypted, as file:PATH (its first line), env:NAME or pass:TEXT, which everybody on this \
             machine can see")
            .default_said("none, and then no key may be encrypted"),
        define("tls", field!(tls.mode),
            Choice("MODE", &[("auto", TlsMode::Auto), ("only", TlsMode::Only), ("off", TlsMode::Off)]),
            "Who speaks TLS: auto = clients that begin with it, beside plain ones on the same port; only = all, a plain request \
             is answered 400; off = none. It needs --cert and --key"),
        define("tls-min", field!(tls.version_min),
            Choice("VERSION", &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)]),
            "Lowest version of TLS"),
        define("tls-ciphers", field!(tls.ciphers), CIPHERS,
            "Cipher suites in the names of OpenSSL, as ECDHE-RSA-AES256-GCM-SHA384, with colons between; those of \
             TLS 1.3 stay unless some are named")
            .default_said("all that are known here"),
        define("client-ca", field!(tls.client_ca), Unless(FILE),
            "Ask clients for a certificate that one of these has signed, PEM; the application sees its name")
            .default_said("none, and clients are asked for nothing"),
        define("client-auth", field!(tls.client_auth),
            Choice("WHO", &[("required", ClientAuth::Required), ("optional", ClientAuth::Optional)]),
            "Whether a client without a certificate is refused, when --client-ca is given"),
    ]
}

const SOCKETS: &str = "Sockets (set on the listener, inherited by connections)";

#[rustfmt::skip] // one option per block, help last
fn sockets() -> [Definition<ServerOptions>; 13] {
    [
        define("nodelay", field!(socket.nodelay), Switch, "Send small frames at once: TCP_NODELAY"),
        define("congestion", field!(socket.congestion), Unless(CONGESTION),
            "Congestion control: TCP_CONGESTION, e.g. bbr"),
        define("rcvbuf", field!(socket.rcvbuf), Unless(Size(1..=BUFFER_MAX)), "Receive buffer: SO_RCVBUF"),
        define("sndbuf", field!(socket.sndbuf), Unless(Size(1..=BUFFER_MAX)), "Send buffer: SO_SNDBUF"),
        define("keepalive", field!(socket.keepalive), OrOff(Time::from(SECOND)),
            "Probe a silent peer after this long: SO_KEEPALIVE, TCP_KEEPIDLE. The kernel does it, and no worker wakes up: a \
             million idle connections cost 8,000 small packets per second; 0 = off"),
        define("keepalive-interval", field!(socket.keepalive_interval), Unless(Time::from(SECOND)),
            "Time between probes: TCP_KEEPINTVL"),
        define("keepalive-count", field!(socket.keepalive_count), Unless(Count(1..=127, "the kernel takes 1 to 127")),
            "Unanswered probes until the peer is gone: TCP_KEEPCNT"),
        define("user-timeout", field!(socket.user_timeout), OrOff(Time::from(ANY)),
            "Give up on unacknowledged data after this long: TCP_USER_TIMEOUT; 0 = off")
            .default_said("as long as --keepalive takes in all, {}, and no less than --write-timeout; off when one of them is"),
        define("defer-accept", field!(socket.defer_accept), Unless(Time::from(SECOND)),
            "Accept only once the peer has sent something: TCP_DEFER_ACCEPT"),
        define("notsent-lowat", field!(socket.notsent_lowat), Unless(Size(1..=BUFFER_MAX)),
            "Unsent bytes above which a socket is not writable: TCP_NOTSENT_LOWAT"),
        define("fastopen", field!(socket.fastopen), Unless(Count(1..=65_535, "leave it off to disable fast open")),
            "Pending fast-open connections: TCP_FASTOPEN"),
        define("maxseg", field!(socket.maxseg), Unless(Size(88..=32_767)), "Largest segment: TCP_MAXSEG"),
        define("busy-poll", field!(socket.busy_poll), Unless(Time::from(ANY)),
            "Busy-poll the device queue this long: SO_BUSY_POLL"),
    ]
}

/// Where a password is found.
const PASSWORD: Words<KeyPassword> = Words {
    value_name: "WHERE",
    parse: |text| {
        // The text may be a password, and is not shown.
        let wrong = ": write it as file:PATH, env:NAME or pass:TEXT";
        KeyPassword::parse(text).ok_or_else(|| Wrong::Because(wrong.to_owned()))
    },
    show: |password| Some(password.to_string()),
    bare: Bare::Refused,
};

/// Names of cipher suites with colons between them.
const CIPHERS: Words<Vec<Cipher>> = Words {
    value_name: "LIST",
    parse: |text| {
        let ciphers = text.split(':').map(|name| {
            Cipher::of(name).ok_or_else(|| {
                let known: Vec<_> = Cipher::all().map(Cipher::name).collect();
                Wrong::Because(format!(
                    ": {name} is not known here; there are {}",
                    known.join(", ")
                ))
            })
        });
        ciphers.collect()
    },
    show: |ciphers| {
        let names: Vec<_> = ciphers.iter().map(|cipher| cipher.name()).collect();
        (!names.is_empty()).then(|| names.join(":"))
    },
    bare: Bare::Refused,
};

/// The mode of a file, in octal.
const MODE: Words<u32> = Words {
    value_name: "MODE",
    parse: |text| match (u32::from_str_radix(text, 8), text.len()) {
        (Ok(mode @ 0..=0o777), 3..=4) if !text.starts_with('+') => Ok(mode),
        _ => Err(Wrong::not("a mode", "write it in octal, as 0660")),
    },
    show: |mode| Some(format!("{mode:04o}")),
    bare: Bare::Refused,
};

/// A user, a group, or both with a colon between.
const OWNER: Words<Owner> = Words {
    value_name: "USER:GROUP",
    parse: |text| {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let owner = Owner {
            user: named(user),
            group: named(group),
        };
        match &owner {
            Owner {
                user: None,
                group: None,
            } => Err(Wrong::not(
                "an owner",
                "write it as user:group, user or :group",
            )),
            _ => Ok(owner),
        }
    },
    show: |owner| {
        let user = owner.user.as_deref().unwrap_or_default();
        Some(match &owner.group {
            Some(group) => format!("{user}:{group}"),
            None => user.to_owned(),
        })
    },
    bare: Bare::Refused,
};

/// A length, or `somaxconn` for the kernel's limit.
const BACKLOG: Words<Backlog> = Words {
    value_name: "N",
    parse: |text| match (text, values::size(text)) {
        ("somaxconn", _) => Ok(Backlog::Somaxconn),
        (_, Some(depth @ 1..=0x7fff_ffff)) => {
            Ok(Backlog::Depth(u32::try_from(depth).unwrap_or(u32::MAX)))
        }
        _ => Err(Wrong::Because(
            " is no queue length: give a number from 1 up, or no value for the kernel's limit"
                .to_owned(),
        )),
    },
    show: |backlog| {
        Some(match backlog {
            Backlog::Depth(depth) => depth.to_string(),
            Backlog::Somaxconn => "somaxconn".to_owned(),
        })
    },
    bare: Bare::Means("somaxconn"),
};

/// The address of a broker, which `BackplaneOptions` checks.
const URL: Words<String> = Words {
    value_name: "URL",
    parse: |text| Ok(text.to_owned()),
    show: |url| Some(url.clone()),
    bare: Bare::Refused,
};

/// A name, which `BackplaneOptions` checks.
const PREFIX: Words<String> = Words {
    value_name: "NAME",
    parse: |text| Ok(text.to_owned()),
    show: |prefix| Some(prefix.clone()),
    bare: Bare::Refused,
};

/// Names of files with commas between them.
pub(super) const FILES: Words<Vec<PathBuf>> = Words {
    value_name: "FILE,...",
    parse: |list| match list.split(',').any(str::is_empty) {
        true => Err(Wrong::Because(
            " has a place without a file: give names with one comma between two".to_owned(),
        )),
        false => Ok(list.split(',').map(PathBuf::from).collect()),
    },
    show: |files| {
        let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
        (!names.is_empty()).then(|| names.join(","))
    },
    bare: Bare::Refused,
};

/// `any`, `none`, or names with commas between them.
const SUBPROTOCOLS: Words<ringway::options::Subprotocols> = Words {
    value_name: "LIST",
    parse: |list| {
        list.parse()
            .map_err(|why: String| Wrong::Because(format!(": {why}")))
    },
    show: |subprotocols| Some(subprotocols.to_string()),
    bare: Bare::Refused,
};

#[cfg(test)]
mod tests {
    use ringway_command::options::{self, Given};

    use super::super::resolve;
    use super::*;

    fn parse_server(text: &str) -> Result<Given<ServerArgs>, String> {
        Given::parse_file(text, "ringway.toml")
    }

    fn show(options: &ServerOptions) -> String {
        options::show::<ServerArgs>(options)
    }

    #[test]
    fn a_file_may_hold_strings_numbers_and_booleans() {
        let args =
            parse_server("workers = 2\ninterval = 0.5\nsilence = true\nmax-message = \"1MiB\"\n")
                .unwrap();
        let options = resolve::server(&args, 8).unwrap();
        assert_eq!(
            (options.workers, options.silence, options.max_message),
            (2, true, 1 << 20)
        );
        assert_eq!(options.interval.as_millis(), 500);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_one() {
        assert_eq!(
            parse_server("worker = 2").unwrap_err(),
            "unknown key 'worker': did you mean 'workers'?"
        );
        let far = "unknown key 'colour': see --help for the options, without their dashes";
        assert_eq!(parse_server("colour = 2").unwrap_err(), far);
        assert!(parse_server("print-config = true").is_err());
        assert!(parse_server("fd = 3").is_err());
    }

    #[test]
    fn a_file_that_is_no_toml_names_the_line() {
        let sentence = parse_server("workers = 2\nport =\n").unwrap_err();
        assert!(sentence.starts_with("line 2: "), "{sentence}");
        assert!(!sentence.contains('\n'));
        assert_eq!(
            parse_server("workers = [1]").unwrap_err(),
            "key 'workers' must be a string, a number, true or false"
        );
    }

    #[test]
    fn what_is_shown_means_the_same() {
        let text = "
            wsuri = 'ws://[::1]:0'\nport = 'auto'\nworkers = 3\nnoaffinity = true\nbacklog = 'somaxconn'
            silence = true\ndebug = true\nlog-frames = 10\nlog-bytes = 20\ninterval = '250ms'\nformat = 'json'\nio = 'epoll'\nreuseport = true
            max-connections = 10\nmax-message = 1000\nmax-frame = 999\nsend-queue = '64KiB'\nmax-head = 9000\nmax-headers = 99\nsubprotocol = 'b,a'\nhandshake-timeout = 1
            write-timeout = 20\nidle-timeout = 2\nping-interval = 3\nping-timeout = 2\nfragment-size = 1000\nclose-timeout = 4\ndrain-timeout = 0\nnodelay = false
            congestion = 'cubic'\nrcvbuf = 4096\nsndbuf = 8192\nkeepalive = 60\nkeepalive-interval = 5
            keepalive-count = 6\nuser-timeout = '1500ms'\ndefer-accept = 7\nnotsent-lowat = '16KiB'\nfastopen = 8
            maxseg = 1400\nbusy-poll = '50us'\nservice = '/echo=echo,/again/*=broadcast,/topics=pubsub'\necho-self = false\ntick = '1s'
            bus-log = '64KiB'\nslow-policy = 'conflate'\nslow-messages = 7\nslow-bytes = '1KiB'\nmay-publish = 'a/+,/topics=b'\nmay-subscribe = ''\ntoken-key = 'a.key,b.pem'\ntoken-issuer = 'i'\ntoken-audience = 'a'\ntoken-required = false\napi-key = 'k'\nhistory-messages = 3\nhistory-time = '7s'\nhistory-bytes = '1MiB'\nbackplane = 'nats://u:p@127.0.0.1:1'\nbackplane-prefix = 'eu'
            deflate = true\ndeflate-level = 2\ndeflate-memory = 3\ndeflate-takeover = false\ndeflate-window = 9
            deflate-client-takeover = true\ndeflate-client-window = 8\ndeflate-threshold = '1KiB'
            allow-origin = 'https://*.example.com,http://[::1]:*'\nallow-null-origin = true\nrequire-origin = true\nversions = '8,13'
            trust-forwarded-for = 2\ntrust-proxies = '10.0.0.0/8,::1'\nproxy-protocol = '192.0.2.0/24'\nheader = \"X-A: 'a', b\\nX-B: c\"\nserver-name = ''\nhealth-path = '/health'\nlegacy = true\nflash-policy = '80,9000-9010'\necho-close-reason = true\nfail-by-drop = true
            web = '/srv/www'\nweb-listing = true\nweb-cache-control = 'max-age=60'\ncgi-dir = '/srv/cgi'\ncgi-timeout = '6s'\npass-env = 'none'\nmax-forks = 5\nkill-after = '1ms,2ms,3ms'\nhttp-proxy = 'http://[::1]:5000'\nhttp-proxy-timeout = '5s'\nweb-connections = 9\nweb-idle-timeout = '8s'
            cert = 'a.pem,b.pem'\nkey = 'a.key,b.key'\ntls = 'only'\ntls-min = '1.3'\nkey-password = 'file:a'\ntls-ciphers = 'TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES128-GCM-SHA256'\nclient-ca = 'ca.pem'\nclient-auth = 'optional'";
        let mut text = text.replace("            ", "");
        if cfg!(feature = "bzip2") {
            text += "\nbzip2 = true\nbzip2-level = 3\nbzip2-client-level = 2";
        }
        if cfg!(feature = "snappy") {
            text += "\nsnappy = true";
        }
        let args = parse_server(&text).unwrap();
        let options = resolve::server(&args, 8).unwrap();
        let shown = show(&options);
        assert!(shown.contains("\nserver-name = \"\"\n"), "{shown}");
        assert_eq!(
            resolve::server(&parse_server(&shown).unwrap(), 1).unwrap(),
            options
        );
        let defaults = ServerOptions::new(2);
        let off = "keepalive = 0\nuser-timeout = 0\nwrite-timeout = 0";
        let off = resolve::server(&parse_server(off).unwrap(), 2).unwrap();
        assert_eq!((off.socket.keepalive, off.write_timeout), (None, None));
        for options in [defaults, off] {
            assert_eq!(
                resolve::server(&parse_server(&show(&options)).unwrap(), 1).unwrap(),
                options
            );
        }
    }
}
