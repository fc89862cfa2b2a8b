//! Armed operations, and prepared ones.

use std::collections::VecDeque;

use super::super::{BufferId, Completion, Errno, Fd, Segment, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Listen,
    PollIn,
    PollOut,
    Recv,
}

/// An operation, from the turn that submits it until its last completion is delivered.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) token: Token,
    pub(super) fd: Fd,
    pub(super) kind: Kind,
    /// A cancellation has reached it.
    pub(super) cancelled: bool,
    /// Its last completion is in `completions`.
    pub(super) ended: bool,
    /// Completions that were not delivered yet, in order.
    pub(super) completions: VecDeque<Completion>,
}

impl Operation {
    pub(super) const fn new(token: Token, fd: Fd, kind: Kind) -> Self {
        Self {
            token,
            fd,
            kind,
            cancelled: false,
            ended: false,
            completions: VecDeque::new(),
        }
    }

    /// Completes once more, with `more` or for the last time.
    pub(super) fn complete(
        &mut self,
        result: Result<u32, Errno>,
        buffer: Option<BufferId>,
        more: bool,
    ) {
        assert!(!self.ended, "nothing completes after its end");
        self.ended = !more;
        self.completions.push_back(Completion {
            token: self.token,
            result,
            buffer,
            more,
        });
    }

    /// Completes for the last time, without a buffer.
    pub(super) fn end(&mut self, result: Result<u32, Errno>) {
        self.complete(result, None, false);
    }
}

/// An operation prepared since the last turn.
#[derive(Debug)]
pub(super) enum Submission {
    Arm(Operation),
    Cancel(Token),
    Send {
        token: Token,
        fd: Fd,
        segments: Vec<Segment>,
    },
}
