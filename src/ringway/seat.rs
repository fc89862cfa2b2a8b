//! The seat of a worker process, or of the bridge to a broker: what it inherits from its supervisor, in one environment variable.
//!
//! `RINGWAY_SEAT=parent=4711,index=0,fd=3,fd=4,cpu=1,stats=5,control=8,board=6`. A variable, so that the program's own
//! command line is free of our options. `parent` is the pid of the supervisor. A process that merely inherited the
//! variable, such as a program that a worker starts, has another parent and ignores it.

#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use crate::exit::Fatal;

/// The environment variable with the seat of a worker process.
pub const SEAT_VARIABLE: &str = "RINGWAY_SEAT";

/// What a process is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It serves clients.
    #[default]
    Worker,
    /// It carries topics between the bus and a broker. It has no listeners and no board; the end of its standard input tells it to
    /// finish.
    Bridge,
    /// It answers the requests that workers relay, on connections to its one listener. It has no board. Its standard input tells it to
    /// finish, as a bridge's does.
    Web,
}

impl Role {
    /// What is no worker, by the name in the variable.
    const BESIDE: [(&str, Self); 2] = [("bridge", Self::Bridge), ("web", Self::Web)];
}

/// The seat of a worker: the descriptors and numbers that its supervisor gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSeat {
    /// What the process is for.
    pub role: Role,
    /// The inherited listeners, at least one. A bridge has none, the web process the one that workers connect to.
    pub fds: Vec<RawFd>,
    /// The CPU that the worker is pinned to, if any.
    pub cpuid: Option<usize>,
    /// Index of the worker, from 0. A worker without a supervisor has 0. Of a process beside the workers: how many were before
    /// it.
    pub index: usize,
    /// Write end of the stats pipe, non-blocking. `None` without a supervisor: the worker then prints its own block
    /// (`stats::block`).
    pub stats_fd: Option<RawFd>,
    /// The worker's end of the control channel. `None` without a supervisor: the worker then gets only signals.
    pub control_fd: Option<RawFd>,
    /// The memfd in which all workers publish their open connections. `None` without a supervisor.
    pub board_fd: Option<RawFd>,
    /// The memfd of the bus. `None` without a bus, or without a supervisor.
    pub bus_fd: Option<RawFd>,
    /// The eventfd of each seat of the bus.
    pub bell_fds: Vec<RawFd>,
    /// The memfd with the secrets of TLS. `None` without TLS, or without a supervisor.
    pub tls_fd: Option<RawFd>,
    /// What to connect to for the web process: its socket, which has no name (`supervise/beside.rs`). `None` without one.
    pub web_fd: Option<RawFd>,
    /// The memfd with the supervisor's effective configuration. `None` if the program reads none.
    pub config_fd: Option<RawFd>,
}

impl WorkerSeat {
    /// The seat of this process; `None` if it is no worker.
    ///
    /// # Errors
    /// [`Fatal`]: the variable exists, but no supervisor wrote it.
    pub fn from_environment() -> Result<Option<Self>, Fatal> {
        let Some(text) = std::env::var_os(SEAT_VARIABLE) else {
            return Ok(None);
        };
        let text = text.to_string_lossy();
        let bad = || {
            Fatal::usage(format!(
                "the environment variable {SEAT_VARIABLE} is '{text}', which no supervisor wrote: remove it"
            ))
        };
        let (parent, seat) = parse(&text).ok_or_else(bad)?;
        Ok((parent == std::os::unix::process::parent_id()).then_some(seat))
    }

    /// The value of the variable, for a child of this process.
    pub fn to_variable(&self) -> String {
        let mut text = format!("parent={},index={}", std::process::id(), self.index);
        if let Some((name, _)) = Role::BESIDE.iter().find(|(_, role)| *role == self.role) {
            text += &format!(",role={name}");
        }
        for fd in &self.fds {
            text += &format!(",fd={fd}");
        }
        for fd in &self.bell_fds {
            text += &format!(",bell={fd}");
        }
        let more = [
            ("cpu", self.cpuid.map(|cpu| cpu.to_string())),
            ("stats", self.stats_fd.map(|fd| fd.to_string())),
            ("control", self.control_fd.map(|fd| fd.to_string())),
            ("board", self.board_fd.map(|fd| fd.to_string())),
            ("bus", self.bus_fd.map(|fd| fd.to_string())),
            ("tls", self.tls_fd.map(|fd| fd.to_string())),
            ("web", self.web_fd.map(|fd| fd.to_string())),
            ("config", self.config_fd.map(|fd| fd.to_string())),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                text += &format!(",{name}={value}");
            }
        }
        text
    }
}

fn parse(text: &str) -> Option<(u32, WorkerSeat)> {
    let mut parent = None;
    let mut seat = WorkerSeat::default();
    let descriptor = |value: &str| value.parse::<RawFd>().ok().filter(|fd| *fd >= 0);
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=')?;
        match name {
            "parent" => parent = Some(value.parse().ok()?),
            "role" => seat.role = Role::BESIDE.iter().find(|(name, _)| *name == value)?.1,
            "index" => seat.index = value.parse().ok()?,
            "fd" => seat.fds.push(descriptor(value)?),
            "cpu" => seat.cpuid = Some(value.parse().ok()?),
            "stats" => seat.stats_fd = Some(descriptor(value)?),
            "control" => seat.control_fd = Some(descriptor(value)?),
            "board" => seat.board_fd = Some(descriptor(value)?),
            "bus" => seat.bus_fd = Some(descriptor(value)?),
            "bell" => seat.bell_fds.push(descriptor(value)?),
            "tls" => seat.tls_fd = Some(descriptor(value)?),
            "web" => seat.web_fd = Some(descriptor(value)?),
            "config" => seat.config_fd = Some(descriptor(value)?),
            _ => return None,
        }
    }
    let is_whole = seat.fds.is_empty() == (seat.role == Role::Bridge);
    is_whole.then_some((parent?, seat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_comes_back_from_its_variable() {
        let seat = WorkerSeat {
            role: Role::Worker,
            fds: vec![3, 4],
            cpuid: Some(1),
            index: 2,
            stats_fd: Some(5),
            control_fd: Some(8),
            board_fd: Some(6),
            bus_fd: Some(10),
            bell_fds: vec![11, 12],
            tls_fd: Some(9),
            web_fd: Some(13),
            config_fd: Some(7),
        };
        assert_eq!(parse(&seat.to_variable()), Some((std::process::id(), seat)));
        let least = WorkerSeat {
            fds: vec![3],
            ..WorkerSeat::default()
        };
        assert_eq!(
            least.to_variable(),
            format!("parent={},index=0,fd=3", std::process::id())
        );
        assert_eq!(
            parse(&least.to_variable()),
            Some((std::process::id(), least.clone()))
        );
        for (role, fds) in [(Role::Bridge, Vec::new()), (Role::Web, vec![3])] {
            let beside = WorkerSeat {
                role,
                fds,
                ..WorkerSeat::default()
            };
            assert_eq!(
                parse(&beside.to_variable()),
                Some((std::process::id(), beside))
            );
        }
    }

    #[test]
    fn what_no_supervisor_wrote_is_no_seat() {
        for text in [
            "",
            "1",
            "fd=3",
            "parent=1",
            "parent=1,fd=-1",
            "parent=1,fd=3,role=bridge",
            "parent=1,fd=3,role=king",
            "parent=1,fd=x",
            "parent=1,fd=3,more=1",
            "parent=1,fd=3,",
            "parent=-1,fd=3",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
