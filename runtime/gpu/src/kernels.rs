//! WGSL of every kernel, put together from the files in `kernels/`.
//!
//! A [`Spec`] says which kernel is wanted and how its operands lie in memory; [`Spec::source`] gives the text. What an
//! operation computes per element stands in [`crate::elements`]; everything that has a loop of its own is a file:
//!
//! | file | what |
//! |---|---|
//! | `number.wgsl`, `math.wgsl` | arithmetic and functions of one number, as `samebit_tensor::{number, math}` |
//! | `each.wgsl`, `index.wgsl`, `moves.wgsl` | one thread for each word of the result |
//! | `product.wgsl`, `bytes.wgsl` | `MatMul`, `Gemm`, `Conv`, `Attention`; `MatMulInteger` |
//! | `line.wgsl` with `softmax.wgsl`, `norm.wgsl`, `reduce.wgsl`, `pick.wgsl` | 64 threads for each line |
//! | `window.wgsl`, `pool.wgsl` | where windows lie, for `Conv` too; pools |
//! | `check.wgsl` | indices outside their axis |

use samebit_tensor::Dtype;
use std::fmt::Write as _;

/// How a product and a sum are kept apart (`spec/09-tensor.md`, section 9.2.2). Any that passes the gate gives the same
/// bits, so which one runs is nobody's business but the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mac {
    /// `s + a * b`, decorated `NoContraction`: SPIR-V alone can say it.
    NoContraction,
    /// `fma(a, b, -0) + s`: what is fused already is not fused again.
    Fma,
    /// An integer instruction on the product.
    Barrier,
    /// An integer instruction on the product and on the sum.
    Barriers,
    /// `s + a * b` as it stands: right where every product is exact, and wrong wherever a compiler fuses others.
    Plain,
}

impl Mac {
    /// The variants for sums of `f32`, the one with the fewest instructions first.
    pub const F32: [Self; 4] = [Self::NoContraction, Self::Fma, Self::Barrier, Self::Barriers];
    /// The variants for sums of products of `f16`, which are exact.
    pub const F16: [Self; 2] = [Self::Plain, Self::Barriers];

    /// As reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoContraction => "no-contraction",
            Self::Fma => "fma",
            Self::Barrier => "barrier",
            Self::Barriers => "barriers",
            Self::Plain => "plain",
        }
    }

    const fn expression(self) -> &'static str {
        match self {
            Self::Plain | Self::NoContraction => "s + x * y",
            Self::Fma => "fma(x, y, MINUS) + s",
            Self::Barrier => "float(bits(x * y)) + s",
            Self::Barriers => "float(bits(float(bits(x * y)) + s))",
        }
    }
}

/// How four products of bytes are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dot {
    /// The language's own function: one instruction where there is one.
    Packed,
    /// Byte by byte.
    Bytes,
}

impl Dot {
    /// Both, the faster one first.
    pub const ALL: [Self; 2] = [Self::Packed, Self::Bytes];

    /// As reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Bytes => "bytes",
        }
    }
}

/// A tensor's place in a kernel: its element type, and over how many buffers of `2^piece` words it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    pub(crate) dtype: Dtype,
    pub(crate) pieces: u32,
}

/// Which loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Each element by itself; `element` is the body of `fn element(e: u32) -> u32`, `present` an expression that tells which
    /// elements are made by this dispatch, when not all.
    Each {
        element: String,
        present: Option<&'static str>,
    },
    Check,
    Softmax,
    Norm {
        centred: bool,
    },
    Reduce(Reduction),
    Pick {
        values: bool,
    },
    Product {
        mac: Mac,
        conv: bool,
        bias: bool,
        /// Results of each thread, along rows and along columns.
        size: u32,
    },
    Bytes {
        dot: Dot,
        size: u32,
    },
    /// Copies words: measures bandwidth.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
}

/// A kernel for operands that lie so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<Operand>,
    pub(crate) outputs: Vec<Operand>,
    /// Binary logarithm of the words of a piece.
    pub(crate) piece: u32,
}

