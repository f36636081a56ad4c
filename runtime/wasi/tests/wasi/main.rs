//! Preview1 as a guest meets it: each test drives [`samebit_wasi::Wasi`] through a guest memory of its own.

mod descriptors;
mod files;
mod limits;
mod properties;
mod roots;
mod support;
mod world;
