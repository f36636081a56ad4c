//! A run that is taken up at any state that was kept ends as if it had never stopped, on either engine; and a state that
//! was altered is refused by name.

mod support;

use samebit_runtime::{
    Checkpoint, Finished, Flow, Held, HostFault, Keep, Options, Orders, Runtime, Snapshot, SnapshotError, Source,
    Tracking,
    pack::{Pack, PackError, Packer, Packs},
};
use samebit_spec::{
    execution::{Execution, Limits, Outcome},
    history::HistoryProof,
    id::StateRoot,
    unit::{Bytes, Fuel},
};
use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use support::{Loaded, Store, execution, load, stepped};

/// Eight steps that change everything which a state has: memory far apart, zeros where there was data, more memory,
/// globals of each type, a file, stdout, stderr, the clock and the randomness.
fn guest() -> Loaded {
    load(&stepped(
        r#"(global $n (mut i32) (i32.const 0)) (global $fd (mut i32) (i32.const 0)) (global $sum (mut i64) (i64.const 7))
           (global $float (mut f64) (f64.const 0.5)) (global $single (mut f32) (f32.const 1.5))
           (global $wide (mut v128) (v128.const i64x2 1 2))
           (data (i32.const 4096) "a page of data that a step makes zeros") (data (i32.const 512) "file") (data (i32.const 600) "line\n")
           (func $at (param $page i32) (result i32) (i32.shl (local.get $page) (i32.const 12)))"#,
        r#"(drop (memory.grow (i32.const 40)))
           (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 512) (i32.const 4) (i32.const 1)
                (i64.const 0x1fffffff) (i64.const 0) (i32.const 0) (i32.const 520)) (then unreachable))
           (global.set $fd (i32.load (i32.const 520)))
           (memory.fill (i32.const 500000) (i32.const 3) (i32.const 1000000))
           (i32.const 1)"#,
        r#"(local $p i32)
           (global.set $n (i32.add (global.get $n) (i32.const 1)))
           (local.set $p (i32.add (call $at (i32.mul (global.get $n) (i32.const 53))) (i32.const 17)))
           (i64.store (local.get $p) (i64.const -1))
           (if (i32.eq (global.get $n) (i32.const 2)) (then (memory.fill (i32.const 4096) (i32.const 0) (i32.const 4096))))
           (if (i32.eq (global.get $n) (i32.const 3)) (then
                (drop (memory.grow (i32.const 3))) (i32.store (i32.const 2700000) (i32.const 9))))
           (if (i32.eq (global.get $n) (i32.const 5)) (then (memory.fill (i32.const 600000) (i32.const 0) (i32.const 500000))))
           (drop (call $random (i32.const 1024) (i32.const 16)))
           (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 1056)))
           (global.set $sum (i64.add (global.get $sum) (i64.load (i32.const 1024))))
           (global.set $float (f64.div (global.get $float) (f64.const 3)))
           (global.set $single (f32.div (global.get $single) (f32.const 3)))
           (global.set $wide (i64x2.add (global.get $wide) (global.get $wide)))
           (call $put (i32.const 1) (i32.const 600) (i32.const 5))
           (call $put (i32.const 2) (i32.const 600) (i32.const 5))
           (call $put (global.get $fd) (i32.const 1024) (i32.const 5000))
           (i32.lt_u (global.get $n) (i32.const 8))"#,
        "(i32.const 0)",
    ))
}

fn wanted(program: &Loaded) -> Execution {
    Execution {
        limits: Limits { fuel: Fuel(500_000_000), ..Limits::default() },
        step_budget: Fuel(100_000_000),
        ..execution(program)
    }
}

/// Packs of every state, or of every so many.
struct Packing {
    every: u32,
    packer: Packer,
    packs: Vec<Pack>,
    bytes: Vec<Vec<u8>>,
    /// Steps whose states are not taken.
    refused: Vec<u32>,
}

