//! A small network in memory, driven by lines such as `post alice j1 k=2 | ok`.
//!
//! Every line makes at most a few blocks through [`Solo`]; after each the invariants are checked, and at the end
//! the blocks are replayed on a fresh state, which must come to the same root (L3).
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use ed25519_dalek::{Signer as _, SigningKey};
use samebit_ledger::{LedgerState, LogError, Solo, Store, market::words};
use samebit_spec::{
    audit::{self, AuditOpening},
    block::{Block, Genesis},
    content::{BlobRef, TreeRef},
    entry::{Body, Entry, SignedEntry},
    execution::{Limits, Outcome, TensorOps},
    id::{BlobId, Commitment, HistoryRoot, JobId, ParamsId, TaskId},
    job::{CustodyRefusal, JobSpec, RunId},
    offer::{AdapterClass, AdapterOffer, Kinds, Needs, Offer, TensorNeed},
    param::Params,
    receipt::{self, Output, Receipt, Salt},
    refusal::Refusal,
    sign::{PublicKey, Signature, Signer},
    task::{TaskForm, TaskManifest},
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, Height, MicroCredits, Millis, Time},
    wire::{self, Hashed},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// A key that is told by its name.
pub struct Key(SigningKey);

impl Key {
    pub fn named(name: &str) -> Self {
        Self(SigningKey::from_bytes(&wire::derive("test key", name.as_bytes())))
    }
}

impl Signer for Key {
    fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

pub fn key(name: &str) -> PublicKey {
    Key::named(name).public()
}

/// Blocks in memory. With `broken`, a disk that fails.
#[derive(Default)]
pub struct Memory {
    pub blocks: Vec<Block>,
    pub broken: bool,
}

impl Store for Memory {
    fn append(&mut self, block: &Block) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Poisoned);
        }
        self.blocks.push(block.clone());
        Ok(())
    }

    fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        Ok(height.0.checked_sub(1).and_then(|at| self.blocks.get(usize::try_from(at).ok()?)).cloned())
    }
}

/// [`Memory`] that the test keeps a hand on.
#[derive(Clone, Default)]
pub struct Shared(pub Rc<RefCell<Memory>>);

impl Store for Shared {
    fn append(&mut self, block: &Block) -> Result<(), LogError> {
        self.0.borrow_mut().append(block)
    }

    fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        self.0.borrow().block(height)
    }
}

/// What the secrets of every sealed job are made of.
const MASTER: [u8; 32] = [0x5e; 32];
pub const START: Time = Time(1_000_000);
pub const RICH: u64 = 1_000_000_000;

/// alice, bob and hosts h1 to h8 hold 1000 credits each; val orders.
pub fn genesis() -> Genesis {
    let names = ["alice", "bob", "h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8"];
    let mut accounts: Vec<_> = names.iter().map(|name| (key(name), MicroCredits(RICH))).collect();
    accounts.sort_unstable();
    Genesis { network: "test".into(), time: START, validator: key("val"), params: Params::DEVNET, accounts }
}

pub fn manifest(name: &str) -> TaskManifest {
    let module = BlobRef::of(name.as_bytes());
    TaskManifest {
        name: name.into(),
        module,
        form: TaskForm::Command,
        about: String::new(),
        tensor_ops: TensorOps(u32::from(name.starts_with("tensor"))),
    }
}

/// What stands behind `FIELD=` among the words.
fn field<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// `software:1`, `discrete:7`: a class and a sum of kinds.
fn adapter(text: &str) -> AdapterOffer {
    let (class, kinds) = text.split_once(':').unwrap_or_else(|| panic!("{text}: no class:kinds"));
    let class = match class {
        "software" => AdapterClass::Software,
        "integrated" => AdapterClass::Integrated,
        "discrete" => AdapterClass::Discrete,
        _ => panic!("{text}"),
    };
    AdapterOffer { class, kinds: Kinds(kinds.parse().unwrap_or_else(|_| panic!("{text}"))) }
}

