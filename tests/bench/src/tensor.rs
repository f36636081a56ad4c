//! Tensor operations on the CPU backend beside their peers in the same run: products beside the `gemm` crate, what is bound
//! by memory beside a copy of the same bytes, a model beside onnxruntime, and every operation's time beside its fuel.
//!
//! Times are the process's processor time: other work on this machine is not in them, but for the caches and execution
//! units it takes. The least of several turns is given, ours and the peer's taken in turn.

use crate::{
    clock::process_ms,
    minilm,
    report::{Peer, Report},
};
use samebit_spec::tensor::{Gelu, Graph, Node, Op, TensorType, Window};
use samebit_tensor::{
    Data, Dtype, Tensor,
    cases::{Numbers, Source},
    cpu,
};
use std::hint::black_box;

const USAGE: &str = "\
usage: samebit-bench tensor [OPTIONS]

  --quick         fewer turns and smaller operands
  --threads A,B   numbers of threads (1,2)
  -o json         print the figures as JSON instead of a table";

/// Turns, of which the least time counts.
const TURNS: usize = 9;

struct Asked {
    quick: bool,
    threads: Vec<usize>,
    json: bool,
}

fn asked(args: &[String]) -> Result<Asked, String> {
    let mut asked = Asked { quick: false, threads: vec![1, 2], json: false };
    let mut args = args.iter().map(String::as_str);
    while let Some(name) = args.next() {
        match (name, args.clone().next()) {
            ("--quick", _) => asked.quick = true,
            ("--threads", Some(list)) => {
                let counts = list.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
                asked.threads = counts.map_err(|error| format!("--threads {list}: {error}\n{USAGE}"))?;
                args.next();
            }
            ("-o", Some(format @ ("json" | "table"))) => {
                asked.json = format == "json";
                args.next();
            }
            _ => return Err(format!("no option {name}\n{USAGE}")),
        }
    }
    Ok(asked)
}

pub(crate) fn measure(args: &[String]) -> Result<(), String> {
    let asked = asked(args)?;
    let mut report = Report::new();
    let mut table = |line: String| {
        if !asked.json {
            println!("{line}");
        }
    };
    table(format!("instructions: {}", cpu::Level::best()));
    for threads in &asked.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(*threads).build().map_err(|error| error.to_string())?;
        pool.install(|| {
            #[cfg(feature = "peers")]
            products(&asked, *threads, &mut report, &mut table);
            #[cfg(not(feature = "peers"))]
            table("LEFT OUT: products, their peer is built in by `cargo xtask bench tensor`".into());
            bandwidth(&asked, *threads, &mut report, &mut table);
        });
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|error| error.to_string())?;
    pool.install(|| {
        if !asked.quick {
            minilm::measure(&mut report, &mut table)?;
        }
        fairness(&asked, &mut report, &mut table)
    })?;
    report.write(if asked.quick { "tensor-part" } else { "tensor" }, asked.json)
}

/// Milliseconds of the quickest turn of each, the two taken in turn.
fn least(turns: usize, mut ours: impl FnMut(), mut peer: impl FnMut()) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..turns {
        for (best, work) in best.iter_mut().zip([&mut ours as &mut dyn FnMut(), &mut peer]) {
            let begun = process_ms();
            work();
            *best = best.min(process_ms() - begun);
        }
    }
    best
}

fn run(op: &Op, inputs: &[&Tensor]) -> Vec<Tensor> {
    black_box(cpu::eval(op, inputs).unwrap_or_else(|error| panic!("{}: {error}", op.name())))
}

