//! The library that a wrapped program is started with (`LD_PRELOAD`): it stands before the libc's `bind`.
//!
//! Owns: the decision which sockets it looks at. What becomes of an address is in `address.rs`. Never: keeps state, allocates, or touches
//! a socket that is not TCP or asks for another port.
//!
//! The port that the program gets is held by the gateway with a socket that does not listen. Linux lets a second socket bind it if both
//! have `SO_REUSEADDR`, so the program's socket gets that option first.

#![no_std]

mod address;

use core::ffi::{CStr, c_char, c_int, c_void};

use address::{ADDRESS_BYTES_MAX, Ports, VARIABLE, moved};

#[cfg(any(target_arch = "mips64", target_arch = "sparc64"))]
compile_error!("these systems have other numbers for the options below");

const SOL_SOCKET: c_int = 1;
const SO_REUSEADDR: c_int = 2;
const SO_TYPE: c_int = 3;
const SOCK_STREAM: c_int = 1;
const IPPROTO_IPV6: c_int = 41;
const IPV6_V6ONLY: c_int = 26;

/// `RTLD_NEXT`: the function of this name in what was loaded behind this library.
const NEXT: *mut c_void = core::ptr::without_provenance_mut(usize::MAX);

type Bind = unsafe extern "C" fn(c_int, *const c_void, u32) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getenv(name: *const c_char) -> *const c_char;
    fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        len: *mut u32,
    ) -> c_int;
    fn setsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        len: u32,
    ) -> c_int;
}

/// bind(2), with one port moved.
///
/// # Safety
/// As of bind(2): `address` is null or points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(socket: c_int, address: *const c_void, len: u32) -> c_int {
    // SAFETY: the name ends in NUL, and dlsym keeps no pointer.
    let next = unsafe { dlsym(NEXT, c"bind".as_ptr()) };
    if next.is_null() {
        return -1; // every libc has it
    }
    // SAFETY: what is called bind behind this library is bind(2) of the libc, or of another library that stands before it.
    let next = unsafe { core::mem::transmute::<*mut c_void, Bind>(next) };
    // SAFETY: the caller's promise.
    let moved = unsafe { ours(socket, address, len) };
    match moved {
        Some((moved, len)) => {
            set_reuse_address(socket);
            // SAFETY: `moved` is a live array of at least `len` bytes.
            unsafe { next(socket, moved.as_ptr().cast(), len) }
        }
        // SAFETY: the caller's promise.
        None => unsafe { next(socket, address, len) },
    }
}

/// The address in the place of one that is moved.
///
/// # Safety
/// As of [`bind`].
unsafe fn ours(
    socket: c_int,
    address: *const c_void,
    len: u32,
) -> Option<([u8; ADDRESS_BYTES_MAX], u32)> {
    if address.is_null() {
        return None;
    }
    let len = usize::try_from(len).ok()?.min(ADDRESS_BYTES_MAX);
    // SAFETY: the caller promises that so many bytes are there.
    let bytes = unsafe { core::slice::from_raw_parts(address.cast::<u8>(), len) };
    let ports = ports()?;
    let only_v6 = option(socket, IPPROTO_IPV6, IPV6_V6ONLY) == Some(1);
    let (moved, len) = moved(bytes, ports, only_v6)?;
    if option(socket, SOL_SOCKET, SO_TYPE) != Some(SOCK_STREAM) {
        return None;
    }
    Some((moved, u32::try_from(len).ok()?))
}

fn ports() -> Option<Ports> {
    // SAFETY: the name ends in NUL, and getenv keeps no pointer.
    let value = unsafe { getenv(VARIABLE.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: what getenv returns ends in NUL, and is there until the environment changes; it is read at once.
    let value = unsafe { CStr::from_ptr(value) };
    Ports::parse(value.to_bytes())
}

/// An integer option of a socket. `None`: this socket has no such option.
fn option(socket: c_int, level: c_int, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut len = 4_u32;
    // SAFETY: `value` is a live integer of four bytes, as `len` says; no pointer is kept.
    let result = unsafe { getsockopt(socket, level, name, (&raw mut value).cast(), &raw mut len) };
    (result == 0).then_some(value)
}

fn set_reuse_address(socket: c_int) {
    let on: c_int = 1;
    // SAFETY: `on` is a live integer of four bytes; no pointer is kept. If it fails, so does bind, and says why.
    unsafe { setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, (&raw const on).cast(), 4) };
}

/// Nothing here panics; the compiler wants an answer.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
