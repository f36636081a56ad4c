//! Every number the protocol agrees on, once, with its unit, its source and what it must satisfy.
//!
//! Constants are limits of format and profile. [`Params`] are the numbers that a network chooses in its
//! genesis, each within bounds that are compiled in.

use crate::{
    id::ParamsId,
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, MicroCredits, Millis},
    wire::Hashed,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// Fuel that a [`FuelPrice`] is quoted for. Source: `spec/05-settlement.md`, section 4; a price of 1 then is
/// a credit for 10^12 fuel, so integers are fine enough for the cheapest work.
pub const FUEL_PER_PRICE_UNIT: Fuel = Fuel(1_000_000);

/// Longest task name, in bytes. Source: fits a DNS label and a table column.
pub const NAME_MAX: usize = 63;
/// Longest task description, in bytes.
pub const ABOUT_MAX: usize = 200;
/// Largest module, in bytes. Source: `spec/decisions/0003-module-limits.md`; the largest real program studied
/// is 69 MB (yosys).
pub const MODULE_BYTES_MAX: Bytes = Bytes(96 << 20);
/// Functions that a module defines. Source of this and the following module limits: `spec/03-execution.md`,
/// section 2; each is well above what the largest real program studied needs and below what a compiler is
/// known to choke on. They are the profile's, so that no compiler's own limit decides what is admitted.
pub const MODULE_FUNCTIONS_MAX: u32 = 200_000;
/// Function types of a module.
pub const MODULE_TYPES_MAX: u32 = 20_000;
/// Parameters of a function type.
pub const PARAMETERS_MAX: u64 = 255;
/// Results of a function type. Source: a call is two bytes and makes each of them a value.
pub const RESULTS_MAX: u64 = 16;
/// Parameters and results of a block together. Source: compilers emit one; a compiler's memory grows with the
/// square of them.
pub const BLOCK_VALUES_MAX: u64 = 16;
/// Parameters and results of all blocks of a function, the first of each block not counted.
pub const FUNCTION_BLOCK_VALUES_MAX: u64 = 16_384;
/// Blocks, loops and branches inside one another. Source: a `match` of n arms nests n blocks.
pub const NESTING_MAX: u64 = 4_096;
/// Loops inside one another. Source: a compiler's time grows with their square.
pub const NESTED_LOOPS_MAX: u64 = 256;
/// Assignments to locals within a function's loops, each loop counted for itself and at most once for each local: at
/// most this, and at most [`LOOP_SETS_FREE`] and one for each [`LOOP_SETS_BYTES`] of the body. Source: each is a value
/// that a loop carries, and a compiler's time grows with nearly their square: 9 kB with 64 000 of them take it a
/// minute, with 16 000 six seconds, with 4 000 half a second. The largest function of the programs studied (yosys) has
/// 8 364, and none has more than 1 024 and one for each seven bytes.
pub const LOOP_SETS_MAX: u64 = 32_768;
/// What a function of any length may have of them.
pub const LOOP_SETS_FREE: u64 = 2_048;
/// Bytes of a body for each further one.
pub const LOOP_SETS_BYTES: u64 = 4;
/// The same of blocks and branches, for a function of any length. Source: 2.6 million in 140 kB take a compiler twelve
/// seconds; the largest function of the programs studied has 372 219 in 214 kB.
pub const BLOCK_SETS_FREE: u64 = 16_384;
/// What it may have of them for each byte of its body.
pub const BLOCK_SETS_PER_BYTE: u64 = 4;
/// Blocks, loops and branches of a function: at most this, and at most [`BRANCHES_FREE`] and one for each
/// [`BRANCHES_BYTES`] of the body. Source: a compiler's time grows with nearly the square of those that follow one
/// another (10 000 conditional branches in 40 kB take it two seconds, 40 000 in 160 kB more than a minute). The largest
/// function of the programs studied (yosys) has 28 880 in 673 kB, and none has more than 1 000 and one for each 24 bytes.
pub const BRANCHES_MAX: u64 = 49_152;
/// What a function of any length may have of them.
pub const BRANCHES_FREE: u64 = 4_096;
/// Bytes of a body for each further one.
pub const BRANCHES_BYTES: u64 = 16;
/// Ways of all branch tables of a function. Source: a compiler takes no table of more than 65 520, and 30 microseconds
/// for each way; the largest function of the programs studied has 2 274.
pub const BRANCH_WAYS_MAX: u64 = 32_768;
/// Bytes of a function's body once it is rewritten. Source: engines read none of more than 7 654 321.
pub const REWRITTEN_FUNCTION_BYTES_MAX: u64 = 7_000_000;
/// Blocks, loops and branches of a function once it is rewritten: at most this, and at most [`REWRITTEN_BRANCHES_FREE`] and one
/// for each [`REWRITTEN_BRANCHES_BYTES`] of the body once it is without exceptions and atomics. Source: as [`BRANCHES_MAX`]; 20 000 sums whose NaNs are made
/// canonical, in 300 kB, take a compiler 16 seconds. The largest function of nextpnr, with its exceptions, has 35 054 in
/// 214 kB, and none more than 8 192 and one for each eight bytes.
pub const REWRITTEN_BRANCHES_MAX: u64 = 2 * BRANCHES_MAX;
/// What a function of any length may have of them.
pub const REWRITTEN_BRANCHES_FREE: u64 = 2 * BRANCHES_FREE;
/// Bytes of a body for each further one.
pub const REWRITTEN_BRANCHES_BYTES: u64 = 4;
/// The same of all functions together. Source: programs have one for each twelve bytes or more, which is two thirds of this for
/// the largest module.
pub const MODULE_BRANCHES_MAX: u64 = 12 << 20;
/// Parameters and results of all calls of a function of any length. Source: a call is two bytes, and each value that it passes
/// is one more that a compiler moves: 20 000 calls in 40 kB that pass 16 values both ways take it five seconds and 280 MB. Whoever
/// writes code puts each value on the stack by a byte or more.
pub const PASSED_FREE: u64 = 16_384;
/// Further ones for each byte of its body.
pub const PASSED_PER_BYTE: u64 = 1;
/// Bytes of an initial value or of a segment's offset. Source: compilers emit at most some ten; what is computed at
/// instantiation is not metered.
pub const CONSTANT_BYTES_MAX: u64 = 256;
/// Imports of a module. Preview1 has 46 functions; a name may be imported more than once.
pub const MODULE_IMPORTS_MAX: u32 = 256;
/// Exports of a module.
pub const MODULE_EXPORTS_MAX: u32 = 10_000;
/// Globals of a module. Each mutable one is part of every state root.
pub const MODULE_GLOBALS_MAX: u32 = 1_024;
/// Tags of exceptions of a module. Source: C++ and Rust have one each.
pub const MODULE_TAGS_MAX: u32 = 256;
/// Locals of a function, parameters not counted.
pub const FUNCTION_LOCALS_MAX: u32 = 10_000;
/// Operands of a function that are on its stack at once. Source: with its locals they fit the slots of an
/// interpreter's frame, and with its body they bound the largest native one.
pub const FUNCTION_OPERANDS_MAX: u64 = 16_384;
/// Locals of all functions together: a few bytes declare thousands. Source: 2 million compile in half a second
/// and 200 MB.
pub const MODULE_LOCALS_MAX: u64 = 2_000_000;
/// Bytes of a function's body.
pub const FUNCTION_BYTES_MAX: usize = 2 << 20;
/// Tables of a module: more than one would need reference types, which the profile leaves out.
pub const MODULE_TABLES_MAX: u32 = 1;
/// Elements of a module's table. It never grows.
pub const TABLE_ELEMENTS_MAX: u64 = 1_000_000;
/// Element segments of a module.
pub const ELEMENT_SEGMENTS_MAX: u32 = 10_000;
/// Elements of all element segments together. Source: as many as a table has; ten million more would be a list that
/// nobody can use, read before it is known that it does not fit.
pub const ELEMENTS_MAX: u64 = TABLE_ELEMENTS_MAX;
/// Data segments of a module.
pub const DATA_SEGMENTS_MAX: u32 = 100_000;
/// Bytes of a module's data segments together.
pub const DATA_BYTES_MAX: u64 = 64 << 20;
/// Pages of 64 KiB that a module's memory may begin with. Source: [`MEMORY_MAX`].
pub const MEMORY_PAGES_MAX: u64 = MEMORY_MAX.0 / (64 << 10);

