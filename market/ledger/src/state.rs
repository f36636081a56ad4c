//! The state that a chain's blocks make: tables, time and money (`spec/05-settlement.md`, sections 4 and 5).
//!
//! What is hashed into the root: the moment, what was burned, and the tables of accounts, hosts, tasks, jobs and
//! sequence numbers. Timers, placing queues and the like are derived from those and kept beside them, in the
//! same block and with the same undo.

use crate::{
    genesis::{self, GenesisError},
    table::{Hashes, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use samebit_market::{
    agent::{self, View},
    lifecycle::{self, Context, Due, Effect, Event, Fate},
    sortition::{self, Candidate},
};
use samebit_spec::{
    block::Genesis,
    execution::Execution,
    id::{Beacon, BlockId, EntryId, GenesisId, JobId, LedgerRoot, TaskId},
    job::{HostRecord, JobPhase, JobRecord, RunId, RunRecord},
    offer::lack,
    param::Params,
    refusal::Refusal,
    sign::PublicKey,
    task::TaskManifest,
    unit::{Height, MicroCredits, Time},
    wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::OnceLock,
};

/// Entries whose height is remembered, so that whoever sends one twice learns where it is. An older one is
/// refused for its sequence number.
const INCLUDED_KEPT: usize = 65_536;

/// A published task.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskRecord {
    /// What was published.
    pub manifest: TaskManifest,
    /// By whom.
    pub publisher: PublicKey,
    /// In which block.
    pub published: Height,
}

/// The moment that a state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) height: Height,
    pub(crate) time: Time,
    pub(crate) head: BlockId,
    pub(crate) beacon: Beacon,
    pub(crate) burned: MicroCredits,
}

/// The ledger after some block.
#[derive(Clone, Debug)]
pub struct LedgerState {
    pub(crate) genesis: Genesis,
    pub(crate) genesis_id: GenesisId,
    supply: MicroCredits,
    pub(crate) moment: Moment,
    /// The moment before the block under way, if one is.
    before: Option<Moment>,

    pub(crate) accounts: Table<PublicKey, MicroCredits>,
    pub(crate) hosts: Table<PublicKey, HostRecord>,
    pub(crate) tasks: Table<TaskId, TaskRecord>,
    pub(crate) jobs: Table<JobId, JobRecord>,
    pub(crate) sequences: Table<PublicKey, u64>,
    account_hashes: Hashes<PublicKey>,
    host_hashes: Hashes<PublicKey>,
    task_hashes: Hashes<TaskId>,
    job_hashes: Hashes<JobId>,
    sequence_hashes: Hashes<PublicKey>,

    // Derived from the tables above.
    pub(crate) operators: Table<PublicKey, PublicKey>,
    /// Bond that drawn runs will ask for, per host, so that one bond is not promised twice in a draw.
    reserved: Table<PublicKey, MicroCredits>,
    timers: Table<(Time, JobId, Option<u32>), bool>,
    timer_of: Table<(JobId, Option<u32>), Due>,
    /// Timers that somebody must speak before.
    awaited: Table<(JobId, Option<u32>), ()>,
    unbonding: Table<(Time, PublicKey), ()>,
    /// Jobs that are not closed, in the order of their posts.
    live: Table<(Height, JobId), ()>,
    /// Units that lack hosts, in the order in which draws serve them.
    placing: Table<(Height, JobId, u32), ()>,
    /// Units that wait for a block's beacon, by that block.
    sealed: Table<(Height, JobId, u32), ()>,
    /// What each of them waits for.
    sealed_at: Table<(JobId, u32), Height>,
    /// What [`LedgerState::next_placing`] has found since the last block.
    placing_at: OnceLock<Option<Time>>,
    included: BTreeMap<EntryId, Height>,
    included_order: VecDeque<EntryId>,
    included_now: usize,
}

