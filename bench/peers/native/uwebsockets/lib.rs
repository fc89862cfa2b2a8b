//! Only a manifest: it pins the crate that carries the C++ sources of uWebSockets.
