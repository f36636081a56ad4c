//! Modules that cost their author little: each is as much of one thing as a file or the profile lets it be.

/// What must become of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is admitted, and both engines take what it becomes.
    Admitted,
    /// It is refused, and these words are in the refusal.
    Refused(&'static str),
}

/// A module, by what there is too much of.
pub(crate) struct Bomb {
    pub(crate) name: &'static str,
    pub(crate) wanted: Wanted,
    pub(crate) make: fn() -> Vec<u8>,
}

const fn admitted(name: &'static str, make: fn() -> Vec<u8>) -> Bomb {
    Bomb { name, wanted: Wanted::Admitted, make }
}

const fn refused(name: &'static str, words: &'static str, make: fn() -> Vec<u8>) -> Bomb {
    Bomb { name, wanted: Wanted::Refused(words), make }
}

const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const IF: [u8; 2] = [0x04, 0x40];
const END: [u8; 1] = [0x0b];
const ZERO: [u8; 2] = [0x41, 0];
const DROP: [u8; 1] = [0x1a];
const I32: u8 = 0x7f;
const F64: u8 = 0x7c;
const V128: u8 = 0x7b;

/// Adds what memory holds to a local and stores it: a NaN is made canonical in between.
const SUM: [u8; 15] = [0x41, 0, 0x20, 0, 0x41, 0, 0x2b, 3, 0, 0xa0, 0x22, 0, 0x39, 3, 0];
/// Divisions, and a way out of the function: so much fuel that each is looked at.
const DEAR_WAY_OUT: [u8; 13] = [0x20, 0, 0x20, 0, 0x6e, 0x20, 0, 0x6e, 0x1a, 0x20, 0, 0x0d, 0];

