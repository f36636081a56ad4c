//! The conformance gate: no adapter is used for what it has not shown to compute with the oracle's bits.
//!
//! Every case of [`samebit_tensor::cases`] runs through the kernels, each variant of the products by itself, and is held against
//! the digests in `spec/vectors/tensor/`; larger products, for tiles that the cases are too small for, against the CPU
//! backend. A gate can refute an adapter and not prove one: hence the barriers in the kernels and [`crate::Checked`].

use crate::{
    adapter::Adapter,
    device::Device,
    kernels::{self, Dot, Mac},
    lower,
};
use samebit_tensor::{
    Dtype, Failure, Fault, Graph, Node, Op, Tensor, TensorType,
    cases::{Case, Numbers, Source, cases},
    cpu,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// What an adapter can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Everything but the two below.
    F32,
    /// `MatMul` of `f16`.
    F16,
    /// `MatMulInteger`.
    I8,
}

impl Capability {
    /// As reports and offers name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }
}

/// The variants that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Of products of `f32`; none: the adapter is not used for `f32` at all.
    pub f32: Option<Mac>,
    /// Of products of `f16`.
    pub f16: Option<Mac>,
    /// Of products of bytes.
    pub i8: Option<Dot>,
}

impl Choice {
    /// What has a variant.
    #[must_use]
    pub fn capabilities(&self) -> Vec<Capability> {
        [
            (self.f32.is_some(), Capability::F32),
            (self.f16.is_some(), Capability::F16),
            (self.i8.is_some(), Capability::I8),
        ]
        .into_iter()
        .filter_map(|(there, capability)| there.then_some(capability))
        .collect()
    }
}

/// How a variant of the products did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// For what.
    pub capability: Capability,
    /// Which.
    pub variant: String,
    /// Cases that ran.
    pub cases: usize,
    /// The first case with other bits, or what the driver said; none when it passed.
    pub failure: Option<String>,
    /// 10^9 products and sums a second, each counted as two; of a variant that passed.
    pub gigaflops: Option<f64>,
}

/// How an operation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpResult {
    /// Cases that ran.
    pub cases: usize,
    /// As in [`Trial::failure`].
    pub failure: Option<String>,
}

/// What the gate found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name and interface.
    pub adapter: String,
    /// Driver and version.
    pub driver: String,
    /// Whether a processor plays the GPU.
    pub software: bool,
    /// Digest of the kernels.
    pub kernels: String,
    /// Every variant of the products.
    pub trials: Vec<Trial>,
    /// Every operation, with the variants that were taken.
    pub operations: BTreeMap<String, OpResult>,
    /// What is used.
    pub choice: Choice,
    /// Why a capability is not offered.
    pub refused: BTreeMap<String, String>,
    /// How long the gate took.
    pub seconds: f64,
    /// What it computed wrongly in service after it had passed: the report counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_since: Option<String>,
    /// What made the last report before this one count no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong_before: Option<String>,
    /// Whether this is from an earlier run.
    #[serde(skip)]
    pub kept: bool,
}

/// Digests of every case's results, by its name.
const DIGESTS: &str = include_str!("../../../spec/vectors/tensor/digests.json");

/// Seed of the stored cases.
const SEED: u64 = 1;

impl Report {
    /// The report that an earlier run left in `folder` for this adapter, with the driver and the kernels of now.
    /// One with something [wrong since](Self::wrong_since) counts for nothing.
    #[must_use]
    pub fn kept(adapter: &Adapter, folder: &Path) -> Option<Self> {
        let report: Self = serde_json::from_slice(&fs::read(path(adapter, folder)).ok()?).ok()?;
        let same = report.kernels == kernels::fingerprint().to_hex().as_str()
            && report.adapter == adapter.name()
            && report.driver == adapter.driver();
        same.then_some(Self { kept: true, ..report })
    }

    fn keep(&self, path: &Path) {
        let text = serde_json::to_vec_pretty(self).expect("a report is plain data");
        // One that cannot be kept is made again at the next start.
        let _ = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    }

    /// Keeps it as one that counts no more. Where that fails, nothing is kept.
    pub(crate) fn refute(&self, adapter: &Adapter, folder: &Path, why: &str) {
        let path = path(adapter, folder);
        let _ = fs::remove_file(&path);
        Self { wrong_since: Some(why.to_owned()), ..self.clone() }.keep(&path);
    }
}

/// Where a report is kept: another driver or another kernel is another file.
fn path(adapter: &Adapter, folder: &Path) -> PathBuf {
    let key = blake3::hash(format!("{} {}", adapter.identity(), kernels::fingerprint()).as_bytes()).to_hex();
    folder.join(format!("gate-{}.json", &key[..16]))
}

