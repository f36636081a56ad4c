//! `samebit host bench`: what this machine would offer for tensors, with figures.

use super::host::SLOTS_DEFAULT;
use crate::{
    context::Context,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    text,
    view::OfferView,
};
use samebit_gpu::{Capability, CpuFigures, Figures, Gpu, Options, Report, adapters, cpu_figures};
use samebit_spec::{offer::Offer as HostOffer, unit::Bytes};
use serde::Serialize;
use std::path::Path;

/// Show the defaults of `host up` and what each adapter would add, and measure what computes tensors: the CPU and every adapter, each through the conformance gate first.
#[derive(clap::Args)]
#[command(after_help = "\
An adapter whose bits are not the oracle's offers nothing of that kind, and it is
said why. The gate takes a minute on a slow adapter, and is kept until the adapter,
its driver or the kernels change.

Room for runs is what `host up` offers unless told otherwise, and not what is here: a
warning says where this machine has less. An adapter is offered with `--tensor-backend
gpu:N`. No figure is part of an offer.

Figures are 10^9 products and sums a second, each counted as two, of square products
without transfers, and 10^9 bytes read and written a second.

Examples:
  samebit host bench
  samebit host bench --cpu
  samebit host bench --side 1024 -o json")]
pub struct BenchArgs {
    /// Side of the square products: 4096 on a GPU, 512 on a processor unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16384))]
    side: Option<u32>,
    /// Leave the adapters out.
    #[arg(long)]
    cpu: bool,
}

/// What one adapter offers.
#[derive(Serialize)]
struct Offer {
    report: Report,
    capabilities: Vec<Capability>,
    /// What `host up --tensor-backend gpu:N` tells the ledger; nothing when it passed for nothing.
    advertised: Option<String>,
    figures: Option<Figures>,
    /// Why there are no figures.
    fault: Option<String>,
}

/// What this machine has for runs; none where it cannot be told.
struct Room {
    memory: Option<u64>,
    disk: Option<u64>,
}