/// All of them. What is admitted is close to the limits of `spec/src/param.rs`.
pub(crate) const BOMBS: &[Bomb] = &[
    refused("690 000 blocks inside one another", "blocks inside one another", || {
        one(&[], &[BLOCK.repeat(690_000), END.repeat(690_000)].concat())
    }),
    refused("4 096 blocks inside one another, 160 times", "blocks, loops and branches", || {
        one(&[], &[BLOCK.repeat(4_096), END.repeat(4_096)].concat().repeat(160))
    }),
    refused("690 000 loops side by side", "blocks, loops and branches", || {
        one(&[], &[&LOOP[..], &END].concat().repeat(690_000))
    }),
    refused("400 000 branches side by side", "blocks, loops and branches", || {
        one(&[], &[&ZERO[..], &IF, &END].concat().repeat(400_000))
    }),
    refused("500 000 ways out of a function", "blocks, loops and branches", || {
        one(&[], &[&ZERO[..], &[0x0d, 0]].concat().repeat(500_000))
    }),
    admitted("as many ways out of a function as it may have", || {
        one(&[(1, I32)], &[[0x20, 0, 0x0d, 0].repeat(49_152), vec![0x01; 600_000]].concat())
    }),
    refused("100 000 locals", "locals of a function", || one(&[(1, I32), (99_999, F64)], &[])),
    refused("four thousand million locals", "locals of a function", || one(&[(u32::MAX, I32)], &[])),
    admitted("two million locals in 200 functions", || {
        let mut wasm = Wasm::new();
        (0..200).for_each(|_| wasm.function(0, &[(10_000, I32)], &[]));
        wasm.finish()
    }),
    refused("300 functions of 10 000 locals", "locals of all functions", || {
        let mut wasm = Wasm::new();
        (0..300).for_each(|_| wasm.function(0, &[(10_000, I32)], &[]));
        wasm.finish()
    }),
    admitted("a million groups of no locals", || one(&vec![(0, I32); 1_000_000], &[])),
    admitted("as many vectors as a frame may hold", || {
        let constant = [&[0xfd, 12][..], &[7; 16]].concat();
        one(&[(10_000, V128)], &[constant.repeat(16_384), DROP.repeat(16_384)].concat())
    }),
    refused("17 000 operands", "operands on the stack", || {
        one(&[], &[ZERO.repeat(17_000), DROP.repeat(17_000)].concat())
    }),
    refused("a branch table of two million ways", "branch tables", || one(&[], &table(&[0; 2_000_000]))),
    refused("branch tables of 4 000 ways out of 4 000 blocks, 200 times", "branch tables", || {
        let ways: Vec<usize> = (0..4_000).collect();
        let tables = [&IF[..], &table(&ways), &END].concat();
        one(&[], &[BLOCK.repeat(4_000), [&ZERO[..], &tables].concat().repeat(200), END.repeat(4_000)].concat())
    }),
    admitted("a branch table of 32 000 ways over 10 000 computed floats", || {
        let mut code = Vec::new();
        for local in 0..10_000 {
            code.extend([0x20]);
            leb(&mut code, local);
            code.extend([0x20, 1, 0xa0, 0x21]);
            leb(&mut code, local);
        }
        let ways: Vec<usize> = (0..32_000).map(|way| way % 100).collect();
        code.extend([BLOCK.repeat(100), table(&ways), END.repeat(100)].concat());
        for local in 0..10_000 {
            code.extend([0x41, 0, 0x20]);
            leb(&mut code, local);
            code.extend([0x39, 3, 0]);
        }
        one(&[(10_000, F64)], &code)
    }),
    admitted("190 000 sums of what is known, each stored", || {
        let sum = [0x41, 0, 0x20, 0, 0x20, 1, 0xa0, 0x39, 3, 0];
        one(&[(2, F64)], &sum.repeat(190_000))
    }),
    admitted("15 000 sums of what memory holds, each stored", || one(&[(2, F64)], &SUM.repeat(15_000))),
    refused("60 000 sums of what memory holds, each stored", "branches of a function once", || {
        one(&[(2, F64)], &SUM.repeat(60_000))
    }),
    admitted("18 000 ways out of a dear function", || one(&[(1, I32)], &DEAR_WAY_OUT.repeat(18_000))),
    admitted("as many calls in a dear function as it may have", || called(&[0x10, 2].repeat(16_000), 1)),
    refused("20 000 calls in a dear function", "branches of a function once", || called(&[0x10, 2].repeat(20_000), 1)),
    refused("16 000 calls in each of 800 dear functions", "branches of all functions", || {
        called(&[0x10, 2].repeat(16_000), 800)
    }),
    admitted("as many values as calls may pass", || passed(540)),
    refused("20 000 calls that pass 16 numbers both ways", "parameters and results of a function's calls", || {
        passed(20_000)
    }),
    admitted("20 000 atomic accesses", || one(&[(1, I32)], &[0x20, 0, 0xfe, 0x10, 2, 0, 0x1a].repeat(20_000))),
    refused("60 000 calls that may throw", "branches of a function once", || {
        let mut code = BLOCK.to_vec();
        code.extend([0x1f, 0x40, 1, 2, 0]);
        code.extend([0x10, 2].repeat(60_000));
        code.extend([&END[..], &END].concat());
        let mut wasm = Wasm::new();
        wasm.tag = true;
        wasm.function(0, &[], &code);
        wasm.function(0, &[], &[0x08, 0]);
        wasm.finish()
    }),
    admitted("60 000 vector sums that are stored", || {
        let sum = [0x41, 0, 0x20, 0, 0x20, 1, 0xfd, 0xe4, 1, 0xfd, 11, 4, 0];
        one(&[(2, V128)], &sum.repeat(60_000))
    }),
    admitted("200 000 copies of unknown length", || {
        one(&[(1, I32)], &[0x20, 0, 0x20, 0, 0x20, 0, 0xfc, 10, 0, 0].repeat(200_000))
    }),
    admitted("200 000 functions", || {
        let mut wasm = Wasm::new();
        (0..199_999).for_each(|_| wasm.function(0, &[], &[]));
        wasm.finish()
    }),
    refused("a million functions", "functions, at most", || {
        let mut wasm = Wasm::new();
        (0..999_999).for_each(|_| wasm.function(0, &[], &[]));
        wasm.finish()
    }),
    admitted("20 000 types of 255 parameters and 16 results", wide_types),
    admitted("200 000 functions of 255 parameters", || {
        let mut wasm = Wasm::new();
        let wide = wasm.ty(255, 0);
        (0..199_999).for_each(|_| wasm.function(wide, &[], &[]));
        wasm.finish()
    }),
    admitted("200 000 functions, each calls the next", || {
        let mut wasm = Wasm::new();
        for function in 1..200_000 {
            let mut call = vec![0x10];
            leb(&mut call, (function + 1) % 200_000);
            wasm.function(0, &[], &call);
        }
        wasm.finish()
    }),
    refused("10 functions of a million calls", "once it is rewritten", || {
        let mut wasm = Wasm::new();
        (0..10).for_each(|_| wasm.function(0, &[], &[0x10, 1].repeat(1_000_000)));
        wasm.finish()
    }),
    admitted("64 MiB of data", || data(1, 64 << 20)),
    refused("90 MB of data", "bytes of data segments", || data(1, 90_000_000)),
    admitted("100 000 data segments", || data(100_000, 1)),
    refused("a million data segments", "data segments", || data(1_000_000, 1)),
    admitted("10 000 element segments of 100", || elements(10_000, 100)),
    refused("90 million elements", "elements of all segments", || elements(9, 9_990_000)),
    admitted("10 000 exports of 9 000 letters", || exports(10_000, 9_000)),
    refused("a million exports", "exports", || exports(1_000_000, 8)),
    admitted("1 024 globals", || globals(1_024)),
    refused("a million globals", "globals", || globals(1_000_000)),
    refused("a million imports", "imports", || {
        let item = [&[22][..], b"wasi_snapshot_preview1", &[11], b"sched_yield", &[0, 0]].concat();
        section(head(&[(1, &[1, 0x60, 0, 1, I32])]), 2, &vector(1_000_000, &item))
    }),
    admitted("a custom section of 90 MB", || {
        section(Wasm::new().finish(), 0, &[&[1, b'x'][..], &vec![0; 90_000_000]].concat())
    }),
    refused("a custom section of 101 MB", "bytes long", || {
        section(Wasm::new().finish(), 0, &[&[1, b'x'][..], &vec![0; 101_000_000]].concat())
    }),
    admitted("a section of names that names four thousand million functions", || {
        let names = [&[4][..], b"name", &[1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0xff, 0xff, 0xff, 0xff]].concat();
        section(Wasm::new().finish(), 0, &names)
    }),
    refused("a section that is longer than the file", "not a valid module", || {
        [&Wasm::new().finish()[..], &[11, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]].concat()
    }),
    refused("a section that is shorter than what it lists", "not a valid module", || {
        section(head(&[]), 1, &[2, 0x60, 0, 0, 0x60])
    }),
    refused("four thousand million types", "function types", || {
        section(head(&[]), 1, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0x60])
    }),
    refused("a group of a million types", "garbage-collected", || {
        let group = [&[0x4e][..], &vector(1_000_000, &[0x60, 0, 0])].concat();
        section(head(&[]), 1, &[&[1][..], &group].concat())
    }),
    refused("20 000 components inside one another", "components", || {
        let mut bytes = Vec::new();
        for _ in 0..20_000 {
            let inner = std::mem::take(&mut bytes);
            bytes = b"\0asm\x0d\0\x01\0".to_vec();
            if inner.len() < 1 << 16 {
                bytes = section(bytes, 4, &inner);
            } else {
                bytes.extend(inner);
            }
        }
        bytes
    }),
    admitted("20 handlers of 10 000 clauses", || {
        let mut code = BLOCK.to_vec();
        for _ in 0..20 {
            code.extend([0x1f, 0x40]);
            code.extend(vector(10_000, &[0, 0, 0]));
            code.extend([&[0x10, 0][..], &END].concat());
        }
        code.extend(END);
        tagged(&code)
    }),
    refused("12 MB of atomics that become more than 96 MiB", "without exceptions and atomics", || {
        let mut wasm = Wasm::new();
        let body = [&[0][..], &[0xfe, 0x48, 2, 1, 0x1a].repeat(48_000)].concat();
        (0..51).for_each(|_| wasm.function(0, &[], &body));
        wasm.finish()
    }),
];