/// The report of an adapter: the kept one of the same adapter, driver and kernels, or a new one.
pub(crate) fn pass(adapter: &Adapter, device: &Device, folder: Option<&Path>) -> Report {
    let kept = folder.and_then(|folder| Report::kept(adapter, folder));
    let wrong_before = match kept {
        Some(report) if report.wrong_since.is_none() => return report,
        Some(report) => report.wrong_since,
        None => None,
    };
    let begun = Instant::now();
    let mut report = Report {
        adapter: adapter.name(),
        driver: adapter.driver(),
        software: adapter.is_software(),
        kernels: kernels::fingerprint().to_hex().to_string(),
        trials: Vec::new(),
        operations: BTreeMap::new(),
        choice: Choice::default(),
        refused: BTreeMap::new(),
        seconds: 0.0,
        wrong_since: None,
        wrong_before,
        kept: false,
    };
    let gate = Gate::new(device, adapter.is_software());
    gate.products(&mut report);
    gate.operations(&mut report);
    report.seconds = begun.elapsed().as_secs_f64();
    if let Some(folder) = folder {
        report.keep(&path(adapter, folder));
    }
    report
}

/// A case with what must come out.
struct Expected {
    case: Case,
    capability: Capability,
    /// Whether it has a product in it.
    product: bool,
    /// Digest of the results.
    digest: String,
}

struct Gate<'a> {
    device: &'a Device,
    software: bool,
    cases: Vec<Expected>,
}