#[cfg(feature = "peers")]
fn products(asked: &Asked, threads: usize, report: &mut Report, table: &mut impl FnMut(String)) {
    let mut source = Source::new(3);
    let sizes: &[[u32; 3]] = if asked.quick {
        &[[64, 96, 64]]
    } else {
        &[[512, 512, 512], [1024, 1024, 1024], [128, 1536, 384], [16, 384, 1536], [128, 384, 384]]
    };
    for [m, k, n] in sizes.iter().copied() {
        let [a, b] = [[m, k], [k, n]].map(|dims| source.floats(&dims, Numbers::Moderate));
        let [a8, b8] = [[m, k], [k, n]].map(|dims| source.tensor(Dtype::I8, &dims, Numbers::Moderate));
        let billions = 2.0 * f64::from(m) * f64::from(k) * f64::from(n) / 1e9;
        let mut c = vec![0f32; m as usize * n as usize];
        let peer = gemm_of(&a, &b, [m, k, n].map(|len| len as usize), threads);
        let turns = if asked.quick { 2 } else { TURNS };
        for (dtype, op, inputs) in
            [("f32", Op::MatMul, [&a, &b]), ("i8", Op::MatMulInteger { a_zero: 0, b_zero: 0 }, [&a8, &b8])]
        {
            let [ours, peers] = least(
                turns,
                || {
                    run(&op, &inputs);
                },
                || peer(&mut c),
            );
            let rate = billions / (ours / 1e3);
            let case = format!("{m}x{k}x{n}, {threads} threads");
            table(format!("{dtype:4} {case:28} {rate:8.1} G/s   {:5.2} of gemm f32", peers / ours));
            let peer = Peer { name: "gemm crate, f32, same run", ratio: peers / ours };
            report.add(format!("tensor.matmul.{dtype}"), rate, "G/s of processor time", Some(peer), turns, &case);
        }
    }
}

/// The peer's product of the same operands.
#[cfg(feature = "peers")]
#[expect(unsafe_code, reason = "the peer takes pointers")]
fn gemm_of<'a>(a: &'a Tensor, b: &'a Tensor, [m, k, n]: [usize; 3], threads: usize) -> impl Fn(&mut [f32]) + 'a {
    let (Data::F32(left), Data::F32(right)) = (a.data(), b.data()) else { unreachable!("made as floats") };
    let parallelism = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let step = |len: usize| isize::try_from(len).expect("a matrix in memory");
    move |c: &mut [f32]| {
        assert!(c.len() == m * n && left.len() == m * k && right.len() == k * n);
        // SAFETY: the three pointers are of matrices of `m x n`, `m x k` and `k x n` numbers in rows, as asserted.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                step(n),
                false,
                left.as_ptr(),
                1,
                step(k),
                right.as_ptr(),
                1,
                step(n),
                0f32,
                1f32,
                false,
                false,
                false,
                parallelism,
            );
        }
        black_box(c);
    }
}

fn bandwidth(asked: &Asked, threads: usize, report: &mut Report, table: &mut impl FnMut(String)) {
    let mut source = Source::new(4);
    let dims: [u32; 2] = if asked.quick { [64, 256] } else { [8192, 1024] };
    let x = source.floats(&dims, Numbers::Moderate);
    let row = source.floats(&dims[1..], Numbers::Moderate);
    let Data::F32(data) = x.data() else { unreachable!("made as floats") };
    let norm = Op::LayerNormalization { axis: 1, epsilon: 1e-12.into() };
    let turns = if asked.quick { 2 } else { TURNS };
    for (op, inputs) in [
        (Op::Softmax { axis: 1 }, vec![&x]),
        (norm, vec![&x, &row, &row]),
        (Op::Gelu(Gelu::Erf), vec![&x]),
        (Op::Gelu(Gelu::Tanh), vec![&x]),
        (Op::Exp, vec![&x]),
        (Op::Tanh, vec![&x]),
        (Op::Add, vec![&x, &row]),
        (Op::Relu, vec![&x]),
    ] {
        let mut copied: Vec<f32> = Vec::new();
        let [ours, copy] = least(
            turns,
            || {
                run(&op, &inputs);
            },
            || {
                // As ours, into room that is new each time.
                copied = black_box(data.clone());
            },
        );
        let case = format!("{}x{}, {threads} threads", dims[0], dims[1]);
        let name = match &op {
            Op::Gelu(kind) => format!("{}({kind:?})", op.name()),
            _ => op.name().to_owned(),
        };
        table(format!("{name:20} {case:28} {:5.2} of a copy by one thread", copy / ours));
        let peer = Peer { name: "copy of the same bytes by one thread, same run", ratio: copy / ours };
        report.add(format!("tensor.{}", name.to_lowercase()), ours, "ms of processor time", Some(peer), turns, &case);
    }
}