/// A branch table inside a block of its own, at the number 0.
fn table(ways: &[usize]) -> Vec<u8> {
    let mut code = ZERO.to_vec();
    code.push(0x0e);
    leb(&mut code, ways.len());
    ways.iter().for_each(|&way| leb(&mut code, way));
    code.push(0);
    code
}

/// Functions with this body, before one that function 2 is and that is no straight-line code.
fn called(code: &[u8], functions: usize) -> Vec<u8> {
    let mut wasm = Wasm::new();
    wasm.function(0, &[], &[]);
    wasm.function(0, &[], &[0x01, 0x0f]);
    (0..functions).for_each(|_| wasm.function(0, &[], code));
    wasm.finish()
}

/// Calls of a function that gives back the 16 numbers that it takes.
fn passed(calls: usize) -> Vec<u8> {
    let mut wasm = Wasm::new();
    let both = wasm.ty(16, 16);
    wasm.function(0, &[], &[ZERO.repeat(16), [0x10, 2].repeat(calls), DROP.repeat(16)].concat());
    wasm.function(both, &[], &(0..16).flat_map(|param| [0x20, param]).collect::<Vec<u8>>());
    wasm.finish()
}

fn wide_types() -> Vec<u8> {
    let mut wasm = Wasm::new();
    (0..19_999).for_each(|_| {
        wasm.ty(255, 16);
    });
    wasm.finish()
}

fn data(segments: usize, len: usize) -> Vec<u8> {
    let mut segment = vec![0, 0x41, 0, 0x0b];
    leb(&mut segment, len);
    segment.resize(segment.len() + len, 7);
    section(Wasm::new().finish(), 11, &vector(segments, &segment))
}

