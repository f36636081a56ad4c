//! The comparisons: rewritten against rewritten across engines, rewritten against original, fuel against the naive meter.
//!
//! Each takes a module and a seed for arguments and limits, and says in words what differs.

use crate::{
    guest::{End, Engine, Guest, Seen},
    machine::{Failure, Tuning},
    naive,
    rng::Rng,
    value::{Type, Value},
};
use samebit_rewrite::{EXPORT_START, Executable, Settings, prepare_library};
use samebit_spec::{execution::Trap, fuel::SAMEBIT_1};

/// What a comparison has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Modules.
    pub modules: u64,
    /// Calls of exports, compared across engines.
    pub calls: u64,
    /// Of these: returned.
    pub returned: u64,
    /// Of these: trapped.
    pub trapped: u64,
    /// Of these: out of fuel.
    pub fuel: u64,
    /// Of these: past the stack's height.
    pub stack: u64,
    /// Calls compared with the original.
    pub originals: u64,
    /// Calls whose fuel was compared with the naive meter's.
    pub counted: u64,
    /// Calls of the host.
    pub host_calls: u64,
}

impl Stats {
    /// Adds what another comparison has looked at.
    pub const fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.calls += other.calls;
        self.returned += other.returned;
        self.trapped += other.trapped;
        self.fuel += other.fuel;
        self.stack += other.stack;
        self.originals += other.originals;
        self.counted += other.counted;
        self.host_calls += other.host_calls;
    }
}

/// Watchdog of originals, which are only run when the rewritten module has ended by itself.
const WATCHDOG: u64 = 20_000_000_000;

/// Allowances: less than most calls use, about as much, and some chunks.
const ALLOWANCES: [u64; 5] = [30, 2_000, 100_000, 3 << 20, 5 << 20];

/// Rewrites a module for the profile.
///
/// # Errors
/// The refusal, in words.
pub fn prepare(wasm: &[u8]) -> Result<Executable, String> {
    prepare_library(wasm, &Settings::PROFILE).map_err(|refusal| format!("refused: {refusal}"))
}

/// Whether both engines take a rewritten module.
///
/// # Errors
/// What one of them says against it.
pub fn accepted(executable: &Executable) -> Result<(), String> {
    for engine in Engine::BOTH {
        let mut machine = engine.machine(crate::machine::Imports::AnyFunction);
        // Memory that this machine does not have, or segments that do not fit, say nothing about the module.
        if let Err(Failure::Module(reason)) = machine.instantiate(&executable.bytes) {
            return Err(format!("{engine:?}: {reason}"));
        }
    }
    Ok(())
}

/// The guests of one module that are called alike.
struct Guests {
    native: Guest,
    interpreted: Guest,
    third: Option<Guest>,
    original: Guest,
}

/// Runs all exports of a module with arguments that the seed chooses, on both engines and the third, original and rewritten.
///
/// # Errors
/// The first difference.
pub fn differential(wasm: &[u8], seed: u64) -> Result<Stats, String> {
    let executable = prepare(wasm)?;
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut stats = Stats { modules: 1, ..Stats::default() };
    let pages = executable.memory_min_pages + u32::try_from(rng.below(6)).unwrap_or(0);
    let begin = || -> Result<Option<Guests>, String> {
        let native = Guest::rewritten(Engine::Wasmtime(Tuning::Rewritten), &executable, pages);
        let interpreted = Guest::rewritten(Engine::Wasmi, &executable, pages);
        let (native, interpreted) = match (native, interpreted) {
            (Ok(native), Ok(interpreted)) => (native, interpreted),
            // A segment outside its memory or table.
            (Err(Failure::Trap(one)), Err(Failure::Trap(other))) if one == other => return Ok(None),
            (one, other) => {
                return Err(format!("instantiated otherwise: wasmtime {:?}, wasmi {:?}", one.err(), other.err()));
            }
        };
        // Starts are called apart: the original's would run when it is instantiated.
        let mut original = Guest::original_unstarted(Engine::Wasmtime(Tuning::Original), wasm, pages)
            .map_err(|failure| format!("the original does not instantiate: {failure}"))?;
        original.machine.watch(WATCHDOG);
        let third = Engine::THIRD.map(|engine| Guest::rewritten(engine, &executable, pages)).transpose();
        let third = third.map_err(|failure| format!("the third engine does not instantiate: {failure}"))?;
        Ok(Some(Guests { native, interpreted, third, original }))
    };
    let Some(mut guests) = begin()? else { return Ok(stats) };
    let mut functions = guests.original.functions();
    functions.truncate(12);
    let mut stale = false;
    let mut plan: Vec<(String, Vec<Type>)> = Vec::new();
    if executable.start {
        plan.push((EXPORT_START.to_owned(), Vec::new()));
    }
    plan.extend(functions.iter().cloned());
    plan.extend(functions);
    for (name, params) in plan {
        let args: Vec<Value> = params.iter().map(|&ty| Value::some(ty, &mut rng)).collect();
        let allowance = rng.pick(&ALLOWANCES);
        let cost = rng.pick(&[0, 0, 7, 1_000]);
        if stale {
            let Some(fresh) = begin()? else { return Ok(stats) };
            guests = fresh;
        }
        guests.native.host().call_cost = cost;
        guests.interpreted.host().call_cost = cost;
        let place = || format!("{name}({args:?}) with {allowance} fuel, {pages} pages, calls at {cost}");
        let native = guests.native.call(&name, &args, allowance);
        let interpreted = guests.interpreted.call(&name, &args, allowance);
        if native != interpreted {
            return Err(format!("{}: wasmtime {native:#?}\nwasmi {interpreted:#?}", place()));
        }
        if let Some(third) = &mut guests.third {
            third.host().call_cost = cost;
            let third = third.call(&name, &args, allowance);
            if native != third {
                return Err(format!("{}: wasmtime {native:#?}\nthe third engine {third:#?}", place()));
            }
        }
        count(&mut stats, &native);
        if let End::Fault(failure) = &native.end {
            return Err(format!("{}: {failure}", place()));
        }
        stale = !matches!(native.end, End::Returned(_));
        // Only what ended by itself has an original to compare with.
        if matches!(native.end, End::Fuel | End::Memory | End::Trapped(Trap::StackOverflow)) {
            continue;
        }
        stats.originals += 1;
        let original = guests.original.call(&name, &args, 0);
        same_as_original(&native, &original).map_err(|what| format!("{}: {what}", place()))?;
    }
    Ok(stats)
}