const NUMBER: &str = include_str!("kernels/number.wgsl");
const MATH: &str = include_str!("kernels/math.wgsl");
const INDEX: &str = include_str!("kernels/index.wgsl");
const EACH: &str = include_str!("kernels/each.wgsl");
const MOVES: &str = include_str!("kernels/moves.wgsl");
const CHECK: &str = include_str!("kernels/check.wgsl");
const LINE: &str = include_str!("kernels/line.wgsl");
const SOFTMAX: &str = include_str!("kernels/softmax.wgsl");
const NORM: &str = include_str!("kernels/norm.wgsl");
const REDUCE: &str = include_str!("kernels/reduce.wgsl");
const PICK: &str = include_str!("kernels/pick.wgsl");
const WINDOW: &str = include_str!("kernels/window.wgsl");
const POOL: &str = include_str!("kernels/pool.wgsl");
const PRODUCT: &str = include_str!("kernels/product.wgsl");
const BYTES: &str = include_str!("kernels/bytes.wgsl");

/// What turns the text into a driver's input.
const COMPILERS: &str = "naga 29.0.4, wgpu 29.0.4";

/// Everything that decides what a kernel computes: the files, the modules that put them together, and what compiles them.
pub(crate) fn fingerprint() -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for text in [
        COMPILERS,
        NUMBER,
        MATH,
        INDEX,
        EACH,
        MOVES,
        CHECK,
        LINE,
        SOFTMAX,
        NORM,
        REDUCE,
        PICK,
        WINDOW,
        POOL,
        PRODUCT,
        BYTES,
        include_str!("kernels.rs"),
        include_str!("elements.rs"),
        include_str!("lower.rs"),
        include_str!("spirv.rs"),
    ] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

impl Spec {
    /// Bindings: the parameters, then inputs, then outputs, piece by piece; whether each is written.
    pub(crate) fn bindings(&self) -> Vec<bool> {
        let pieces = |operands: &[Operand]| operands.iter().map(|operand| operand.pieces as usize).sum::<usize>();
        let (read, mut written) = (pieces(&self.inputs), pieces(&self.outputs));
        if self.kind == Kind::Check {
            written = 1;
        }
        let mut bindings = vec![false; 1 + read];
        bindings.resize(1 + read + written, true);
        bindings
    }

    /// Whether WGSL alone does not say what is meant.
    pub(crate) fn needs_passthrough(&self) -> bool {
        matches!(self.kind, Kind::Product { mac: Mac::NoContraction, .. })
    }