/// One of each operation, of a size that a model has.
fn usual(asked: &Asked) -> Vec<(Op, Vec<Tensor>)> {
    let mut source = Source::new(5);
    let scale = if asked.quick { 1 } else { 4 };
    let rows = 64 * scale;
    let mut floats = |dims: &[u32]| source.floats(dims, Numbers::Moderate);
    let x = floats(&[rows, 512]);
    let y = floats(&[rows, 512]);
    let row = floats(&[512]);
    let image = floats(&[2, 16, 16 * scale, 32]);
    let [heads, keys, values] = [(); 3].map(|()| floats(&[4, 16 * scale, 32]));
    let angles = floats(&[16 * scale, 16]);
    let [one, zero] = [1.0, 0.0].map(|value| Tensor::f32(&[], &[value]).expect("a scalar"));
    let window = |len: u32| Window {
        kernel: vec![len, len],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        before: vec![0, 0],
        after: vec![0, 0],
    };
    let weights = [floats(&[16, 16, 3, 3]), floats(&[16, 1, 3, 3]), floats(&[512, 128]), floats(&[4, 32, 16 * scale])];
    let cast = |x: &Tensor, to: Dtype| cpu::eval(&Op::Cast(to), &[x]).expect("any to any").remove(0);
    let [halves, wide, bytes, flags] = [Dtype::F16, Dtype::I32, Dtype::I8, Dtype::U8].map(|to| cast(&x, to));
    let [narrow, right8] = [cast(&zero, Dtype::I8), cast(&weights[2], Dtype::I8)];
    let half_weights = cast(&weights[2], Dtype::F16);
    let indices: Vec<i32> = (0..rows.cast_signed()).rev().collect();
    let picks = Tensor::new(TensorType::new(Dtype::I32, &[rows]).expect("small"), Data::I32(indices)).expect("as many");
    let all = |op: Op, inputs: &[&Tensor]| (op, inputs.iter().map(|input| (*input).clone()).collect::<Vec<Tensor>>());
    let mut made: Vec<(Op, Vec<Tensor>)> = Vec::new();
    for op in [Op::Neg, Op::Abs, Op::Exp, Op::Log, Op::Sqrt, Op::Reciprocal, Op::Tanh, Op::Sigmoid, Op::Erf, Op::Relu] {
        made.push(all(op, &[&x]));
    }
    for op in [
        Op::Gelu(Gelu::Erf),
        Op::Gelu(Gelu::Tanh),
        Op::Clip { low: 0.0.into(), high: 1.0.into() },
        Op::Cast(Dtype::F16),
        Op::Cast(Dtype::I8),
        Op::Softmax { axis: 1 },
        Op::Softmax { axis: 0 },
        Op::ReduceSum { axes: vec![1], keep: false },
        Op::ReduceSum { axes: vec![0], keep: false },
        Op::ReduceMean { axes: vec![], keep: false },
        Op::ReduceMax { axes: vec![1], keep: false },
        Op::ReduceMin { axes: vec![0], keep: false },
        Op::ArgMax { axis: 1, keep: false },
        Op::TopK { axis: 1, k: 8, largest: true },
        Op::TopK { axis: 1, k: 256, largest: false },
        Op::Transpose { order: vec![1, 0] },
        Op::Slice { starts: vec![0, 1], ends: vec![rows, 511], steps: vec![1, 2] },
        Op::Pad { before: vec![1, 1], after: vec![0, 3], value: 0.0.into() },
        Op::Reshape { dims: vec![512, rows] },
    ] {
        made.push(all(op, &[&x]));
    }
    for op in [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Min, Op::Max, Op::Equal, Op::Less, Op::Greater] {
        made.push(all(op.clone(), &[&x, &y]));
        made.push(all(op.clone(), &[&x, &row]));
        made.push(all(op, &[&wide, &wide]));
    }
    made.extend([
        all(Op::Neg, &[&wide]),
        all(Op::Cast(Dtype::F32), &[&halves]),
        all(Op::Cast(Dtype::F32), &[&bytes]),
        all(Op::Where, &[&flags, &x, &y]),
        all(Op::Where, &[&flags, &x, &one]),
        all(Op::MatMul, &[&x, &weights[2]]),
        all(Op::MatMul, &[&halves, &half_weights]),
        all(Op::MatMul, &[&heads, &weights[3]]),
        all(Op::MatMulInteger { a_zero: 1, b_zero: 0 }, &[&bytes, &right8]),
        all(Op::Gemm { alpha: 1.0.into(), beta: 1.0.into(), transpose_a: false, transpose_b: true }, &[&x, &y, &zero]),
        all(Op::Conv { window: window(3), groups: 1 }, &[&image, &weights[0]]),
        all(Op::Conv { window: window(3), groups: 16 }, &[&image, &weights[1]]),
        all(Op::Attention { scale: 0.125.into() }, &[&heads, &keys, &values]),
        all(Op::RotaryEmbedding { interleaved: false }, &[&heads, &angles, &angles]),
        all(Op::QuantizeLinear { axis: 0 }, &[&x, &one, &narrow]),
        all(Op::DequantizeLinear { axis: 0 }, &[&bytes, &one, &narrow]),
        all(Op::LayerNormalization { axis: 1, epsilon: 1e-5.into() }, &[&x, &row, &row]),
        all(Op::RmsNormalization { axis: 1, epsilon: 1e-5.into() }, &[&x, &row]),
        all(Op::MaxPool(window(2)), &[&image]),
        all(Op::AveragePool { window: window(2), count_padding: false }, &[&image]),
        all(Op::Gather { axis: 0 }, &[&x, &picks]),
        all(Op::Concat { axis: 1 }, &[&x, &y]),
    ]);
    made
}

