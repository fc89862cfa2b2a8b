//! The bus as its users see it: between processes, and under an allocator that counts.

mod allocations;
mod fuzz_seeds;
mod memory;
mod processes;