    /// The kernel's text.
    pub(crate) fn source(&self) -> String {
        let mut text = String::from("@group(0) @binding(0) var<storage, read> P: array<u32>;\n");
        text.push_str("// A zero and a minus zero that no compiler knows.\n");
        text.push_str("var<private> ZERO: u32;\nvar<private> MINUS: f32;\n\n");
        text.push_str("fn group_number(group: vec3<u32>) -> u32 {\n    return P[2] + group.x + group.y * P[3];\n}\n\n");
        let mut binding = 1;
        for (operand, name) in self.inputs.iter().zip(["a", "b", "c", "d"]) {
            self.reader(&mut text, &mut binding, *operand, name);
        }
        for (operand, name) in self.outputs.iter().zip(["out", "indices"]) {
            self.writer(&mut text, &mut binding, *operand, name);
        }
        text.push_str(NUMBER);
        let dtype = self.inputs[0].dtype;
        match &self.kind {
            Kind::Each { element, present } => {
                for part in [MATH, INDEX, MOVES] {
                    text.push_str(part);
                }
                if element.contains("pooled") {
                    text.push_str(&pooling(element));
                } else {
                    let _ = writeln!(text, "fn element(e: u32) -> u32 {{\n    {element}\n}}");
                }
                let _ = writeln!(text, "fn present(e: u32) -> bool {{\n    return {};\n}}", present.unwrap_or("true"));
                let old = if present.is_some() { "out_word(word)" } else { "0u" };
                let (per_word, bits, mask) = match self.outputs[0].dtype {
                    Dtype::F32 | Dtype::I32 => ("1u", "32u", "0xffffffffu"),
                    Dtype::F16 => ("2u", "16u", "0xffffu"),
                    Dtype::I8 | Dtype::U8 => ("4u", "8u", "0xffu"),
                };
                text.push_str(&put(
                    EACH,
                    &[("PER_WORD", per_word), ("ELEMENT_BITS", bits), ("ELEMENT_MASK", mask), ("OLD_WORD", old)],
                ));
            }
            Kind::Check => text.push_str(&put(CHECK, &[("@binding(2)", &format!("@binding({binding})"))])),
            Kind::Softmax => {
                for part in [MATH, LINE, SOFTMAX] {
                    text.push_str(part);
                }
            }
            Kind::Norm { centred } => {
                text.push_str(LINE);
                let (apart, shifted) = if *centred { ("sub(x, mean)", "add(value, c(at))") } else { ("x", "value") };
                let _ = writeln!(text, "fn apart(x: u32, mean: u32) -> u32 {{\n    return {apart};\n}}");
                let _ = writeln!(text, "fn shifted(value: u32, at: u32) -> u32 {{\n    return {shifted};\n}}");
                text.push_str(&put(NORM, &[("CENTRED", if *centred { "true" } else { "false" })]));
            }
            Kind::Reduce(how) => {
                text.push_str(LINE);
                text.push_str(&put(REDUCE, &[("REDUCE", &reduction(*how, dtype))]));
            }
            Kind::Pick { values } => {
                text.push_str(LINE);
                let key = if dtype == Dtype::I32 { "bitcast<i32>(x)" } else { "order_key(x)" };
                let _ = writeln!(text, "fn key_of(x: u32) -> i32 {{\n    return {key};\n}}");
                let value = if dtype == Dtype::I32 { "a(from_at)" } else { "canon(a(from_at))" };
                // ArgMax has one result, the index.
                let (word, puts) = if *values {
                    ("indices_word(at)", format!("out_put(at, {value});\n    indices_put(at, index);"))
                } else {
                    ("out_word(at)", "out_put(at, index);".to_owned())
                };
                let _ = writeln!(text, "fn picked_word(at: u32) -> u32 {{\n    return {word};\n}}");
                let _ = writeln!(text, "fn put_picked(at: u32, index: u32, from_at: u32) {{\n    {puts}\n}}");
                text.push_str(&put(PICK, &[("indices_word", "picked_word")]));
            }
            Kind::Product { mac, conv, bias, size } => {
                text.push_str(INDEX);
                let _ =
                    writeln!(text, "fn mac(s: f32, x: f32, y: f32) -> f32 {{\n    return {};\n}}", mac.expression());
                if *conv {
                    text.push_str(WINDOW);
                    text.push_str(CONV);
                } else {
                    text.push_str(MATRICES);
                    let read = if dtype == Dtype::F16 { "from_half" } else { "factor" };
                    let _ = writeln!(text, "{}", put(FACTORS, &[("READ", read)]));
                }
                let biased = if *bias { "add(sum, c(stack % P[28] * P[5] + row))" } else { "sum" };
                let _ =
                    writeln!(text, "fn finished(sum: u32, stack: u32, row: u32) -> u32 {{\n    return {biased};\n}}");
                text.push_str(&tile(PRODUCT, *size, Element::Float));
            }
            Kind::Bytes { dot, size } => {
                text.push_str(INDEX);
                text.push_str(MATRICES);
                text.push_str(match dot {
                    Dot::Packed => DOT_PACKED,
                    Dot::Bytes => DOT_BYTES,
                });
                let flip = |operand: Operand| if operand.dtype == Dtype::U8 { "0x80u" } else { "0u" };
                let body = put(BYTES, &[("LEFT_FLIP", flip(self.inputs[0])), ("RIGHT_FLIP", flip(self.inputs[1]))]);
                text.push_str(&tile(&body, *size, Element::Bytes));
            }
            Kind::Copy => text.push_str(COPY),
        }
        text
    }

