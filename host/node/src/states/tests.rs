//! What is kept, lost, mended and taken up, on real runs.

use super::*;
use samebit_runtime::{Content, EngineKind, Finished, Flow, HostFault, Orders, Program, Progress, Runtime};
use samebit_spec::{
    content::{BlobRef, Tree, TreeRef},
    execution::{Execution, Limits, Profile, TensorOps},
    unit::{Bytes, Fuel},
};
use std::time::Duration;

/// 40 steps, each of which writes two pages of 2 MiB, one of them the same each time.
const GUEST: &str = r#"(module (memory (export "memory") 32) (global $n (mut i32) (i32.const 0))
    (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
    (func (export "samebit_step") (param i64) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 64) (global.get $n))
        (i32.store (i32.shl (global.get $n) (i32.const 12)) (global.get $n))
        (i32.lt_u (global.get $n) (i32.const 40)))
    (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

/// The same, but that a page comes back to what it was six steps before.
const RETURNING: &str = r#"(module (memory (export "memory") 32) (global $n (mut i32) (i32.const 0))
    (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
    (func (export "samebit_step") (param i64) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 64) (i32.rem_u (global.get $n) (i32.const 6)))
        (i32.lt_u (global.get $n) (i32.const 40)))
    (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

struct Nothing;

impl Content for Nothing {
    fn read(&self, _: &BlobRef) -> Result<Arc<[u8]>, String> {
        Err("there is none".into())
    }

    fn tree(&self, _: &TreeRef) -> Result<Tree, String> {
        Err("there is none".into())
    }
}

fn load() -> (Runtime, Program, Execution) {
    guest(GUEST)
}

fn guest(text: &str) -> (Runtime, Program, Execution) {
    let runtime = Runtime::with(EngineKind::Wasmi).unwrap();
    let program = runtime.load(&wat::parse_str(text).unwrap()).unwrap();
    let execution = Execution {
        profile: Profile::Samebit1,
        module: program.module().id,
        mounts: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        stdin: BlobRef::of(&[]),
        seed: [1; 32],
        unit: 0,
        limits: Limits::default(),
        step_budget: Fuel(1_000_000_000),
        tensor_ops: TensorOps(0),
    };
    (runtime, program, execution)
}

fn go(
    on: &(Runtime, Program, Execution),
    resume: Option<Snapshot>,
    keep: &mut dyn Keep,
    until: u32,
) -> Result<Finished, HostFault> {
    let orders = Orders { resume: resume.map(Arc::new), keep: Some(keep), ..Orders::default() };
    let watch = &mut |progress: Progress| {
        if progress.root.is_some() && progress.step > until { Flow::Stop } else { Flow::Go }
    };
    on.0.run_with(&on.1, &on.2, &Nothing, orders, watch)
}

#[test]
fn a_run_that_ended_early_goes_on_in_another_process_where_it_was_kept_last() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let open = || States::open(root.path(), on.2.id(), 3, Room { states: 4, ..Room::DEFAULT });
    let mut states = open().unwrap();
    assert!(matches!(open(), Err(StatesError::InUse { .. })));
    assert_eq!(go(&on, None, &mut states, 20), Err(HostFault::Cancelled));
    drop(states);
    fs::write(root.path().join(hex::encode(on.2.id().0)).join("00000021.partial"), b"half a pack").unwrap();
    let mut states = open().unwrap();
    let steps: Vec<u32> = states.kept().iter().map(|kept| kept.step).collect();
    assert_eq!((steps.len(), steps.last()), (4, Some(&18)), "{steps:?}");
    let last = states.kept()[3].root;
    let snapshot = states.resume(last).unwrap();
    let resumed = go(&on, Some(snapshot), &mut states, 99).unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut fresh = States::open(other.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
    assert_eq!(go(&on, None, &mut fresh, 99).unwrap(), resumed);
    assert_eq!(states.kept().last().map(|kept| kept.step), Some(39));
    assert_eq!(fresh.kept().len(), Room::DEFAULT.states);
    let missing = states.resume(StateRoot([9; 32])).unwrap_err();
    assert!(matches!(&missing, StatesError::Unknown { kept, .. } if kept.contains("after step 39")), "{missing}");
    states.remove().unwrap();
    assert!(!States::are_there(root.path(), on.2.id()));
}

/// Every state that is listed can be taken up, to the same receipt.
fn each_can_be_taken_up(on: &(Runtime, Program, Execution), root: &Path, room: Room) {
    // No state is wanted on the way.
    let open = || States::open(root, on.2.id(), 1000, room).unwrap();
    let kept = open().kept();
    assert!(kept.len() >= 2, "{kept:?}");
    let mut receipts = Vec::new();
    for Kept { step, root, .. } in kept {
        let mut states = open();
        let snapshot = states.resume(root).unwrap_or_else(|error| panic!("step {step}: {error}"));
        receipts.push(go(on, Some(snapshot), &mut states, 99).unwrap_or_else(|fault| panic!("step {step}: {fault}")));
    }
    assert!(receipts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_page_that_comes_back_to_an_old_value_is_kept_again_when_its_pack_has_gone() {
    let on = guest(RETURNING);
    let room = Room { states: 4, ..Room::DEFAULT };
    for until in [9, 16, 25, 31, 38] {
        let root = tempfile::tempdir().unwrap();
        let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
        assert_eq!(go(&on, None, &mut states, until), Err(HostFault::Cancelled));
        drop(states);
        each_can_be_taken_up(&on, root.path(), room);
    }
}

#[test]
fn states_of_a_run_at_another_pace_do_not_break_those_that_are_there() {
    for on in [load(), guest(RETURNING)] {
        let root = tempfile::tempdir().unwrap();
        let room = Room { states: 5, ..Room::DEFAULT };
        for every in [10, 7, 3] {
            let mut states = States::open(root.path(), on.2.id(), every, room).unwrap();
            go(&on, None, &mut states, 99).unwrap();
        }
        each_can_be_taken_up(&on, root.path(), room);
    }
}

#[test]
fn a_host_goes_on_where_it_was_stopped_and_keeps_nothing_of_a_run_that_is_done() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let host = |until: u32| {
        let mut steps = Vec::new();
        let watch = &mut |progress: Progress| {
            if progress.root.is_some() {
                steps.push(progress.step);
            }
            if progress.root.is_some() && progress.step > until { Flow::Stop } else { Flow::Go }
        };
        let ran = run(root.path(), Duration::ZERO, (&on.0, &on.1), &on.2, &Nothing, watch);
        (ran, steps)
    };
    let (stopped, steps) = host(10);
    assert_eq!((stopped, steps.len()), (Err(HostFault::Cancelled), 12));
    let dir = root.path().join(hex::encode(on.2.id().0));
    let (whole, steps) = host(99);
    assert_eq!((steps[0], whole.as_ref().unwrap().receipt.steps), (11, 40));
    assert!(!dir.exists(), "a run that is done");
    // What cannot be used is done without.
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("00000001-00.pack"), b"no pack").unwrap();
    assert_eq!(host(99).0, whole);
    let held = States::open(root.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
    assert_eq!(host(99).0, whole);
    drop(held);
}

fn bytes_on_disk(states: &States) -> u64 {
    let files = fs::read_dir(states.dir()).unwrap().map(|file| file.unwrap());
    let packs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "pack"));
    packs.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn states_never_take_more_room_than_they_are_given_and_one_that_does_not_fit_ends_nothing() {
    let on = load();
    let fresh = tempfile::tempdir().unwrap();
    let mut all = States::open(fresh.path(), on.2.id(), 1, Room::DEFAULT).unwrap();
    let whole = go(&on, None, &mut all, 99).unwrap();
    // 40 pages of 4 KiB are more than there is room for, whichever states go; the first ones fit.
    for room in [1_000, 20_000, 100_000, 150_000] {
        let root = tempfile::tempdir().unwrap();
        let room = Room { states: 32, run: Bytes(room), all: Bytes(300_000) };
        let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
        assert_eq!(go(&on, None, &mut states, 99).unwrap(), whole, "{room:?}");
        let kept = states.kept();
        assert_eq!(kept.iter().map(|kept| kept.bytes).sum::<u64>(), bytes_on_disk(&states));
        assert!(bytes_on_disk(&states) <= room.run.0, "{room:?}: {kept:?}");
        // A state of n pages takes about 4.2 kB each, so the last that fits is known.
        let last = kept.last().map_or(0, |kept| u64::from(kept.step));
        assert!(last * 4_000 <= room.run.0 && (last + 3) * 4_500 > room.run.0, "{room:?}: {kept:?}");
        drop(states);
        for kept in kept {
            let mut states = States::open(root.path(), on.2.id(), 99, room).unwrap();
            let snapshot = states.resume(kept.root).unwrap();
            assert_eq!(go(&on, Some(snapshot), &mut states, 99).unwrap(), whole, "{kept:?}");
        }
        let other = Execution { unit: 1, ..on.2.clone() };
        let tight = Room { all: Bytes(1), ..room };
        let _open = States::open(root.path(), other.id(), 1, tight).unwrap();
        assert!(!States::are_there(root.path(), on.2.id()), "another run's states made room");
    }
}

/// Packs of steps 0, 10, 20 and 30, and what the run gave.
fn four(root: &Path, on: &(Runtime, Program, Execution)) -> (Finished, Vec<PathBuf>) {
    let mut states = States::open(root, on.2.id(), 10, Room::DEFAULT).unwrap();
    let whole = go(on, None, &mut states, 99).unwrap();
    let paths: Vec<_> = states.packs.all().iter().map(|pack| states.path(pack)).collect();
    assert_eq!(paths.len(), 4);
    (whole, paths)
}

fn steps(states: &States) -> Vec<u32> {
    states.kept().iter().map(|kept| kept.step).collect()
}

#[test]
fn a_pack_that_is_cut_short_is_set_aside_and_the_states_before_it_serve() {
    // The first one has nothing that the others need.
    let cases = [
        (3, vec![0, 10, 20], vec![0, 10, 20, 30]),
        (2, vec![0, 10], vec![0, 10, 20, 30]),
        (1, vec![0], vec![0, 10, 20, 30]),
        (0, vec![10, 20, 30], vec![10, 20, 30]),
    ];
    for (cut, left, then) in cases {
        let root = tempfile::tempdir().unwrap();
        let on = load();
        let (whole, paths) = four(root.path(), &on);
        let bytes = fs::read(&paths[cut]).unwrap();
        fs::write(&paths[cut], &bytes[..100]).unwrap();
        let mut looked = States::look(root.path(), on.2.id()).unwrap();
        assert_eq!((steps(&looked), looked.damaged().len()), (left.clone(), 1));
        assert!(paths[cut].exists(), "looking changes nothing");
        let mut states = States::open(root.path(), on.2.id(), 10, Room::DEFAULT).unwrap();
        assert_eq!(steps(&states), left);
        let damaged = states.damaged();
        assert!(damaged[0].why.contains("cut short") && damaged[0].path.exists() && !paths[cut].exists());
        let mut said = Vec::new();
        let watch = &mut |_: Progress| Flow::Go;
        let run = |orders: Orders<'_>| on.0.run_with(&on.1, &on.2, &Nothing, orders, watch);
        assert_eq!(run_on(&mut states, run, &mut |what| said.push(what)).unwrap(), whole);
        assert_eq!(said, left.last().map(|step| format!("taken up after step {step}")).into_iter().collect::<Vec<_>>());
        assert_eq!(steps(&states), then, "what was lost was kept again");
        drop(states);
        each_can_be_taken_up(&on, root.path(), Room::DEFAULT);
    }
}

#[test]
fn an_altered_page_costs_the_states_that_need_it_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let (whole, paths) = four(root.path(), &on);
    // The page that each step writes anew: the states after this one have it otherwise.
    let altered = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let end = 56 + usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
        bytes[end + 64] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    altered(&paths[1]);
    let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
    assert_eq!(steps(&states), [0, 10, 20, 30], "it is not seen before it is read");
    let snapshot = states.resume(whole.history[10]).unwrap();
    let fault = go(&on, Some(snapshot), &mut states, 99).unwrap_err();
    assert!(fault.to_string().contains("page 0 of 4096 bytes"), "{fault}");
    states.mend(whole.history[10]).unwrap();
    assert_eq!((steps(&states), states.damaged().len()), (vec![0, 20, 30], 1));
    drop(states);
    each_can_be_taken_up(&on, root.path(), Room::DEFAULT);

    altered(&paths[3]);
    let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
    let mut said = Vec::new();
    let watch = &mut |_: Progress| Flow::Go;
    let run = |orders: Orders<'_>| on.0.run_with(&on.1, &on.2, &Nothing, orders, watch);
    assert_eq!(run_on(&mut states, run, &mut |what| said.push(what)).unwrap(), whole);
    assert!(said[1].contains("the state after step 30 is refused: page 0"), "{said:?}");
    assert_eq!(said.last().map(String::as_str), Some("taken up after step 20"));
    assert_eq!(steps(&states), [0, 20]);
}

