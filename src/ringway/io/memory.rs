//! Memory back to the system: what glibc's allocator is told at start, and what the worker tells it later.
//!
//! glibc keeps what is freed. Blocks above a threshold have a mapping of their own and go back at once, but the threshold
//! follows the largest block that was ever freed, up to 32 MiB; what lies between two blocks in use stays whatever its size.
//! So a worker fixes the threshold, and says itself when pages are to go back.
//!
//! Giving a page back costs half a microsecond and getting it again three (`results/2026-11-28-vm2-memory`): that is why
//! the worker keeps what it has needed in the last second, and gives the rest back in small steps.

/// Blocks of this size and more have mappings of their own: freeing one gives its memory back, and growing one moves page
/// table entries in place of bytes (mremap). The value that glibc starts with.
pub const MAPPED_BYTES_MIN: usize = MMAP_THRESHOLD as usize;

/// The same as glibc counts.
const MMAP_THRESHOLD: u32 = 128 << 10;

/// Fixes the allocator's thresholds for this process. Called once, before there is much in the heap.
pub fn fix_thresholds() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes no pointer; a value that is refused changes nothing. The process has one thread at this time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD.cast_signed()) };
        // What is free at the end of the heap goes back when `trim` says so, not in the middle of a turn.
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
    }
}

/// Gives every whole free page of the allocator's heap back. It walks all free blocks: microseconds when there are few,
/// and half a microsecond for each page.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Gives the whole pages of `bytes` back: they read as zero until they are written again, and cost no memory before. To be
/// used before a block is freed whose neighbours are not.
pub fn discard(bytes: &mut [u8]) {
    let page = usize::try_from(super::sys::page_bytes()).unwrap_or(usize::MAX);
    let start = bytes.as_ptr().align_offset(page).min(bytes.len());
    let len = (bytes.len() - start) / page * page;
    if len == 0 {
        return;
    }
    let pages = bytes[start..start + len].as_mut_ptr();
    // SAFETY: the pages lie within `bytes`, which is borrowed mutably, so nobody reads them meanwhile; whatever the kernel
    // puts in their place (zeros, the memory being anonymous) is a valid `u8`. An error leaves them as they are.
    unsafe { libc::madvise(pages.cast(), len, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_discarded_and_the_rest_stays() {
        let page = usize::try_from(super::super::sys::page_bytes()).expect("a few KiB");
        let mut bytes = vec![7_u8; 5 * page];
        let start = bytes.as_ptr().align_offset(page);
        let end = start + (bytes.len() - start) / page * page;
        discard(&mut bytes);
        assert!(bytes[..start].iter().all(|byte| *byte == 7));
        assert!(bytes[start..end].iter().all(|byte| *byte == 0));
        assert!(bytes[end..].iter().all(|byte| *byte == 7));
        assert!(end - start >= 4 * page);
    }

    #[test]
    fn less_than_a_page_stays_as_it_is() {
        let mut bytes = [7_u8; 100];
        discard(&mut bytes);
        assert_eq!(bytes, [7; 100]);
    }
}