    fn pieces(&self, text: &mut String, binding: &mut u32, operand: Operand, name: &str, access: &str) {
        for piece in 0..operand.pieces {
            let _ = writeln!(text, "@group(0) @binding({binding}) var<storage, {access}> {name}_{piece}: array<u32>;");
            *binding += 1;
        }
    }

    /// `name_word(i)` for words.
    fn words(&self, text: &mut String, operand: Operand, name: &str) {
        let _ = writeln!(text, "fn {name}_word(i: u32) -> u32 {{");
        self.choose(text, operand, |piece, at| format!("return {name}_{piece}[{at}];"));
        text.push_str("}\n");
    }

    /// One statement for the piece in which word `i` lies.
    fn choose(&self, text: &mut String, operand: Operand, statement: impl Fn(u32, &str) -> String) {
        if operand.pieces == 1 {
            let _ = writeln!(text, "    {}", statement(0, "i"));
            return;
        }
        let _ = writeln!(text, "    let at = i & {}u;\n    switch (i >> {}u) {{", (1u64 << self.piece) - 1, self.piece);
        for piece in 0..operand.pieces {
            let case = if piece + 1 == operand.pieces { "default".to_owned() } else { format!("case {piece}u") };
            let _ = writeln!(text, "        {case}: {{ {} }}", statement(piece, "at"));
        }
        text.push_str("    }\n");
    }

    /// `name(i)` for elements: narrow ones widened, signed ones with their sign.
    fn reader(&self, text: &mut String, binding: &mut u32, operand: Operand, name: &str) {
        self.pieces(text, binding, operand, name, "read");
        self.words(text, operand, name);
        let element = match operand.dtype {
            Dtype::F32 | Dtype::I32 => format!("{name}_word(i)"),
            Dtype::F16 => format!("({name}_word(i >> 1u) >> ((i & 1u) * 16u)) & 0xffffu"),
            Dtype::U8 => format!("({name}_word(i >> 2u) >> ((i & 3u) * 8u)) & 0xffu"),
            Dtype::I8 => {
                format!("bitcast<u32>(bitcast<i32>({name}_word(i >> 2u) << (24u - (i & 3u) * 8u)) >> 24u)")
            }
        };
        let _ = writeln!(text, "fn {name}(i: u32) -> u32 {{\n    return {element};\n}}\n");
    }

    /// `name_put(i, value)` for words, and `name_word(i)` to read them again.
    fn writer(&self, text: &mut String, binding: &mut u32, operand: Operand, name: &str) {
        self.pieces(text, binding, operand, name, "read_write");
        self.words(text, operand, name);
        let _ = writeln!(text, "fn {name}_put(i: u32, value: u32) {{");
        self.choose(text, operand, |piece, at| format!("{name}_{piece}[{at}] = value;"));
        text.push_str("}\n\n");
    }
}