/// Fuel that a running module takes in hand at a time. Source: `spec/03-execution.md`, section 8: large enough that
/// taking it costs nothing, small enough that a trap, which forfeits it, costs little; about 0.14 milliseconds. Of this and
/// every other time that is said of fuel here: 0.13 nanoseconds for one (`spec/fuel-calibration.md`).
pub const FUEL_CHUNK: u64 = 1 << 20;
/// Fuel of a counted loop that is charged at once; a dearer one looks at the meter on its way. Source: a run that the host
/// stops goes on for as long as one of them takes, some 35 ms, and 40 s of code that misses every cache.
pub const COUNTED_FUEL_MAX: u64 = 1 << 28;
/// Bit of a running module's meter that says that the fuel in hand is used up. Fuel is below it, stack height
/// from the next bit on.
pub const METER_FUEL_SIGN: u32 = 21;
/// Most fuel that is used between two looks at the meter. Source: with a chunk in hand it must stay below the sign.
pub const METER_STRIDE_MAX: u64 = 1 << 19;
/// Bytes of one unit of stack height.
pub const STACK_UNIT_BYTES: u64 = 128;
/// Stack height that a run may have, in units: 64 MiB by weight.
pub const STACK_HEIGHT_MAX: u64 = (64 << 20) / STACK_UNIT_BYTES;
/// Bytes of height of every frame. Source of this and the next two: `spec/03-execution.md`, section 10.
pub const STACK_FRAME_BYTES: u64 = 64;
/// Bytes of height of each parameter, local and operand.
pub const STACK_SLOT_BYTES: u64 = 16;
/// Bytes of height of each byte of a function's body.
pub const STACK_BODY_BYTES: u64 = 2;
/// Bytes of native stack that a frame may take for each byte of its height; checked when code is loaded.
pub const STACK_NATIVE_FACTOR: u64 = 4;
/// Longest constant length of `memory.copy` and `memory.fill` that is charged with its segment, in bytes.
pub const BULK_CONSTANT_MAX: u32 = 1 << 10;
/// Height of a call tree, in units, below which its functions do not count it. Such trees end a chain of calls, so
/// at most one is on the stack. Source: 256 KiB, what the call trees of real programs without recursion stay under.
pub const STACK_SHALLOW_MAX: u64 = (256 << 10) / STACK_UNIT_BYTES;