fn count(stats: &mut Stats, seen: &Seen) {
    stats.calls += 1;
    stats.host_calls += seen.calls.len() as u64;
    match seen.end {
        End::Returned(_) => stats.returned += 1,
        End::Trapped(Trap::StackOverflow) => stats.stack += 1,
        End::Trapped(_) => stats.trapped += 1,
        End::Fuel => stats.fuel += 1,
        End::Memory | End::Fault(_) => {}
    }
}

/// Whether a call of the original shows what one of the rewritten module has shown, meter aside.
fn same_as_original(rewritten: &Seen, original: &Seen) -> Result<(), String> {
    let published = rewritten.state.as_ref().map(crate::guest::State::published);
    let calls = |seen: &Seen| -> Vec<(String, Vec<Value>, Vec<Value>)> {
        seen.calls.iter().map(|call| (call.name.clone(), call.args.clone(), call.results.clone())).collect()
    };
    if rewritten.end != original.end {
        return Err(format!("rewritten {:?}, original {:?}", rewritten.end, original.end));
    }
    if calls(rewritten) != calls(original) {
        return Err(format!("host calls, rewritten {:#?}, original {:#?}", calls(rewritten), calls(original)));
    }
    if published != original.state {
        return Err(format!("state, rewritten {published:#?}, original {:#?}", original.state));
    }
    Ok(())
}

/// Calls every export and compares the fuel of those that return with the naive meter's count.
///
/// # Errors
/// The first difference.
pub fn fuel(wasm: &[u8], seed: u64) -> Result<Stats, String> {
    let executable = prepare(wasm)?;
    let counted = naive::count(wasm, &SAMEBIT_1).map_err(|error| format!("naive meter: {error}"))?;
    let counted = Guest::without_start(&counted).map_err(|error| format!("naive meter: {error}"))?;
    let mut rng = Rng::new(seed ^ 0xf0e1);
    let mut stats = Stats { modules: 1, ..Stats::default() };
    let pages = executable.memory_min_pages + 3;
    let engine = Engine::Wasmtime(Tuning::Rewritten);
    let begin = || -> Result<Option<(Guest, Guest)>, String> {
        let naive = Guest::original(Engine::Wasmtime(Tuning::Original), &counted, pages);
        match (Guest::rewritten(engine, &executable, pages), naive) {
            (Ok(rewritten), Ok(mut naive)) => {
                naive.machine.watch(WATCHDOG);
                Ok(Some((rewritten, naive)))
            }
            (Err(Failure::Trap(one)), Err(Failure::Trap(other))) if one == other => Ok(None),
            (one, other) => Err(format!("instantiated otherwise: {:?}, naive {:?}", one.err(), other.err())),
        }
    };
    let Some((mut rewritten, mut naive)) = begin()? else { return Ok(stats) };
    let mut functions = naive.functions();
    functions.truncate(12);
    for (name, params) in functions.iter().chain(&functions) {
        let args: Vec<Value> = params.iter().map(|&ty| Value::some(ty, &mut rng)).collect();
        let seen = rewritten.call(name, &args, 8 << 20);
        count(&mut stats, &seen);
        if let End::Returned(_) = seen.end {
            let before = naive_count(&mut naive)?;
            let original = naive.call(name, &args, 0);
            if original.end != seen.end {
                return Err(format!("{name}({args:?}): {:?}, naive {:?}", seen.end, original.end));
            }
            let spent = naive_count(&mut naive)? - before;
            if spent != seen.fuel {
                return Err(format!("{name}({args:?}): charged {}, executed {spent}", seen.fuel));
            }
            stats.counted += 1;
            continue;
        }
        if let End::Trapped(trap) = seen.end
            && trap != Trap::StackOverflow
        {
            // What was executed before a trap is charged.
            let before = naive_count(&mut naive)?;
            let original = naive.call(name, &args, 0);
            let spent = naive_count(&mut naive)? - before;
            if original.end != seen.end {
                return Err(format!("{name}({args:?}): {:?}, naive {:?}", seen.end, original.end));
            }
            if spent > seen.fuel {
                return Err(format!("{name}({args:?}): {trap:?} after {spent} fuel of work, charged {}", seen.fuel));
            }
        }
        let Some(fresh) = begin()? else { return Ok(stats) };
        (rewritten, naive) = fresh;
    }
    Ok(stats)
}

