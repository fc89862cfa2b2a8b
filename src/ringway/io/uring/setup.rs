//! Opens a ring with the best flags that the kernel takes, and explains in a sentence when it takes none.

use std::fmt;
use std::io;

use io_uring::{IoUring, opcode};

use super::super::alarm::Alarm;
use super::super::areas::Areas;
use super::super::pool::{CHUNK_BUFFERS, Pool};
use super::super::{Counts, Error};
use super::buf_ring::BufRing;
use super::enter::Enter;
use super::{GROUP, IOVECS, MESSAGES, Uring};

/// Submission entries: room for the sends and re-armed operations of a turn. A full queue costs only an early submission.
const SQ_ENTRIES: u32 = 4096;

/// Completion entries (16 bytes each, 512 KiB): four times the connections that can be ready at once. An overfull queue
/// ends multishot receives by the hundred.
const CQ_ENTRIES: u32 = 32768;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most receive buffers, 4160 bytes each. The pool starts with 256 and grows by 256 whenever it runs dry.
    pub buffers_max: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { buffers_max: 1024 }
    }
}

/// Why io_uring cannot be used here, with the remedy.
#[derive(Debug)]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }

    fn from_setup(error: &io::Error) -> Self {
        Self::new(match error.raw_os_error() {
            Some(libc::ENOSYS) => {
                "io_uring_setup: ENOSYS: the kernel has no io_uring, or a seccomp profile hides it".into()
            }
            Some(libc::EPERM) => "io_uring_setup: EPERM: forbidden by sysctl kernel.io_uring_disabled or by a seccomp \
                                  profile (Docker's default one does)"
                .into(),
            Some(libc::ENOMEM) => "io_uring_setup: ENOMEM: raise the memory limit of this control group, or \
                                   RLIMIT_MEMLOCK on kernels before 5.12"
                .into(),
            Some(libc::EINVAL) => "io_uring_setup: EINVAL: the kernel is older than 6.0".into(),
            _ => format!("io_uring_setup: {error}"),
        })
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Unavailable {}

impl From<Error> for Unavailable {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Set-up flags from best to least, each with the kernel version that first had all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    NoSqArray,
    DeferTaskrun,
    SingleIssuer,
}

impl Tier {
    const ALL: [Self; 3] = [Self::NoSqArray, Self::DeferTaskrun, Self::SingleIssuer];

    const fn name(self) -> &'static str {
        match self {
            Self::NoSqArray => "DEFER_TASKRUN, NO_SQARRAY (6.6)",
            Self::DeferTaskrun => "DEFER_TASKRUN (6.1)",
            Self::SingleIssuer => "SINGLE_ISSUER, COOP_TASKRUN (6.0)",
        }
    }

    fn build(self) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_clamp()
            .setup_submit_all()
            .setup_cqsize(CQ_ENTRIES)
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag();
        if self != Self::SingleIssuer {
            builder.setup_defer_taskrun();
        }
        if self == Self::NoSqArray {
            builder.setup_no_sqarray();
        }
        builder.build(SQ_ENTRIES)
    }
}

/// A ring with its buffers registered and filled, before the self-test.
pub(super) fn open(options: &Options) -> Result<Uring, Unavailable> {
    let (ring, tier) = build()?;
    check_features(&ring)?;
    let chunks_max = options.buffers_max.div_ceil(CHUNK_BUFFERS).max(1);
    let mut pool = Pool::new(chunks_max.into())?;
    let mut buf_ring = BufRing::new((chunks_max * CHUNK_BUFFERS).next_power_of_two())?;
    for number in 0..pool.len() {
        buf_ring.add(number, pool.address(number));
    }
    // SAFETY: the buffer ring's memory is page-aligned, of the size that `entries` says, and outlives the ring (field
    // order of `Uring`).
    unsafe {
        ring.submitter().register_buf_ring_with_flags(
            buf_ring.address(),
            buf_ring.entries(),
            GROUP,
            0,
        )
    }
    .map_err(|error| Unavailable::new(format!("IORING_REGISTER_PBUF_RING: {error}")))?;
    buf_ring.publish();
    Ok(Uring {
        enter: Enter::new(&ring),
        alarm: Alarm::new(),
        watches_alarm: false,
        ring,
        buf_ring,
        pool,
        areas: Areas::new()?,
        messages: Vec::with_capacity(MESSAGES),
        iovecs: Vec::with_capacity(IOVECS),
        early: Vec::new(),
        broken: None,
        skip_success: true,
        note: tier.name().to_owned(),
        counts: Counts::default(),
        deferred: tier != Tier::SingleIssuer,
        used_max: 0,
    })
}

/// The first tier that the kernel takes. Only EINVAL (an unknown flag) leads to the next lower tier.
fn build() -> Result<(IoUring, Tier), Unavailable> {
    let mut refused = None;
    for tier in Tier::ALL {
        match tier.build() {
            Ok(ring) => return Ok((ring, tier)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(Unavailable::from_setup(&error)),
        }
    }
    Err(Unavailable::from_setup(&refused.unwrap_or_else(|| {
        io::Error::from_raw_os_error(libc::EINVAL)
    })))
}

fn check_features(ring: &IoUring) -> Result<(), Unavailable> {
    let params = ring.params();
    for (present, name) in [
        (params.is_feature_ext_arg(), "IORING_FEAT_EXT_ARG (5.11)"),
        (params.is_feature_nodrop(), "IORING_FEAT_NODROP (5.5)"),
        (params.is_feature_fast_poll(), "IORING_FEAT_FAST_POLL (5.7)"),
        (
            params.is_feature_skip_cqe_on_success(),
            "IORING_FEAT_CQE_SKIP (5.17)",
        ),
    ] {
        if !present {
            return Err(Unavailable::new(format!("the kernel lacks {name}")));
        }
    }
    let mut probe = io_uring::Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| Unavailable::new(format!("IORING_REGISTER_PROBE: {error}")))?;
    for (code, name) in [
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::RecvMulti::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::SendMsg::CODE, "SENDMSG"),
    ] {
        if !probe.is_supported(code) {
            return Err(Unavailable::new(format!(
                "the kernel lacks IORING_OP_{name}"
            )));
        }
    }
    Ok(())
}