/// As `spec/vectors/tensor/digests.json` has it.
fn digest(tensors: &[Tensor]) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        hasher.update(tensor.of().to_string().as_bytes()).update(&[0]).update(&tensor.to_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn capability(case: &Case) -> Capability {
    match case.op {
        Op::MatMulInteger { .. } => Capability::I8,
        Op::MatMul if case.inputs[0].of().dtype == Dtype::F16 => Capability::F16,
        _ => Capability::F32,
    }
}

fn is_product(op: &Op) -> bool {
    matches!(op, Op::MatMul | Op::MatMulInteger { .. } | Op::Gemm { .. } | Op::Conv { .. } | Op::Attention { .. })
}

impl<'a> Gate<'a> {
    fn new(device: &'a Device, software: bool) -> Self {
        let stored: Vec<BTreeMap<String, String>> = serde_json::from_str(DIGESTS).expect("digests of our own");
        let expected = |case: Case, digest: String| Expected {
            capability: capability(&case),
            product: is_product(&case.op),
            digest,
            case,
        };
        let stored = cases(SEED).into_iter().zip(stored).map(|(case, stored)| {
            assert_eq!(Some(&case.name), stored.get("name"), "cases and digests in one order");
            expected(case, stored.get("outputs").cloned().unwrap_or_default())
        });
        let large = large().into_iter().map(|case| {
            let inputs: Vec<&Tensor> = case.inputs.iter().collect();
            let outputs = cpu::eval(&case.op, &inputs).expect("a case that is allowed");
            expected(case, digest(&outputs))
        });
        Self { device, software, cases: stored.chain(large).collect() }
    }

    /// Tries every variant, and takes the fastest that passes.
    fn products(&self, report: &mut Report) {
        let variants = [
            (
                Capability::F32,
                Mac::F32.map(|mac| (mac.name(), Choice { f32: Some(mac), ..Choice::default() })).to_vec(),
            ),
            (
                Capability::F16,
                Mac::F16.map(|mac| (mac.name(), Choice { f16: Some(mac), ..Choice::default() })).to_vec(),
            ),
            (Capability::I8, Dot::ALL.map(|dot| (dot.name(), Choice { i8: Some(dot), ..Choice::default() })).to_vec()),
        ];
        for (capability, variants) in variants {
            let mut best: Option<(f64, Choice)> = None;
            let mut why = Vec::new();
            for (variant, choice) in variants {
                let chosen: Vec<&Expected> =
                    self.cases.iter().filter(|case| case.product && case.capability == capability).collect();
                let mut failure = self.differs(&choice, &chosen);
                let mut gigaflops = None;
                if failure.is_none() {
                    match self.speed(&choice, capability) {
                        Ok(speed) => gigaflops = Some(speed),
                        Err(fault) => failure = Some(fault.to_string()),
                    }
                }
                if let Some(speed) = gigaflops
                    && best.is_none_or(|(known, _)| speed > known)
                {
                    best = Some((speed, choice));
                }
                why.extend(failure.as_ref().map(|failure| format!("{variant}: {failure}")));
                report.trials.push(Trial {
                    capability,
                    variant: variant.to_owned(),
                    cases: chosen.len(),
                    failure,
                    gigaflops,
                });
            }
            let Some((_, choice)) = best else {
                report.refused.insert(capability.name().to_owned(), why.join("; "));
                continue;
            };
            match capability {
                Capability::F32 => report.choice.f32 = choice.f32,
                Capability::F16 => report.choice.f16 = choice.f16,
                Capability::I8 => report.choice.i8 = choice.i8,
            }
        }
    }

    /// Every operation with the variants that were taken; one that fails takes its capability with it.
    fn operations(&self, report: &mut Report) {
        let mut by_name: BTreeMap<(&str, Capability), Vec<&Expected>> = BTreeMap::new();
        for case in &self.cases {
            by_name.entry((case.case.op.name(), case.capability)).or_default().push(case);
        }
        let has = report.choice.capabilities();
        for ((name, capability), cases) in by_name {
            let label = if capability == Capability::F16 { format!("{name} f16") } else { name.to_owned() };
            if !has.contains(&capability) {
                continue;
            }
            let failure = self.differs(&report.choice, &cases);
            if let Some(failure) = &failure {
                let reasons = report.refused.entry(capability.name().to_owned()).or_default();
                if reasons.is_empty() {
                    *reasons = format!("{name}: {failure}");
                }
            }
            report.operations.insert(label, OpResult { cases: cases.len(), failure });
        }
        for capability in report.refused.keys() {
            match capability.as_str() {
                "f32" => report.choice.f32 = None,
                "f16" => report.choice.f16 = None,
                _ => report.choice.i8 = None,
            }
        }
    }

    /// The first of these cases whose bits differ, or what the driver said. All of them are one graph, as in service.
    fn differs(&self, choice: &Choice, cases: &[&Expected]) -> Option<String> {
        let mut outside = Vec::new();
        let mut nodes = Vec::new();
        for case in cases {
            let first = u32::try_from(outside.len()).expect("a few");
            outside.extend(case.case.inputs.iter().cloned());
            nodes.push(Node { op: case.case.op.clone(), inputs: (first..).take(case.case.inputs.len()).collect() });
        }
        let mut next = u32::try_from(outside.len()).expect("a few");
        let outputs: Vec<Vec<u32>> = nodes
            .iter()
            .map(|node| {
                let made: Vec<u32> = (next..).take(node.op.outputs()).collect();
                next += u32::try_from(made.len()).expect("one or two");
                made
            })
            .collect();
        let graph = Graph { nodes, outputs: outputs.concat() };
        let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
        let plan = match graph.plan(&types, u64::MAX) {
            Ok(plan) => plan,
            Err(error) => return Some(error.to_string()),
        };
        let made = match self.device.run(choice, &graph, &plan, &outside, &|| false) {
            Ok(made) => made,
            Err(Failure::Refused(error)) => return Some(error.to_string()),
            Err(Failure::Fault(fault)) => return Some(fault.to_string()),
        };
        let mut made = made.into_iter();
        for (case, outputs) in cases.iter().zip(&outputs) {
            let results: Vec<Tensor> = made.by_ref().take(outputs.len()).collect();
            if digest(&results) != case.digest {
                return Some(format!("{:?} has other bits{}", case.case.name, first_apart(&case.case, &results)));
            }
        }
        None
    }

    /// Speed of a square product.
    fn speed(&self, choice: &Choice, capability: Capability) -> Result<f64, Fault> {
        let side = if self.software { 192 } else { 2048 };
        product_speed(self.device, choice, capability, side, 2)
    }
}

/// 10^9 products and sums a second of a square product, each counted as two.
pub(crate) fn product_speed(
    device: &Device,
    choice: &Choice,
    capability: Capability,
    side: u32,
    rounds: u32,
) -> Result<f64, Fault> {
    let (op, from, to) = match capability {
        Capability::F32 => (Op::MatMul, Dtype::F32, Dtype::F32),
        Capability::F16 => (Op::MatMul, Dtype::F16, Dtype::F32),
        Capability::I8 => (Op::MatMulInteger { a_zero: 0, b_zero: 0 }, Dtype::I8, Dtype::I32),
    };
    let of = |dtype| TensorType::new(dtype, &[side, side]).expect("a small shape");
    let seconds = device.time(&[of(from), of(from)], rounds, |run, values| {
        lower::node(run, choice, 0, &op, values, &[of(to)]).map(|_| ())
    })?;
    Ok(2.0 * f64::from(side).powi(3) / seconds / 1e9)
}

/// Where the first element of a failed case differs.
fn first_apart(case: &Case, found: &[Tensor]) -> String {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    let Ok(wanted) = cpu::eval(&case.op, &inputs) else { return String::new() };
    for (wanted, found) in wanted.iter().zip(found) {
        let size = usize::try_from(wanted.of().dtype.size()).expect("a few bytes");
        let (wanted, found) = (wanted.to_bytes(), found.to_bytes());
        let differ = |at: &usize| wanted[at * size..(at + 1) * size] != found[at * size..(at + 1) * size];
        let apart: Vec<usize> = (0..wanted.len() / size).filter(differ).collect();
        if let Some(at) = apart.first() {
            let number = |bytes: &[u8]| {
                let bytes = bytes[at * size..(at + 1) * size].iter().rev();
                bytes.fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}"))
            };
            let (found, wanted) = (number(&found), number(&wanted));
            return format!(": {} elements, the first at {at}, {found} for {wanted}", apart.len());
        }
    }
    String::new()
}