impl Packing {
    fn new(every: u32) -> Self {
        Self { every, packer: Packer::new(), packs: Vec::new(), bytes: Vec::new(), refused: Vec::new() }
    }
}

impl Keep for Packing {
    fn wants(&mut self, step: u32) -> bool {
        step.is_multiple_of(self.every)
    }

    fn keep(&mut self, checkpoint: &mut Checkpoint) -> Held {
        if self.refused.contains(&checkpoint.image.step) {
            return Held::Refused;
        }
        let mut bytes = Vec::new();
        let written = self.packer.pack(checkpoint, &mut bytes).expect("memory takes all");
        let len = written.clone().at(Arc::new(Vec::new())).len();
        assert_eq!(len, bytes.len() as u64);
        let pack = Pack::read(bytes.clone()).expect("it was just written");
        assert_eq!(pack.altered().unwrap(), BTreeSet::new());
        self.packs.push(pack);
        self.bytes.push(bytes);
        Held::Kept
    }
}

#[test]
fn a_pack_that_cannot_be_read_now_is_not_taken_for_a_damaged_one() {
    /// Fails once its pack is open.
    struct Failing(Vec<u8>, AtomicBool);
    impl Source for Failing {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                Err(io::ErrorKind::TimedOut.into())
            } else {
                self.0.read_at(offset, into)
            }
        }
    }
    let program = guest();
    let (runtime, on) = program.each().next().unwrap();
    let mut packing = Packing::new(1);
    run((runtime, on), &wanted(&program), None, Some(&mut packing)).unwrap();
    let bytes = packing.bytes[1].clone();
    let len = bytes.len() as u64;
    let source = Arc::new(Failing(bytes, AtomicBool::new(false)));
    let pack = Pack::open(Arc::clone(&source) as Arc<dyn Source>, len).unwrap();
    assert_eq!(pack.altered().unwrap(), BTreeSet::new());
    source.1.store(true, Ordering::Relaxed);
    assert_eq!(pack.altered().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

fn run(
    on: (&Runtime, &samebit_runtime::Program),
    execution: &Execution,
    resume: Option<&Snapshot>,
    keep: Option<&mut dyn Keep>,
) -> Result<Finished, HostFault> {
    let orders = Orders { resume: resume.cloned().map(Arc::new), keep, hear: None };
    on.0.run_with(on.1, execution, &Store::default(), orders, &mut |_| Flow::Go)
}

fn kept(program: &Loaded, execution: &Execution, every: u32) -> (Finished, Vec<Pack>) {
    let mut packing = Packing::new(every);
    let on = program.each().next().expect("an engine");
    let finished = run(on, execution, None, Some(&mut packing)).expect("an outcome");
    assert_eq!(finished.receipt.outcome, Outcome::Exited { code: 0 });
    (finished, packing.packs)
}

#[test]
fn a_run_taken_up_anywhere_on_either_engine_ends_as_if_it_had_never_stopped() {
    let program = guest();
    let execution = wanted(&program);
    let (whole, packs) = kept(&program, &execution, 1);
    let plain = support::run_in(&program, &execution, &Store::default()).expect("an outcome");
    assert_eq!(plain, whole, "to keep states changes nothing");
    assert_eq!((whole.receipt.steps, whole.history.len(), packs.len()), (8, 9, 8));
    assert_eq!(whole.stdout.len(), 40);
    assert_eq!(whole.stderr.len(), 40);
    assert_eq!(whole.files.iter().map(|file| file.1.len()).sum::<u64>(), 40_000);
    let packs = Packs::new(packs);
    for (step, root) in whole.history.iter().take(8).enumerate() {
        let snapshot = packs.snapshot(*root).expect("it was kept");
        assert_eq!((snapshot.step() as usize, snapshot.root()), (step, *root));
        for on in program.each() {
            assert_eq!(run(on, &execution, Some(&snapshot), None).expect("an outcome"), whole, "from step {step}");
        }
    }
}

#[test]
fn states_that_are_kept_after_a_run_was_taken_up_are_those_that_it_would_have_kept_itself() {
    let program = guest();
    let execution = wanted(&program);
    let (whole, packs) = kept(&program, &execution, 1);
    let first = Packs::new(packs.into_iter().take(3).collect());
    let snapshot = first.snapshot(whole.history[2]).expect("kept");
    let packer = Packer::after(&snapshot, &first);
    let mut packing = Packing { packer, packs: first.all().to_vec(), ..Packing::new(2) };
    let other = program.each().last().expect("the other engine");
    assert_eq!(run(other, &execution, Some(&snapshot), Some(&mut packing)).expect("an outcome"), whole);
    let packs = Packs::new(packing.packs);
    assert_eq!(packs.all().iter().map(Pack::step).collect::<Vec<_>>(), [0, 1, 2, 4, 6]);
    let late = packs.snapshot(whole.history[6]).expect("kept");
    for on in program.each() {
        assert_eq!(run(on, &execution, Some(&late), None).expect("an outcome"), whole);
    }
    assert_eq!(packs.nearest(5), Some(whole.history[4]));
}

#[test]
fn packs_that_go_leave_what_later_ones_need_to_their_heirs() {
    let program = guest();
    let execution = wanted(&program);
    let (whole, packs) = kept(&program, &execution, 1);
    let mut packs = Packs::new(packs);
    for gone in [1, 0, 2, 0, 0] {
        let mut heir = Vec::new();
        packs.absorb(gone, gone + 1, &mut heir).expect("it has an heir");
        let mut all = packs.all().to_vec();
        all.splice(gone..gone + 2, [Pack::read(heir).expect("sound")]);
        packs = Packs::new(all);
        let roots: Vec<StateRoot> = packs.all().iter().map(Pack::root).collect();
        for root in roots {
            let snapshot = packs.snapshot(root).expect("whole");
            let on = program.each().next().expect("an engine");
            assert_eq!(run(on, &execution, Some(&snapshot), None).expect("an outcome"), whole);
        }
    }
    assert_eq!(packs.all().iter().map(Pack::step).collect::<Vec<_>>(), [5, 6, 7]);
    packs.absorb(2, 3, &mut Vec::new()).expect_err("there is no such pack");
    packs.absorb(2, 2, &mut Vec::new()).expect_err("it cannot be its own heir");
    // All that is in the last one alone is what its state needs.
    let mut alone = Vec::new();
    for gone in [0, 0] {
        alone.clear();
        packs.absorb(gone, gone + 1, &mut alone).expect("it has an heir");
        let mut all = packs.all().to_vec();
        all.splice(gone..gone + 2, [Pack::read(alone.clone()).expect("sound")]);
        packs = Packs::new(all);
    }
    let mut only = Packing { refused: (0..7).collect(), ..Packing::new(1) };
    let on = program.each().next().expect("an engine");
    assert_eq!(run(on, &execution, None, Some(&mut only)).expect("an outcome"), whole);
    assert_eq!(only.bytes[0].len(), alone.len());
}

#[test]
fn an_altered_or_foreign_state_is_refused_and_the_page_is_named() {
    let program = guest();
    let execution = wanted(&program);
    let (whole, packs) = kept(&program, &execution, 4);
    let mut packing = Packing::new(4);
    run(program.each().next().expect("an engine"), &execution, None, Some(&mut packing)).expect("an outcome");
    let (root, bytes) = (whole.history[4], packing.bytes);
    let on = program.each().next().expect("an engine");
    let refusal = |which: usize, at: usize| -> String {
        let mut bytes = bytes.clone();
        bytes[which][at] ^= 1;
        let read: Result<Vec<Pack>, PackError> = bytes.into_iter().map(Pack::read).collect();
        let packs = match read {
            Ok(packs) => Packs::new(packs),
            Err(error) => return error.to_string(),
        };
        let snapshot = match packs.snapshot(root) {
            Ok(snapshot) => snapshot,
            Err(error) => return error.to_string(),
        };
        match run(on, &execution, Some(&snapshot), None) {
            Err(HostFault::Snapshot(error)) => error.to_string(),
            other => {
                // A chunk that only the other state needs.
                assert_eq!(other.as_ref(), Ok(&whole), "pack {which}, byte {at}");
                String::from("unused")
            }
        }
    };
    let mut said = BTreeSet::new();
    for (which, pack) in bytes.iter().enumerate() {
        for at in (0..pack.len()).step_by(997).chain([0, 16, 30, 70, pack.len() - 1]) {
            said.insert(refusal(which, at).split([':', ',']).next().unwrap_or_default().to_owned());
        }
    }
    assert!(said.iter().any(|what| what.starts_with("page ")), "{said:?}");
    assert!(said.contains("the pack's manifest was altered"), "{said:?}");
    for cut in [0, 10, 60, 1000, bytes[1].len() - 1] {
        assert!(matches!(Pack::read(bytes[1][..cut].to_vec()), Err(PackError::Short { .. })), "cut at {cut}");
    }
    Pack::read([&bytes[1][..], b"x"].concat()).expect_err("longer");
    let alone = Packs::new(vec![packs[1].clone()]);
    assert!(matches!(alone.snapshot(root), Err(SnapshotError::Missing { .. })));
    let snapshot = Packs::new(packs).snapshot(root).expect("sound");
    let other = Execution { seed: [8; 32], ..execution.clone() };
    let refused = run(on, &other, Some(&snapshot), None);
    assert!(matches!(refused, Err(HostFault::Snapshot(SnapshotError::Execution { .. }))), "{refused:?}");
}

#[test]
fn a_state_whose_history_was_forged_and_sealed_again_is_refused() {
    let program = guest();
    let execution = wanted(&program);
    let mut packing = Packing::new(4);
    let on = program.each().next().expect("an engine");
    let whole = run(on, &execution, None, Some(&mut packing)).expect("an outcome");
    // The second pack ends with its piece of history: s_0 to s_4, then pieces of the files. Somebody who changes s_1 there
    // also changes the piece's name and seals the manifest.
    let mut bytes = packing.bytes[1].clone();
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|window| window == part).expect("there");
    let roots: Vec<u8> = whole.history[..5].iter().flat_map(|root| root.0).collect();
    let named = samebit_spec::wire::derive("samebit/v1/pack-history", &roots);
    let mut forged = roots.clone();
    forged[32] ^= 1;
    let renamed = samebit_spec::wire::derive("samebit/v1/pack-history", &forged);
    let at = find(&bytes, &roots);
    bytes[at..at + forged.len()].copy_from_slice(&forged);
    for _ in 0..2 {
        let at = find(&bytes, &named);
        bytes[at..at + 32].copy_from_slice(&renamed);
    }
    let end = 56 + usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().expect("8"))).expect("small");
    let seal = samebit_spec::wire::derive("samebit/v1/pack-manifest", &bytes[56..end]);
    bytes[24..56].copy_from_slice(&seal);
    let packs = Packs::new(vec![packing.packs[0].clone(), Pack::read(bytes).expect("it is sealed")]);
    let snapshot = packs.snapshot(whole.history[4]).expect("each chunk has its hash");
    assert_ne!(snapshot.roots()[1], whole.history[1]);
    let refused = run(on, &execution, Some(&snapshot), None);
    assert!(matches!(refused, Err(HostFault::Snapshot(SnapshotError::History { .. }))), "{refused:?}");
}

