//! The world: hosts, a buyer and a validator over one ledger, events in the order of virtual time.
//!
//! After every block the invariants of `spec/04-verification.md`, section 7, are checked; the first that does not hold
//! ends the world with its name.

use crate::{
    adversary::{Case, Claim, Mind, Sight, Work, named},
    dice::Dice,
};
use ed25519_dalek::{Signer as _, SigningKey};
use samebit_ledger::{
    LedgerState, LogError, Solo, Store,
    market::{
        agent::{Conduct, Effect, HostAgent, RunView},
        buyer::BuyerAgent,
    },
};
use samebit_spec::{
    block::{Block, Genesis},
    content::{BlobRef, TreeRef},
    entry::{Body, Entry, SignedEntry},
    execution::{Execution, Limits, Outcome, TensorOps},
    id::{HistoryRoot, JobId, LedgerRoot, ReceiptId, StateRoot},
    job::{HostTally, JobPhase, JobSpec, RunId, RunPhase, RunRole, UnitPhase},
    offer::{Needs, Offer, lack},
    param::Params,
    receipt::{Output, Receipt},
    sign::{Domain, PublicKey, Signature, Signer},
    task::{TaskForm, TaskManifest},
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, Height, MicroCredits, Millis, Time},
    wire::{self, Hashed},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    rc::Rc,
};

/// Entries that arrive within this many virtual milliseconds go into one block.
const BATCH: u64 = 20;
/// Virtual milliseconds in which every world ends.
const LONG: u64 = 400 * 3_600_000;
const START: Time = Time(1_000_000);
/// What every account holds at genesis, in micro-credits.
pub const RICH: u64 = 10_000_000_000;
/// A host's bond unless it is of a kind that has another.
pub const BOND: u64 = 100_000_000;
/// What every order pays at most for a unit's run: 100 M fuel at 10.
pub const REWARD: u64 = 1_000;

/// The buyer's conduct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buyer {
    /// By the rules.
    #[default]
    Honest,
    /// Never opens a secret.
    Withholding,
    /// Cancels whatever it posts.
    Griefing,
    /// Orders more than it can pay.
    NonPaying,
    /// Orders a task that gives every host another result.
    Nondeterministic,
}

/// A link that is cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Whose.
    pub host: usize,
    /// From this virtual millisecond.
    pub from: u64,
    /// To this one.
    pub to: u64,
    /// What the host sends is lost; else it sees nothing.
    pub outward: bool,
}

/// What happens in a world, besides what the seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kind of each host, by name.
    pub hosts: Vec<String>,
    /// Which of them are of one owner.
    pub cabal: Vec<usize>,
    /// What each host offers; the usual one for those that are not named.
    pub offers: Vec<Offer>,
    /// Hosts that have no more than the usual offer, whatever they say.
    pub boasters: BTreeSet<usize>,
    /// Of the jobs, in turns: memory and further needs. None: the usual.
    pub needs: Vec<(Bytes, Needs)>,
    /// What the task computes.
    pub tensor_ops: TensorOps,
    /// The buyer.
    pub buyer: Buyer,
    /// The keeper never signs.
    pub custody_withheld: bool,
    /// Decides delays, losses, durations and restarts.
    pub seed: u64,
    /// Jobs posted whatever happens.
    pub jobs: u64,
    /// Jobs more, at most, until every adversary has acted.
    pub patience: u64,
    /// Jobs under way at once.
    pub at_once: usize,
    /// Replicas of every job instead of 1, 2, 3, 1, ...
    pub replicas: Option<u8>,
    /// The chance of an audit.
    pub audit: BasisPoints,
    /// Whether orders are sealed.
    pub sealed: bool,
    /// Units of a job, at most.
    pub units: u64,
    /// Of 100 messages, how many are lost.
    pub loss: u64,
    /// Of 100 messages, how many arrive twice.
    pub duplicates: u64,
    /// How long a run takes at most, usually and one time in eight, in virtual milliseconds.
    pub work: (u64, u64),
    /// Longest delay of a message: later ones overtake.
    pub delay: u64,
    /// Of 10 000 looks, how many are a restart of the host.
    pub restarts: u64,
    /// Of 100 executions, how many end in a host fault.
    pub faults: u64,
    /// Dishonest hosts finish only this long before the job's deadline.
    pub late: Option<u64>,
    /// The validator makes no block from the first to the second virtual millisecond.
    pub outage: Option<(u64, u64)>,
    /// How long after its post a unit must be agreed.
    pub deadline: Millis,
    /// Links that are cut.
    pub cuts: Vec<Cut>,
    /// The rules.
    pub params: Params,
    /// What is not checked after each block, for measurements: money and bonds of all accounts.
    pub fast: bool,
}

