//! Giving memory back to the kernel: the settings of glibc's allocator at start, and the calls of the worker later.
//!
//! glibc keeps freed memory. Most blocks above a threshold have mappings of their own and go back at once, but the
//! threshold rises to the largest block that was ever freed, up to 32 MiB. A free block between two used ones stays,
//! whatever its size. So a worker fixes the threshold, and returns pages itself.
//!
//! Returning a page costs 0.5 µs, and getting it again 3 µs (`results/2026-11-28-vm2-memory`). So the worker keeps what
//! it has needed in the last second, and returns the rest in small steps.

/// Smallest block, in bytes, that gets a mapping of its own when no free block of the heap is large enough. Freeing such
/// a block returns its memory, and growing it moves page table entries instead of bytes (mremap). 128 KiB is the value
/// that glibc starts with.
const MMAP_THRESHOLD: libc::c_int = 128 << 10;

/// Fixes the allocator's thresholds for this process. To be called once, at start, while the heap is small.
pub fn fix_thresholds() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes no pointer; a value that is refused changes nothing. The process has one thread at this time.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD) };
        // Free memory at the end of the heap goes back when `trim` is called, and never in the middle of a turn.
        // SAFETY: as above.
        unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
    }
}

/// Returns every whole free page of the allocator's heap to the kernel. It walks all free blocks: microseconds when there
/// are few, and 0.5 µs for each page.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Returns the whole pages in `bytes` to the kernel: they read as zero from then on, and cost no memory until they are
/// written. For a block that is about to be freed while its neighbours stay in use.
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
