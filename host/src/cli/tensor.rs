//! Who computes tensors in a run on this machine. No outcome depends on it.

use crate::{exit::Exit, report::Failure};
use samebit_runtime::{Backend, Cpu, Oracle};
use std::{str::FromStr, sync::Arc};

/// What `--tensor-backend` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TensorBackend {
    /// The processor, fast.
    #[default]
    Cpu,
    /// The processor, as the specification words it: slow.
    Oracle,
    /// The graphics adapter of this number.
    Gpu(u32),
}

impl FromStr for TensorBackend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("no tensor backend {text:?}, there are cpu, oracle, gpu and gpu:N");
        match (text, text.strip_prefix("gpu:")) {
            ("cpu", _) => Ok(Self::Cpu),
            ("oracle", _) => Ok(Self::Oracle),
            ("gpu", _) => Ok(Self::Gpu(0)),
            (_, Some(number)) => number.parse().map(Self::Gpu).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl TensorBackend {
    /// Sets it up.
    ///
    /// # Errors
    /// [`Failure`] when this machine or this build has no such backend.
    pub(super) fn open(self) -> Result<Arc<dyn Backend>, Failure> {
        match self {
            Self::Cpu => Ok(Arc::new(Cpu)),
            Self::Oracle => Ok(Arc::new(Oracle)),
            Self::Gpu(number) => Err(Failure::new(
                Exit::Environment,
                format!("tensor backend gpu:{number}: this program was built without graphics adapters"),
            )
            .help("`--tensor-backend cpu` gives the same bits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_by_what_computes_and_an_adapter_by_its_number() {
        assert_eq!("cpu".parse(), Ok(TensorBackend::Cpu));
        assert_eq!("oracle".parse(), Ok(TensorBackend::Oracle));
        assert_eq!("gpu".parse(), Ok(TensorBackend::Gpu(0)));
        assert_eq!("gpu:3".parse(), Ok(TensorBackend::Gpu(3)));
        for wrong in ["gpu:", "gpu:x", "tpu", ""] {
            let refused = wrong.parse::<TensorBackend>().expect_err("no backend");
            assert!(refused.contains("cpu, oracle, gpu"), "{refused}");
        }
        let refused = TensorBackend::Gpu(1).open().expect_err("none is built in");
        assert!(refused.what.contains("gpu:1"), "{}", refused.what);
    }
}
