//! Every message goes back to its sender, with the same type and payload.

use crate::conn::{App, Context};
use crate::proto::Message;

/// The echo server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl App for Echo {
    type Session = ();

    #[inline(always)]
    fn message(&mut self, context: &mut Context<'_>, (): &mut (), message: Message<'_>) {
        // Refused only when this side has begun to close: then nothing may follow.
        let _ = context.reply(message);
    }
}
