//! Tensors with the same bits on every host, whatever computes them: a processor or a graphics adapter.
//!
//! A [`Tensor`] is immutable and knows its shape. Operations check shapes at once and compute nothing: they build a
//! graph, which the host computes in one call when values are asked for ([`Tensor::to_vec`], [`Tensor::read`],
//! [`Tensor::eval`]). Every tensor that the program still holds by then keeps its value, so nothing is computed twice.
//! What each operation gives, to the bit, is `spec/09-tensor.md`.
//!
//! ```
//! use samebit_sdk::tensor::{Result, Tensor};
//!
//! fn layer(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
//!     x.matmul(w)?.add(b)?.gelu()
//! }
//!
//! let x = Tensor::new(&[1.0_f32, 2.0, 3.0, 4.0], &[2, 2])?;
//! let w = Tensor::new(&[1.0_f32, 0.0, 0.0, 1.0], &[2, 2])?;
//! let b = Tensor::new(&[0.5_f32, -9.0], &[2])?;
//! let y = layer(&x, &w, &b)?;
//! assert_eq!(y.dims(), [2, 2]);
//! assert_eq!(y.relu()?.to_vec::<f32>()?[1], 0.0);
//!
//! let error = x.matmul(&Tensor::zeros(&[3, 5])?).unwrap_err();
//! assert_eq!(error.to_string(), "matmul: f32[2, 2] and f32[3, 5]: inner dimensions 2 and 3");
//! # Ok::<(), samebit_sdk::tensor::Error>(())
//! ```
//!
//! On a host the work is charged as fuel by a formula of the shapes, and what tensors hold counts against the job's
//! memory. In `cargo test` the same code runs on this machine's processor and gives the same bits.
//!
//! Weights come from files of the input without passing through the task's memory: [`Tensor::from_file`] and
//! [`Safetensors`].

mod element;
mod error;
mod graph;
#[cfg(target_family = "wasm")]
mod host;
#[cfg(not(target_family = "wasm"))]
#[path = "native.rs"]
mod host;
mod ops;
mod quantise;
mod safetensors;

pub use element::Element;
pub use error::{Error, Result};
pub use graph::{Tensor, eval};
pub use ops::Operand;
pub use quantise::{Quantised, quantise};
pub use safetensors::{Entry, Safetensors};
pub use samebit_spec::tensor::{Dtype, Window};