#[test]
fn what_a_keeper_refuses_is_in_the_next_state_that_it_takes() {
    let program = guest();
    let execution = wanted(&program);
    for refused in [vec![0], vec![3], vec![1, 2, 3, 4, 5]] {
        let mut packing = Packing { refused: refused.clone(), ..Packing::new(1) };
        let on = program.each().next().expect("an engine");
        let whole = run(on, &execution, None, Some(&mut packing)).expect("an outcome");
        let packs = Packs::new(packing.packs);
        assert_eq!(packs.all().len(), 8 - refused.len());
        assert_eq!(packs.are_whole(), vec![true; packs.all().len()]);
        for pack in packs.all() {
            let snapshot = packs.snapshot(pack.root()).expect("whole");
            assert_eq!(run(on, &execution, Some(&snapshot), None).expect("an outcome"), whole, "without {refused:?}");
        }
    }
}

#[test]
fn every_way_to_find_written_pages_gives_the_same_roots() {
    let program = guest();
    let execution = wanted(&program);
    let whole = support::run_in(&program, &execution, &Store::default()).expect("an outcome");
    for tracking in Tracking::ALL {
        let runtime = Runtime::open(&Options { tracking: Some(tracking), ..Options::default() }).expect("an engine");
        let on = runtime.compile(program.each().next().expect("one").1.executable_of()).expect("it compiles");
        assert_eq!(runtime.tracking(), tracking);
        let (_, packs) = kept(&program, &execution, 1);
        assert_eq!(run((&runtime, &on), &execution, None, None).expect("an outcome"), whole, "{tracking}");
        let snapshot = Packs::new(packs).snapshot(whole.history[4]).expect("kept");
        assert_eq!(run((&runtime, &on), &execution, Some(&snapshot), None).expect("an outcome"), whole, "{tracking}");
    }
}

