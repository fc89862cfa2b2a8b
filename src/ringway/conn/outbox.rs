//! Segments in shared buffers that the connections send in this turn: one list per connection. Every turn reuses the
//! memory.
//!
//! There are two generations: this turn's lists, and the lists that the last turn handed to the kernel. The latter are
//! kept until the rest of each partial send has been copied to its connection's queue.

use crate::io::Segment;

/// What some outgoing bytes are. Lost messages count as drops; lost control frames and HTTP do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carries {
    /// HTTP, or control frames.
    #[default]
    Control,
    /// Messages, perhaps with control frames between them.
    Messages,
}

impl Carries {
    /// The kind of both together.
    pub(crate) const fn and(self, other: Self) -> Self {
        match self {
            Self::Control => other,
            Self::Messages => Self::Messages,
        }
    }
}

/// A connection's list in the outbox. It is valid only in the turn in which it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct List {
    turn: u64,
    first: u32,
    last: u32,
    /// The list was handed to the kernel.
    submitted: bool,
    pub(crate) carries: Carries,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    segment: Segment,
    next: Option<u32>,
}

/// The segments of this turn and of the last one.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    filling: Vec<Node>,
    sent: Vec<Node>,
    turn: u64,
    /// Bytes of scratch space in use.
    pub(crate) scratch: usize,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        // Turn 0 means "never", so that a new connection's list is empty.
        Self {
            turn: 2,
            ..Self::default()
        }
    }

    /// Appends a segment to a connection's list. Returns whether the list was empty.
    pub(crate) fn push(&mut self, list: &mut List, segment: Segment, carries: Carries) -> bool {
        let index = u32::try_from(self.filling.len()).expect("a turn has fewer than 2^32 segments");
        let fresh = list.turn != self.turn;
        if fresh {
            *list = List {
                turn: self.turn,
                first: index,
                last: index,
                submitted: false,
                carries,
            };
        } else {
            list.carries = list.carries.and(carries);
            let last = &mut self.filling[list.last as usize];
            let end = last.segment.start + last.segment.len;
            if last.segment.buffer == segment.buffer && end == segment.start {
                last.segment.len += segment.len;
                return false;
            }
            last.next = Some(index);
            list.last = index;
        }
        self.filling.push(Node {
            segment,
            next: None,
        });
        fresh
    }

    /// Whether the list has segments that are neither sent nor handed to the kernel.
    pub(crate) const fn is_pending(&self, list: &List) -> bool {
        list.turn == self.turn && !list.submitted
    }

    /// The segment of a connection's list in this turn, if there is exactly one.
    #[inline]
    pub(crate) fn only_pending(&self, list: &List) -> Option<Segment> {
        let one = self.is_pending(list) && list.first == list.last;
        one.then(|| self.filling[list.first as usize].segment)
    }

    /// The segments of a connection's list in this turn.
    pub(crate) fn pending<'a>(&'a self, list: &List) -> impl Iterator<Item = Segment> + use<'a> {
        walk(&self.filling, self.is_pending(list).then_some(list.first))
    }

    /// The segments that the last turn handed to the kernel for this connection.
    pub(crate) fn submitted<'a>(&'a self, list: &List) -> impl Iterator<Item = Segment> + use<'a> {
        walk(
            &self.sent,
            (list.turn + 1 == self.turn && list.submitted).then_some(list.first),
        )
    }

    /// Marks the list as handed to the kernel. It is kept for one turn.
    pub(crate) const fn submit(list: &mut List) {
        list.submitted = true;
    }

    /// Removes all but the first `count` segments of a pending list. `count` is not 0.
    pub(crate) fn truncate(&mut self, list: &mut List, count: usize) {
        let mut at = list.first;
        for _ in 1..count {
            match self.filling[at as usize].next {
                Some(next) => at = next,
                None => return,
            }
        }
        self.filling[at as usize].next = None;
        list.last = at;
    }

    /// Empties a list whose segments were sent or copied.
    pub(crate) fn clear(list: &mut List) {
        *list = List::default();
    }

    /// Shrinks the memory to the room of `segments`. Returns how many bytes were freed.
    pub(crate) fn shrink(&mut self, segments: usize) -> usize {
        let shrink = |nodes: &mut Vec<Node>| {
            let before = nodes.capacity();
            nodes.shrink_to(segments);
            (before - nodes.capacity()) * size_of::<Node>()
        };
        shrink(&mut self.filling) + shrink(&mut self.sent)
    }

    /// Begins a turn: the lists of the last one are now with the kernel.
    pub(crate) fn next_turn(&mut self) {
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