/// Applies one operation to every table.
macro_rules! each_table {
    ($state:ident, $deed:ident) => {
        $state.accounts.$deed();
        $state.hosts.$deed();
        $state.tasks.$deed();
        $state.jobs.$deed();
        $state.sequences.$deed();
        $state.operators.$deed();
        $state.reserved.$deed();
        $state.timers.$deed();
        $state.timer_of.$deed();
        $state.awaited.$deed();
        $state.unbonding.$deed();
        $state.live.$deed();
        $state.placing.$deed();
        $state.sealed.$deed();
        $state.sealed_at.$deed();
    };
}

/// Whether nobody was ever drawn for the unit.
fn is_fresh(job: &JobRecord, unit: u32) -> bool {
    usize::try_from(unit).ok().and_then(|unit| job.units.get(unit)).is_some_and(|unit| unit.runs.is_empty())
}

/// Of `eligible`, those who were not drawn for the unit before.
fn may_join<'a>(
    job: &'a JobRecord,
    unit: u32,
    eligible: &'a [(&'a PublicKey, &'a HostRecord)],
) -> impl Iterator<Item = (&'a PublicKey, &'a HostRecord)> {
    let runs = usize::try_from(unit).ok().and_then(|unit| job.units.get(unit)).map_or(&[][..], |unit| &unit.runs);
    eligible.iter().copied().filter(move |(key, _)| runs.iter().all(|run| run.host != **key))
}

impl LedgerState {
    /// The state before the first block.
    ///
    /// # Errors
    /// [`GenesisError`] when `genesis` breaks a rule.
    pub fn new(genesis: &Genesis) -> Result<Self, GenesisError> {
        let supply = genesis::check(genesis)?;
        let mut accounts = Table::default();
        for (key, amount) in &genesis.accounts {
            accounts.insert(*key, *amount);
        }
        let mut state = Self {
            genesis_id: genesis.id(),
            genesis: genesis.clone(),
            supply,
            moment: Moment {
                height: Height::ZERO,
                time: genesis.time,
                head: BlockId::default(),
                beacon: Beacon::default(),
                burned: MicroCredits::ZERO,
            },
            before: None,
            accounts,
            hosts: Table::default(),
            tasks: Table::default(),
            jobs: Table::default(),
            sequences: Table::default(),
            account_hashes: Hashes::default(),
            host_hashes: Hashes::default(),
            task_hashes: Hashes::default(),
            job_hashes: Hashes::default(),
            sequence_hashes: Hashes::default(),
            operators: Table::default(),
            reserved: Table::default(),
            timers: Table::default(),
            timer_of: Table::default(),
            awaited: Table::default(),
            unbonding: Table::default(),
            live: Table::default(),
            placing: Table::default(),
            sealed: Table::default(),
            sealed_at: Table::default(),
            placing_at: OnceLock::new(),
            included: BTreeMap::new(),
            included_order: VecDeque::new(),
            included_now: 0,
        };
        state.keep();
        Ok(state)
    }

    /// What the chain began with.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The chain's id.
    #[must_use]
    pub const fn genesis_id(&self) -> GenesisId {
        self.genesis_id
    }

