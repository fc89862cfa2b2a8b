//! Serial devices as targets: a session has one for itself.
//!
//! Owns: the device from its opening to its close, and the mode of its line. Never: reads what it is told (`ringway::options` does).
//!
//! A session ends when the client's direction does: a device has no end of its own, and is free for the next one then.

use std::borrow::Cow;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringway::options::{FlowControl, Parity, SerialLine};
use ringway::services::gateway::{Found, Partner, Refusal, Why};
use ringway::{CloseCode, Handed, Onward};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, InputModes, OptionalActions};

use super::programs::terminal::{Relay, Terminal};

/// What a device is in use for already.
const IN_USE: &str = "the serial device has a session already: try again later";

/// Opens the device for a session, on the thread beside a worker.
///
/// # Errors
/// Another session has it, or it cannot be used.
pub(super) fn find(line: &SerialLine, user: Option<Box<str>>) -> Result<Found, Refusal> {
    let refused = |error: io::Error| {
        tracing::warn!("{line}: {error}");
        match error.kind() {
            io::ErrorKind::ResourceBusy => Refusal::new(Why::TooMany, 503, IN_USE),
            _ => Refusal::new(Why::NoAnswer, 502, "the serial device cannot be used now"),
        }
    };
    let (near, far) = UnixStream::pair().map_err(refused)?;
    begin(line, far).map_err(refused)?;
    Ok(Found {
        target: Onward::Handed(Handed::new(near.into())),
        partner: Some(Arc::new(Device)),
        name: line.to_string().into(),
        user,
        token: None,
    })
}

/// Joins the device with a stream, until one of them ends.
///
/// # Errors
/// Another one has it (`ResourceBusy`), or it cannot be used.
pub(crate) fn begin(line: &SerialLine, far: UnixStream) -> io::Result<()> {
    let device = Arc::new(Terminal::of(open(line)?)?);
    let mut relay = Relay::begin(&device, &far, true)?;
    tokio::spawn(async move {
        relay.either().await;
        drop(relay);
        let _ = far.shutdown(Shutdown::Both);
        Terminal::close(device).await;
    });
    Ok(())
}

/// The worker's side of a session.
#[derive(Debug)]
struct Device;

impl Partner for Device {
    fn farewell(&self) -> (CloseCode, Cow<'static, str>) {
        (CloseCode::InternalError, "the serial device is gone".into())
    }

    fn leave(&self) {}
}

fn open(line: &SerialLine) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open(&line.path, flags, Mode::empty())?;
    // Other workers, and other programs that ask, are kept away by it.
    match rustix::fs::flock(&device, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Err(Errno::BUSY.into()),
        locked => locked?,
    }
    let mut modes = rustix::termios::tcgetattr(&device)?;
    modes.make_raw();
    let mut control = modes.control_modes;
    control.remove(
        ControlModes::CSIZE
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CSTOPB
            | ControlModes::CRTSCTS,
    );
    control.insert(ControlModes::CREAD | ControlModes::CLOCAL);
    control.insert(match line.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    });
    match line.parity {
        Parity::None => {}
        Parity::Even => control.insert(ControlModes::PARENB),
        Parity::Odd => control.insert(ControlModes::PARENB | ControlModes::PARODD),
    }
    control.set(ControlModes::CSTOPB, line.stop_bits == 2);
    control.set(ControlModes::CRTSCTS, line.flow == FlowControl::RtsCts);
    modes.control_modes = control;
    let pauses = InputModes::IXON | InputModes::IXOFF;
    modes
        .input_modes
        .set(pauses, line.flow == FlowControl::XonXoff);
    modes.set_speed(line.speed)?;
    rustix::termios::tcsetattr(&device, OptionalActions::Now, &modes)?;
    Ok(device)
}