impl Plan {
    /// Honest hosts in a fair world.
    #[must_use]
    pub fn honest(hosts: usize, seed: u64) -> Self {
        Self {
            hosts: vec![String::from("honest"); hosts],
            cabal: Vec::new(),
            offers: Vec::new(),
            boasters: BTreeSet::new(),
            needs: Vec::new(),
            tensor_ops: TensorOps::default(),
            buyer: Buyer::Honest,
            custody_withheld: false,
            seed,
            jobs: 6,
            patience: 60,
            at_once: 3,
            replicas: None,
            audit: BasisPoints(0),
            sealed: false,
            units: 3,
            loss: 0,
            duplicates: 0,
            // One in eight takes longer than a heartbeat of the devnet.
            work: (2_000, 20_000),
            delay: 80,
            restarts: 0,
            faults: 0,
            late: None,
            outage: None,
            deadline: Millis(300_000),
            cuts: Vec::new(),
            params: Params::DEVNET,
            fast: false,
        }
    }
}

/// How a world ended.
#[derive(Debug)]
pub struct End {
    /// The ledger's root.
    pub root: LedgerRoot,
    /// The ledger.
    pub state: LedgerState,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// A hash of every block and its moment, in order: they hold everything that was sent and taken.
    pub events: [u8; 32],
    /// Each host.
    pub hosts: Vec<HostEnd>,
    /// What the buyer has gained; it is never more than nothing.
    pub buyer_gain: i128,
    /// Final units whose result is a lie though liars of one owner did not hold all their replicas.
    pub lies_believed: usize,
    /// Final units whose result is a lie, compared or not.
    pub lies_final: usize,
    /// Units that came to a final result.
    pub finals: usize,
    /// Units that came to none.
    pub without: usize,
    /// Fuel that hosts have spent.
    pub spent: u64,
    /// Fuel of one run of each unit with a final result.
    pub useful: u64,
    /// Entries on the ledger.
    pub entries: usize,
    /// Jobs posted.
    pub jobs: u64,
    /// Virtual milliseconds it took.
    pub took: u64,
    /// The first invariant that did not hold.
    pub broken: Option<String>,
}

/// How a host ended.
#[derive(Debug)]
pub struct HostEnd {
    /// Its kind.
    pub name: &'static str,
    /// What must hold of it.
    pub claim: Claim,
    /// What it has more than at genesis, bond included, in micro-credits.
    pub gain: i128,
    /// What it has spent on running, at a cost of 0.8 of its reward, in micro-credits.
    pub cost: i128,
    /// What became of its runs.
    pub tally: HostTally,
}

impl End {
    /// For people, when something went wrong.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{} blocks, {} entries, {} ms, {} finals, {} lies\n",
            self.blocks.len(),
            self.entries,
            self.took,
            self.finals,
            self.lies_final
        );
        table += "host  kind                      gain  upheld  slashed  lost  declined\n";
        for (n, HostEnd { name, gain, tally, .. }) in self.hosts.iter().enumerate() {
            let HostTally { upheld, declined, lost, slashed } = tally;
            let _ =
                writeln!(table, "h{n:<4} {name:<20} {gain:>9}  {upheld:>6}  {slashed:>7}  {lost:>4}  {declined:>8}");
        }
        let _ = writeln!(table, "buyer {:>25}", self.buyer_gain);
        table
    }
}

/// Runs the world of `plan` until every job has closed.
#[must_use]
pub fn run(plan: &Plan) -> End {
    World::new(plan).run()
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

/// Who sends an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Buyer,
    /// The host's account.
    Host(usize),
    /// Its operator.
    Operator(usize),
    Validator,
}