/// Fuel charged for each state root, before it is committed: five microseconds.
pub const ROOT_FUEL: Fuel = Fuel(40_000);
/// Fuel charged for each page of linear memory that a state root covers. Source: hashing 64 KiB takes a core
/// about 25 microseconds.
pub const ROOT_FUEL_PER_PAGE: Fuel = Fuel(200_000);

/// Largest blob, in bytes, that a keeper takes.
pub const BLOB_BYTES_MAX: Bytes = Bytes(4 << 30);
/// Longest path in a tree, in bytes. Source: POSIX `PATH_MAX` less one folder.
pub const TREE_PATH_MAX: usize = 1024;
/// Most parts of a path in a tree. Source: as deep as a guest may make a folder (`spec/06-wasi.md`, 6.3).
pub const TREE_DEPTH_MAX: usize = 128;
/// Most files of a tree. Source: a manifest of that size is about 16 MiB.
pub const TREE_FILES_MAX: usize = 1 << 17;
/// Most distinct folders of a tree: each becomes an inode of the guest's world.
pub const TREE_FOLDERS_MAX: usize = 1 << 17;
/// Largest manifest, in bytes: [`TREE_FILES_MAX`] files with ordinary paths.
pub const TREE_MANIFEST_MAX: Bytes = Bytes(64 << 20);