fn elements(segments: usize, len: usize) -> Vec<u8> {
    let mut wasm = Wasm::new();
    wasm.table = true;
    let segment = [&[0, 0x41, 0, 0x0b][..], &vector(len, &[0])].concat();
    wasm.elements = vector(segments, &segment);
    wasm.finish()
}

fn exports(count: usize, len: usize) -> Vec<u8> {
    let mut wasm = Wasm::new();
    // Two are there already.
    for number in 2..count {
        let mut name = vec![];
        leb(&mut name, len);
        name.extend(format!("{number:0len$}").into_bytes());
        wasm.exports.push(&[&name[..], &[0, 0]].concat());
    }
    wasm.finish()
}

fn globals(count: usize) -> Vec<u8> {
    let mut wasm = Wasm::new();
    (0..count).for_each(|_| wasm.globals.push(&[I32, 1, 0x41, 0, 0x0b]));
    wasm.finish()
}

/// A command with one more function, which has this body.
fn one(locals: &[(u32, u8)], code: &[u8]) -> Vec<u8> {
    let mut wasm = Wasm::new();
    wasm.function(0, locals, code);
    wasm.finish()
}

/// The same of a module that has a tag.
fn tagged(code: &[u8]) -> Vec<u8> {
    let mut wasm = Wasm::new();
    wasm.tag = true;
    wasm.function(0, &[], code);
    wasm.finish()
}

/// What a section lists.
#[derive(Default)]
struct List {
    count: usize,
    bytes: Vec<u8>,
}

impl List {
    fn push(&mut self, item: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(item);
    }

    fn contents(&self) -> Vec<u8> {
        let mut contents = Vec::new();
        leb(&mut contents, self.count);
        contents.extend_from_slice(&self.bytes);
        contents
    }
}

/// A command whose function 0 is `_start` and does nothing; type 0 takes and gives nothing.
struct Wasm {
    types: List,
    functions: List,
    globals: List,
    exports: List,
    bodies: List,
    elements: Vec<u8>,
    table: bool,
    tag: bool,
}

impl Wasm {
    fn new() -> Self {
        let mut wasm = Self {
            types: List::default(),
            functions: List::default(),
            globals: List::default(),
            exports: List::default(),
            bodies: List::default(),
            elements: Vec::new(),
            table: false,
            tag: false,
        };
        wasm.types.push(&[0x60, 0, 0]);
        wasm.exports.push(&[&[6][..], b"memory", &[2, 0]].concat());
        wasm.exports.push(&[&[6][..], b"_start", &[0, 0]].concat());
        wasm.function(0, &[], &[]);
        wasm
    }

    /// A further type of so many numbers. Its index.
    fn ty(&mut self, params: usize, results: usize) -> usize {
        self.types.push(&[&[0x60][..], &vector(params, &[I32]), &vector(results, &[I32])].concat());
        self.types.count - 1
    }

    fn function(&mut self, ty: usize, locals: &[(u32, u8)], code: &[u8]) {
        let mut index = Vec::new();
        leb(&mut index, ty);
        self.functions.push(&index);
        let mut body = Vec::new();
        leb(&mut body, locals.len());
        for &(count, ty) in locals {
            leb(&mut body, count as usize);
            body.push(ty);
        }
        body.extend_from_slice(code);
        body.extend(END);
        let mut sized = Vec::new();
        leb(&mut sized, body.len());
        sized.extend(body);
        self.bodies.push(&sized);
    }

    fn finish(&self) -> Vec<u8> {
        let mut bytes = head(&[(1, &self.types.contents()), (3, &self.functions.contents())]);
        if self.table {
            bytes = section(bytes, 4, &[1, 0x70, 0, 100]);
        }
        bytes = section(bytes, 5, &[1, 0, 1]);
        if self.tag {
            bytes = section(bytes, 13, &[1, 0, 0]);
        }
        if self.globals.count > 0 {
            bytes = section(bytes, 6, &self.globals.contents());
        }
        bytes = section(bytes, 7, &self.exports.contents());
        if !self.elements.is_empty() {
            bytes = section(bytes, 9, &self.elements);
        }
        section(bytes, 10, &self.bodies.contents())
    }
}

fn head(sections: &[(u8, &[u8])]) -> Vec<u8> {
    sections.iter().fold(b"\0asm\x01\0\0\0".to_vec(), |bytes, (id, contents)| section(bytes, *id, contents))
}

fn section(mut bytes: Vec<u8>, id: u8, contents: &[u8]) -> Vec<u8> {
    bytes.push(id);
    leb(&mut bytes, contents.len());
    bytes.extend_from_slice(contents);
    bytes
}

fn vector(count: usize, item: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    leb(&mut bytes, count);
    bytes.extend(item.repeat(count));
    bytes
}

fn leb(into: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            into.push(low);
            return;
        }
        into.push(0x80 | low);
    }
}
