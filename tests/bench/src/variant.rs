//! The ways in which a guest is run.

use crate::{
    engine::{self, Cache, Native, OnWasmi, OnWasmtime, Running, Switches},
    rewriting::Rewriting,
};
use samebit_bench_guests::Guest;
use std::{collections::BTreeMap, rc::Rc};

/// One way to run a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Variant {
    /// The module as it was built, on wasmtime: what every ratio is to.
    Plain,
    /// Rewritten as jobs are: fuel, stack, NaN.
    Samebit,
    /// wasmtime's own fuel and NaN switch: the recipe without a rewriter.
    Stock,
    /// wasmtime's own fuel.
    Fuel,
    /// wasmtime's own NaN switch.
    Nan,
    /// wasmtime's own epochs.
    Epoch,
    /// Rewritten for fuel alone.
    OurFuel,
    /// Rewritten for fuel and stack.
    OurStack,
    /// Rewritten for everything, NaN at once after each instruction.
    OurEager,
    /// Rewritten for NaN alone, made canonical where it can be seen.
    OurNan,
    /// The same Rust, built natively.
    Native,
    /// The rewritten module on wasmi.
    Wasmi,
}

impl Variant {
    pub(crate) const ALL: [Self; 12] = [
        Self::Plain,
        Self::Samebit,
        Self::Stock,
        Self::Fuel,
        Self::Nan,
        Self::Epoch,
        Self::OurFuel,
        Self::OurStack,
        Self::OurEager,
        Self::OurNan,
        Self::Native,
        Self::Wasmi,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Samebit => "samebit",
            Self::Stock => "stock",
            Self::Fuel => "fuel",
            Self::Nan => "nan",
            Self::Epoch => "epoch",
            Self::OurFuel => "our-fuel",
            Self::OurStack => "our-stack",
            Self::OurEager => "our-eager",
            Self::OurNan => "our-nan",
            Self::Native => "native",
            Self::Wasmi => "wasmi",
        }
    }

    /// How the module is rewritten before the engine sees it.
    pub(crate) fn rewriting(self) -> Option<Rewriting> {
        match self {
            Self::Samebit | Self::Wasmi => Some(Rewriting::Whole),
            Self::OurFuel => Some(Rewriting::Fuel),
            Self::OurStack => Some(Rewriting::FuelAndStack),
            Self::OurEager => Some(Rewriting::Eager),
            Self::OurNan => Some(Rewriting::Lazy),
            Self::Plain | Self::Stock | Self::Fuel | Self::Nan | Self::Epoch | Self::Native => None,
        }
    }

    /// What wasmtime is asked to do itself.
    pub(crate) fn switches(self) -> Switches {
        Switches {
            fuel: matches!(self, Self::Stock | Self::Fuel),
            nan: matches!(self, Self::Stock | Self::Nan),
            epoch: matches!(self, Self::Epoch),
            pooling: false,
        }
    }
}

/// A module, compiled for one variant.
pub(crate) enum Ready {
    Wasmtime { module: wasmtime::Module, switches: Switches, wasm_bytes: usize },
    Wasmi { module: wasmi::Module },
    Native,
}

impl Ready {
    /// An instance of a guest.
    pub(crate) fn start(&self, guest: &Guest) -> Result<Box<dyn Running>, String> {
        let export = format!("run_{}", guest.name);
        Ok(match self {
            Self::Wasmtime { module, switches, .. } => Box::new(OnWasmtime::new(module, *switches, &export)?),
            Self::Wasmi { module } => Box::new(OnWasmi::new(module, &export)?),
            Self::Native => Box::new(Native(guest.native)),
        })
    }
}

/// Rewrites and compiles `bytes` for each variant.
pub(crate) fn prepare(bytes: &[u8], variants: &[Variant], cache: &Cache) -> Result<BTreeMap<Variant, Ready>, String> {
    let mut rewritten: BTreeMap<Rewriting, Rc<Vec<u8>>> = BTreeMap::new();
    let mut ready = BTreeMap::new();
    for variant in variants {
        let bytes = match variant.rewriting() {
            None => Rc::new(bytes.to_vec()),
            Some(rewriting) => match rewritten.get(&rewriting) {
                Some(done) => Rc::clone(done),
                None => {
                    let done = Rc::new(rewriting.apply(bytes)?);
                    rewritten.insert(rewriting, Rc::clone(&done));
                    done
                }
            },
        };
        let one = match variant {
            Variant::Native => Ready::Native,
            Variant::Wasmi => Ready::Wasmi { module: engine::translate(&bytes)? },
            _ => {
                let engine = engine::engine(variant.switches())?;
                let module =
                    engine::compile(&engine, &bytes, cache).map_err(|error| format!("{}: {error}", variant.name()))?;
                Ready::Wasmtime { module, switches: variant.switches(), wasm_bytes: bytes.len() }
            }
        };
        ready.insert(*variant, one);
    }
    Ok(ready)
}
