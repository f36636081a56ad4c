//! What a host's machine can be asked for, and what an order asks beyond its limits (`spec/02-job.md`, sections 5 and 6).
//!
//! Both are statements on the ledger: an [`Offer`] of the host, [`Needs`] of the buyer. [`lack`] compares them and decides
//! nothing else. Nothing here measures a machine, and no outcome depends on any of it.

use crate::{
    execution::{Profile, TensorOps},
    job::JobSpec,
    param,
    task::TaskManifest,
    tensor::host,
    unit::Bytes,
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::fmt;

/// Which products an adapter has shown to compute with the oracle's bits: a sum of the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Kinds(pub u8);

impl Kinds {
    /// Everything but the two below.
    pub const F32: Self = Self(1);
    /// `MatMul` of `f16`.
    pub const F16: Self = Self(2);
    /// `MatMulInteger`.
    pub const I8: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    const NAMED: [(&'static str, Self); 3] = [("f32", Self::F32), ("f16", Self::F16), ("i8", Self::I8)];

    /// Whether at least one is there, and none that this version does not know.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.0 != 0 && self.0 & !Self::ALL.0 == 0
    }

    /// Whether every one of `other` is there.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The one of this name: `f32`, `f16`, `i8`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (name, _) in Self::NAMED.iter().filter(|(_, kind)| self.covers(*kind)) {
            write!(f, "{between}{name}")?;
            between = ", ";
        }
        Ok(())
    }
}

/// What an adapter is, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum AdapterClass {
    /// A processor plays the GPU.
    Software,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU with memory of its own.
    Discrete,
}

impl fmt::Display for AdapterClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "an adapter in software",
            Self::Integrated => "a GPU",
            Self::Discrete => "a GPU with memory of its own",
        })
    }
}

/// The adapter that a host computes tensors on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct AdapterOffer {
    /// What it is.
    pub class: AdapterClass,
    /// What it passed the gate for.
    pub kinds: Kinds,
}

impl fmt::Display for AdapterOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.class, self.kinds)
    }
}

/// What a run may ask of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// The semantics that it runs.
    pub profile: Profile,
    /// Linear memory and live tensors of a run.
    pub memory: Bytes,
    /// Files that a run writes.
    pub files: Bytes,
    /// A run's stdout.
    pub stdout: Bytes,
    /// Files of a unit's input.
    pub inputs: Bytes,
    /// The latest version of tensor operations that it computes; 0: none.
    pub tensor_ops: TensorOps,
    /// What it computes them on, if not the processor.
    pub adapter: Option<AdapterOffer>,
}

/// A host's offer unless it is told otherwise: the processor.
impl Default for Offer {
    fn default() -> Self {
        Self {
            profile: Profile::Samebit1,
            memory: param::OFFERED_MEMORY_DEFAULT,
            files: param::OFFERED_FILES_DEFAULT,
            stdout: param::STDOUT_MAX,
            inputs: param::INPUTS_MAX,
            tensor_ops: TensorOps(host::VERSION),
            adapter: None,
        }
    }
}

/// What must compute an order's tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum TensorNeed {
    /// Whatever the host has.
    #[default]
    Any,
    /// The processor: a host that offers no adapter.
    Cpu,
    /// An adapter at least like this one.
    Adapter(AdapterOffer),
}

impl fmt::Display for TensorNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Cpu => f.write_str("a processor"),
            Self::Adapter(AdapterOffer { class: AdapterClass::Discrete, kinds }) => {
                write!(f, "{} for {kinds}", AdapterClass::Discrete)
            }
            Self::Adapter(AdapterOffer { class, kinds }) => write!(f, "{class} or better for {kinds}"),
        }
    }
}

/// What an order asks of a host beyond its limits and its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Needs {
    /// Bytes of the files of any unit's input, at most. The keeper refuses a job of which a unit has more.
    pub inputs: Bytes,
    /// What computes its tensors.
    pub tensors: TensorNeed,
}

/// What a host does not offer of what an order needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It runs other semantics.
    Profile,
    /// Bytes of something.
    Room {
        /// `memory`, `files`, `stdout` or `inputs`.
        what: &'static str,
        /// The order.
        needs: Bytes,
        /// The host.
        offers: Bytes,
    },
    /// Tensor operations of this version.
    TensorOps {
        /// The task's.
        needs: TensorOps,
        /// The host's latest.
        offers: TensorOps,
    },
    /// It computes tensors on something else.
    Device {
        /// The order.
        needs: TensorNeed,
        /// The host; none: the processor.
        offers: Option<AdapterOffer>,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile => f.write_str("another profile"),
            Self::Room { what, needs, offers } => write!(f, "{needs} bytes of {what} needed, {offers} offered"),
            Self::TensorOps { needs, offers: TensorOps(0) } => {
                write!(f, "tensor operations of version {} needed, none offered", needs.0)
            }
            Self::TensorOps { needs, offers } => {
                write!(f, "tensor operations of version {} needed, {} offered", needs.0, offers.0)
            }
            Self::Device { needs, offers: None } => write!(f, "tensors on {needs} needed, on a processor offered"),
            Self::Device { needs, offers: Some(offers) } => write!(f, "tensors on {needs} needed, on {offers} offered"),
        }
    }
}

/// What `offer` lacks of what every unit of an order for `task` needs, the first in the order of [`Offer`]'s fields.
#[must_use]
pub fn lack(offer: &Offer, spec: &JobSpec, task: &TaskManifest) -> Option<Lack> {
    if offer.profile != Profile::Samebit1 {
        return Some(Lack::Profile);
    }
    let rooms = [
        ("memory", spec.limits.memory, offer.memory),
        ("files", spec.limits.files, offer.files),
        ("stdout", spec.limits.stdout, offer.stdout),
        ("inputs", spec.needs.inputs, offer.inputs),
    ];
    if let Some((what, needs, offers)) = rooms.into_iter().find(|(_, needs, offers)| needs > offers) {
        return Some(Lack::Room { what, needs, offers });
    }
    if task.tensor_ops > offer.tensor_ops {
        return Some(Lack::TensorOps { needs: task.tensor_ops, offers: offer.tensor_ops });
    }
    let fits = match (spec.needs.tensors, offer.adapter) {
        (TensorNeed::Any, _) | (TensorNeed::Cpu, None) => true,
        (TensorNeed::Cpu, Some(_)) | (TensorNeed::Adapter(_), None) => false,
        (TensorNeed::Adapter(least), Some(has)) => has.class >= least.class && has.kinds.covers(least.kinds),
    };
    (!fits).then_some(Lack::Device { needs: spec.needs.tensors, offers: offer.adapter })
}
