//! Applications that come with Ringway.

mod echo;

pub use echo::Echo;