/// What a host offers: the usual, but for `memory=`, `files=`, `stdout=`, `inputs=`, `ops=`, `adapter=CLASS:KINDS`.
fn offer(words: &[&str]) -> Offer {
    let usual = Offer::default();
    let bytes = |name, usual: Bytes| {
        field(words, name).map_or(usual, |text| Bytes(text.parse().unwrap_or_else(|_| panic!("{name}={text}"))))
    };
    Offer {
        memory: bytes("memory", usual.memory),
        files: bytes("files", usual.files),
        stdout: bytes("stdout", usual.stdout),
        inputs: bytes("inputs", usual.inputs),
        tensor_ops: field(words, "ops").map_or(usual.tensor_ops, |text| TensorOps(text.parse().expect("a version"))),
        adapter: field(words, "adapter").map(adapter),
        ..usual
    }
}

/// `on=any`, `on=cpu` or `on=CLASS:KINDS`.
fn tensor_need(words: &[&str]) -> TensorNeed {
    match field(words, "on") {
        None | Some("any") => TensorNeed::Any,
        Some("cpu") => TensorNeed::Cpu,
        Some(text) => TensorNeed::Adapter(adapter(text)),
    }
}

pub struct Town {
    pub solo: Solo<Shared>,
    pub store: Shared,
    pub now: Time,
    pub jobs: BTreeMap<String, JobId>,
    last: Option<SignedEntry>,
}

impl Town {
    pub fn new() -> Self {
        let state = LedgerState::new(&genesis()).expect("a sound genesis");
        let store = Shared::default();
        let solo = Solo::with_store(state, store.clone(), Box::new(Key::named("val"))).expect("val validates");
        Self { solo, store, now: START, jobs: BTreeMap::new(), last: None }
    }

    pub fn state(&self) -> &LedgerState {
        self.solo.state()
    }

    pub fn sign(&self, name: &str, body: Body) -> SignedEntry {
        let signer = Key::named(name);
        let sequence = self.state().sequence(&signer.public());
        let entry = Entry { genesis: self.state().genesis_id(), signer: signer.public(), sequence, body };
        sign_entry(&signer, entry)
    }

    /// Proposes one entry; a refused one must leave no trace.
    pub fn submit(&mut self, signed: SignedEntry) -> Result<(), Refusal> {
        self.settle_timers();
        let before = self.state().root();
        self.last = Some(signed.clone());
        let proposed = self.solo.propose(self.now, vec![signed]).expect("the store works");
        self.state().check().expect("the invariants hold");
        let result = proposed.results.into_iter().next().expect("one result for one entry");
        match result {
            Ok(_) => {
                self.settle_timers();
                Ok(())
            }
            Err(refusal) => {
                assert_eq!(proposed.block, None, "a refused entry makes no block");
                assert_eq!(before, self.state().root(), "{refusal} left a trace");
                Err(refusal)
            }
        }
    }

    /// Makes the blocks that want to be made at this moment.
    pub fn settle_timers(&mut self) {
        while self.solo.propose(self.now, Vec::new()).expect("the store works").block.is_some() {
            self.state().check().expect("the invariants hold");
        }
    }

