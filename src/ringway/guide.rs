//! The guide: from an empty folder to a running chat, and then subject by subject.
//!
//! | page | what it is about |
//! |---|---|
//! | [chat] | a tutorial: everything that you type, and a running chat at the end |
//! | [servers] | where a server listens, processes and threads, services by path, pages |
//! | [receiving] | messages, frames, pieces, Pings, pausing |
//! | [sending] | to this connection, to others, to topics; back-pressure; closing |
//! | [lifecycle] | opening, time-outs, the end |
//! | [clients] | the client's role |
//! | [options] | limits, and what they were called elsewhere |
//!
//! This module has no code; its examples are compiled and run by the tests of the documentation.

#![forbid(unsafe_code)]

pub mod chat {
    #![doc = include_str!("guide/chat.md")]
}
pub mod servers {
    #![doc = include_str!("guide/servers.md")]
}
pub mod receiving {
    #![doc = include_str!("guide/receiving.md")]
}
pub mod sending {
    #![doc = include_str!("guide/sending.md")]
}
pub mod lifecycle {
    #![doc = include_str!("guide/lifecycle.md")]
}
pub mod clients {
    #![doc = include_str!("guide/clients.md")]
}
pub mod options {
    #![doc = include_str!("guide/options.md")]
}