/// Products for tiles of every size, which the stored cases are too small for.
fn large() -> Vec<Case> {
    let mut source = Source::new(5);
    let mut list = Vec::new();
    for of in Numbers::ALL {
        let inputs = vec![source.floats(&[261, 70], of), source.floats(&[70, 258], of)];
        list.push(Case { name: format!("MatMul large {of:?}"), op: Op::MatMul, inputs });
    }
    let inputs = [[261, 70], [70, 258]].map(|dims| source.tensor(Dtype::F16, &dims, Numbers::Special)).to_vec();
    list.push(Case { name: "MatMul large f16".to_owned(), op: Op::MatMul, inputs });
    for (left, right) in [(Dtype::I8, Dtype::I8), (Dtype::U8, Dtype::I8)] {
        let inputs = vec![
            source.tensor(left, &[261, 71], Numbers::Moderate),
            source.tensor(right, &[71, 258], Numbers::Moderate),
        ];
        let op = Op::MatMulInteger { a_zero: 7, b_zero: -128 };
        list.push(Case { name: format!("MatMulInteger large {left} {right}"), op, inputs });
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, adapter::present};

    /// An adapter with wrong bits cannot be had at will; expecting others comes to the same.
    #[test]
    fn a_variant_and_an_operation_with_other_bits_cost_the_capability_and_say_why() {
        for adapter in present() {
            let device = Device::open(&adapter, Options::default()).expect("an adapter opens");
            let mut gate = Gate::new(&device, true);
            // Few cases are enough: a byte product, two float products, an exponential function.
            gate.cases.retain(|case| {
                ["MatMulInteger i8 i8 [7", "MatMul f32 Special [7", "MatMul f32 Wide [7", "Exp Special", "Neg Special"]
                    .iter()
                    .any(|name| case.case.name.starts_with(name))
            });
            assert_eq!(gate.cases.len(), 5);
            let mut report = |wrong: &str| {
                for case in &mut gate.cases {
                    let inputs: Vec<&Tensor> = case.case.inputs.iter().collect();
                    case.digest = digest(&cpu::eval(&case.case.op, &inputs).expect("a case"));
                    if case.case.name.starts_with(wrong) {
                        case.digest = digest(&[]);
                    }
                }
                let mut report = Report {
                    adapter: adapter.name(),
                    driver: adapter.driver(),
                    software: true,
                    kernels: String::new(),
                    trials: Vec::new(),
                    operations: BTreeMap::new(),
                    choice: Choice::default(),
                    refused: BTreeMap::new(),
                    seconds: 0.0,
                    wrong_since: None,
                    wrong_before: None,
                    kept: false,
                };
                gate.products(&mut report);
                gate.operations(&mut report);
                report
            };
            // There is no case of f16 here, and what was not tried is right in all of them.
            assert!(report("nothing").refused.is_empty());
            let product = report("MatMul f32 Wide");
            assert_eq!(product.choice.f32, None);
            assert!(product.choice.i8.is_some());
            for mac in Mac::F32 {
                assert!(product.refused["f32"].contains(mac.name()), "{:?}", product.refused);
            }
            assert!(product.refused["f32"].contains("\"MatMul f32 Wide [7, 3] [3, 17]\" has other bits"));
            let function = report("Exp");
            assert_eq!(function.choice.capabilities(), [Capability::F16, Capability::I8]);
            assert!(function.refused["f32"].starts_with("Exp: \"Exp Special\" has other bits"), "{function:?}");
            assert_eq!(function.operations["Neg"].failure, None);
        }
    }
}