#[test]
fn where_there_is_no_room_to_mend_a_pack_it_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let (whole, paths) = four(root.path(), &on);
    let mut bytes = fs::read(&paths[1]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&paths[1], &bytes).unwrap();
    let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
    let partial = paths[1].with_extension("partial");
    fs::create_dir(&partial).unwrap();
    let refused = states.mend(whole.history[10]).unwrap_err();
    assert!(matches!(refused, StatesError::Io { .. }), "{refused}");
    assert_eq!(fs::read(&paths[1]).unwrap(), bytes, "its sound chunks are there still");
    fs::remove_dir(&partial).unwrap();
    states.mend(whole.history[10]).unwrap();
    let damaged = paths[1].with_extension("damaged");
    assert_eq!(fs::read(&damaged).unwrap(), bytes);
    drop(states);
    let states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
    assert!(steps(&states).contains(&30), "{:?}", steps(&states));
}

/// Each step makes a tensor of 70 000 bytes that begins with the step's number, and ends the one before it.
const TENSORS: &str = r#"(module
    (import "samebit_tensor" "create" (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "drop" (func $drop (param i32) (result i32)))
    (memory (export "memory") 2) (global $n (mut i32) (i32.const 0))
    (data (i32.const 64) "\70\11\01\00")
    (func (export "_initialize")) (func (export "samebit_init") (result i32) (i32.const 1))
    (func (export "samebit_step") (param i64) (result i32)
        (drop (call $drop (global.get $n)))
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 4096) (global.get $n))
        (if (call $create (i32.const 5) (i32.const 64) (i32.const 1) (i32.const 4096) (i32.const 70000) (i32.const 128))
            (then unreachable))
        (i32.lt_u (global.get $n) (i32.const 40)))
    (func (export "samebit_finish") (result i32) (i32.const 0)))"#;