    /// Lets time pass as a validator does: a block whenever one is due.
    pub fn wait(&mut self, span: u64) {
        let end = self.now.after(Millis(span));
        while let Some(at) = self.state().next_timer().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.settle_timers();
        }
        self.now = end;
        self.settle_timers();
    }

    /// Lets time pass until nothing is left to happen.
    pub fn run_out(&mut self) {
        let mut blocks = 0;
        while let Some(at) = self.state().next_timer() {
            self.now = self.now.max(at);
            self.settle_timers();
            blocks += 1;
            assert!(blocks < 100_000, "a timer fires for ever");
        }
    }

    /// L3: the blocks alone make the same state.
    pub fn replay(&self) {
        let mut state = LedgerState::new(&genesis()).expect("a sound genesis");
        for block in &self.store.0.borrow().blocks {
            state.apply_block(block).expect("a block that was made can be applied");
        }
        assert_eq!(state.root(), self.state().root(), "L3");
    }

    fn spec(&self, name: &str, words: &[&str]) -> JobSpec {
        let number = |field: &str, default: u64| {
            let found = words.iter().find_map(|word| word.strip_prefix(field)?.strip_prefix('='));
            found.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{field}={text}")))
        };
        let has = |word: &str| words.contains(&word);
        let units = usize::try_from(number("units", 1)).expect("few units");
        let long = "x".repeat(usize::try_from(number("argbytes", 0)).expect("few bytes"));
        let nul = if has("nul") { vec!["\0".to_owned()] } else { Vec::new() };
        JobSpec {
            buyer: key(if has("forbob") { "bob" } else { name }),
            nonce: self.state().sequence(&key(name)) + number("nonce+", 0),
            task: match () {
                () if has("notask") => TaskId([9; 32]),
                () if has("tensor") => manifest("tensor").id(),
                () => manifest("count").id(),
            },
            units: vec![TreeRef::default(); units],
            args: [vec![long], nul].concat(),
            env: if has("badenv") { vec![("A=B".into(), String::new())] } else { Vec::new() },
            seed: [0; 32],
            limits: Limits {
                fuel: Fuel(number("fuel", 100_000_000)),
                steps: u32::try_from(number("steps", 10)).expect("few steps"),
                memory: Bytes(number("memory", 65_536)),
                files: Bytes(number("files", Limits::default().files.0)),
                stdout: Bytes(number("stdout", Limits::default().stdout.0)),
                ..Limits::default()
            },
            needs: Needs { inputs: Bytes(number("inputs", 0)), tensors: tensor_need(words) },
            step_budget: Fuel(number("budget", 1_000)),
            replicas: u8::try_from(number("k", 2)).expect("few replicas"),
            audit: BasisPoints(u16::try_from(number("audit", 0)).expect("a share")),
            seal: has("sealed").then(|| audit::seal(&MASTER, u32::try_from(units).expect("few units"))),
            price: FuelPrice(number("price", 10)),
            deadline: Millis(number("deadline", 60_000)),
            params: if has("oldparams") { ParamsId([1; 32]) } else { Params::DEVNET.id() },
        }
    }

    pub fn run_id(&self, text: &str) -> RunId {
        let mut parts = text.split('/');
        let job = parts.next().expect("a job");
        let mut number = || parts.next().map_or(0, |part| part.parse().expect("a number"));
        let job = self.jobs.get(job).copied().unwrap_or(JobId([0xee; 32]));
        RunId { job, unit: number(), attempt: number() }
    }

    /// A receipt that says `letter`: equal letters agree.
    pub fn receipt(&self, run: &RunId, letter: &str, words: &[&str]) -> Receipt {
        let execution = self.state().execution(&run.job, run.unit).map(|execution| execution.id()).unwrap_or_default();
        let stdout = BlobRef::of(letter.as_bytes());
        let has = |word: &str| words.contains(&word);
        Receipt {
            execution: if has("otherexecution") { samebit_spec::id::ExecutionId([1; 32]) } else { execution },
            outcome: Outcome::Exited { code: 0 },
            output: Output { stdout, tree: TreeRef::default() },
            fuel: Fuel(if has("muchfuel") { 100_000_001 } else { 50_000_000 }),
            steps: if has("manysteps") { 11 } else { 1 },
            history: HistoryRoot([2; 32]),
        }
    }

    /// The operator that acts for a run's host, or another with `as NAME`.
    fn actor(&self, run: &RunId, words: &[&str]) -> String {
        if let Some(at) = words.iter().position(|word| *word == "as") {
            return format!("{}.op", words[at + 1]);
        }
        let host = self.state().run(run).map(|run| run.host);
        let known = (1..=8).map(|n| format!("h{n}")).find(|name| Some(key(name)) == host);
        format!("{}.op", known.unwrap_or_else(|| "h1".into()))
    }

    /// What a name, or `@job/unit/attempt`'s host, has gained since genesis, bond included.
    fn gain(&self, text: &str) -> i128 {
        let account = match text.strip_prefix('@') {
            Some(run) => self.state().run(&self.run_id(run)).expect("a run").host,
            None => key(text),
        };
        let bond = self.state().hosts().get(&account).map_or(0, |host| {
            let leaving: u64 = host.unbonding.iter().map(|(_, amount)| amount.0).sum();
            host.bond_free.0 + host.bond_locked.0 + leaving
        });
        i128::from(self.state().balance(&account).0) + i128::from(bond) - i128::from(RICH)
    }

    /// The signed entry that a line asks for; `None` for a line that asks for none.
    pub fn draft(&mut self, line: &str) -> Option<SignedEntry> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = words.split_first()?;
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        let (signer, body) = match *verb {
            "transfer" => (words[0].into(), Body::Transfer { to: key(words[1]), amount: MicroCredits(number(2)) }),
            "register" => {
                let operator = words
                    .iter()
                    .filter(|word| !word.contains('='))
                    .nth(4)
                    .map_or_else(|| key(&format!("{}.op", words[0])), |name| key(name));
                let slots = u16::try_from(number(2)).expect("few slots");
                let bond = MicroCredits(number(3));
                (
                    words[0].into(),
                    Body::HostRegister { operator, ask: FuelPrice(number(1)), slots, offer: offer(words), bond },
                )
            }
            "update" => {
                let slots = u16::try_from(number(2)).expect("few slots");
                (format!("{}.op", words[0]), Body::HostUpdate { ask: FuelPrice(number(1)), slots, offer: offer(words) })
            }
            "bond" => (words[0].into(), Body::BondAdd { amount: MicroCredits(number(1)) }),
            "unbond" => (words[0].into(), Body::BondWithdraw { amount: MicroCredits(number(1)) }),
            "publish" => (words[0].into(), Body::TaskPublish { manifest: manifest(words[1]) }),
            "post" => {
                let spec = self.spec(words[0], &words[2..]);
                self.jobs.insert(words[1].into(), spec.id());
                (words[0].into(), Body::JobPost { spec })
            }
            "cancel" => (words[0].into(), Body::JobCancel { job: self.run_id(words[1]).job }),
            "sign" => {
                (words.get(1).unwrap_or(&"val").to_string(), Body::CustodySign { job: self.run_id(words[0]).job })
            }
            "refuse" => {
                let reason = CustodyRefusal::Missing { blob: BlobId([3; 32]) };
                ("val".into(), Body::CustodyRefuse { job: self.run_id(words[0]).job, reason })
            }
            "open" => {
                let at = self.run_id(words[0]);
                let units = u32::try_from(self.state().jobs().get(&at.job).map_or(1, |job| job.units.len()));
                let units = units.expect("few units");
                let mut opening = AuditOpening::of(&MASTER, units, at.unit.min(units - 1)).expect("a unit of the job");
                if words.contains(&"forged") {
                    opening.secret = [1; 32];
                }
                (words.get(1).unwrap_or(&"alice").to_string(), Body::AuditOpen { job: at.job, unit: at.unit, opening })
            }
            "accept" | "decline" | "beat" | "withdraw" | "commit" | "reveal" => {
                let run = self.run_id(words[0]);
                let signer = self.actor(&run, words);
                let host = self.state().run(&run).map(|run| run.host).unwrap_or_default();
                let salt = Salt(wire::derive("test salt", &wire::encode(&run)));
                let body = match *verb {
                    "accept" => Body::RunAccept { run },
                    "decline" => Body::RunDecline { run },
                    "beat" => Body::RunHeartbeat { run, mark: [0; 32], fuel: Fuel(1) },
                    "withdraw" => Body::RunWithdraw { run },
                    "commit" if words.contains(&"copied") => {
                        let other = self.run_id(words[1]);
                        let copied = self.state().run(&other).and_then(|run| run.commitment);
                        Body::RunCommit { run, commitment: copied.unwrap_or(Commitment([0; 32])) }
                    }
                    "commit" => {
                        let receipt = self.receipt(&run, words[1], words);
                        Body::RunCommit { run, commitment: receipt::commitment(&run, &host, &salt, receipt.id()) }
                    }
                    _ => {
                        let receipt = self.receipt(&run, words[1], words);
                        let engine = if words.contains(&"longengine") { "e".repeat(64) } else { "test".into() };
                        Body::RunReveal { run, salt, receipt, engine }
                    }
                };
                (signer, body)
            }
            _ => return None,
        };
        Some(self.sign(&signer, body))
    }

    /// Carries out one line and says what came of it.
    pub fn line(&mut self, line: &str) -> String {
        if let Some(signed) = self.draft(line) {
            return said(&self.submit(signed));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = words.split_first().expect("a verb");
        let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        match *verb {
            "again" => {
                let signed = self.last.clone().expect("an entry before");
                said(&self.submit(signed))
            }
            "wait" => {
                self.wait(number(0));
                "ok".into()
            }
            "jump" => {
                self.now = self.now.after(Millis(number(0)));
                self.settle_timers();
                "ok".into()
            }
            "job" => words::job_phase(&self.state().jobs()[&self.run_id(words[0]).job].phase).into(),
            "unit" => {
                let at = self.run_id(words[0]);
                let unit = usize::try_from(at.unit).expect("few units");
                words::unit_phase(&self.state().jobs()[&at.job].units[unit].phase).into()
            }
            "run" => {
                let run = self.run_id(words[0]);
                self.state().run(&run).map_or("none".into(), |run| words::run_phase(run.phase).into())
            }
            "role" => {
                let run = self.run_id(words[0]);
                self.state().run(&run).map_or("none".into(), |run| words::run_role(run.role).into())
            }
            "escrow" => self.state().jobs()[&self.run_id(words[0]).job].escrow.to_string(),
            "gain" => self.gain(words[0]).to_string(),
            "burned" => self.state().burned().to_string(),
            "locked" => self.state().run(&self.run_id(words[0])).expect("a run").bond.to_string(),
            _ => panic!("{line}: unknown verb"),
        }
    }
}

