//! Blocks of memory that a thread keeps for whichever connection reads or writes next. So an idle connection holds none, and a
//! busy one does not allocate for each message.
//!
//! Owns: up to [`KEPT_MAX`] blocks per thread that no connection holds. Never: has bytes of a connection in them.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes of a block.
pub(crate) const BYTES: usize = 8 << 10;

/// Blocks that a thread keeps: one for reading, and one for writing.
const KEPT_MAX: usize = 2;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty block.
pub(crate) fn take() -> BytesMut {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(BYTES))
}

/// Keeps what was a block, unless a message still holds a part of it.
pub(crate) fn give(mut block: BytesMut) {
    block.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX && block.try_reclaim(BYTES) && block.capacity() == BYTES {
            kept.push(block);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf as _;

    #[test]
    fn a_block_comes_back_whole_unless_a_message_holds_a_part_of_it() {
        let mut block = take();
        let lies_at = block.as_ptr();
        block.extend_from_slice(b"read");
        block.advance(3);
        give(block);
        let mut again = take();
        assert_eq!(
            (again.as_ptr(), again.len(), again.capacity()),
            (lies_at, 0, BYTES)
        );
        again.extend_from_slice(b"read");
        let message = again.split_to(2).freeze();
        give(again);
        assert_ne!(take().as_ptr(), lies_at);
        assert_eq!(message, "re");
    }

    #[test]
    fn what_is_larger_and_what_is_too_much_is_freed() {
        give(BytesMut::with_capacity(2 * BYTES));
        assert_eq!(KEPT.with_borrow(Vec::len), 0);
        for _ in 0..KEPT_MAX + 1 {
            give(BytesMut::with_capacity(BYTES));
        }
        assert_eq!(KEPT.with_borrow(Vec::len), KEPT_MAX);
    }
}