/// Nanoseconds of each operation per fuel of its formula: what a buyer pays for is what a host does.
fn fairness(asked: &Asked, report: &mut Report, table: &mut impl FnMut(String)) -> Result<(), String> {
    let mut rates: Vec<(f64, String)> = Vec::new();
    let turns = if asked.quick { 2 } else { 5 };
    for (op, inputs) in usual(asked) {
        let types: Vec<TensorType> = inputs.iter().map(|input| input.of().clone()).collect();
        let node = Node { op: op.clone(), inputs: (0..).take(inputs.len()).collect() };
        let plan = Graph { nodes: vec![node], outputs: vec![] }
            .plan(&types, u64::MAX)
            .map_err(|error| format!("{}: {error}", op.name()))?;
        let operands: Vec<&Tensor> = inputs.iter().collect();
        let [ours, _] = least(
            turns,
            || {
                run(&op, &operands);
            },
            || (),
        );
        #[expect(clippy::cast_precision_loss, reason = "fuel of a small operation")]
        let rate = ours * 1e6 / plan.fuel as f64;
        let of: Vec<String> = types.iter().map(ToString::to_string).collect();
        rates.push((rate, format!("{} {}", op.name(), of.join(" "))));
    }
    rates.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (rate, case) in &rates {
        table(format!("{rate:8.4} ns per fuel   {case}"));
        report.add("tensor.ns_per_fuel".into(), *rate, "ns", None, turns, case);
    }
    let (Some((least, _)), Some((most, worst))) = (rates.first(), rates.last()) else { return Ok(()) };
    table(format!("worst over best {:.1}", most / least));
    let peer = Peer { name: "the operation with the least", ratio: most / least };
    report.add("tensor.ns_per_fuel.worst".into(), *most, "ns", Some(peer), turns, worst);
    Ok(())
}