/// Replaces words in a template, longer names first given.
fn put(template: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(template.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Pools: `pooled max`, `pooled mean` or `pooled mean with padding` in the place of an element's body.
fn pooling(which: &str) -> String {
    let sum = "total = bits(raw_add(float(total), float(addend(value))));";
    let (step, end) = match which {
        "pooled max" => ("total = select(canon(value), greater(total, value), at > 0u);", "total"),
        "pooled mean" => (sum, "div(total, from_integer(count))"),
        _ => (sum, "div(total, from_integer(P[20] * P[21]))"),
    };
    let pool = put(POOL, &[("POOL_STEP", step), ("POOL_END", end)]);
    format!("{WINDOW}\n{pool}\nfn element(e: u32) -> u32 {{\n    return pooled(e);\n}}\n")
}

fn reduction(how: Reduction, dtype: Dtype) -> String {
    let walked = "a(start + walk(at, P[7]))";
    let each = "for (var at = lane; at < members; at += 64u)";
    match (how, dtype == Dtype::I32) {
        (Reduction::Sum | Reduction::Mean, false) => {
            let end = if how == Reduction::Mean { "total = div(total, from_integer(members));" } else { "" };
            format!(
                "var sum = 0.0;\n    {each} {{\n        sum = raw_add(sum, float(addend({walked})));\n    }}\n    \
                 var total = tree(lane, sum);\n    {end}"
            )
        }
        (Reduction::Sum | Reduction::Mean, true) => format!(
            "var sum = 0u;\n    {each} {{\n        sum += {walked};\n    }}\n    lanes[lane] = sum;\n    \
             workgroupBarrier();\n    var total = 0u;\n    if (lane == 0u) {{\n        \
             for (var at = 0u; at < 64u; at++) {{\n            total += lanes[at];\n        }}\n    }}"
        ),
        (Reduction::Max, integers) => format!(
            "var best = 0u;\n    {each} {{\n        best = max(best, ascending({}));\n    }}\n    \
             let total = {};",
            key(integers, walked),
            of_key(integers, "greatest(lane, best)")
        ),
        // The least, and NaN when one is: NaN's key comes first.
        (Reduction::Min, true) => format!(
            "var best = 0u;\n    {each} {{\n        best = max(best, ~ascending(bitcast<i32>({walked})));\n    }}\n    \
             let total = ~greatest(lane, best) ^ SIGN;"
        ),
        (Reduction::Min, false) => format!(
            "var best = 0u;\n    {each} {{\n        let value = {walked};\n        \
             best = max(best, select(~ascending(order_key(value)), 0xffffffffu, is_nan(value)));\n    }}\n    \
             let least = greatest(lane, best);\n    let total = select(of_key(~least), NAN, least == 0xffffffffu);"
        ),
    }
}

fn key(integers: bool, x: &str) -> String {
    if integers { format!("bitcast<i32>({x})") } else { format!("order_key({x})") }
}

fn of_key(integers: bool, word: &str) -> String {
    if integers { format!("{word} ^ SIGN") } else { format!("of_key({word})") }
}

#[derive(Clone, Copy, PartialEq)]
enum Element {
    Float,
    Bytes,
}

/// Writes a tile's loops out: `size` x `size` results of each thread, 16 rows and columns apart.
fn tile(template: &str, size: u32, element: Element) -> String {
    // As deep as 16 KiB of shared memory allow.
    let depth = if element == Element::Bytes || size == 8 { 8 } else { 16 };
    let block = 16 * size;
    let mut declare = String::new();
    let mut resume = String::new();
    let mut multiply = String::new();
    let mut store = String::new();
    let floats = element == Element::Float;
    let zero = if floats { "0.0" } else { "0i" };
    for row in 0..size {
        if !floats {
            let _ = writeln!(declare, "    var ls{row} = 0i;\n    var rs{row} = 0i;");
        }
        for column in 0..size {
            let _ = writeln!(declare, "    var s{row}_{column} = {zero};");
        }
    }
    for at in 0..size {
        let _ = writeln!(multiply, "            let l{at} = left[inner * (BLOCK_ROWS + 1u) + local.y + {}u];", 16 * at);
        let _ = writeln!(multiply, "            let r{at} = right[inner * BLOCK_COLUMNS + local.x + {}u];", 16 * at);
        if !floats {
            let _ = writeln!(multiply, "            ls{at} += dot_of_four(l{at}, 0x01010101u);");
            let _ = writeln!(multiply, "            rs{at} += dot_of_four(r{at}, 0x01010101u);");
        }
    }
    for row in 0..size {
        for column in 0..size {
            let sum = format!("s{row}_{column}");
            let _ = if floats {
                writeln!(multiply, "            {sum} = mac({sum}, l{row}, r{column});")
            } else {
                writeln!(multiply, "            {sum} += dot_of_four(l{row}, r{column});")
            };
            let place = format!(
                "let row = first_row + local.y + {}u;\n        let column = first_column + local.x + {}u;",
                16 * row,
                16 * column
            );
            let inside = "if (row < rows && column < columns)";
            let _ = writeln!(
                resume,
                "        {{\n        {place}\n        {inside} {{\n            \
                 {sum} = float(out_word(out_start + row * columns + column));\n        }}\n        }}"
            );
            let value = if floats {
                let _ = write!(store, "");
                format!("select(bits({sum}), finished(canon(bits({sum})), stack, row), last)")
            } else {
                format!(
                    "bitcast<u32>({sum} - bitcast<i32>(P[16]) * rs{column} - bitcast<i32>(P[17]) * ls{row} + zeros)"
                )
            };
            let _ = writeln!(
                store,
                "    {{\n        {place}\n        {inside} {{\n            \
                 out_put(out_start + row * columns + column, {value});\n        }}\n    }}"
            );
        }
    }
    let text = template.replace("const DEPTH: u32 = 16u;", &format!("const DEPTH: u32 = {depth}u;"));
    put(
        &text,
        &[
            ("LEFT_SIZE", &format!("{}", depth * (block + 1))),
            ("RIGHT_SIZE", &format!("{}", depth * block)),
            ("16u * ROWS", &format!("{block}u")),
            ("16u * COLUMNS", &format!("{block}u")),
            ("    DECLARE\n", &declare),
            ("        RESUME\n", &resume),
            ("            MULTIPLY\n", &multiply),
            ("    STORE\n", &store),
        ],
    )
}

/// Where the matrices of a stack begin.
const MATRICES: &str = "
fn a_matrix(stack: u32) -> u32 {
    return place(stack, 18u, 0u);
}

fn b_matrix(stack: u32) -> u32 {
    return place(stack, 18u, 1u);
}
";

const FACTORS: &str = "
fn left_factor(start: u32, row: u32, k: u32) -> u32 {
    return READ(a(start + row * P[12] + k * P[13]));
}

fn right_factor(start: u32, k: u32, column: u32) -> u32 {
    return READ(b(start + k * P[14] + column * P[15]));
}
";

/// A convolution as a product: weights by what each place of the window sees. P[28] groups, P[29] channels of a group.
const CONV: &str = "
fn a_matrix(stack: u32) -> u32 {
    return stack % P[28] * P[5] * P[9];
}

fn b_matrix(stack: u32) -> u32 {
    return stack * P[29] * P[16] * P[17];
}

fn left_factor(start: u32, row: u32, k: u32) -> u32 {
    return factor(a(start + row * P[9] + k));
}

fn right_factor(start: u32, k: u32, column: u32) -> u32 {
    let at = k % (P[20] * P[21]);
    let y = window_inside(0u, column / P[19], at / P[21]);
    let x = window_inside(1u, column % P[19], at % P[21]);
    if (y >= P[16] || x >= P[17]) {
        return 0u;
    }
    return factor(b(start + (k / (P[20] * P[21]) * P[16] + y) * P[17] + x));
}
";

const DOT_PACKED: &str = "
fn dot_of_four(x: u32, y: u32) -> i32 {
    return dot4I8Packed(x, y);
}
";

const DOT_BYTES: &str = "
fn byte_of(x: u32, at: u32) -> i32 {
    return bitcast<i32>(x << (24u - 8u * at)) >> 24u;
}

fn dot_of_four(x: u32, y: u32) -> i32 {
    return byte_of(x, 0u) * byte_of(y, 0u) + byte_of(x, 1u) * byte_of(y, 1u)
        + byte_of(x, 2u) * byte_of(y, 2u) + byte_of(x, 3u) * byte_of(y, 3u);
}
";

const COPY: &str = "
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let word = group_number(group) * 64u + lane;
    if (word < P[4]) {
        out_put(word, a_word(word));
    }
}
";

#[cfg(test)]
mod tests {
    use super::COMPILERS;

    #[test]
    fn a_gate_that_was_kept_is_of_the_compilers_that_are_linked() {
        let lock = include_str!("../../../Cargo.lock");
        for compiler in COMPILERS.split(", ") {
            let (name, version) = compiler.split_once(' ').expect("a name and a version");
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{compiler} is not what Cargo.lock has: correct COMPILERS");
        }
    }
}
