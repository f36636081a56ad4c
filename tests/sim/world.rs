//! A seeded world around the real ledger and the real minds of hosts: virtual time, a network that delays and
//! loses, executions that take a while, restarts, a validator that may stand still.
//!
//! One thread, no clock: the same [`Plan`] gives the same blocks.

use ed25519_dalek::{Signer as _, SigningKey};
use samebit_ledger::{
    LedgerState, LogError, Solo, Store,
    market::agent::{Conduct, Effect, HostAgent, falsify},
};
use samebit_spec::{
    block::{Block, Genesis},
    content::{BlobRef, TreeRef},
    entry::{Body, Entry, SignedEntry},
    execution::{Execution, Limits, Outcome, TensorOps},
    id::{HistoryRoot, LedgerRoot, StateRoot},
    job::{JobPhase, JobSpec, RunId, UnitPhase},
    offer::{Needs, Offer, lack},
    param::Params,
    receipt::{Output, Receipt},
    sign::{Domain, PublicKey, Signature, Signer},
    task::{TaskForm, TaskManifest},
    unit::{Bytes, Fuel, FuelPrice, Height, MicroCredits, Millis, Time},
    wire::{self, Hashed},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    rc::Rc,
};

/// Virtual milliseconds between two looks at the world.
const TICK: u64 = 25;
/// A host looks at the ledger this often, as a daemon does.
const LOOK: u64 = 250;
const START: Time = Time(1_000_000);
const RICH: u64 = 1_000_000_000;
const BOND: u64 = 100_000_000;

/// What happens in a run of the world, besides what the seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How each host behaves.
    pub(crate) hosts: Vec<Conduct>,
    /// Decides delays, losses, durations and restarts.
    pub(crate) seed: u64,
    /// Jobs posted whatever happens; replicas go 1, 2, 3, 1, ...
    pub(crate) jobs: u64,
    /// Of 100 messages, how many are lost.
    pub(crate) loss: u64,
    /// Of 10 000 looks, how many are a restart of the host.
    pub(crate) restarts: u64,
    /// Of 100 executions, how many end in a host fault.
    pub(crate) faults: u64,
    /// Replicas of every job instead of 1, 2, 3, 1, ...
    pub(crate) replicas: Option<u8>,
    /// Dishonest hosts finish their work only this long before the job's deadline, so that their commitments leave
    /// no time for a re-run.
    pub(crate) late: Option<u64>,
    /// The validator makes no block from the first to the second virtual millisecond.
    pub(crate) outage: Option<(u64, u64)>,
}

/// What hosts offer and jobs need, where it is not the same for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mix {
    /// Of each host; the usual one for those that are not named.
    pub(crate) offers: Vec<Offer>,
    /// Of the jobs, in turns: memory and further needs. None: the usual.
    pub(crate) needs: Vec<(Bytes, Needs)>,
    /// What the task computes.
    pub(crate) tensor_ops: TensorOps,
    /// Hosts that have no more than the usual offer, whatever they say.
    pub(crate) boasters: BTreeSet<usize>,
}

impl Mix {
    fn manifest(&self) -> TaskManifest {
        TaskManifest { tensor_ops: self.tensor_ops, ..manifest() }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) root: LedgerRoot,
    pub(crate) state: LedgerState,
    pub(crate) blocks: Vec<Block>,
    pub(crate) hosts: Vec<HostEnd>,
    /// Decided units with comparison whose verdict is a lie.
    pub(crate) lies_believed: usize,
    /// Units that came to a final result.
    pub(crate) finals: usize,
    /// Virtual milliseconds it took.
    pub(crate) took: u64,
}

#[derive(Debug)]
pub(crate) struct HostEnd {
    pub(crate) conduct: Conduct,
    pub(crate) gain: i128,
    pub(crate) slashed: u32,
    pub(crate) lost: u32,
    pub(crate) upheld: u32,
    pub(crate) declined: u32,
}

impl End {
    /// For people, when something went wrong.
    pub(crate) fn table(&self) -> String {
        let mut table = format!("{} blocks, {} ms, {} finals\n", self.blocks.len(), self.took, self.finals);
        table += "host  conduct        gain  upheld  slashed  lost  declined\n";
        for (n, host) in self.hosts.iter().enumerate() {
            let HostEnd { conduct, gain, slashed, lost, upheld, declined } = host;
            let name = conduct.to_string();
            let _ =
                writeln!(table, "h{n:<4} {name:<13} {gain:>5}  {upheld:>6}  {slashed:>7}  {lost:>4}  {declined:>8}");
        }
        table
    }
}