impl Room {
    fn of_this_machine(home: &Path) -> Self {
        // The home folder may not be there yet.
        let disk = home.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
        let memory = std::fs::read_to_string("/proc/meminfo").ok();
        Self {
            memory: memory.as_deref().and_then(total),
            disk: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }

    /// Where it has less than an offer says.
    fn shortages(&self, offer: &HostOffer, slots: u16) -> Vec<String> {
        let shown = |bytes| text::bytes(Bytes(bytes));
        let mut short = Vec::new();
        let memory = offer.memory.0.saturating_mul(slots.into());
        if let Some(has) = self.memory.filter(|has| *has < memory) {
            let (memory, has) = (shown(memory), shown(has));
            short.push(format!("{slots} runs at once may ask for {memory} of memory, this machine has {has}: `host up --memory` or `--slots`"));
        }
        let disk = offer.inputs.0.saturating_add(offer.files.0);
        if let Some(free) = self.disk.filter(|free| *free < disk) {
            let (disk, free) = (shown(disk), shown(free));
            short.push(format!("a run may have {disk} of input and files, {free} are free on this disk: `host up --inputs` or `--files`"));
        }
        short
    }
}

/// The total of Linux's table of memory.
fn total(table: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Runs the command.
pub fn run(args: &BenchArgs, context: &Context, ui: &Ui) -> Outcome {
    let room = Room::of_this_machine(context.home());
    for short in room.shortages(&HostOffer::default(), SLOTS_DEFAULT) {
        ui.note(format!("warning: {short}"));
    }
    ui.note("measuring the CPU");
    // A processor needs long for what a GPU does at once.
    let cpu = cpu_figures(args.side.map(|side| side.min(2048)));
    let mut offers = Vec::new();
    for adapter in if args.cpu { Vec::new() } else { adapters() } {
        ui.note(format!("measuring {}", adapter.name()));
        let options = Options { gate_folder: Some(context.home().join(super::GATES)), ..Options::default() };
        let gpu = Gpu::open(&adapter, options).map_err(|error| Failure::new(Exit::Environment, error.to_string()))?;
        let (figures, fault) = match gpu.figures(args.side) {
            Ok(figures) => (Some(figures), None),
            Err(fault) => (None, Some(fault.to_string())),
        };
        let advertised = super::tensor::offered(&adapter, &gpu).map(|offer| offer.to_string());
        offers.push(Offer {
            advertised,
            report: gpu.report().clone(),
            capabilities: gpu.capabilities(),
            figures,
            fault,
        });
    }
    ui.data(
        || told(&cpu, &offers),
        &serde_json::json!({
            "schema": "samebit/host-bench/1",
            "offer": OfferView::new(&HostOffer::default()),
            "cpu": cpu,
            "adapters": offers,
        }),
    );
    Ok(Exit::Done)
}

fn told(cpu: &CpuFigures, offers: &[Offer]) -> String {
    let mut lines = vec![
        format!("the defaults of `host up`: {}", OfferView::new(&HostOffer::default()).line()),
        format!("{}, {} threads: offers f32, f16, i8", cpu.backend, cpu.threads),
        format!(
            "  {0} x {0}: f32 {1:.1} GFLOP/s, f16 {2:.1} GFLOP/s, i8 {3:.1} Gop/s; copy {4:.1} GB/s",
            cpu.side, cpu.f32_gflops, cpu.f16_gflops, cpu.i8_gops, cpu.copy_gbytes
        ),
    ];
    for (number, offer) in offers.iter().enumerate() {
        let report = &offer.report;
        lines.push(format!("{}, {}: offers {}", report.adapter, report.driver, super::named(&offer.capabilities)));
        lines.push(match &offer.advertised {
            Some(advertised) => format!("  advertised by `host up --tensor-backend gpu:{number}`: {advertised}"),
            None => "  advertised: nothing".to_owned(),
        });
        if let Some(figures) = &offer.figures {
            let shown = |figure: Option<f64>, unit: &str| {
                figure.map_or_else(|| "not offered".to_owned(), |figure| format!("{figure:.1} {unit}"))
            };
            lines.push(format!(
                "  {0} x {0}: f32 {1}, f16 {2}, i8 {3}; copy {4:.1} GB/s, softmax {5}",
                figures.side,
                shown(figures.f32_gflops, "GFLOP/s"),
                shown(figures.f16_gflops, "GFLOP/s"),
                shown(figures.i8_gops, "Gop/s"),
                figures.copy_gbytes,
                shown(figures.softmax_gbytes, "GB/s"),
            ));
        }
        lines.extend(offer.fault.iter().map(|fault| format!("  not measured: {fault}")));
        lines.extend(
            report.wrong_before.iter().map(|why| format!("  passed anew after it was found wrong in service: {why}")),
        );
        lines.extend(report.refused.iter().map(|(capability, why)| format!("  not {capability}: {why}")));
    }
    if offers.is_empty() {
        lines.push("no adapter was measured: tensors are computed on the CPU".to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_less_than_is_offered_is_told_where() {
        let offer = HostOffer::default();
        let (memory, disk) = (2 * offer.memory.0, offer.inputs.0 + offer.files.0);
        let short = |memory, disk| Room { memory, disk }.shortages(&offer, 2);
        assert!(short(Some(memory), Some(disk)).is_empty());
        assert!(short(None, None).is_empty(), "nothing is said of what is not known");
        let [of_memory] = &short(Some(memory - 1), Some(disk))[..] else { panic!("one") };
        assert!(of_memory.starts_with("2 runs at once may ask for 2.00 GiB of memory"), "{of_memory}");
        let [of_disk] = &short(Some(memory), Some(disk - 1))[..] else { panic!("one") };
        assert!(of_disk.starts_with("a run may have 65.00 GiB of input and files"), "{of_disk}");
        assert_eq!(total("MemTotal:       131072 kB\nMemFree: 1 kB\n"), Some(128 << 20));
        assert_eq!(total("MemTotal: much"), None);
    }
}
