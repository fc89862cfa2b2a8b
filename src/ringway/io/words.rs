//! Memory that several processes map, as words that are touched atomically only.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Error, Fd};

/// Bytes of a word.
pub(super) const WORD_BYTES: usize = 8;

/// What this process may do to a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Load. A store would end the process.
    Read,
    /// Load and store.
    Write,
}

/// A part of a file that is mapped. Clones share the mapping, and the last one unmaps it.
#[derive(Clone, Debug)]
pub struct Words(Arc<Mapped>);

#[derive(Debug)]
struct Mapped {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory is touched through atomics only, and the pointer is the mapping's for as long as the value lives.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Words {
    /// Maps `bytes` of `file` from `offset`, a multiple of the page size, on.
    ///
    /// # Errors
    /// The file is shorter, or cannot be mapped.
    pub fn map(file: &File, offset: u64, bytes: usize, access: Access) -> Result<Self, Error> {
        let operation = "map memory that the workers share";
        let invalid = || Error {
            operation,
            source: std::io::ErrorKind::InvalidInput.into(),
        };
        let len = file
            .metadata()
            .map_err(|source| Error { operation, source })?
            .len();
        let is_inside = offset
            .checked_add(bytes as u64)
            .is_some_and(|end| end <= len);
        if bytes == 0 || !bytes.is_multiple_of(WORD_BYTES) || !is_inside {
            return Err(invalid());
        }
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset = libc::off_t::try_from(offset).map_err(|_| invalid())?;
        // SAFETY: a new mapping at an address of the kernel's choice, of a file that this process holds open.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last(operation));
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| Error::last(operation))?;
        let words = bytes / WORD_BYTES;
        Ok(Self(Arc::new(Mapped { start, words })))
    }
}

impl std::ops::Deref for Words {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `words` words from `start` on are mapped as long as `self` lives, aligned to a page, and the memfd is sealed
        // against shrinking; every process touches them atomically only, and nobody stores where it is mapped for reading.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.words) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let bytes = self.words * WORD_BYTES;
        // SAFETY: start and length are those of one mmap that only this value owns; no reference outlives it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}

/// A file in memory of so many bytes, all zeroes, which nobody can make shorter or longer.
///
/// # Errors
/// The kernel has no memory or no descriptor.
pub fn memory(name: &std::ffi::CStr, bytes: u64) -> std::io::Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is a live NUL-terminated string that the kernel copies during the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by the kernel, is open, and nobody else knows its number.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes integers and touches no memory.
    match unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } {
        0 => Ok(file),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A descriptor that is readable from the first [`ring`] on until it was read (eventfd).
///
/// # Errors
/// The kernel has no descriptor.
pub fn bell() -> std::io::Result<File> {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by the kernel, is open, and nobody else knows its number.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes a bell readable.
///
/// # Errors
/// The descriptor is no bell.
pub fn ring(bell: &File) -> std::io::Result<()> {
    use std::io::Write as _;
    match (&mut &*bell).write(&1_u64.to_ne_bytes()) {
        // Its count is full: it is readable.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Makes a bell unreadable until the next [`ring`].
pub fn hush(bell: &File) {
    use std::io::Read as _;
    // An error other than "not readable" would be a wrong descriptor, and `ring` reports that.
    let _ = (&mut &*bell).read(&mut [0; WORD_BYTES]);
}

/// A bell, or the end of a pipe, that a runtime waits for.
///
/// # Errors
/// There is no runtime, or the descriptor is one that nobody can wait for.
#[cfg(any(feature = "backplane", feature = "pages", feature = "web"))]
pub fn waited(file: File) -> std::io::Result<tokio::io::unix::AsyncFd<File>> {
    waited_for(file, tokio::io::Interest::READABLE)
}

/// The same of anything, in the way that is asked for.
///
/// # Errors
/// As of [`waited`].
#[cfg(any(feature = "backplane", feature = "pages", feature = "web"))]
pub fn waited_for(
    file: File,
    interest: tokio::io::Interest,
) -> std::io::Result<tokio::io::unix::AsyncFd<File>> {
    // SAFETY: a File owns its descriptor, which is open, and an AsyncFd gives only shared references to it away, which cannot close it.
    let waited = unsafe { tokio::io::unix::AsyncFd::register_with_interest(file, interest) };
    waited.map_err(Into::into)
}

/// The descriptor of a bell, to wait for.
pub fn fd(bell: &File) -> Fd {
    Fd(bell.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn what_one_mapping_stores_another_loads() {
        let file = memory(c"ringway-test", 8192).expect("a memfd");
        let all = Words::map(&file, 0, 8192, Access::Write).expect("a mapping");
        let second = Words::map(&file, 4096, 64, Access::Read).expect("a mapping");
        all[512].store(7, Ordering::Release);
        assert_eq!((second.len(), second[0].load(Ordering::Acquire)), (8, 7));
        assert!(file.set_len(4096).is_err(), "it is sealed");
    }

    #[test]
    fn nothing_is_mapped_beyond_the_file() {
        let file = memory(c"ringway-test", 4096).expect("a memfd");
        for (offset, bytes) in [(0, 8192), (4096, 8), (0, 0), (0, 9), (u64::MAX, 8)] {
            assert!(Words::map(&file, offset, bytes, Access::Read).is_err());
        }
    }

    #[test]
    fn a_bell_rings_until_it_is_hushed() {
        let bell = bell().expect("an eventfd");
        let is_ringing = || super::super::sys::is_readable(fd(&bell));
        assert!(!is_ringing());
        ring(&bell).expect("rung");
        ring(&bell).expect("rung");
        assert!(is_ringing());
        hush(&bell);
        assert!(!is_ringing());
    }
}