#[test]
fn states_with_tensors_are_thinned_and_mended_like_any_others() {
    let root = tempfile::tempdir().unwrap();
    let (runtime, program, execution) = guest(TENSORS);
    let on = (runtime, program, Execution { tensor_ops: TensorOps(1), ..execution });
    let (_, paths) = four(root.path(), &on);
    each_can_be_taken_up(&on, root.path(), Room::DEFAULT);
    // The last piece of a pack: of the tensor, which no other state has.
    let mut bytes = fs::read(&paths[2]).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&paths[2], &bytes).unwrap();
    let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
    let altered = states.kept()[2].root;
    states.mend(altered).unwrap();
    let damaged = states.damaged();
    assert!(matches!(&*damaged, [one] if one.why.starts_with("1 of its chunks")), "{damaged:?}");
    drop(states);

    let root = tempfile::tempdir().unwrap();
    let room = Room { states: 4, ..Room::DEFAULT };
    let mut states = States::open(root.path(), on.2.id(), 1, room).unwrap();
    go(&on, None, &mut states, 99).unwrap();
    assert_eq!((states.kept().len(), files(&states)), (4, 4));
    drop(states);
    each_can_be_taken_up(&on, root.path(), room);
}

fn files(states: &States) -> usize {
    let files = fs::read_dir(states.dir()).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "pack")).count()
}

