//! A serial device as people write it: `serial:/dev/ttyS0:115200:8N1:none`.
//!
//! Owns: the values, their defaults, and the sentences for those that are wrong. Never: opens a device.

use std::fmt;
use std::path::PathBuf;

use super::strings::escape;

/// Bits per second that the kernel has a name for (termios(3)).
const SPEEDS: [u32; 30] = [
    50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19_200, 38_400, 57_600,
    115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000,
    2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// A serial device, and how its line is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SerialLine {
    /// The device, below `/dev/`.
    pub path: PathBuf,
    /// Bits per second, either way.
    pub speed: u32,
    /// Bits of a character, 5 to 8. Default 8.
    pub data_bits: u8,
    /// The bit that proves them. Default: none.
    pub parity: Parity,
    /// Bits behind a character, 1 or 2. Default 1.
    pub stop_bits: u8,
    /// How a side says that it cannot take more. Default: not at all.
    pub flow: FlowControl,
}

/// The bit that proves the bits of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// There is none (`N`).
    None,
    /// It makes their number even (`E`).
    Even,
    /// It makes their number odd (`O`).
    Odd,
}

/// How a side of a serial line says that it cannot take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowControl {
    /// It does not.
    None,
    /// By the wires RTS and CTS.
    RtsCts,
    /// By the characters XON and XOFF, which then carry nothing else.
    XonXoff,
}

impl SerialLine {
    /// Reads the values of a text, in its order.
    pub(super) fn read(
        path: Option<String>,
        speed: Option<String>,
        mode: Option<String>,
        flow: Option<String>,
    ) -> Result<Self, String> {
        let path = path
            .filter(|path| !path.is_empty())
            .ok_or("serial: names no device; write it as serial:/dev/ttyS0:115200")?;
        let is_device = path.starts_with("/dev/")
            && !path.split('/').any(|part| part == "..")
            && !path.contains(char::is_control);
        if !is_device {
            return Err(format!(
                "serial:{path} is no device: its path begins with /dev/"
            ));
        }
        let speed =
            speed.ok_or("serial: needs a speed behind the device, as serial:/dev/ttyS0:115200")?;
        let digits = speed.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| speed.parse().ok()).flatten();
        let number = number.filter(|number| SPEEDS.contains(number)).ok_or_else(|| {
            format!("{speed} is no speed of a serial device; write 9600, 115200 or another one that termios(3) knows")
        })?;
        let mode = mode.unwrap_or_else(|| "8N1".to_owned());
        let (data_bits, parity, stop_bits) = match mode.as_bytes() {
            [data @ b'5'..=b'8', parity, stop @ b'1'..=b'2'] => {
                let parity = match parity {
                    b'N' => Some(Parity::None),
                    b'E' => Some(Parity::Even),
                    b'O' => Some(Parity::Odd),
                    _ => None,
                };
                (data - b'0', parity, stop - b'0')
            }
            _ => (0, None, 0),
        };
        let parity = parity.ok_or_else(|| {
            format!("{mode} is no mode of a serial line; write 8N1, 7E1 or the like")
        })?;
        let flow = match flow.as_deref() {
            None | Some("none") => FlowControl::None,
            Some("rtscts") => FlowControl::RtsCts,
            Some("xonxoff") => FlowControl::XonXoff,
            Some(other) => {
                return Err(format!(
                    "{other} is no flow control; write none, rtscts or xonxoff"
                ));
            }
        };
        Ok(Self {
            path: path.into(),
            speed: number,
            data_bits,
            parity,
            stop_bits,
            flow,
        })
    }
}

impl fmt::Display for SerialLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        let flow = match self.flow {
            FlowControl::None => "none",
            FlowControl::RtsCts => "rtscts",
            FlowControl::XonXoff => "xonxoff",
        };
        let (path, speed) = (escape(&self.path.to_string_lossy()), self.speed);
        let (data, stop) = (self.data_bits, self.stop_bits);
        write!(f, "serial:{path}:{speed}:{data}{parity}{stop}:{flow}")
    }
}
