//! RFC 6455 as a state machine.
#![forbid(unsafe_code)]
