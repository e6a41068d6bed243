//! Users' policies: WebAssembly modules that choose endpoints.
//!
//! Three parts that meet only by messages:
//!
//! * the [`keeper`], on a thread of its own, follows the world, has modules fetched and compiled ([`modules`]) and makes
//!   instances ([`fit`]) for each cell of each worker;
//! * each worker has a [`seat`] per cell, in which instances are put, and asks them ([`fitted`]) when it picks;
//! * the [`record`] of each program, shared by both, counts its faults and says when it is to be left alone.
//!
//! The last picks are remembered ([`past`]), and on request ([`wishes`]) all that an instance is given and answers is written down
//! ([`recording`]).
//!
//! A pick takes no lock and waits for nothing. Whatever goes wrong with a policy, the built-in one answers.

mod explain;
pub mod fit;
pub mod fitted;
pub mod keeper;
pub mod modules;
pub mod notes;
pub mod orca;
pub mod past;
pub mod peers;
pub mod question;
pub mod record;
pub mod recording;
pub mod seat;
pub mod slots;
pub mod stats;
pub mod status;
pub mod ticket;
pub mod wishes;