fn said(result: &Result<(), Refusal>) -> String {
    match result {
        Ok(()) => "ok".into(),
        // The variant's name is what cases are written in; `{:?}` begins with it.
        Err(refusal) => format!("{refusal:?}").split([' ', '(', '{']).next().unwrap_or_default().into(),
    }
}

pub fn sign_entry(signer: &Key, entry: Entry) -> SignedEntry {
    let signature = signer.sign(samebit_spec::sign::Domain::Entry, entry.genesis, entry.digest());
    SignedEntry { entry, signature }
}

/// Runs `script` in a new town: each line is a deed, then `|`, then what must come of it.
#[track_caller]
pub fn check(script: &str) -> Town {
    let mut town = Town::new();
    go_on(&mut town, script);
    town.replay();
    town
}

#[track_caller]
pub fn go_on(town: &mut Town, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (deed, expected) = line.split_once('|').unwrap_or_else(|| panic!("{line}: no |"));
        assert_eq!(town.line(deed), expected.trim(), "in line: {line}");
    }
}

/// Hosts h1 to `hN`, a published task.
pub fn hosts(count: u8) -> String {
    let mut script = String::from("publish alice count | ok\n");
    for n in 1..=count {
        script += &format!("register h{n} 5 4 100000000 | ok\n");
    }
    script
}