fn naive_count(guest: &mut Guest) -> Result<u64, String> {
    match guest.global(naive::EXPORT_COUNT) {
        Some(Value::I64(count)) => Ok(count),
        other => Err(format!("naive meter: {other:?}")),
    }
}

/// Sweeps the allowance of one call over every value up to what it uses and a little beyond.
///
/// # Errors
/// What changes more than once, or is not what it should be.
pub fn sweep(wasm: &[u8], name: &str, args: &[Value], most: u64) -> Result<u64, String> {
    let executable = prepare(wasm)?;
    for engine in Engine::BOTH {
        let call = |allowance: u64| -> Result<Seen, String> {
            let mut guest = Guest::rewritten(engine, &executable, executable.memory_min_pages + 2)
                .map_err(|failure| format!("{engine:?}: {failure}"))?;
            Ok(guest.call(name, args, allowance))
        };
        let full = call(8 << 20)?;
        let total = full.fuel;
        if total > most {
            return Err(format!("{name}: uses {total} fuel, too much for a sweep"));
        }
        for allowance in 0..=total + 3 {
            let seen = call(allowance)?;
            let wanted = match full.end {
                // What a trap forfeits depends on the chunk in hand, which no small allowance fills.
                End::Trapped(_) => seen.fuel <= allowance && (seen.end == full.end || seen.end == End::Fuel),
                _ if allowance < total => seen.end == End::Fuel && seen.fuel == allowance,
                _ => seen.end == full.end && seen.fuel == total && seen.state == full.state,
            };
            if !wanted {
                let seen = (&seen.end, seen.fuel);
                return Err(format!("{engine:?}: {name} of {total} fuel, given {allowance}: {seen:?}"));
            }
        }
        if engine == Engine::Wasmi {
            return Ok(total);
        }
    }
    Ok(0)
}

/// Puts a trap before every instruction of every function, one at a time, and calls an export each time.
///
/// The charge is the same on both engines and covers what the naive meter counts.
///
/// # Errors
/// What differs, and at which instruction.
pub fn trap_everywhere(wasm: &[u8], name: &str, args: &[Value]) -> Result<Stats, String> {
    let mut stats = Stats { modules: 1, ..Stats::default() };
    for at in 0..naive::instructions(wasm).map_err(|error| error.to_string())? {
        for kind in [naive::Planted::Unreachable, naive::Planted::Division] {
            let planted = naive::plant(wasm, at, kind).map_err(|error| error.to_string())?;
            let executable = prepare(&planted)?;
            let counted = naive::count(&planted, &SAMEBIT_1).map_err(|error| error.to_string())?;
            let pages = executable.memory_min_pages + 2;
            let mut seen = Vec::new();
            for engine in Engine::BOTH {
                let mut guest = Guest::rewritten(engine, &executable, pages).map_err(|failure| failure.to_string())?;
                seen.push(guest.call(name, args, 64 << 20));
            }
            let mut counting =
                Guest::original(Engine::WasmiOriginal, &counted, pages).map_err(|failure| failure.to_string())?;
            let end = counting.call(name, args, 0).end;
            let spent = naive_count(&mut counting)?;
            let place = format!("{kind:?} before instruction {at}");
            if seen[0] != seen[1] {
                return Err(format!("{place}: wasmtime {:#?}\nwasmi {:#?}", seen[0], seen[1]));
            }
            if seen[0].end != end {
                return Err(format!("{place}: {:?}, naive {end:?}", seen[0].end));
            }
            let fair = match end {
                End::Returned(_) => seen[0].fuel == spent,
                _ => seen[0].fuel >= spent,
            };
            if !fair {
                return Err(format!("{place}: {spent} fuel of work, charged {}, {end:?}", seen[0].fuel));
            }
            count(&mut stats, &seen[0]);
            stats.counted += 1;
        }
    }
    Ok(stats)
}