#[test]
fn memory_that_was_never_written_takes_no_part_and_a_huge_limit_costs_nothing() {
    let program = load(&stepped(
        "(global $n (mut i32) (i32.const 0))",
        "(drop (memory.grow (i32.const 16000))) (i32.store (i32.const 1000000000) (i32.const 5)) (i32.const 1)",
        "(global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.lt_u (global.get $n) (i32.const 3))",
        "(i32.const 0)",
    ));
    let execution = Execution {
        limits: Limits { fuel: Fuel(80_000_000_000), memory: Bytes(2 << 30), ..Limits::default() },
        // Growing by a gigabyte costs a quarter of it.
        step_budget: samebit_spec::param::STEP_BUDGET_DEFAULT,
        ..execution(&program)
    };
    let mut packing = Packing::new(1);
    let on = program.each().next().expect("an engine");
    let whole = run(on, &execution, None, Some(&mut packing)).expect("an outcome");
    assert_eq!(whole.receipt.outcome, Outcome::Exited { code: 0 });
    assert!(packing.packs.iter().all(|pack| pack.len() < 10_000), "a gigabyte of zeros takes no room");
    let snapshot = Packs::new(packing.packs).snapshot(whole.history[1]).expect("kept");
    assert_eq!(run(on, &execution, Some(&snapshot), None).expect("an outcome"), whole);
}

#[test]
fn a_command_is_taken_up_before_its_only_step_and_a_keeper_that_fails_does_not_end_the_run() {
    struct Full;
    impl Keep for Full {
        fn wants(&mut self, step: u32) -> bool {
            step == 0
        }

        fn keep(&mut self, _: &mut Checkpoint) -> Held {
            Held::Refused
        }
    }
    let program = load(&support::command(
        r#"(data (i32.const 64) "out")"#,
        "(call $put (i32.const 1) (i32.const 64) (i32.const 3))",
    ));
    let execution = execution(&program);
    let (whole, packs) = kept(&program, &execution, 1);
    assert_eq!((packs.len(), whole.stdout.as_slice()), (1, &b"out"[..]));
    let snapshot = Packs::new(packs).snapshot(whole.history[0]).expect("kept");
    for on in program.each() {
        assert_eq!(run(on, &execution, Some(&snapshot), None).expect("an outcome"), whole);
        assert_eq!(run(on, &execution, None, Some(&mut Full)).expect("an outcome"), whole);
    }
    let proof = HistoryProof::open(&whole.history, 1).expect("two roots");
    assert_eq!(proof.verify(whole.receipt.history), Ok(whole.history[1]));
}