    /// The rules in force.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.genesis.params
    }

    /// The last block's height.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.moment.height
    }

    /// The last block's time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.moment.time
    }

    /// The last block's id; zeros before the first.
    #[must_use]
    pub const fn head(&self) -> BlockId {
        self.moment.head
    }

    /// The last block's beacon; zeros before the first.
    #[must_use]
    pub const fn beacon(&self) -> Beacon {
        self.moment.beacon
    }

    /// What fees and slashes have destroyed.
    #[must_use]
    pub const fn burned(&self) -> MicroCredits {
        self.moment.burned
    }

    /// What genesis gave out.
    #[must_use]
    pub const fn supply(&self) -> MicroCredits {
        self.supply
    }

    /// An account's money; zero for none.
    #[must_use]
    pub fn balance(&self, key: &PublicKey) -> MicroCredits {
        self.accounts.get(key).copied().unwrap_or_default()
    }

    /// Whether the key has an account.
    #[must_use]
    pub fn is_account(&self, key: &PublicKey) -> bool {
        self.accounts.contains(key)
    }

    /// Every account's money.
    #[must_use]
    pub const fn accounts(&self) -> &BTreeMap<PublicKey, MicroCredits> {
        self.accounts.rows()
    }

    /// Every host, by its account.
    #[must_use]
    pub const fn hosts(&self) -> &BTreeMap<PublicKey, HostRecord> {
        self.hosts.rows()
    }

    /// The host that `operator` acts for.
    #[must_use]
    pub fn host_of_operator(&self, operator: &PublicKey) -> Option<PublicKey> {
        self.operators.get(operator).copied()
    }

    /// Every published task.
    #[must_use]
    pub const fn tasks(&self) -> &BTreeMap<TaskId, TaskRecord> {
        self.tasks.rows()
    }

    /// Every job that was ever posted.
    #[must_use]
    pub const fn jobs(&self) -> &BTreeMap<JobId, JobRecord> {
        self.jobs.rows()
    }

    /// Jobs that are not closed, in the order of their posts.
    pub fn open_jobs(&self) -> impl Iterator<Item = (&JobId, &JobRecord)> {
        self.live.rows().keys().filter_map(|(_, job)| self.jobs.get(job).map(|record| (job, record)))
    }

    /// Jobs whose custody a keeper must sign or refuse.
    pub fn awaiting_custody(&self) -> impl Iterator<Item = (&JobId, &JobRecord)> {
        self.open_jobs().filter(|(_, record)| matches!(record.phase, JobPhase::Posted { .. }))
    }

    /// The sequence number of the signer's next entry.
    #[must_use]
    pub fn sequence(&self, signer: &PublicKey) -> u64 {
        self.sequences.get(signer).copied().unwrap_or_default()
    }

    /// Where one of the last 65 536 entries is.
    #[must_use]
    pub fn included(&self, entry: &EntryId) -> Option<Height> {
        self.included.get(entry).copied()
    }

    /// What is known of a run.
    #[must_use]
    pub fn run(&self, run: &RunId) -> Option<&RunRecord> {
        let unit = self.jobs.get(&run.job)?.units.get(usize::try_from(run.unit).ok()?)?;
        unit.runs.get(usize::try_from(run.attempt).ok()?)
    }

    /// What the hosts of a unit run.
    #[must_use]
    pub fn execution(&self, job: &JobId, unit: u32) -> Option<Execution> {
        let record = self.jobs.get(job)?;
        let task = self.tasks.get(&record.spec.task)?;
        record.spec.execution(unit, &task.manifest)
    }

    /// What the agent of `host` must see, at `now` or the last block's time, whichever is later.
    #[must_use]
    pub fn host_view<'a>(&'a self, host: &'a PublicKey, now: Time) -> View<'a> {
        let runs = self.open_jobs().filter_map(|(id, job)| {
            let task = self.tasks.get(&job.spec.task)?;
            Some(agent::runs_of(host, *id, job, &task.manifest))
        });
        View {
            params: self.params(),
            now: now.max(self.time()),
            bond_free: self.hosts.get(host).map(|record| record.bond_free).unwrap_or_default(),
            runs: runs.flatten().collect(),
        }
    }

    /// When a block must be made though nobody writes: a deadline passes, bond becomes free, an exclusion ends
    /// that kept a unit waiting, or the chain must show life because somebody's deadline runs.
    #[must_use]
    pub fn next_timer(&self) -> Option<Time> {
        let timer = self.timers.rows().keys().next().map(|(at, _, _)| *at);
        let bond = self.unbonding.rows().keys().next().map(|(at, _)| *at);
        let pulse = (!self.awaited.rows().is_empty()).then(|| self.time().after(lifecycle::pulse(self.params())));
        let placing = self.next_placing().filter(|at| *at > self.time());
        let beacon = self.awaits_beacon().then(|| self.time());
        [timer, bond, pulse, placing, beacon].into_iter().flatten().min()
    }

    /// The first time at which a waiting unit can be placed: the last block's, or the end of an exclusion. Between
    /// blocks only time passes, so it is found once per block, when it is first asked for.
    fn next_placing(&self) -> Option<Time> {
        if self.before.is_some() {
            return self.find_next_placing();
        }
        *self.placing_at.get_or_init(|| self.find_next_placing())
    }

    fn find_next_placing(&self) -> Option<Time> {
        let mut first: Option<Time> = None;
        let mut from = None;
        while let Some((posted, job)) = self.waiting_job(from) {
            from = Some((posted, job));
            let Some(record) = self.jobs.get(&job) else { continue };
            let eligible = self.eligible(record);
            if eligible.is_empty() {
                continue;
            }
            // Units that nobody was drawn for lack the same: one answer is that of all.
            let mut seen_fresh = false;
            for unit in self.waiting_units(posted, job, 0) {
                let fresh = is_fresh(record, unit);
                if fresh && seen_fresh {
                    continue;
                }
                seen_fresh |= fresh;
                let count = lifecycle::missing(record, unit, self.params());
                if count == 0 || eligible.len() < count {
                    continue;
                }
                let mut returns: Vec<Time> =
                    may_join(record, unit, &eligible).map(|(_, host)| host.excluded_until).collect();
                returns.sort_unstable();
                if let Some(at) = returns.get(count - 1) {
                    let at = self.time().max(*at);
                    first = Some(first.map_or(at, |first| first.min(at)));
                }
            }
            if first == Some(self.time()) {
                break;
            }
        }
        first
    }

    /// The first job after `from`, in the order of posts, that has waiting units.
    fn waiting_job(&self, from: Option<(Height, JobId)>) -> Option<(Height, JobId)> {
        let after = from.map_or(Bound::Unbounded, |(posted, job)| Bound::Excluded((posted, job, u32::MAX)));
        let (posted, job, _) = self.placing.rows().range((after, Bound::Unbounded)).next()?.0;
        Some((*posted, *job))
    }

    /// The job's waiting units from `first` on.
    fn waiting_units(&self, posted: Height, job: JobId, first: u32) -> impl Iterator<Item = u32> + '_ {
        self.placing.rows().range((posted, job, first)..=(posted, job, u32::MAX)).map(|((_, _, unit), ())| *unit)
    }

    /// The hosts that a unit of the job may be given once no exclusion holds them, whichever unit it is.
    fn eligible(&self, job: &JobRecord) -> Vec<(&PublicKey, &HostRecord)> {
        let task = self.tasks.get(&job.spec.task);
        let may = |(key, host): &(&PublicKey, &HostRecord)| {
            let free = host.bond_free.saturating_sub(self.reserved.get(key).copied().unwrap_or_default());
            u32::from(host.slots) > host.busy
                && host.ask <= job.spec.price
                && free >= job.bond
                && host.bonded < job.posted
                && task.is_some_and(|task| lack(&host.offer, &job.spec, &task.manifest).is_none())
        };
        self.hosts().iter().filter(may).collect()
    }

    /// Whether a block made now would give a waiting unit its hosts, or bring the beacon nearer that one waits for.
    #[must_use]
    pub fn wants_block(&self) -> bool {
        self.awaits_beacon() || self.can_place(self.time())
    }

    fn awaits_beacon(&self) -> bool {
        !self.sealed.rows().is_empty()
    }

    /// Whether a unit could be placed in a block made at `now`.
    pub(crate) fn can_place(&self, now: Time) -> bool {
        self.next_placing().is_some_and(|at| at <= now)
    }

    /// Whether anything happens by itself in a block made at `now`.
    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.awaits_beacon() || self.next_timer().is_some_and(|at| at <= now) || self.can_place(now)
    }

    /// Whether the job itself, or a unit of it, has a moment at which it moves.
    pub(crate) fn has_timer(&self, job: JobId, unit: Option<u32>) -> bool {
        self.timer_of.contains(&(job, unit)) || unit.is_some_and(|unit| self.sealed_at.contains(&(job, unit)))
    }

    /// The state's root (`spec/05-settlement.md`, section 5).
    #[must_use]
    pub fn root(&self) -> LedgerRoot {
        let tables = [
            self.account_hashes.root(&self.accounts),
            self.host_hashes.root(&self.hosts),
            self.task_hashes.root(&self.tasks),
            self.job_hashes.root(&self.jobs),
            self.sequence_hashes.root(&self.sequences),
        ];
        let Moment { height, time, head: _, beacon, burned } = self.moment;
        let image = wire::encode(&(self.genesis_id, height, time, beacon, burned, tables));
        LedgerRoot(wire::derive("samebit/v1/ledger-root", &image))
    }

    /// Begins a block: gives back time that the chain stood still, fires what is due, then draws hosts for the
    /// units that lack them. An earlier block that was neither finished nor abandoned is kept.
    ///
    /// The caller answers for height, time and beacon; [`LedgerState::apply_block`] checks them.
    pub fn begin_block(&mut self, height: Height, time: Time, beacon: Beacon) {
        self.keep();
        self.before = Some(self.moment);
        let gap = samebit_spec::unit::Millis(time.0.saturating_sub(self.time().0));
        (self.moment.height, self.moment.time, self.moment.beacon) = (height, time, beacon);
        if gap > lifecycle::stall(self.params()) {
            let jobs: BTreeSet<JobId> = self.awaited.rows().keys().map(|(job, _)| *job).collect();
            for job in jobs {
                self.drive_sure(job, Event::Stalled { gap });
            }
        }
        self.release_bonds();
        while let Some((_, job, unit)) = self.timers.rows().keys().next().copied().filter(|(at, _, _)| *at <= time) {
            let due = self.timer_of.get(&(job, unit)).copied();
            self.drive_sure(job, Event::Due { unit });
            assert_ne!(self.timer_of.get(&(job, unit)).copied(), due, "J3: {job}, unit {unit:?}, stands still");
        }
        while let Some((_, job, unit)) = self.sealed.rows().keys().next().copied().filter(|(at, _, _)| *at <= height) {
            self.drive_sure(job, Event::Beacon { unit, beacon });
        }
        self.place();
    }

    /// Ends a block whose id is now known.
    pub fn finish_block(&mut self, id: BlockId) {
        self.moment.head = id;
        let conservation = self.conservation();
        assert_eq!(conservation.total(), u128::from(self.supply.0), "L1 after block {}", self.height());
        debug_assert_eq!(self.check(), Ok(conservation), "after block {}", self.height());
        self.keep();
    }

    /// Takes the block under way back.
    pub fn abandon_block(&mut self) {
        let Some(before) = self.before.take() else { return };
        self.moment = before;
        each_table!(self, restore);
        for _ in 0..self.included_now {
            if let Some(entry) = self.included_order.pop_back() {
                self.included.remove(&entry);
            }
        }
        self.keep();
    }

    /// Makes everything touched the new normal.
    fn keep(&mut self) {
        self.account_hashes.refresh(&self.accounts);
        self.host_hashes.refresh(&self.hosts);
        self.task_hashes.refresh(&self.tasks);
        self.job_hashes.refresh(&self.jobs);
        self.sequence_hashes.refresh(&self.sequences);
        each_table!(self, keep);
        self.before = None;
        self.placing_at = OnceLock::new();
        self.included_now = 0;
        while self.included_order.len() > INCLUDED_KEPT {
            if let Some(entry) = self.included_order.pop_front() {
                self.included.remove(&entry);
            }
        }
    }

    pub(crate) fn remember(&mut self, entry: EntryId) {
        self.included.insert(entry, self.height());
        self.included_order.push_back(entry);
        self.included_now += 1;
    }

    fn release_bonds(&mut self) {
        let now = self.time();
        while let Some((at, host)) = self.unbonding.rows().keys().next().copied().filter(|(at, _)| *at <= now) {
            self.unbonding.remove(&(at, host));
            let Some(record) = self.hosts.get_mut(&host) else { continue };
            let mut freed = MicroCredits::ZERO;
            record.unbonding.retain(|(until, amount)| {
                let stays = *until > now;
                if !stays {
                    freed = freed.saturating_add(*amount);
                }
                stays
            });
            self.credit(host, freed);
        }
    }

    pub(crate) fn note_unbonding(&mut self, at: Time, host: PublicKey) {
        self.unbonding.insert((at, host), ());
    }

    /// Draws hosts for every unit that can have all that it lacks: a unit gets all its hosts at once, so that units
    /// do not wait for each other with one host's bond each.
    ///
    /// Which hosts a job may have is found once per job and draw, not per unit: units may wait by the thousand.
    fn place(&mut self) {
        let (now, beacon) = (self.time(), self.beacon());
        let mut from = None;
        while let Some((posted, job)) = self.waiting_job(from) {
            from = Some((posted, job));
            let mut next = 0;
            while let Some((unit, hosts)) = self.next_draw(posted, job, next, now) {
                self.drive_sure(job, Event::Drawn { unit, hosts: &hosts, beacon });
                next = unit + 1;
            }
        }
    }

    /// The first unit of the job, from `first` on, that can have its hosts at `now`, and who they are.
    fn next_draw(&self, posted: Height, job: JobId, first: u32, now: Time) -> Option<(u32, Vec<PublicKey>)> {
        let record = self.jobs.get(&job)?;
        let mut eligible = self.eligible(record);
        eligible.retain(|(_, host)| host.excluded_until <= now);
        if eligible.is_empty() {
            return None;
        }
        for unit in self.waiting_units(posted, job, first) {
            let count = lifecycle::missing(record, unit, self.params());
            if count == 0 || eligible.len() < count {
                continue;
            }
            let candidates: Vec<Candidate> = may_join(record, unit, &eligible)
                .map(|(key, host)| Candidate { host: *key, weight: host.bond_free.saturating_add(host.bond_locked) })
                .collect();
            if candidates.len() >= count {
                return Some((unit, sortition::draw(self.moment.beacon, job, unit, &candidates, count)));
            }
        }
        None
    }

    /// Feeds `event` to a job and carries its effects out.
    pub(crate) fn drive(&mut self, job: JobId, event: Event<'_>) -> Result<(), Refusal> {
        let Some(record) = self.jobs.get_mut(&job) else { return Err(Refusal::JobUnknown { job }) };
        let task = self.tasks.get(&record.spec.task).expect("a job is posted for a published task");
        let context = Context {
            params: &self.genesis.params,
            now: self.moment.time,
            height: self.moment.height,
            job,
            task: &task.manifest,
        };
        let effects = lifecycle::handle(record, event, &context)?;
        let (posted, buyer) = (record.posted, record.spec.buyer);
        if matches!(record.phase, JobPhase::Closed { .. }) {
            self.live.remove(&(posted, job));
        }
        for effect in effects {
            self.carry_out(job, posted, buyer, effect);
        }
        Ok(())
    }

    /// Feeds an event that cannot be refused, since the ledger itself makes it.
    fn drive_sure(&mut self, job: JobId, event: Event<'_>) {
        if let Err(refusal) = self.drive(job, event) {
            unreachable!("{job} refused the ledger's own event: {refusal}");
        }
    }

    /// A job that the ledger has just taken the money for.
    pub(crate) fn add_job(&mut self, id: JobId, record: JobRecord, timer: Effect) {
        let (posted, buyer) = (record.posted, record.spec.buyer);
        self.jobs.insert(id, record);
        self.live.insert((posted, id), ());
        self.carry_out(id, posted, buyer, timer);
    }

    pub(crate) fn credit(&mut self, account: PublicKey, amount: MicroCredits) {
        if amount == MicroCredits::ZERO {
            return;
        }
        let sum = self.balance(&account).checked_add(amount).expect("L1: sums stay below the supply");
        self.accounts.insert(account, sum);
    }

    pub(crate) fn burn(&mut self, amount: MicroCredits) {
        self.moment.burned = self.moment.burned.checked_add(amount).expect("L1: sums stay below the supply");
    }

    fn carry_out(&mut self, job: JobId, posted: Height, buyer: PublicKey, effect: Effect) {
        match effect {
            Effect::Draw { host, bond } => {
                self.host(host).busy += 1;
                let sum = self.reserved.get(&host).copied().unwrap_or_default().saturating_add(bond);
                self.reserved.insert(host, sum);
            }
            Effect::Undraw { host, bond } => {
                self.rest(host);
                self.unreserve(host, bond);
            }
            Effect::Lock { host, bond } => {
                self.unreserve(host, bond);
                let record = self.host(host);
                record.bond_free = record.bond_free.checked_sub(bond).expect("L4: checked at acceptance");
                record.bond_locked = record.bond_locked.checked_add(bond).expect("L1: sums stay below the supply");
            }
            Effect::Rest { host } => self.rest(host),
            Effect::Unlock { host, amount } => {
                self.unlock(host, amount);
                let record = self.host(host);
                record.bond_free = record.bond_free.checked_add(amount).expect("L1: sums stay below the supply");
            }
            Effect::Burn { host, amount } => {
                self.unlock(host, amount);
                self.burn(amount);
            }
            Effect::Compensate { host, amount } => self.unlock(host, amount),
            Effect::Share { host, to, amount } => {
                self.unlock(host, amount);
                self.credit(to, amount);
            }
            Effect::Pay { to, amount } => self.credit(to, amount),
            Effect::Refund { amount } => self.credit(buyer, amount),
            Effect::Exclude { host, until } => {
                let record = self.host(host);
                record.excluded_until = record.excluded_until.max(until);
            }
            Effect::Count { host, fate } => {
                let tally = &mut self.host(host).tally;
                let count = match fate {
                    Fate::Upheld => &mut tally.upheld,
                    Fate::Declined => &mut tally.declined,
                    Fate::Lost => &mut tally.lost,
                    Fate::Slashed => &mut tally.slashed,
                };
                *count = count.saturating_add(1);
            }
            Effect::Timer { unit, due } => self.set_timer(job, posted, unit, due),
        }
    }

    fn set_timer(&mut self, job: JobId, posted: Height, unit: Option<u32>, due: Option<Due>) {
        if let Some(old) = self.timer_of.remove(&(job, unit)) {
            self.timers.remove(&(old.at, job, unit));
            self.awaited.remove(&(job, unit));
        }
        if let Some(due) = due {
            self.timer_of.insert((job, unit), due);
            self.timers.insert((due.at, job, unit), due.awaited);
            if due.awaited {
                self.awaited.insert((job, unit), ());
            }
        }
        if let Some(unit) = unit {
            let awaits = self.jobs.get(&job).and_then(|record| lifecycle::awaits_beacon(record, unit));
            if let Some(old) = self.sealed_at.remove(&(job, unit)) {
                self.sealed.remove(&(old, job, unit));
            }
            if let Some(at) = awaits {
                self.sealed_at.insert((job, unit), at);
                self.sealed.insert((at, job, unit), ());
            }
            if self.jobs.get(&job).is_some_and(|record| lifecycle::missing(record, unit, self.params()) > 0) {
                self.placing.insert((posted, job, unit), ());
            } else {
                self.placing.remove(&(posted, job, unit));
            }
        }
    }

    fn host(&mut self, host: PublicKey) -> &mut HostRecord {
        self.hosts.get_mut(&host).expect("only hosts are drawn, and no host is ever removed")
    }

    fn rest(&mut self, host: PublicKey) {
        let record = self.host(host);
        record.busy = record.busy.checked_sub(1).expect("each draw ends once");
    }

    fn unreserve(&mut self, host: PublicKey, bond: MicroCredits) {
        let rest = self.reserved.get(&host).copied().unwrap_or_default().saturating_sub(bond);
        if rest == MicroCredits::ZERO {
            self.reserved.remove(&host);
        } else {
            self.reserved.insert(host, rest);
        }
    }

    fn unlock(&mut self, host: PublicKey, amount: MicroCredits) {
        let record = self.host(host);
        record.bond_locked = record.bond_locked.checked_sub(amount).expect("L4: each run's bond was locked");
    }
}
