//! The rewriter, with parts of it switched off.

use samebit_rewrite::{Nan, Settings, prepare_library};
use samebit_spec::fuel::FuelTable;

pub(crate) use samebit_rewrite::{EXPORT_FUEL, EXPORT_HALT, EXPORT_PAGES, EXPORT_START};

/// The table that jobs are metered by.
pub(crate) const TABLE: FuelTable = Settings::PROFILE.fuel;

/// What of the rewriter is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rewriting {
    /// Everything, as for jobs.
    Whole,
    /// Fuel.
    Fuel,
    /// Fuel and stack height.
    FuelAndStack,
    /// Everything, NaN made canonical at once.
    Eager,
    /// NaN alone, made canonical where it can be seen.
    Lazy,
}

impl Rewriting {
    /// Rewrites a module that is no task: every exported function is an entry.
    pub(crate) fn apply(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let whole = Settings::PROFILE;
        let settings = match self {
            Self::Whole => whole,
            Self::Fuel => Settings { stack: false, nan: Nan::Keep, ..whole },
            Self::FuelAndStack => Settings { nan: Nan::Keep, ..whole },
            Self::Eager => Settings { nan: Nan::Eager, ..whole },
            Self::Lazy => Settings { meter: false, stack: false, ..whole },
        };
        rewrite(bytes, &settings)
    }
}

/// Rewrites a module so that its fuel is what `table` says.
pub(crate) fn metered(bytes: &[u8], table: &FuelTable) -> Result<Vec<u8>, String> {
    rewrite(bytes, &Settings { fuel: *table, nan: Nan::Keep, ..Settings::PROFILE })
}

fn rewrite(bytes: &[u8], settings: &Settings) -> Result<Vec<u8>, String> {
    prepare_library(bytes, settings).map(|done| done.bytes).map_err(|refusal| format!("refused: {refusal}"))
}
