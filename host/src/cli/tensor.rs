//! Who computes tensors on this machine, in a run or for a host. No outcome depends on it.

use crate::{exit::Exit, report::Failure};
use samebit_gpu::{Adapter, Checked, Gpu, Options, adapters};
use samebit_runtime::{Backend, Cpu, Oracle};
use samebit_spec::offer::{AdapterClass, AdapterOffer, Kinds};
use std::{fmt, path::Path, str::FromStr, sync::Arc};

/// Of how many runs on an adapter one is computed again on the processor.
const CHECKED: u64 = 64;

/// What `--tensor-backend` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TensorBackend {
    /// The processor, fast.
    #[default]
    Cpu,
    /// The processor, as the specification words it: slow.
    Oracle,
    /// The graphics adapter of this number.
    Gpu(u32),
    /// The first graphics adapter with hardware behind it that offers everything, or else the processor.
    Auto,
}

impl FromStr for TensorBackend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("no tensor backend {text:?}, there are cpu, oracle, gpu, gpu:N and auto");
        match (text, text.strip_prefix("gpu:")) {
            ("cpu", _) => Ok(Self::Cpu),
            ("oracle", _) => Ok(Self::Oracle),
            ("gpu", _) => Ok(Self::Gpu(0)),
            ("auto", _) => Ok(Self::Auto),
            (_, Some(number)) => number.parse().map(Self::Gpu).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// What a host computes tensors with. The oracle is for looking, not for earning.
pub fn of_a_host(text: &str) -> Result<TensorBackend, String> {
    match text.parse()? {
        TensorBackend::Oracle => Err("a host computes on cpu, gpu, gpu:N or auto".to_owned()),
        backend => Ok(backend),
    }
}

/// What an adapter offers: nothing when it passed the gate for nothing.
pub(super) fn offered(adapter: &Adapter, gpu: &Gpu) -> Option<AdapterOffer> {
    let class = match (adapter.is_software(), adapter.has_own_memory()) {
        (true, _) => AdapterClass::Software,
        (false, false) => AdapterClass::Integrated,
        (false, true) => AdapterClass::Discrete,
    };
    let kinds = gpu.capabilities().into_iter().filter_map(|capability| Kinds::named(capability.name()));
    let kinds = kinds.fold(Kinds::default(), Kinds::with);
    kinds.is_sound().then_some(AdapterOffer { class, kinds })
}

impl fmt::Display for TensorBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Oracle => f.write_str("oracle"),
            Self::Gpu(number) => write!(f, "gpu:{number}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl TensorBackend {
    /// Sets it up; what the gate found of an adapter is kept below `home`, if there is one.
    ///
    /// # Errors
    /// [`Failure`] when this machine has no such backend, or the adapter cannot be opened.
    pub fn open(self, home: Option<&Path>) -> Result<Arc<dyn Backend>, Failure> {
        self.open_offering(home).map(|(backend, _)| backend)
    }

    /// The same, with the adapter that a host may offer.
    ///
    /// # Errors
    /// As [`TensorBackend::open`].
    pub fn open_offering(self, home: Option<&Path>) -> Result<(Arc<dyn Backend>, Option<AdapterOffer>), Failure> {
        let options = Options { gate_folder: home.map(|home| home.join(super::GATES)), ..Options::default() };
        match self {
            Self::Cpu => Ok((Arc::new(Cpu), None)),
            Self::Oracle => Ok((Arc::new(Oracle), None)),
            Self::Auto => {
                for adapter in adapters().iter().filter(|adapter| !adapter.is_software()) {
                    let Ok(gpu) = Gpu::open(adapter, options.clone()) else { continue };
                    if let Some(offer) = offered(adapter, &gpu).filter(|offer| offer.kinds == Kinds::ALL) {
                        return Ok((Arc::new(Checked::new(gpu, CHECKED)), Some(offer)));
                    }
                }
                Ok((Arc::new(Cpu), None))
            }
            Self::Gpu(number) => {
                let failed = |reason: String| {
                    Failure::new(Exit::Environment, format!("tensor backend gpu:{number}: {reason}"))
                        .help("`--tensor-backend cpu` gives the same bits; `samebit doctor` lists adapters")
                };
                let adapters = adapters();
                let adapter = usize::try_from(number).ok().and_then(|number| adapters.get(number));
                let adapter = adapter.ok_or_else(|| failed(format!("this machine has {} adapters", adapters.len())))?;
                let gpu = Gpu::open(adapter, options).map_err(|error| failed(error.to_string()))?;
                let offer = offered(adapter, &gpu);
                Ok((Arc::new(Checked::new(gpu, CHECKED)), offer))
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
        assert_eq!("auto".parse(), Ok(TensorBackend::Auto));
        assert_eq!(of_a_host("gpu:1").map(|backend| backend.to_string()), Ok("gpu:1".to_owned()));
        assert!(of_a_host("oracle").is_err());
        for wrong in ["gpu:", "gpu:x", "tpu", ""] {
            let refused = wrong.parse::<TensorBackend>().expect_err("no backend");
            assert!(refused.contains("cpu, oracle, gpu"), "{refused}");
        }
        let refused = TensorBackend::Gpu(u32::MAX).open(None).expect_err("there are not as many");
        assert!(refused.what.contains("gpu:4294967295"), "{}", refused.what);
    }
}
