//! The integration tests, in one program, so that the library is linked once.
//!
//! `tests/allocations.rs` is a program of its own because it replaces the allocator.

mod common;

mod access;
mod addresses;
mod asking;
mod backplane;
mod bad_frames;
mod bad_input;
mod balance;
mod broadcast;
mod bzip2_snappy;
mod certificates;
mod cli;
mod client_role;
mod closing;
mod compat;
mod control;
mod counters;
mod deflate;
mod driver;
mod environment;
mod examples;
mod faults;
mod forward;
mod fragments;
mod frame_log;
mod fuzz_corpora;
mod gateway;
mod http;
mod http_client;
mod library;
mod lives;
mod load;
mod login_oidc;
mod memory;
mod observer;
mod opening;
mod pubsub;
mod scenarios;
mod session_log;
mod signals;
mod streaming;
mod supervision;
mod targets;
mod tidy;
mod tls;
mod tune;
mod tune_bench;
mod web;
mod websockify;
mod wsperf;
