//! `samebit host bench`: what this machine would offer for tensors, with figures.

use crate::{
    context::Context,
    exit::Exit,
    report::{Failure, Outcome, Ui},
    view::OfferView,
};
use samebit_gpu::{Capability, CpuFigures, Figures, Gpu, Options, Report, adapters, cpu_figures};
use samebit_spec::offer::Offer as HostOffer;
use serde::Serialize;

/// Show what this machine advertises, and measure what it computes tensors with: the CPU and every adapter, each through the conformance gate first.
#[derive(clap::Args)]
#[command(after_help = "\
An adapter whose bits are not the oracle's offers nothing of that kind, and it is
said why. The gate takes a minute on a slow adapter, and is kept until the adapter,
its driver or the kernels change.

Room for runs is what `host up` offers unless told otherwise; an adapter is offered with
`--tensor-backend gpu:N`. No figure is part of an offer.

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

/// Runs the command.
pub fn run(args: &BenchArgs, context: &Context, ui: &Ui) -> Outcome {
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
        || text(&cpu, &offers),
        &serde_json::json!({
            "schema": "samebit/host-bench/1",
            "offer": OfferView::new(&HostOffer::default()),
            "cpu": cpu,
            "adapters": offers,
        }),
    );
    Ok(Exit::Done)
}

fn text(cpu: &CpuFigures, offers: &[Offer]) -> String {
    let mut lines = vec![
        format!("advertised by `host up`: {}", OfferView::new(&HostOffer::default()).line()),
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
            let told = |figure: Option<f64>, unit: &str| {
                figure.map_or_else(|| "not offered".to_owned(), |figure| format!("{figure:.1} {unit}"))
            };
            lines.push(format!(
                "  {0} x {0}: f32 {1}, f16 {2}, i8 {3}; copy {4:.1} GB/s, softmax {5}",
                figures.side,
                told(figures.f32_gflops, "GFLOP/s"),
                told(figures.f16_gflops, "GFLOP/s"),
                told(figures.i8_gops, "Gop/s"),
                figures.copy_gbytes,
                told(figures.softmax_gbytes, "GB/s"),
            ));
        }
        lines.extend(offer.fault.iter().map(|fault| format!("  not measured: {fault}")));
        lines.extend(report.refused.iter().map(|(capability, why)| format!("  not {capability}: {why}")));
    }
    if offers.is_empty() {
        lines.push("no adapter was measured: tensors are computed on the CPU".to_owned());
    }
    lines.join("\n")
}
