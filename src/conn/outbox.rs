//! What the connections of one turn want to send from shared buffers: lists of segments, one per connection, in memory
//! that is reused turn after turn.
//!
//! Two generations: the one being filled, and the one that was handed to the kernel by the last turn. The latter is kept
//! until the sends that were not taken whole have been copied to their connections' queues.

use crate::io::Segment;

/// A connection's list in the outbox; it counts only in the turn that it was made in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    turn: u64,
    first: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    segment: Segment,
    next: Option<u32>,
}

/// Segments of this turn and of the last one.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    filling: Vec<Node>,
    sent: Vec<Node>,
    turn: u64,
    /// Octets of scratch space in use.
    pub(super) scratch: usize,
}

impl Outbox {
    pub(super) fn new() -> Self {
        // Turn 0 is "never", so that a new connection's list is empty.
        Self { turn: 2, ..Self::default() }
    }

    /// Appends to a connection's list. True when the list was empty.
    pub(super) fn push(&mut self, list: &mut List, segment: Segment) -> bool {
        let index = u32::try_from(self.filling.len()).expect("a turn has fewer than 2^32 segments");
        let fresh = list.turn != self.turn;
        if fresh {
            *list = List { turn: self.turn, first: index, last: index };
        } else {
            let last = &mut self.filling[list.last as usize];
            let end = last.segment.start + last.segment.len;
            if last.segment.buffer == segment.buffer && end == segment.start {
                last.segment.len += segment.len;
                return false;
            }
            last.next = Some(index);
            list.last = index;
        }
        self.filling.push(Node { segment, next: None });
        fresh
    }

    pub(super) const fn is_empty(&self, list: &List) -> bool {
        list.turn != self.turn
    }

    /// The segments of a connection's list in this turn.
    pub(super) fn segments(&self, list: &List) -> impl Iterator<Item = Segment> {
        let first = (list.turn == self.turn).then_some(list.first);
        walk(&self.filling, first)
    }

    /// The segments that the last turn handed to the kernel for this connection.
    pub(super) fn sent_segments(&self, list: &List) -> impl Iterator<Item = Segment> {
        let first = (list.turn + 1 == self.turn).then_some(list.first);
        walk(&self.sent, first)
    }

    /// Forgets a list whose segments were sent or copied.
    pub(super) fn clear(&self, list: &mut List) {
        *list = List::default();
    }

    /// The turn is over: what was filled is now sent.
    pub(super) fn next_turn(&mut self) {
        std::mem::swap(&mut self.filling, &mut self.sent);
        self.filling.clear();
        self.scratch = 0;
        self.turn += 1;
    }
}

fn walk(nodes: &[Node], first: Option<u32>) -> impl Iterator<Item = Segment> {
    let node = move |index: u32| &nodes[index as usize];
    std::iter::successors(first.map(node), move |at| at.next.map(node)).map(|at| at.segment)
}