#[test]
fn what_a_run_left_is_there_for_whoever_looks_and_nothing_else_is() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    assert!(States::look(root.path(), on.2.id()).unwrap().kept().is_empty());
    assert!(!States::are_there(root.path(), on.2.id()), "looking makes nothing");
    let mut states = States::open(root.path(), on.2.id(), 10, Room::DEFAULT).unwrap();
    let whole = go(&on, None, &mut states, 99).unwrap();
    let trace = Trace { receipt: whole.receipt, roots: whole.history };
    states.leave_trace(&trace).unwrap();
    // The run's own process has it open still.
    let looked = States::look(root.path(), on.2.id()).unwrap();
    assert_eq!((looked.trace(), steps(&looked)), (Some(trace), vec![0, 10, 20, 30]));
    fs::write(states.dir().join("trace"), b"no trace").unwrap();
    assert_eq!(looked.trace(), None);
}

#[test]
fn files_that_are_set_aside_are_few_and_the_last_is_among_them() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let (_, paths) = four(root.path(), &on);
    let dir = paths[0].parent().unwrap().to_path_buf();
    let aside = || {
        let found = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
        let mut found: Vec<_> = found.filter(|path| path.extension().is_some_and(|kind| kind == "damaged")).collect();
        found.sort();
        found
    };
    for round in 0..7_u64 {
        // Another name each time, older than what comes after it.
        let path = dir.join(format!("9000000{round}-{}.pack", hex::encode([1; 32])));
        fs::write(&path, b"no pack").unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + round);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        let mut states = States::open(root.path(), on.2.id(), 1000, Room::DEFAULT).unwrap();
        let last = path.with_extension("damaged");
        assert!(matches!(&*states.damaged(), [one] if one.path == last), "round {round}");
        assert_eq!(steps(&states), [0, 10, 20, 30]);
        assert_eq!((aside().len(), aside().last()), (4.min(usize::try_from(round).unwrap() + 1), Some(&last)));
    }
    let small = Room { run: Bytes(40), ..Room::DEFAULT };
    fs::write(dir.join("90000008-.pack"), b"no pack and longer than there is room for").unwrap();
    drop(States::open(root.path(), on.2.id(), 1000, small).unwrap());
    assert_eq!(aside(), [dir.join("90000008-.damaged")]);
}

#[test]
fn whoever_only_looks_loses_no_more_to_a_damaged_pack_than_whoever_mends_it() {
    let root = tempfile::tempdir().unwrap();
    let on = load();
    let (whole, paths) = four(root.path(), &on);
    let mut bytes = fs::read(&paths[1]).unwrap();
    let end = 56 + usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
    bytes[end + 64] ^= 1;
    fs::write(&paths[1], &bytes).unwrap();
    let files = || fs::read_dir(paths[0].parent().unwrap()).unwrap().count();
    let before = files();
    let mut states = States::look(root.path(), on.2.id()).unwrap();
    states.mend(whole.history[10]).unwrap();
    assert_eq!((steps(&states), states.damaged().len()), (vec![0, 20, 30], 1));
    for kept in states.kept() {
        let snapshot = states.resume(kept.root).unwrap();
        let orders = Orders { resume: Some(Arc::new(snapshot)), ..Orders::default() };
        assert_eq!(on.0.run_with(&on.1, &on.2, &Nothing, orders, &mut |_| Flow::Go).unwrap(), whole, "{}", kept.step);
    }
    assert_eq!((fs::read(&paths[1]).unwrap(), files()), (bytes, before), "nothing was changed by looking");
}