/// Something that happens at a moment.
enum Event {
    Letter(From, Body),
    Done(usize, RunId),
    Look(usize),
    Buy,
}

struct Host {
    name: String,
    account: PublicKey,
    operator: Key,
    agent: HostAgent,
    mind: Box<dyn Mind>,
    /// Receipts on its disk.
    saved: BTreeMap<RunId, Receipt>,
    working: BTreeMap<RunId, Execution>,
    /// When it looks next.
    looks: Option<Time>,
    spent: u64,
}

struct World<'a> {
    plan: &'a Plan,
    dice: Dice,
    now: Time,
    solo: Solo<Memory>,
    store: Memory,
    hosts: Vec<Host>,
    cabal: BTreeSet<PublicKey>,
    buyer: BuyerAgent,
    queue: BTreeMap<(Time, u64), Event>,
    made: u64,
    /// Letters in the queue.
    letters: usize,
    arrived: Vec<(From, Body)>,
    batch: Option<Time>,
    posted: u64,
    posting: bool,
    verdicts: BTreeMap<(JobId, usize), ReceiptId>,
    events: blake3::Hasher,
    entries: usize,
    broken: Option<String>,
}

fn buyer_key() -> Key {
    Key::named("buyer")
}

fn salt_of(name: &str) -> [u8; 32] {
    wire::derive("sim salt", name.as_bytes())
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> Self {
        let names: Vec<String> = (0..plan.hosts.len()).map(|n| format!("h{n}")).collect();
        let key = |name: &str| Key::named(name).public();
        let mut accounts: Vec<_> = names.iter().map(|name| (key(name), MicroCredits(RICH))).collect();
        accounts.push((key("buyer"), MicroCredits(RICH)));
        accounts.sort_unstable();
        let genesis =
            Genesis { network: "sim".into(), time: START, validator: key("validator"), params: plan.params, accounts };
        let state = LedgerState::new(&genesis).expect("a sound genesis");
        let store = Memory::default();
        let solo = Solo::with_store(state, store.clone(), Box::new(Key::named("validator"))).expect("its own chain");
        let hosts: Vec<Host> = names
            .iter()
            .zip(&plan.hosts)
            .map(|(name, kind)| Host {
                name: name.clone(),
                account: key(name),
                operator: Key::named(&format!("{name}.op")),
                agent: agent(name),
                mind: named(kind).unwrap_or_else(|| panic!("no host is called {kind:?}")),
                saved: BTreeMap::new(),
                working: BTreeMap::new(),
                looks: None,
                spent: 0,
            })
            .collect();
        let cabal = plan.cabal.iter().map(|n| hosts[*n].account).collect();
        let mut world = Self {
            plan,
            dice: Dice(plan.seed),
            now: START,
            solo,
            store,
            cabal,
            buyer: BuyerAgent::new(genesis.id(), key("buyer"), &salt_of("buyer")),
            queue: BTreeMap::new(),
            made: 0,
            letters: 0,
            arrived: Vec::new(),
            batch: None,
            posted: 0,
            posting: false,
            verdicts: BTreeMap::new(),
            events: blake3::Hasher::new(),
            entries: 0,
            broken: None,
            hosts,
        };
        for (n, kind) in plan.hosts.iter().enumerate() {
            let operator = world.hosts[n].operator.public();
            let offer = plan.offers.get(n).copied().unwrap_or_default();
            let bond = crate::adversary::bond_of(kind, MicroCredits(BOND));
            let body = Body::HostRegister { operator, ask: FuelPrice(5), slots: 3, offer, bond };
            world.at(0, Event::Letter(From::Host(n), body));
        }
        world.at(0, Event::Letter(From::Buyer, Body::TaskPublish { manifest: world.manifest() }));
        world.at(500, Event::Buy);
        world
    }

    fn manifest(&self) -> TaskManifest {
        TaskManifest {
            name: "count".into(),
            module: BlobRef::of(b"module"),
            form: TaskForm::Command,
            about: String::new(),
            tensor_ops: self.plan.tensor_ops,
        }
    }

    fn at(&mut self, after: u64, event: Event) {
        self.made += 1;
        self.letters += usize::from(matches!(event, Event::Letter(..)));
        self.queue.insert((self.now.after(Millis(after)), self.made), event);
    }

    fn elapsed(&self) -> u64 {
        self.now.0 - START.0
    }

    fn state(&self) -> &LedgerState {
        self.solo.state()
    }

    fn run(mut self) -> End {
        while self.broken.is_none() && !self.is_over() {
            let timer = self.wake();
            let next = self.queue.keys().next().map(|(at, _)| *at);
            let Some(at) = [next, timer, self.batch].into_iter().flatten().min() else { break };
            self.now = self.now.max(at);
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let event = entry.remove();
                self.happen(event);
            }
            if self.batch.is_some_and(|at| at <= self.now) || self.wake().is_some_and(|at| at <= self.now) {
                self.order();
            }
            if self.elapsed() > LONG {
                self.broken = Some(String::from("every job ends"));
            }
        }
        self.end()
    }

    /// When the validator makes a block though nobody writes.
    fn wake(&self) -> Option<Time> {
        let due = if self.state().wants_block() { Some(self.now) } else { self.state().next_timer() };
        let at = due?.max(self.now);
        Some(self.plan.outage.map_or(at, |(from, to)| {
            let (from, to) = (START.after(Millis(from)), START.after(Millis(to)));
            if at >= from && at < to { to } else { at }
        }))
    }

    fn is_over(&self) -> bool {
        let quiet = self.letters == 0 && self.arrived.is_empty() && !self.posting && self.elapsed() > 2_000;
        quiet && self.state().open_jobs().next().is_none() && !self.wants_jobs()
    }

    /// Further jobs are posted until every cheater has met somebody to be compared with, so that no seed's luck lets one
    /// through unmet.
    fn wants_jobs(&self) -> bool {
        let acted = |host: &Host| match host.mind.claim() {
            Claim::PoorerTogether | Claim::PoorerIfFound => host.mind.has_acted(&self.together()),
            _ => host.mind.has_acted(&self.tally(host)),
        };
        self.posted < self.plan.jobs
            || (self.posted < self.plan.jobs + self.plan.patience && !self.hosts.iter().all(acted))
    }

    fn tally(&self, host: &Host) -> HostTally {
        self.state().hosts().get(&host.account).map(|record| record.tally).unwrap_or_default()
    }

    /// What became of the runs of the cabal.
    fn together(&self) -> HostTally {
        let mut sum = HostTally::default();
        for host in self.hosts.iter().filter(|host| self.cabal.contains(&host.account)) {
            let tally = self.tally(host);
            sum.upheld += tally.upheld;
            sum.slashed += tally.slashed;
            sum.lost += tally.lost;
            sum.declined += tally.declined;
        }
        sum
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Letter(from, body) => {
                self.letters -= 1;
                self.arrived.push((from, body));
                let at = self.now.after(Millis(BATCH));
                let at = self.plan.outage.map_or(at, |(from, to)| {
                    let inside = (from..to).contains(&(at.0 - START.0));
                    if inside { START.after(Millis(to)) } else { at }
                });
                self.batch.get_or_insert(at);
            }
            Event::Done(n, run) => self.done(n, run),
            Event::Look(n) if self.hosts[n].looks == Some(self.now) => self.look(n),
            Event::Look(_) => {}
            Event::Buy => self.buy(),
        }
    }

    /// A letter arrives after a while, twice, or never.
    fn send(&mut self, from: From, body: Body) {
        let lossy = matches!(from, From::Operator(_));
        let copies = 1 + u64::from(lossy && self.dice.roll(100) < self.plan.duplicates);
        for _ in 0..copies {
            let after = 1 + self.dice.roll(self.plan.delay);
            if !lossy || self.dice.roll(100) >= self.plan.loss {
                self.at(after, Event::Letter(from, body.clone()));
            }
        }
    }

    fn buy(&mut self) {
        let retry = Millis(self.plan.params.open.0 / 4);
        if self.plan.buyer != Buyer::Withholding {
            let state = self.solo.state();
            for body in self.buyer.observe(state.open_jobs(), self.now, retry) {
                self.send(From::Buyer, body);
            }
        }
        if self.plan.buyer == Buyer::Griefing {
            let posted: Vec<JobId> = self.state().awaiting_custody().map(|(job, _)| *job).collect();
            for job in posted {
                self.arrived.push((From::Buyer, Body::JobCancel { job }));
                self.batch.get_or_insert(self.now);
            }
        }
        let under_way = self.state().open_jobs().count() >= self.plan.at_once;
        if self.wants_jobs() && !under_way && !self.posting && !self.state().tasks().is_empty() {
            let spec = self.order_of();
            self.posted += 1;
            self.posting = true;
            self.send(From::Buyer, Body::JobPost { spec });
        }
        if self.wants_jobs() {
            self.at(200, Event::Buy);
        }
    }

    fn order_of(&mut self) -> JobSpec {
        let buyer = buyer_key().public();
        let nonce = self.state().sequence(&buyer);
        let turn = usize::try_from(self.posted).unwrap_or(0);
        let usual = (Limits::default().memory, Needs::default());
        let (memory, needs) = self.plan.needs.get(turn % self.plan.needs.len().max(1)).copied().unwrap_or(usual);
        let units = 1 + self.dice.roll(self.plan.units);
        let several = u8::try_from(self.posted % 3).unwrap_or(0) + 1;
        let replicas = self.plan.replicas.unwrap_or(if self.posted < self.plan.jobs { several } else { 2 });
        let dear = if self.plan.buyer == Buyer::NonPaying { 1_000_000 } else { 1 };
        let count = u32::try_from(units).unwrap_or(1);
        JobSpec {
            buyer,
            nonce,
            task: self.manifest().id(),
            units: vec![TreeRef::default(); usize::try_from(units).unwrap_or(1)],
            args: vec![format!("{}", self.posted)],
            env: Vec::new(),
            seed: [0; 32],
            limits: Limits { fuel: Fuel(100_000_000 * dear), memory, ..Limits::default() },
            needs,
            step_budget: Fuel(1_000_000),
            replicas,
            audit: self.plan.audit,
            seal: self.plan.sealed.then(|| self.buyer.seal(nonce, count)),
            price: FuelPrice(10),
            deadline: self.plan.deadline,
            params: self.plan.params.id(),
        }
    }

    /// What running it gives: the same for all, unless the task is not deterministic.
    fn truth(&self, host: &PublicKey, execution: &Execution) -> Receipt {
        let truth = truth(execution);
        if self.plan.buyer != Buyer::Nondeterministic {
            return truth;
        }
        let history = HistoryRoot(wire::derive("sim nondeterministic", &[truth.history.0, host.0].concat()));
        Receipt { history, ..truth }
    }

    fn case<'b>(&'b self, n: usize, seen: &RunView<'b>) -> Case<'b> {
        Case {
            run: seen.run,
            host: self.hosts[n].account,
            role: seen.record.role,
            unit: seen.unit,
            replicas: seen.job.spec.replicas,
            cabal: &self.cabal,
            tally: self.tally(&self.hosts[n]),
        }
    }

    fn done(&mut self, n: usize, run: RunId) {
        let Some(execution) = self.hosts[n].working.remove(&run) else { return };
        if self.dice.roll(100) < self.plan.faults {
            self.hosts[n].agent.on_fault(run);
            return self.look(n);
        }
        let account = self.hosts[n].account;
        let truth = self.truth(&account, &execution);
        self.hosts[n].spent += truth.fuel.0;
        let mut mind = std::mem::replace(&mut self.hosts[n].mind, Box::new(crate::adversary::Honest));
        let view = self.solo.state().host_view(&account, self.now);
        let seen = view.runs.iter().find(|seen| seen.run == run);
        let receipt = seen.map_or_else(|| truth.clone(), |seen| mind.show(&self.case(n, seen), truth.clone()));
        self.hosts[n].mind = mind;
        self.finish(n, run, receipt);
    }

    fn finish(&mut self, n: usize, run: RunId, receipt: Receipt) {
        let host = &mut self.hosts[n];
        host.saved.insert(run, receipt.clone());
        host.agent.on_finished(run, receipt);
        self.look(n);
    }

    fn is_cut(&self, n: usize, outward: bool) -> bool {
        let now = self.elapsed();
        self.plan.cuts.iter().any(|cut| cut.host == n && cut.outward == outward && (cut.from..cut.to).contains(&now))
    }

    fn look(&mut self, n: usize) {
        self.hosts[n].looks = None;
        let heartbeat = self.plan.params.heartbeat.0;
        if self.is_cut(n, false) {
            return self.look_again(n, heartbeat / 8);
        }
        if self.dice.roll(10_000) < self.plan.restarts {
            let host = &mut self.hosts[n];
            host.agent = agent(&host.name);
            host.working.clear();
            for (run, receipt) in &host.saved {
                host.agent.restore(*run, receipt.clone());
            }
            // The machine is away for a while, shorter than anybody waits for an opening.
            if host.mind.claim() == Claim::Unlucky {
                let away = 1 + self.dice.roll(self.plan.params.reveal.0 / 2);
                return self.look_again(n, away);
            }
        }
        let account = self.hosts[n].account;
        let mut mind = std::mem::replace(&mut self.hosts[n].mind, Box::new(crate::adversary::Honest));
        let view = self.solo.state().host_view(&account, self.now);
        let effects = self.hosts[n].agent.observe(&view);
        let sight = Sight { view: &view, agent: &self.hosts[n].agent, cabal: &self.cabal };
        let effects = mind.edit(effects, &sight);
        let busy = !view.runs.is_empty();
        let mut fakes = Vec::new();
        let mut started = Vec::new();
        let mut letters = Vec::new();
        for effect in effects {
            match effect {
                Effect::Submit(body) => letters.push(body),
                Effect::Execute { run, execution, module: _ } => {
                    let truth = self.truth(&account, &execution);
                    let seen = view.runs.iter().find(|seen| seen.run == run);
                    let work = seen.map_or(Work::Run, |seen| mind.work(&self.case(n, seen), &truth));
                    match work {
                        Work::Fake(receipt) => fakes.push((run, *receipt)),
                        Work::Run => started.push((run, execution)),
                    }
                }
                Effect::Stop { run } => {
                    self.hosts[n].working.remove(&run);
                }
            }
        }
        self.hosts[n].mind = mind;
        if !self.is_cut(n, true) {
            for body in letters {
                self.send(From::Operator(n), body);
            }
        }
        for (run, execution) in started {
            self.start(n, run, execution);
        }
        for (run, receipt) in fakes {
            self.finish(n, run, receipt);
        }
        if busy {
            self.look_again(n, heartbeat / 4);
        }
    }

    fn look_again(&mut self, n: usize, after: u64) {
        let at = self.now.after(Millis(after));
        if self.hosts[n].looks.is_none_or(|soon| soon > at || soon < self.now) {
            self.hosts[n].looks = Some(at);
            self.at(after, Event::Look(n));
        }
    }

    fn start(&mut self, n: usize, run: RunId, execution: Execution) {
        if self.is_beyond(n, &run) {
            self.hosts[n].agent.on_fault(run);
            return self.look_again(n, 1);
        }
        let honest = matches!(self.hosts[n].mind.claim(), Claim::Honest | Claim::Unlucky);
        let slow = if self.hosts[n].mind.name() == "slow" { 10 } else { 1 };
        let long = if self.dice.roll(8) == 0 { self.plan.work.1 } else { self.plan.work.0 };
        let mut after = (50 + self.dice.roll(long)) * slow;
        if let Some(before) = self.plan.late.filter(|_| !honest) {
            let job = &self.state().jobs()[&run.job];
            let end = job.posted_at.after(job.spec.deadline).0.saturating_sub(before);
            after = after.max(end.saturating_sub(self.now.0));
        }
        self.hosts[n].agent.on_progress(run, StateRoot([5; 32]), Fuel(1));
        self.hosts[n].working.insert(run, execution);
        self.at(after, Event::Done(n, run));
    }

    /// Whether a boaster cannot do what it took.
    fn is_beyond(&self, n: usize, run: &RunId) -> bool {
        let job = &self.state().jobs()[&run.job];
        let task = &self.state().tasks()[&job.spec.task].manifest;
        self.plan.boasters.contains(&n) && lack(&Offer::default(), &job.spec, task).is_some()
    }

    /// The validator: signs custody, then orders what has arrived.
    fn order(&mut self) {
        self.batch = None;
        let mut arrived = std::mem::take(&mut self.arrived);
        // A griefing buyer's cancellation is sometimes too late.
        if !self.plan.custody_withheld && (self.plan.buyer != Buyer::Griefing || self.dice.roll(3) == 0) {
            let custody: Vec<_> = self.state().awaiting_custody().map(|(job, _)| *job).collect();
            arrived.extend(custody.into_iter().map(|job| (From::Validator, Body::CustodySign { job })));
        }
        // A block holds so many; what is beyond waits.
        let most = samebit_spec::param::BLOCK_ENTRIES_MAX;
        if arrived.len() > most {
            self.arrived = arrived.split_off(most);
            self.batch = Some(self.now.after(Millis(BATCH)));
        }
        let mut used: BTreeMap<PublicKey, u64> = BTreeMap::new();
        let entries: Vec<_> = arrived.iter().map(|(from, body)| self.sign(*from, body, &mut used)).collect();
        let proposed = self.solo.propose(self.now, entries).expect("memory does not fail");
        for ((from, body), result) in arrived.iter().zip(&proposed.results) {
            if let Body::JobPost { .. } = body {
                self.posting = false;
            }
            if let (From::Operator(n), Err(refusal)) = (from, result) {
                self.hosts[*n].agent.on_refused(body, refusal);
            }
        }
        if let Some(block) = proposed.block {
            self.events.update(&wire::encode(&(self.now, block.header.id())));
            self.entries += block.entries.len();
            self.check();
            self.wake_hosts();
            if !self.wants_jobs() {
                self.at(50, Event::Buy);
            }
        }
    }

    fn sign(&self, from: From, body: &Body, used: &mut BTreeMap<PublicKey, u64>) -> SignedEntry {
        let (genesis, state) = (self.state().genesis_id(), self.state());
        let of_host;
        let of_name;
        let key = match from {
            From::Operator(n) => {
                of_host = &self.hosts[n].operator;
                of_host
            }
            From::Host(n) => {
                of_name = Key::named(&self.hosts[n].name);
                &of_name
            }
            From::Buyer => {
                of_name = buyer_key();
                &of_name
            }
            From::Validator => {
                of_name = Key::named("validator");
                &of_name
            }
        };
        let signer = key.public();
        let next = used.entry(signer).or_default();
        let entry = Entry { genesis, signer, sequence: state.sequence(&signer) + *next, body: body.clone() };
        *next += 1;
        let signature = key.sign(Domain::Entry, genesis, entry.digest());
        SignedEntry { entry, signature }
    }

    /// Whoever has a run looks soon after a block.
    fn wake_hosts(&mut self) {
        let with_runs: BTreeSet<PublicKey> = self
            .state()
            .open_jobs()
            .flat_map(|(_, job)| job.units.iter().flat_map(|unit| &unit.runs))
            .filter(|run| run.phase.is_alive())
            .map(|run| run.host)
            .collect();
        for n in 0..self.hosts.len() {
            let wakes = with_runs.contains(&self.hosts[n].account) || !self.hosts[n].working.is_empty();
            if wakes {
                let after = 5 + self.dice.roll(self.plan.delay);
                self.look_again(n, after);
            }
        }
    }

    /// The invariants, after a block.
    fn check(&mut self) {
        if !self.plan.fast
            && let Err(violation) = self.state().check()
        {
            self.broken = Some(format!("money is conserved, bonds are those of runs: {violation}"));
        }
        for host in &self.hosts {
            let honest = matches!(host.mind.claim(), Claim::Honest | Claim::Unlucky);
            if honest && self.tally(host).slashed > 0 && self.plan.buyer != Buyer::Nondeterministic {
                self.broken = Some(format!("an honest host is never slashed: {}", host.name));
            }
        }
        let mut broken = None;
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let open: Vec<&JobId> = self.state().open_jobs().map(|(job, _)| job).collect();
        for job in open {
            let record = &self.state().jobs()[job];
            for (n, unit) in record.units.iter().enumerate() {
                if let UnitPhase::Agreed { receipt, .. } | UnitPhase::Final { receipt } = unit.phase
                    && *verdicts.entry((*job, n)).or_insert(receipt) != receipt
                {
                    broken = Some(format!("a verdict never changes: unit {n} of {job}"));
                }
                let standing = samebit_ledger::market::summary::verdict_of(unit);
                for run in unit.runs.iter().filter(|run| run.phase == RunPhase::Slashed) {
                    let shown = run.receipt.as_ref().map(Receipt::id);
                    let votes = unit.runs.iter().filter(|other| other.receipt.as_ref().map(Receipt::id) == standing);
                    if shown.is_none() || shown == standing || votes.count() < 2 {
                        broken =
                            Some(format!("whoever is slashed has shown what others contradict: unit {n} of {job}"));
                    }
                }
            }
        }
        self.verdicts = verdicts;
        self.broken = self.broken.take().or(broken);
    }

    fn end(mut self) -> End {
        let took = self.elapsed();
        self.broken = self.broken.take().or_else(|| {
            self.state()
                .check()
                .err()
                .map(|violation| format!("money is conserved, bonds are those of runs: {violation}"))
        });
        let blocks = self.store.0.take();
        let (broken, entries, jobs) = (self.broken.take(), self.entries, self.posted);
        let events = *self.events.finalize().as_bytes();
        let state = self.solo.into_state();
        let worth = |account: &PublicKey| {
            let bond = state.hosts().get(account).map_or(0, |record| record.bond_free.0 + record.bond_locked.0);
            i128::from(state.balance(account).0) + i128::from(bond) - i128::from(RICH)
        };
        let cost = |fuel: u64| i128::from(fuel) * 8 / 1_000_000;
        let hosts: Vec<HostEnd> = self
            .hosts
            .iter()
            .map(|host| HostEnd {
                name: host.mind.name(),
                claim: host.mind.claim(),
                gain: worth(&host.account),
                cost: cost(host.spent),
                tally: state.hosts().get(&host.account).map(|record| record.tally).unwrap_or_default(),
            })
            .collect();
        let spent = self.hosts.iter().map(|host| host.spent).sum();
        let mut end = End {
            root: state.root(),
            blocks,
            events,
            hosts,
            buyer_gain: worth(&buyer_key().public()),
            lies_believed: 0,
            lies_final: 0,
            finals: 0,
            without: 0,
            spent,
            useful: 0,
            entries,
            jobs,
            took,
            broken,
            state,
        };
        let deterministic = self.plan.buyer != Buyer::Nondeterministic;
        for (id, job) in end.state.jobs() {
            if !matches!(job.phase, JobPhase::Closed { .. }) {
                end.broken.get_or_insert_with(|| format!("every job ends: {id}"));
            }
            for (unit, number) in job.units.iter().zip(0..) {
                let UnitPhase::Final { receipt } = unit.phase else {
                    end.without += 1;
                    continue;
                };
                let execution = end.state.execution(id, number).expect("a unit of the job");
                let truth = truth(&execution);
                end.finals += 1;
                end.useful += truth.fuel.0;
                let lie = deterministic && truth.id() != receipt;
                let replicas = || unit.runs.iter().filter(|run| run.role == RunRole::Replica && run.receipt.is_some());
                let alone = replicas().count() == 1 && !unit.audit.is_ordered();
                let whole = alone || (!self.cabal.is_empty() && replicas().all(|run| self.cabal.contains(&run.host)));
                end.lies_final += usize::from(lie);
                end.lies_believed += usize::from(lie && !whole);
            }
        }
        end
    }
}

fn agent(name: &str) -> HostAgent {
    HostAgent::new(Key::named(name).public(), salt_of(name), String::from("sim"), Conduct::Honest)
}

/// What every honest host gets.
#[must_use]
pub fn truth(execution: &Execution) -> Receipt {
    let id = execution.id();
    Receipt {
        execution: id,
        outcome: Outcome::Exited { code: 0 },
        output: Output { stdout: BlobRef::of(&id.0), tree: TreeRef::default() },
        fuel: Fuel(70_000_000 + u64::from(id.0[0]) * 100_000),
        steps: 1,
        history: HistoryRoot(id.0),
    }
}