/// Units of a job. Source: a post must fit [`MESSAGE_BYTES_MAX`] (40 bytes each).
pub const UNITS_MAX: usize = 1024;
/// Hosts per unit. Source: `spec/04-verification.md`, tier `critical` is 3; more buys nothing that audits do
/// not buy cheaper.
pub const REPLICAS_MAX: u8 = 7;
/// Hosts per unit unless the buyer says otherwise. Source: tier `standard`.
pub const REPLICAS_DEFAULT: u8 = 2;
/// Blocks between the one that binds a unit's last host and the one whose beacon draws its audit. Source: `design`,
/// section 6: whoever makes the first of them does not choose the second's beacon alone.
pub const AUDIT_DELAY: u64 = 2;
/// Bytes of all arguments and environment of a job.
pub const ARGS_BYTES_MAX: usize = 8 << 10;
/// Arguments, and environment variables, of a job.
pub const ARGS_MAX: usize = 256;

/// Bytes of a control message. Source: `design`, libp2p request-response is for small messages only.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of an entry within a message.
pub const ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX - 1024;
/// Blobs asked about at once: 32 bytes each.
pub const MISSING_MAX: usize = 1024;
/// Entries of a block. Bounds what a follower must hold: 64 MiB.
pub const BLOCK_ENTRIES_MAX: usize = 1024;
/// Bytes of a block.
pub const BLOCK_BYTES_MAX: usize = BLOCK_ENTRIES_MAX * MESSAGE_BYTES_MAX;

/// Steps per segment of a history. Source: `spec/03-execution.md`, section 6: 4096 roots are 128 KiB.
pub const SEGMENT_STEPS: usize = 4096;
/// Steps of a run. A run of *n* steps has *n* + 1 roots, and the history's tree has 4096 segments of 4096 places.
pub const STEPS_MAX: u32 = 4096 * 4096 - 1;

/// Fuel of a run unless the buyer says otherwise: some ten seconds of a desktop core.
pub const FUEL_DEFAULT: Fuel = Fuel(80_000_000_000);
/// Most fuel of a run. Source: at most some 36 hours of a core; keeps every product of fuel and price in `u128`.
pub const FUEL_MAX: Fuel = Fuel(1_000_000_000_000_000);
/// Fuel per step unless the buyer says otherwise: some two seconds. Source: a referee re-runs a step in seconds
/// (`fuel-calibration.md`: a unit is 0.07 to 0.28 ns), and tasks that use half of it (`samebit_sdk::Pieces`) pay little for hashing
/// what they write.
pub const STEP_BUDGET_DEFAULT: Fuel = Fuel(16_000_000_000);
// A step can always pay the root of the largest memory.
const _: () = assert!(ROOT_FUEL.0 + 65_535 * ROOT_FUEL_PER_PAGE.0 < STEP_BUDGET_DEFAULT.0);
/// Linear memory unless the buyer says otherwise.
pub const MEMORY_DEFAULT: Bytes = Bytes(512 << 20);
/// Most linear memory: a 32-bit memory less one page, so that its size fits the address type.
pub const MEMORY_MAX: Bytes = Bytes((4 << 30) - (64 << 10));
/// Bytes of files that a guest may write unless the buyer says otherwise.
pub const FILES_DEFAULT: Bytes = Bytes(256 << 20);
/// Most bytes of files that a guest may write.
pub const FILES_MAX: Bytes = Bytes(4 << 30);
/// Bytes of mounted content that a host holds in memory at a time; a world that mounts more pays for each way to a piece.
/// Source: `spec/06-wasi.md`, section 6.7.
pub const CONTENT_LOADED_MAX: Bytes = Bytes(256 << 20);
/// Different files of all of a job's units that a keeper signs for. Source: `spec/07-wire.md`, section 6.
pub const CUSTODY_FILES_MAX: usize = 1 << 20;
/// Bytes of these files, each counted once.
pub const CUSTODY_BYTES_MAX: Bytes = Bytes(64 << 30);
/// Bytes of the files of a unit's input that an order may need and a host may offer. Source: what a keeper signs for.
pub const INPUTS_MAX: Bytes = CUSTODY_BYTES_MAX;
/// Linear memory that a host offers to a run unless told otherwise.
pub const OFFERED_MEMORY_DEFAULT: Bytes = Bytes(1 << 30);
/// Bytes of written files that a host offers to a run unless told otherwise.
pub const OFFERED_FILES_DEFAULT: Bytes = Bytes(1 << 30);
/// Inodes that a guest may make unless the buyer says otherwise.
pub const INODES_DEFAULT: u32 = 65_536;
/// Most inodes that a guest may make.
pub const INODES_MAX: u32 = 1 << 20;
/// Bytes of stdout unless the buyer says otherwise.
pub const STDOUT_DEFAULT: Bytes = Bytes(16 << 20);
/// Most bytes of stdout.
pub const STDOUT_MAX: Bytes = Bytes(256 << 20);
/// Bytes of stderr that a host keeps for people; what follows is dropped. Not part of any hash.
pub const STDERR_KEPT: usize = 64 << 10;

