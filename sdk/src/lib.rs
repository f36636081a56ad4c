//! Write Samebit tasks in Rust.
//!
//! A task is a function, or a stepped struct, with typed input and output. It is compiled to `wasm32-wasip1` as a
//! `cdylib`; the attribute [`task`] makes the exports that a host calls (`spec/03-execution.md`, section 3). On every
//! other target the code is left as it is, so that `cargo test` runs the same code on typed values, and [`native`]
//! runs it on folders as a host would.
//!
//! Projects name this crate `samebit`:
//!
//! ```toml
//! samebit = { package = "samebit-sdk", path = "vendor/samebit-sdk" }
//! ```
//!
//! ```
//! # use samebit_sdk as samebit;
//! /// Greets.
//! #[samebit::task]
//! fn hello(name: String) -> String {
//!     format!("Hello, {name}!")
//! }
//! # assert_eq!(hello("Ada".into()), "Hello, Ada!");
//! ```
//!
//! # What a task sees
//! - `/in`, read-only: the job's input tree, [`input_dir`]. The file `input` in it is the typed input, as JSON.
//! - `/out`: what the task writes there is its output, [`output_dir`]. The typed result is the file `result`, as JSON.
//! - Arguments, environment, stdin and stdout as any WASI program. stderr is for people and no part of the output.
//! - A clock that counts the task's own work, not time.
//! - Randomness that follows from the job's seed. The seed is public, and every replica of a run gets the same bytes:
//!   good for sampling and hash maps, useless for secrets.
//!
//! # How a task fails
//! An `Err` is printed to stderr and ends the task as *failed*; a panic prints its message and traps. Both are results
//! like any other: the same on every honest host, and paid.
//!
//! # Tensors
//! With the feature `tensor`, `samebit_sdk::tensor` computes on the host's processor or graphics adapter, with the
//! same bits on each.
//!
//! # Steps
//! A host commits to the task's whole state after every step, and a dispute is settled by re-running one step. So a
//! step is as much work as anyone would like to repeat, about a second, and never more than the step budget. See
//! [`Steps`], [`progress`] to say how far it is, and [`Pieces`] for work that comes as an iterator or in chunks of the input: it steps by itself.

mod error;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;
mod io;
#[cfg(not(target_family = "wasm"))]
pub mod native;
mod pieces;
mod progress;
mod steps;
#[cfg(feature = "tensor")]
pub mod tensor;

pub use error::TaskError;
pub use io::{input_dir, output_dir};
pub use pieces::{Chunks, Pace, Pieces};
pub use progress::progress;
pub use samebit_sdk_macros::task;
pub use serde;
pub use steps::{Step, Steps};