/// Runs the world of `plan` until every job has closed.
pub(crate) fn run(plan: &Plan) -> End {
    run_mixed(plan, &Mix::default())
}

/// The same, of hosts that offer and jobs that need different things.
pub(crate) fn run_mixed(plan: &Plan, mix: &Mix) -> End {
    World::new(plan, mix).run()
}

struct Key(SigningKey);

impl Key {
    fn named(name: &str) -> Self {
        Self(SigningKey::from_bytes(&wire::derive("sim key", name.as_bytes())))
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

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<Block>>>);

impl Store for Memory {
    fn append(&mut self, block: &Block) -> Result<(), LogError> {
        self.0.borrow_mut().push(block.clone());
        Ok(())
    }

    fn block(&self, height: Height) -> Result<Option<Block>, LogError> {
        Ok(height.0.checked_sub(1).and_then(|at| self.0.borrow().get(usize::try_from(at).ok()?).cloned()))
    }
}

/// SplitMix64: enough for a schedule, and ours.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}

struct Host {
    name: String,
    account: PublicKey,
    agent: HostAgent,
    conduct: Conduct,
    /// Receipts on its disk.
    saved: BTreeMap<RunId, Receipt>,
    /// When each execution ends.
    working: BTreeMap<RunId, (Time, Execution)>,
}

/// An entry on its way to the validator.
struct Letter {
    arrives: Time,
    from: String,
    body: Body,
}

struct World<'a> {
    plan: &'a Plan,
    mix: &'a Mix,
    dice: Dice,
    now: Time,
    solo: Solo<Memory>,
    store: Memory,
    hosts: Vec<Host>,
    letters: Vec<Letter>,
    posted: u64,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, mix: &'a Mix) -> Self {
        let names: Vec<String> = (0..plan.hosts.len()).map(|n| format!("h{n}")).collect();
        let key = |name: &str| Key::named(name).public();
        let mut accounts: Vec<_> = names.iter().map(|name| (key(name), MicroCredits(RICH))).collect();
        accounts.push((key("buyer"), MicroCredits(RICH)));
        accounts.sort_unstable();
        let genesis = Genesis {
            network: "sim".into(),
            time: START,
            validator: key("validator"),
            params: Params::DEVNET,
            accounts,
        };
        let state = LedgerState::new(&genesis).expect("a sound genesis");
        let store = Memory::default();
        let solo = Solo::with_store(state, store.clone(), Box::new(Key::named("validator"))).expect("its own chain");
        let hosts = names.iter().zip(&plan.hosts).map(|(name, conduct)| Host {
            name: name.clone(),
            account: key(name),
            agent: mind(name, *conduct),
            conduct: *conduct,
            saved: BTreeMap::new(),
            working: BTreeMap::new(),
        });
        let hosts = hosts.collect();
        let dice = Dice(plan.seed);
        let mut world = Self { plan, mix, dice, now: START, solo, store, hosts, letters: Vec::new(), posted: 0 };
        let registers = names.iter().enumerate().map(|(n, name)| {
            let operator = key(&format!("{name}.op"));
            let offer = mix.offers.get(n).copied().unwrap_or_default();
            let body = Body::HostRegister { operator, ask: FuelPrice(5), slots: 3, offer, bond: MicroCredits(BOND) };
            (name.clone(), body)
        });
        let publish = (String::from("buyer"), Body::TaskPublish { manifest: mix.manifest() });
        let letters: Vec<_> = registers.chain([publish]).collect();
        for (from, body) in letters {
            world.letters.push(Letter { arrives: world.now, from, body });
        }
        world
    }

    fn run(mut self) -> End {
        let mut quiet = 0;
        while quiet < 4 {
            self.now = self.now.after(Millis(TICK));
            self.buy();
            self.finish_work();
            self.look();
            self.order();
            quiet = if self.is_over() { quiet + 1 } else { 0 };
            assert!(self.elapsed() < 4 * 3_600_000, "nothing ends: {:?}", self.plan);
        }
        self.end()
    }

    fn elapsed(&self) -> u64 {
        self.now.0 - START.0
    }

    fn is_over(&self) -> bool {
        !self.wants_jobs() && self.letters.is_empty() && self.solo.state().open_jobs().next().is_none()
    }

    /// Further jobs are posted until every cheater has met somebody to be compared with, so that no seed's luck
    /// lets one through unmet.
    fn wants_jobs(&self) -> bool {
        let met = |host: &Host| {
            let tally = self.solo.state().hosts().get(&host.account).map(|record| record.tally).unwrap_or_default();
            match host.conduct {
                Conduct::Honest => true,
                Conduct::Decliner => tally.declined > 0,
                Conduct::NoShow => tally.lost > 0,
                Conduct::WrongOutput | Conduct::LazyCopier | Conduct::Silent => tally.slashed > 0,
            }
        };
        self.posted < self.plan.jobs || (self.posted < self.plan.jobs + 60 && !self.hosts.iter().all(met))
    }

    fn buy(&mut self) {
        let buyer = Key::named("buyer").public();
        let under_way = self.solo.state().open_jobs().count() >= 3;
        let sending = self.letters.iter().any(|letter| letter.from == "buyer");
        if !self.wants_jobs() || under_way || sending || self.solo.state().tasks().is_empty() {
            return;
        }
        let replicas = if let Some(replicas) = self.plan.replicas {
            replicas
        } else if self.posted < self.plan.jobs {
            1 + u8::try_from(self.posted % 3).unwrap_or(0)
        } else {
            2
        };
        let turn = usize::try_from(self.posted).unwrap_or(0);
        let usual = (Limits::default().memory, Needs::default());
        let (memory, needs) = self.mix.needs.get(turn % self.mix.needs.len().max(1)).copied().unwrap_or(usual);
        let units = 1 + usize::try_from(self.dice.roll(3)).unwrap_or(0);
        let spec = JobSpec {
            buyer,
            nonce: self.solo.state().sequence(&buyer),
            task: self.mix.manifest().id(),
            units: vec![TreeRef::default(); units],
            args: vec![format!("{}", self.posted)],
            env: Vec::new(),
            seed: [0; 32],
            limits: Limits { fuel: Fuel(100_000_000), memory, ..Limits::default() },
            needs,
            step_budget: Fuel(1_000_000),
            replicas,
            price: FuelPrice(10),
            deadline: Millis(300_000),
            params: Params::DEVNET.id(),
        };
        self.posted += 1;
        self.send("buyer", Body::JobPost { spec }, 0);
    }

    /// A letter arrives after up to 80 ms, or never.
    fn send(&mut self, from: &str, body: Body, loss: u64) {
        let arrives = self.now.after(Millis(1 + self.dice.roll(80)));
        if self.dice.roll(100) >= loss {
            self.letters.push(Letter { arrives, from: from.into(), body });
        }
    }

    fn finish_work(&mut self) {
        for (n, host) in self.hosts.iter_mut().enumerate() {
            let done: Vec<RunId> =
                host.working.iter().filter(|(_, (at, _))| *at <= self.now).map(|(run, _)| *run).collect();
            for run in done {
                let Some((_, execution)) = host.working.remove(&run) else { continue };
                let spec = &self.solo.state().jobs()[&run.job].spec;
                let beyond =
                    self.mix.boasters.contains(&n) && lack(&Offer::default(), spec, &self.mix.manifest()).is_some();
                if beyond || self.dice.roll(100) < self.plan.faults {
                    host.agent.on_fault(run);
                    continue;
                }
                let receipt = truth(&execution);
                let receipt = if host.agent.lies() { falsify(receipt) } else { receipt };
                host.saved.insert(run, receipt.clone());
                host.agent.on_finished(run, receipt);
            }
        }
    }

    fn look(&mut self) {
        for n in 0..self.hosts.len() {
            // Hosts do not look all at once.
            if !(self.elapsed() / TICK + n as u64).is_multiple_of(LOOK / TICK) {
                continue;
            }
            if self.dice.roll(10_000) < self.plan.restarts {
                let host = &mut self.hosts[n];
                host.agent = mind(&host.name, host.conduct);
                host.working.clear();
                for (run, receipt) in &host.saved {
                    host.agent.restore(*run, receipt.clone());
                }
            }
            let host = &mut self.hosts[n];
            let account = host.account;
            let effects = host.agent.observe(&self.solo.state().host_view(&account, self.now));
            for effect in effects {
                match effect {
                    Effect::Submit(body) => {
                        let from = format!("{}.op", self.hosts[n].name);
                        self.send(&from, body, self.plan.loss);
                    }
                    Effect::Execute { run, execution, module: _ } => {
                        // One in eight takes longer than a heartbeat.
                        let long = if self.dice.roll(8) == 0 { 20_000 } else { 2_000 };
                        let mut at = self.now.after(Millis(50 + self.dice.roll(long)));
                        if let Some(before) = self.plan.late.filter(|_| self.hosts[n].conduct != Conduct::Honest) {
                            let job = &self.solo.state().jobs()[&run.job];
                            let end = job.posted_at.after(job.spec.deadline);
                            at = at.max(Time(end.0.saturating_sub(before)));
                        }
                        self.hosts[n].agent.on_progress(run, StateRoot([5; 32]), Fuel(1));
                        self.hosts[n].working.insert(run, (at, execution));
                    }
                    Effect::Stop { run } => {
                        self.hosts[n].working.remove(&run);
                    }
                }
            }
        }
    }

    /// The validator: signs custody, then orders what has arrived.
    fn order(&mut self) {
        if self.plan.outage.is_some_and(|(from, to)| (from..to).contains(&self.elapsed())) {
            return;
        }
        let mut arrived = Vec::new();
        let now = self.now;
        self.letters.retain_mut(|letter| {
            let here = letter.arrives <= now;
            if here {
                arrived.push((std::mem::take(&mut letter.from), letter.body.clone()));
            }
            !here
        });
        let custody: Vec<_> = self.solo.state().awaiting_custody().map(|(job, _)| *job).collect();
        arrived.extend(custody.into_iter().map(|job| (String::from("validator"), Body::CustodySign { job })));
        let mut used: BTreeMap<PublicKey, u64> = BTreeMap::new();
        let genesis = self.solo.state().genesis_id();
        let sign = |(from, body): &(String, Body), state: &LedgerState, used: &mut BTreeMap<PublicKey, u64>| {
            let key = Key::named(from);
            let signer = key.public();
            let next = used.entry(signer).or_default();
            let entry = Entry { genesis, signer, sequence: state.sequence(&signer) + *next, body: body.clone() };
            *next += 1;
            let signature = key.sign(Domain::Entry, genesis, entry.digest());
            SignedEntry { entry, signature }
        };
        let entries = arrived.iter().map(|letter| sign(letter, self.solo.state(), &mut used)).collect();
        let proposed = self.solo.propose(self.now, entries).expect("memory does not fail");
        for ((from, body), result) in arrived.iter().zip(&proposed.results) {
            let sender = self.hosts.iter_mut().find(|host| format!("{}.op", host.name) == *from);
            if let (Some(host), Err(refusal)) = (sender, result) {
                host.agent.on_refused(body, refusal);
            }
        }
        if let Some(block) = proposed.block {
            self.solo.state().check().unwrap_or_else(|violation| panic!("{violation} in {:?}", self.plan));
            assert_eq!(block.header.id(), self.solo.state().head());
        }
    }

    fn end(self) -> End {
        let took = self.elapsed();
        let blocks = self.store.0.take();
        let state = self.solo.into_state();
        let hosts = self.hosts.iter().map(|host| {
            let record = &state.hosts()[&host.account];
            let worth = state.balance(&host.account).0 + record.bond_free.0 + record.bond_locked.0;
            HostEnd {
                conduct: host.conduct,
                gain: i128::from(worth) - i128::from(RICH),
                slashed: record.tally.slashed,
                lost: record.tally.lost,
                upheld: record.tally.upheld,
                declined: record.tally.declined,
            }
        });
        let hosts = hosts.collect();
        let (mut lies_believed, mut finals) = (0, 0);
        for (id, job) in state.jobs() {
            assert!(matches!(job.phase, JobPhase::Closed { .. }), "{id} is not closed");
            for (unit, number) in job.units.iter().zip(0..) {
                let UnitPhase::Final { receipt } = unit.phase else { continue };
                let execution = state.execution(id, number).expect("a unit of the job");
                finals += 1;
                lies_believed += usize::from(job.spec.replicas > 1 && truth(&execution).id() != receipt);
            }
        }
        End { root: state.root(), state, blocks, hosts, lies_believed, finals, took }
    }
}

fn mind(name: &str, conduct: Conduct) -> HostAgent {
    let host = Key::named(name).public();
    HostAgent::new(host, wire::derive("sim salt", name.as_bytes()), String::from("sim"), conduct)
}

fn manifest() -> TaskManifest {
    TaskManifest {
        name: "count".into(),
        module: BlobRef::of(b"module"),
        form: TaskForm::Command,
        about: String::new(),
        tensor_ops: TensorOps::default(),
    }
}

/// What every honest host gets.
fn truth(execution: &Execution) -> Receipt {
    let id = execution.id();
    Receipt {
        execution: id,
        outcome: Outcome::Exited { code: 0 },
        output: Output { stdout: BlobRef::of(&id.0), tree: TreeRef::default() },
        fuel: Fuel(1_000_000 + u64::from(id.0[0]) * 300_000),
        steps: 1,
        history: HistoryRoot(id.0),
    }
}