/// Longest time that a job may take from post to agreement.
pub const DEADLINE_MAX: Millis = Millis(7 * 24 * 3_600_000);
/// Deadline unless the buyer says otherwise.
pub const DEADLINE_DEFAULT: Millis = Millis(15 * 60_000);

/// Most that a job may pay, and a host may ask, per [`FUEL_PER_PRICE_UNIT`]. Source: `FUEL_MAX` at this
/// price still fits [`MicroCredits`] with room for a thousand units and the bond multiple.
pub const PRICE_MAX: FuelPrice = FuelPrice(10_000);
/// Price unless the buyer says otherwise.
pub const PRICE_DEFAULT: FuelPrice = FuelPrice(10);

/// Whole supply, at most. Source: sums of balances then cannot overflow `u64`.
pub const SUPPLY_MAX: MicroCredits = MicroCredits(1 << 62);

/// The numbers that a network chooses. A job is bound to the set it was posted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Burned by every post, so that posts are not free. Micro-credits.
    pub post_fee: MicroCredits,
    /// Burned by every unit of a post. Micro-credits.
    pub unit_fee: MicroCredits,
    /// Bond of a run, as a multiple of the most that the run can earn. Source: `spec/04-verification.md`,
    /// section 6 (S = 20 R).
    pub bond_multiple: u64,
    /// Least bond of a host: a registration has a price.
    pub bond_least: MicroCredits,
    /// Share of a slashed bond that is burned. Only this share counts as lost: a cheater may report itself.
    pub slash_burned: BasisPoints,
    /// What a host that accepted and fell silent pays, as a share of the most that the run can earn. Burned.
    pub no_show: BasisPoints,
    /// Hosts drawn together to decide between receipts that differ. Source: `spec/04-verification.md`, section 5.
    pub referees: u8,
    /// Referees in all, when the first are not of one mind.
    pub referees_all: u8,
    /// Of all, those who must agree.
    pub referees_agree: u8,
    /// For a keeper to sign custody.
    pub custody: Millis,
    /// For a drawn host to accept.
    pub accept: Millis,
    /// For an accepted host to beat, again and again until it commits.
    pub heartbeat: Millis,
    /// For a buyer to open its secret in the draw of an audit, once the beacon is there.
    pub open: Millis,
    /// For committed hosts to reveal, once all have committed.
    pub reveal: Millis,
    /// From agreement to settlement.
    pub window: Millis,
    /// For which a slashed host is not drawn.
    pub exclusion: Millis,
    /// From taking bond out to having it. Source: L2, at least twice the window.
    pub unbonding: Millis,
}

impl Hashed for Params {
    const CONTEXT: &'static str = "samebit/v1/params";
}

/// A number outside its compiled bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name} is {given}, allowed {least} to {most}")]
pub struct ParamError {
    /// Which.
    pub name: &'static str,
    /// What it is.
    pub given: u64,
    /// Least allowed.
    pub least: u64,
    /// Most allowed.
    pub most: u64,
}

