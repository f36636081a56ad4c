//! Who computes tensors in a run on this machine. No outcome depends on it.

use crate::{exit::Exit, report::Failure};
use samebit_gpu::{Checked, Gpu, Options, adapters};
use samebit_runtime::{Backend, Cpu, Oracle};
use std::{path::Path, str::FromStr, sync::Arc};

/// Of how many runs on an adapter one is computed again on the processor.
const CHECKED: u64 = 64;

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
    /// Sets it up; what the gate found of an adapter is kept below `home`, if there is one.
    ///
    /// # Errors
    /// [`Failure`] when this machine has no such backend, or the adapter cannot be opened.
    pub(super) fn open(self, home: Option<&Path>) -> Result<Arc<dyn Backend>, Failure> {
        match self {
            Self::Cpu => Ok(Arc::new(Cpu)),
            Self::Oracle => Ok(Arc::new(Oracle)),
            Self::Gpu(number) => {
                let failed = |reason: String| {
                    Failure::new(Exit::Environment, format!("tensor backend gpu:{number}: {reason}"))
                        .help("`--tensor-backend cpu` gives the same bits; `samebit doctor` lists adapters")
                };
                let adapters = adapters();
                let adapter = usize::try_from(number).ok().and_then(|number| adapters.get(number));
                let adapter = adapter.ok_or_else(|| failed(format!("this machine has {} adapters", adapters.len())))?;
                let options = Options { gate_folder: home.map(|home| home.join(super::GATES)), ..Options::default() };
                let gpu = Gpu::open(adapter, options).map_err(|error| failed(error.to_string()))?;
                Ok(Arc::new(Checked::new(gpu, CHECKED)))
            }
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
        let refused = TensorBackend::Gpu(u32::MAX).open(None).expect_err("there are not as many");
        assert!(refused.what.contains("gpu:4294967295"), "{}", refused.what);
    }
}