impl Params {
    /// For a network on one machine: short windows, so that a person sees a job settle.
    pub const DEVNET: Self = Self {
        post_fee: MicroCredits(100),
        unit_fee: MicroCredits(10),
        bond_multiple: 20,
        bond_least: MicroCredits(10_000_000),
        slash_burned: BasisPoints(8_000),
        no_show: BasisPoints(5_000),
        referees: 1,
        referees_all: 3,
        referees_agree: 2,
        custody: Millis(30_000),
        accept: Millis(5_000),
        heartbeat: Millis(8_000),
        open: Millis(5_000),
        reveal: Millis(10_000),
        window: Millis(1_000),
        exclusion: Millis(600_000),
        unbonding: Millis(5_000),
    };

    /// For strangers: windows that leave time to re-execute. Source: `design`, W = 1 h public.
    pub const PUBLIC: Self = Self {
        referees: 5,
        referees_all: 9,
        referees_agree: 7,
        custody: Millis(600_000),
        accept: Millis(30_000),
        heartbeat: Millis(60_000),
        open: Millis(300_000),
        reveal: Millis(600_000),
        window: Millis(3_600_000),
        exclusion: Millis(7 * 24 * 3_600_000),
        unbonding: Millis(2 * 3_600_000),
        ..Self::DEVNET
    };

    /// The set's id.
    #[must_use]
    pub fn id(&self) -> ParamsId {
        ParamsId(self.digest())
    }

    /// Checks every number against its bounds.
    ///
    /// # Errors
    /// [`ParamError`] for the first that is out of them.
    pub fn check(&self) -> Result<(), ParamError> {
        let bounded = |name, given, least, most| {
            if (least..=most).contains(&given) { Ok(()) } else { Err(ParamError { name, given, least, most }) }
        };
        let day = 24 * 3_600_000;
        bounded("post_fee", self.post_fee.0, 0, 1_000_000_000)?;
        bounded("unit_fee", self.unit_fee.0, 0, 1_000_000_000)?;
        bounded("bond_multiple", self.bond_multiple, 1, 1_000)?;
        bounded("bond_least", self.bond_least.0, 1, 1_000_000_000_000)?;
        bounded("slash_burned", self.slash_burned.0.into(), 8_000, 10_000)?;
        bounded("no_show", self.no_show.0.into(), 0, 10_000)?;
        let (first, all) = (u64::from(self.referees), u64::from(self.referees_all));
        bounded("referees", first, 1, 9)?;
        bounded("referees_all", all, first + 1, 27)?;
        bounded("referees_agree", self.referees_agree.into(), all / 2 + 1, all)?;
        bounded("custody", self.custody.0, 1_000, day)?;
        bounded("accept", self.accept.0, 500, day)?;
        bounded("heartbeat", self.heartbeat.0, 1_000, day)?;
        bounded("open", self.open.0, 500, day)?;
        bounded("reveal", self.reveal.0, 1_000, day)?;
        bounded("window", self.window.0, 100, 30 * day)?;
        bounded("exclusion", self.exclusion.0, 0, 365 * day)?;
        bounded("unbonding", self.unbonding.0, self.window.0.saturating_mul(2), 365 * day)
    }
}

// A job of most units at the highest price and most fuel is refused for want of money, never for overflow.
const _: () = assert!(PRICE_MAX.0 as u128 * FUEL_MAX.0 as u128 / FUEL_PER_PRICE_UNIT.0 as u128 <= u64::MAX as u128);
// Fuel in hand, and what may be used past it, stay clear of the meter's other bits.
const _: () = assert!(FUEL_CHUNK + METER_STRIDE_MAX < 1 << METER_FUEL_SIGN && METER_STRIDE_MAX < FUEL_CHUNK);
const _: () = assert!(Params::DEVNET.unbonding.0 >= 2 * Params::DEVNET.window.0);
const _: () = assert!(Params::PUBLIC.unbonding.0 >= 2 * Params::PUBLIC.window.0);
const _: () = assert!(UNITS_MAX * 40 + ARGS_BYTES_MAX + 4096 < ENTRY_BYTES_MAX);
