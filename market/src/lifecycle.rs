//! Decides what becomes of a job: event in, changed record and money effects out (`spec/04-verification.md`,
//! section 2).
//!
//! [`handle`] is the only function that changes a [`JobRecord`]. It checks first and changes afterwards, so a
//! refused event leaves the record as it was. The ledger carries the [`Effect`]s out in the same step; it never
//! decides who is paid or slashed.
//!
//! Invariants:
//! - J1: a job's escrow is the sum of its units' escrows, and zero once it is closed.
//! - J2: a run holds bond exactly while it is accepted, committed or revealed.
//! - J3: a unit that has not ended has a deadline ([`deadline`]), whose passing ends the unit or moves it on, or waits
//!   for the beacon of a block that the ledger makes at once ([`UnitPhase::Sealed`]).
//! - J4: never more runs are owed a reward than the escrow was locked for.

mod event;

pub use event::{Context, Cost, Deed, Due, Effect, Event, Fate};

use crate::{
    verdict::{Judgement, Panel, judge, judge_late},
    words,
};
use samebit_spec::{
    audit::{self, Audit, AuditOpening},
    id::{Beacon, ReceiptId},
    job::{Closing, JobPhase, JobRecord, JobSpec, RunId, RunPhase, RunRecord, RunRole, UnitPhase, UnitRecord},
    param::{self, Params},
    receipt::{self, Receipt, Salt},
    refusal::Refusal,
    sign::PublicKey,
    unit::{Height, MicroCredits, Millis, Time},
};

/// How often the chain shows life while somebody's deadline runs: a quarter of the shortest such deadline.
#[must_use]
pub fn pulse(params: &Params) -> Millis {
    let shortest = params.custody.min(params.accept).min(params.heartbeat).min(params.open).min(params.reveal);
    Millis((shortest.0 / 4).max(1))
}

/// The longest silence of the chain that deadlines do not get back: two pulses.
#[must_use]
pub fn stall(params: &Params) -> Millis {
    Millis(pulse(params).0 * 2)
}

/// A new record for `spec`, whose escrow the ledger has locked, and its timer.
pub fn open(spec: JobSpec, cost: &Cost, context: &Context<'_>) -> (JobRecord, Effect) {
    let (runs, audit) = (Vec::new(), Audit::Undrawn);
    let unit = UnitRecord { phase: UnitPhase::Placing, runs, audit, escrow: cost.escrow_per_unit };
    let until = context.now.after(context.params.custody);
    let record = JobRecord {
        posted: context.height,
        posted_at: context.now,
        phase: JobPhase::Posted { until },
        escrow: cost.escrow,
        paid: MicroCredits::ZERO,
        bond: cost.bond,
        units: vec![unit; spec.units.len()],
        spec,
    };
    (record, Effect::Timer { unit: None, due: Some(Due { at: until, awaited: true }) })
}

/// Feeds `event` to the job.
///
/// # Errors
/// [`Refusal`] when the event is not allowed where the job stands; the record is unchanged.
pub fn handle(record: &mut JobRecord, event: Event<'_>, context: &Context<'_>) -> Result<Vec<Effect>, Refusal> {
    let mut job = Job { record, context, effects: Vec::new(), touched: Vec::new() };
    match event {
        Event::CustodySigned => {
            job.require_posted()?;
            job.record.phase = JobPhase::Open { since: context.height };
            job.effects.push(Effect::Timer { unit: None, due: None });
            job.touched.extend(job.all_units());
        }
        Event::CustodyRefused { reason } => {
            job.require_posted()?;
            job.drop_all(Closing::Refused { reason });
        }
        Event::Cancelled => {
            job.require_posted()?;
            job.drop_all(Closing::Cancelled);
        }
        Event::Drawn { unit, hosts, beacon } => job.on_drawn(unit, hosts, beacon),
        Event::Beacon { unit, beacon } => job.on_beacon(unit, beacon),
        Event::AuditOpened { unit, opening } => job.on_audit_opened(unit, opening)?,
        Event::Deed { run, signer, host, deed } => job.on_deed(run, signer, host, deed)?,
        Event::Due { unit: None } => {
            if let JobPhase::Posted { until } = job.record.phase
                && until <= context.now
            {
                job.drop_all(Closing::Uncustodied);
            }
        }
        Event::Due { unit: Some(unit) } => job.on_due(unit),
        Event::Stalled { gap } => job.on_stalled(gap),
    }
    Ok(job.finish())
}

/// When something happens to `unit` by itself. `None`: it has ended, or the job is not open. J3.
#[must_use]
pub fn deadline(record: &JobRecord, unit: u32) -> Option<Due> {
    let JobPhase::Open { .. } = record.phase else { return None };
    let unit = record.units.get(usize::try_from(unit).ok()?)?;
    match unit.phase {
        UnitPhase::Placing | UnitPhase::Running => {
            let expiry = expiry(record, unit);
            let answer = unit.runs.iter().filter(|run| run.phase.is_busy()).map(|run| run.deadline).min();
            Some(Due { at: answer.map_or(expiry, |at| at.min(expiry)), awaited: answer.is_some() })
        }
        UnitPhase::Drawing { until, .. } | UnitPhase::Revealing { until } => Some(Due { at: until, awaited: true }),
        UnitPhase::Agreed { until, .. } => Some(Due { at: until, awaited: false }),
        UnitPhase::Sealed { .. }
        | UnitPhase::Final { .. }
        | UnitPhase::Undecided
        | UnitPhase::Expired
        | UnitPhase::Dropped => None,
    }
}

/// When `unit` ends though it is placing or running: the job's deadline or, once an audit was ordered or receipts were
/// revealed, as long again after the last of that. Who binds itself to a lie just before the job's deadline thus outruns
/// neither audit nor referees. It moves only with the audit, with a further revealed run, of which there are at most
/// `replicas + 1 + referees_all`, and with an auditor or referee that gave up, which each host can be once.
#[must_use]
pub fn expiry(record: &JobRecord, unit: &UnitRecord) -> Time {
    let posted = record.posted_at.after(record.spec.deadline);
    let moves = |run: &&RunRecord| match run.phase {
        RunPhase::Revealed => true,
        RunPhase::Lost | RunPhase::Unrevealed => run.role != RunRole::Replica,
        RunPhase::Drawn
        | RunPhase::Accepted
        | RunPhase::Committed
        | RunPhase::Declined
        | RunPhase::Lapsed
        | RunPhase::Upheld
        | RunPhase::Slashed
        | RunPhase::Released => false,
    };
    let shown = unit.runs.iter().filter(moves).map(|run| run.deadline);
    let ordered = if let Audit::Ordered { at, .. } = unit.audit { Some(at) } else { None };
    shown.chain(ordered).max().map_or(posted, |at| at.after(record.spec.deadline).max(posted))
}

/// How many hosts must be drawn before `unit` can go on. Zero unless it is placing.
#[must_use]
pub fn missing(record: &JobRecord, unit: u32, params: &Params) -> usize {
    let JobPhase::Open { .. } = record.phase else { return 0 };
    match usize::try_from(unit).ok().and_then(|unit| record.units.get(unit)) {
        Some(unit) if unit.phase == UnitPhase::Placing => {
            target(unit, record.spec.replicas, Panel::of(params)).saturating_sub(alive(unit))
        }
        Some(_) | None => 0,
    }
}

/// The block whose beacon `unit` waits for. `None`: it waits for none.
#[must_use]
pub fn awaits_beacon(record: &JobRecord, unit: u32) -> Option<Height> {
    let JobPhase::Open { .. } = record.phase else { return None };
    match record.units.get(usize::try_from(unit).ok()?)?.phase {
        UnitPhase::Sealed { at } => Some(at),
        UnitPhase::Placing
        | UnitPhase::Running
        | UnitPhase::Drawing { .. }
        | UnitPhase::Revealing { .. }
        | UnitPhase::Agreed { .. }
        | UnitPhase::Final { .. }
        | UnitPhase::Undecided
        | UnitPhase::Expired
        | UnitPhase::Dropped => None,
    }
}

fn alive(unit: &UnitRecord) -> usize {
    unit.runs.iter().filter(|run| run.phase.is_alive()).count()
}

/// The receipts that runs of these roles have revealed and that are not judged, in the order of the draws.
fn shown(unit: &UnitRecord, roles: &[RunRole]) -> Vec<ReceiptId> {
    let revealed = unit.runs.iter().filter(|run| run.phase == RunPhase::Revealed && roles.contains(&run.role));
    revealed.filter_map(|run| run.receipt.as_ref().map(Receipt::id)).collect()
}

/// What those who were ordered and the referees have revealed come to.
fn judgement(unit: &UnitRecord, replicas: u8, panel: Panel) -> Judgement {
    let parties = shown(unit, &[RunRole::Replica, RunRole::Audit]);
    judge(&parties, ordered(unit, replicas), &shown(unit, &[RunRole::Referee]), panel)
}

fn count(unit: &UnitRecord, phase: RunPhase) -> usize {
    unit.runs.iter().filter(|run| run.phase == phase).count()
}

/// Runs that were ordered: the replicas and, once drawn, the audit.
fn ordered(unit: &UnitRecord, replicas: u8) -> usize {
    usize::from(replicas) + usize::from(unit.audit.is_ordered())
}

/// Runs that must be alive: those ordered and, where they differ, the referees.
fn target(unit: &UnitRecord, replicas: u8, panel: Panel) -> usize {
    let referees = if let Judgement::Ask { referees } = judgement(unit, replicas, panel) { referees } else { 0 };
    ordered(unit, replicas) + referees
}

/// Why the next host is drawn for `unit`.
fn next_role(unit: &UnitRecord, replicas: u8) -> RunRole {
    let standing = |run: &&RunRecord| run.phase.is_alive() && run.role == RunRole::Replica;
    if shown(unit, &[RunRole::Replica, RunRole::Audit]).len() >= ordered(unit, replicas) {
        RunRole::Referee
    } else if unit.runs.iter().filter(standing).count() < usize::from(replicas) {
        RunRole::Replica
    } else {
        RunRole::Audit
    }
}

/// One call of [`handle`].
struct Job<'a> {
    record: &'a mut JobRecord,
    context: &'a Context<'a>,
    effects: Vec<Effect>,
    /// Units whose timer may have changed.
    touched: Vec<u32>,
}

impl Job<'_> {
    fn all_units(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.record.units.len()).expect("at most UNITS_MAX units")
    }

    fn unit(&mut self, unit: u32) -> &mut UnitRecord {
        let at = usize::try_from(unit).expect("units are counted in 32 bits");
        &mut self.record.units[at]
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn require_posted(&self) -> Result<(), Refusal> {
        match self.record.phase {
            JobPhase::Posted { .. } => Ok(()),
            JobPhase::Open { .. } | JobPhase::Closed { .. } => Err(self.past()),
        }
    }

    fn past(&self) -> Refusal {
        Refusal::JobPhase { job: self.context.job, phase: words::job_phase(&self.record.phase).to_owned() }
    }

    /// Ends a job that was never placed.
    fn drop_all(&mut self, closing: Closing) {
        for unit in &mut self.record.units {
            unit.phase = UnitPhase::Dropped;
            unit.escrow = MicroCredits::ZERO;
        }
        let amount = std::mem::take(&mut self.record.escrow);
        self.push(Effect::Refund { amount });
        self.push(Effect::Timer { unit: None, due: None });
        self.record.phase = JobPhase::Closed { closing, at: self.context.now };
    }

    fn on_drawn(&mut self, unit: u32, hosts: &[PublicKey], beacon: Beacon) {
        let (bond, deadline, drawn_at) =
            (self.record.bond, self.context.now.after(self.context.params.accept), self.context.height);
        let replicas = self.record.spec.replicas;
        for &host in hosts {
            let role = next_role(self.unit(unit), replicas);
            self.unit(unit).runs.push(RunRecord {
                host,
                role,
                drawn: beacon,
                drawn_at,
                phase: RunPhase::Drawn,
                deadline,
                bond: MicroCredits::ZERO,
                commitment: None,
                receipt: None,
                paid: MicroCredits::ZERO,
                lost: MicroCredits::ZERO,
            });
            self.push(Effect::Draw { host, bond });
        }
        self.advance(unit);
    }

    fn on_beacon(&mut self, unit: u32, beacon: Beacon) {
        let height = self.context.height;
        if awaits_beacon(self.record, unit).is_none_or(|at| at > height) {
            return;
        }
        if self.record.spec.seal.is_some() {
            let until = self.context.now.after(self.context.params.open);
            self.unit(unit).phase = UnitPhase::Drawing { beacon, until };
            self.touched.push(unit);
        } else {
            let ordered = audit::is_drawn(self.record.spec.audit, beacon, None, self.context.job, unit);
            self.set_audit(unit, ordered, beacon, None);
        }
    }

    fn on_audit_opened(&mut self, unit: u32, opening: &AuditOpening) -> Result<(), Refusal> {
        let job = self.context.job;
        let count = self.all_units().end;
        let found = usize::try_from(unit).ok().and_then(|unit| self.record.units.get(unit)).map(|unit| unit.phase);
        let Some(UnitPhase::Drawing { beacon, .. }) = found else {
            let phase = found.map_or("not there", |phase| words::unit_phase(&phase)).to_owned();
            return Err(Refusal::UnitPhase { job, unit, phase });
        };
        if !self.record.spec.seal.is_some_and(|seal| opening.opens(&seal, count, unit)) {
            return Err(Refusal::NotTheSeal { job, unit });
        }
        let ordered = audit::is_drawn(self.record.spec.audit, beacon, Some(&opening.secret), job, unit);
        self.set_audit(unit, ordered, beacon, Some(opening.secret));
        Ok(())
    }

    /// The draw is over: the unit gets one more host, or goes on to the openings.
    fn set_audit(&mut self, unit: u32, ordered: bool, beacon: Beacon, secret: Option<[u8; 32]>) {
        let at = self.context.now;
        let record = self.unit(unit);
        record.audit = if ordered { Audit::Ordered { beacon, secret, at } } else { Audit::Spared { beacon, secret } };
        record.phase = UnitPhase::Running;
        self.advance(unit);
    }

    fn on_deed(&mut self, run: RunId, signer: PublicKey, host: PublicKey, deed: Deed<'_>) -> Result<(), Refusal> {
        if let JobPhase::Closed { .. } = self.record.phase {
            return Err(self.past());
        }
        let (unit, attempt) = find(self.record, &run)?;
        let found = &self.record.units[unit].runs[attempt];
        if found.host != host {
            return Err(Refusal::NotYourRun { run, signer });
        }
        let phase = found.phase;
        if phase == RunPhase::Committed && deed == Deed::Withdraw && self.may_void(unit) {
            self.lose(run.unit, attempt);
            self.advance(run.unit);
            return Ok(());
        }
        let wanted = match deed {
            Deed::Accept { .. } | Deed::Decline => RunPhase::Drawn,
            Deed::Heartbeat | Deed::Withdraw | Deed::Commit { .. } => RunPhase::Accepted,
            Deed::Reveal { .. } => RunPhase::Committed,
        };
        if phase != wanted {
            return Err(Refusal::RunPhase { run, phase: words::run_phase(phase).to_owned() });
        }
        let now = self.context.now;
        let params = self.context.params;
        let bond = self.record.bond;
        match deed {
            Deed::Accept { bond_free } => {
                if bond_free < bond {
                    return Err(Refusal::Insufficient { account: host, holds: bond_free, needs: bond });
                }
                let record = &mut self.record.units[unit].runs[attempt];
                record.phase = RunPhase::Accepted;
                record.deadline = now.after(params.heartbeat);
                record.bond = bond;
                self.push(Effect::Lock { host, bond });
            }
            Deed::Decline => {
                self.record.units[unit].runs[attempt].phase = RunPhase::Declined;
                self.push(Effect::Undraw { host, bond });
                self.push(Effect::Count { host, fate: Fate::Declined });
            }
            Deed::Heartbeat => self.record.units[unit].runs[attempt].deadline = now.after(params.heartbeat),
            Deed::Withdraw => self.lose(run.unit, attempt),
            Deed::Commit { commitment } => {
                let record = &mut self.record.units[unit].runs[attempt];
                record.phase = RunPhase::Committed;
                record.commitment = Some(commitment);
                self.push(Effect::Rest { host });
            }
            Deed::Reveal { salt, receipt, engine } => {
                let UnitPhase::Revealing { .. } = self.record.units[unit].phase else {
                    return Err(Refusal::RunPhase { run, phase: String::from("committed, and others are not yet") });
                };
                self.check_receipt(&run, host, salt, receipt, engine)?;
                let record = &mut self.record.units[unit].runs[attempt];
                record.phase = RunPhase::Revealed;
                record.receipt = Some(receipt.clone());
                if count(&self.record.units[unit], RunPhase::Committed) == 0 {
                    self.decide(run.unit);
                }
            }
        }
        self.advance(run.unit);
        Ok(())
    }

    /// Whether a host of the unit may still take its own promise back: nobody knows yet what is audited, and nothing was
    /// shown. A unit without audits has no such moment: there the promise itself is the check.
    fn may_void(&self, unit: usize) -> bool {
        let unit = &self.record.units[unit];
        let early = matches!(unit.phase, UnitPhase::Placing | UnitPhase::Running | UnitPhase::Sealed { .. });
        self.record.spec.audit.0 > 0 && unit.audit == Audit::Undrawn && early
    }

    /// The opening fits the promise, and the receipt can be of this run. Whether it is true, replicas tell.
    fn check_receipt(
        &self,
        run: &RunId,
        host: PublicKey,
        salt: &Salt,
        receipt: &Receipt,
        engine: &str,
    ) -> Result<(), Refusal> {
        let (unit, attempt) = find(self.record, run)?;
        let promised = self.record.units[unit].runs[attempt].commitment;
        if promised != Some(receipt::commitment(run, &host, salt, receipt.id())) {
            return Err(Refusal::NotTheCommitment { run: *run });
        }
        let task = self.context.task;
        let spec = &self.record.spec;
        let execution = spec.execution(run.unit, task).map(|execution| execution.id());
        let impossible = if Some(receipt.execution) != execution {
            "execution"
        } else if receipt.fuel > spec.limits.fuel {
            "fuel"
        } else if receipt.steps > spec.limits.steps {
            "steps"
        } else if engine.len() > param::NAME_MAX {
            "engine"
        } else {
            return Ok(());
        };
        Err(Refusal::ImpossibleReceipt { run: *run, field: impossible.to_owned() })
    }

    fn on_due(&mut self, unit: u32) {
        let now = self.context.now;
        let Some(due) = deadline(self.record, unit).filter(|due| due.at <= now) else { return };
        self.touched.push(unit);
        match self.unit(unit).phase {
            UnitPhase::Placing | UnitPhase::Running => {
                let found = &self.record.units[usize::try_from(unit).expect("units are counted in 32 bits")];
                let expiry = expiry(self.record, found);
                // Silence that came before the unit's end has its price, even when both are seen in one block.
                self.drop_silent(unit, now.min(expiry));
                if expiry <= now && !self.drop_stalled(unit) {
                    self.expire(unit);
                }
            }
            UnitPhase::Drawing { beacon, .. } => self.set_audit(unit, true, beacon, None),
            UnitPhase::Revealing { .. } => {
                for attempt in 0..self.unit(unit).runs.len() {
                    if self.unit(unit).runs[attempt].phase == RunPhase::Committed {
                        self.slash_silent(unit, attempt);
                    }
                }
                self.decide(unit);
            }
            UnitPhase::Agreed { receipt, .. } => self.settle(unit, receipt),
            UnitPhase::Sealed { .. }
            | UnitPhase::Final { .. }
            | UnitPhase::Undecided
            | UnitPhase::Expired
            | UnitPhase::Dropped => {
                unreachable!("J3: an ended unit was due at {}", due.at)
            }
        }
        self.advance(unit);
    }

    /// Ends the runs whose host did not answer before `moment`.
    fn drop_silent(&mut self, unit: u32, moment: Time) {
        for attempt in 0..self.unit(unit).runs.len() {
            let run = &mut self.unit(unit).runs[attempt];
            let host = run.host;
            match run.phase {
                RunPhase::Drawn if run.deadline <= moment => {
                    run.phase = RunPhase::Lapsed;
                    let bond = self.record.bond;
                    self.push(Effect::Undraw { host, bond });
                    self.push(Effect::Count { host, fate: Fate::Declined });
                }
                RunPhase::Accepted if run.deadline <= moment => self.lose(unit, attempt),
                RunPhase::Drawn
                | RunPhase::Accepted
                | RunPhase::Committed
                | RunPhase::Revealed
                | RunPhase::Declined
                | RunPhase::Lapsed
                | RunPhase::Lost
                | RunPhase::Unrevealed
                | RunPhase::Upheld
                | RunPhase::Slashed
                | RunPhase::Released => {}
            }
        }
    }

    /// The unit's time is over and an auditor or referees have worked on without an answer: they are let go for the fee,
    /// and others are drawn, with as much time again. So nobody ends a dispute by sitting in it. Each host can do that once.
    fn drop_stalled(&mut self, unit: u32) -> bool {
        let mut dropped = false;
        for attempt in 0..self.unit(unit).runs.len() {
            let run = &self.unit(unit).runs[attempt];
            if run.role != RunRole::Replica && run.phase == RunPhase::Accepted {
                self.lose(unit, attempt);
                dropped = true;
            }
        }
        dropped
    }

    /// An accepted run was given up, or a promise taken back before the draw: a share of what it could have earned is burned, the rest comes back.
    fn lose(&mut self, unit: u32, attempt: usize) {
        let fee = self.record.spec.reward_max().unwrap_or_default().share(self.context.params.no_show);
        let now = self.context.now;
        let run = &mut self.unit(unit).runs[attempt];
        let bond = std::mem::take(&mut run.bond);
        let fee = fee.min(bond);
        let host = run.host;
        let was = std::mem::replace(&mut run.phase, RunPhase::Lost);
        run.lost = fee;
        run.deadline = now;
        if was.is_busy() {
            self.push(Effect::Rest { host });
        }
        self.push(Effect::Burn { host, amount: fee });
        self.push(Effect::Unlock { host, amount: bond.saturating_sub(fee) });
        self.push(Effect::Count { host, fate: Fate::Lost });
    }

    /// A promise was not opened: the whole bond burns. No share is paid out, because nobody re-ran anything
    /// for it and a verdict that could name the honest may never come.
    fn slash_silent(&mut self, unit: u32, attempt: usize) {
        let run = &mut self.unit(unit).runs[attempt];
        let host = run.host;
        run.phase = RunPhase::Unrevealed;
        run.lost = run.bond;
        let amount = std::mem::take(&mut run.bond);
        let (role, at) = (run.role, self.context.now);
        self.push(Effect::Burn { host, amount });
        self.punish(host);
        // Whoever replaces it knows the draw: to be spared must not be a licence.
        let record = self.unit(unit);
        if let (RunRole::Replica, Audit::Spared { beacon, secret }) = (role, record.audit) {
            record.audit = Audit::Ordered { beacon, secret, at };
        }
    }

    fn punish(&mut self, host: PublicKey) {
        let until = self.context.now.after(self.context.params.exclusion);
        self.push(Effect::Exclude { host, until });
        self.push(Effect::Count { host, fate: Fate::Slashed });
    }

    /// Nobody is left who must reveal: compares.
    fn decide(&mut self, unit: u32) {
        let replicas = self.record.spec.replicas;
        let panel = Panel::of(self.context.params);
        match judgement(self.unit(unit), replicas, panel) {
            Judgement::Incomplete => {}
            Judgement::Ask { .. } => self.unit(unit).phase = UnitPhase::Placing,
            Judgement::Undecided => self.release(unit, UnitPhase::Undecided),
            Judgement::Stands(receipt) => self.uphold(unit, receipt),
        }
    }

    /// The unit's time is over, and nobody further can be asked. Those who have revealed are paid if they all agree, an
    /// auditor among them where one was ordered; nobody is slashed, since no referees have said who is wrong.
    fn expire(&mut self, unit: u32) {
        let record = self.unit(unit);
        let all = shown(record, &[RunRole::Replica, RunRole::Audit, RunRole::Referee]);
        let audited = !record.audit.is_ordered() || !shown(record, &[RunRole::Audit]).is_empty();
        match judge_late(&all).filter(|_| audited) {
            Some(receipt) => {
                for attempt in 0..self.unit(unit).runs.len() {
                    if self.unit(unit).runs[attempt].phase != RunPhase::Revealed {
                        self.let_go(unit, attempt);
                    }
                }
                self.uphold(unit, receipt);
            }
            None => self.release(unit, UnitPhase::Expired),
        }
    }

    /// Slashes whoever revealed another receipt, and opens the window.
    fn uphold(&mut self, unit: u32, receipt: ReceiptId) {
        let until = self.context.now.after(self.context.params.window);
        let (price, burned_share) = (self.record.spec.price, self.context.params.slash_burned);
        let replicas = self.record.spec.replicas;
        let ordered = ordered(self.unit(unit), replicas);
        let (mut winners, mut losers) = (Vec::new(), Vec::new());
        let mut reward = MicroCredits::ZERO;
        for (attempt, run) in self.unit(unit).runs.iter_mut().enumerate() {
            let Some(shown) = run.receipt.as_ref().filter(|_| run.phase == RunPhase::Revealed) else { continue };
            if shown.id() == receipt {
                reward = price.cost(shown.fuel).unwrap_or_default();
                run.deadline = until;
                winners.push(attempt);
            } else {
                losers.push(attempt);
            }
        }
        let extra = u64::try_from(winners.len().saturating_sub(ordered)).unwrap_or(u64::MAX);
        // J4: at most `referees_all` rewards of at most `reward_max` each, so the product fits.
        let mut owed = reward.checked_mul(extra).unwrap_or_default();
        for attempt in losers {
            let run = &mut self.unit(unit).runs[attempt];
            let host = run.host;
            let bond = std::mem::take(&mut run.bond);
            run.phase = RunPhase::Slashed;
            run.lost = bond;
            let mut rest = bond.saturating_sub(bond.share(burned_share));
            let repaid = rest.min(owed);
            rest = rest.saturating_sub(repaid);
            owed = owed.saturating_sub(repaid);
            self.credit(unit, repaid);
            self.push(Effect::Compensate { host, amount: repaid });
            let each = MicroCredits(rest.0 / u64::try_from(winners.len()).unwrap_or(u64::MAX).max(1));
            let mut shared = MicroCredits::ZERO;
            for &winner in &winners {
                let run = &mut self.unit(unit).runs[winner];
                run.paid = run.paid.saturating_add(each);
                shared = shared.saturating_add(each);
                let to = run.host;
                self.push(Effect::Share { host, to, amount: each });
            }
            self.push(Effect::Burn { host, amount: bond.saturating_sub(repaid).saturating_sub(shared) });
            self.punish(host);
        }
        self.unit(unit).phase = UnitPhase::Agreed { receipt, until };
    }

    /// The window has ended: pays the upheld runs and refunds the rest.
    fn settle(&mut self, unit: u32, receipt: ReceiptId) {
        let price = self.record.spec.price;
        for attempt in 0..self.unit(unit).runs.len() {
            let run = &mut self.unit(unit).runs[attempt];
            if run.phase != RunPhase::Revealed {
                continue;
            }
            let fuel = run.receipt.as_ref().map(|receipt| receipt.fuel).unwrap_or_default();
            let reward = price.cost(fuel).unwrap_or_default();
            let host = run.host;
            run.phase = RunPhase::Upheld;
            run.paid = run.paid.saturating_add(reward);
            let bond = std::mem::take(&mut run.bond);
            self.debit(unit, reward);
            self.record.paid = self.record.paid.saturating_add(reward);
            self.push(Effect::Pay { to: host, amount: reward });
            self.push(Effect::Unlock { host, amount: bond });
            self.push(Effect::Count { host, fate: Fate::Upheld });
        }
        self.refund(unit);
        self.unit(unit).phase = UnitPhase::Final { receipt };
    }

    /// The unit ends without a verdict: bonds go back, nothing is paid, the buyer is refunded.
    fn release(&mut self, unit: u32, end: UnitPhase) {
        for attempt in 0..self.unit(unit).runs.len() {
            self.let_go(unit, attempt);
        }
        self.refund(unit);
        self.unit(unit).phase = end;
    }

    /// Ends a run that nothing was found against. Does nothing to one that has ended.
    fn let_go(&mut self, unit: u32, attempt: usize) {
        let promised = self.record.bond;
        let run = &mut self.unit(unit).runs[attempt];
        let (host, phase) = (run.host, run.phase);
        if !phase.is_alive() {
            return;
        }
        run.phase = RunPhase::Released;
        let amount = std::mem::take(&mut run.bond);
        if phase == RunPhase::Drawn {
            self.push(Effect::Undraw { host, bond: promised });
            return;
        }
        if phase == RunPhase::Accepted {
            self.push(Effect::Rest { host });
        }
        self.push(Effect::Unlock { host, amount });
    }

    fn refund(&mut self, unit: u32) {
        let amount = self.unit(unit).escrow;
        self.debit(unit, amount);
        self.push(Effect::Refund { amount });
    }

    fn credit(&mut self, unit: u32, amount: MicroCredits) {
        let sum = |held: MicroCredits| held.checked_add(amount).expect("L1: sums stay below the supply");
        self.unit(unit).escrow = sum(self.unit(unit).escrow);
        self.record.escrow = sum(self.record.escrow);
    }

    fn debit(&mut self, unit: u32, amount: MicroCredits) {
        let rest = |held: MicroCredits| held.checked_sub(amount).expect("L4: the escrow covers the worst case");
        self.unit(unit).escrow = rest(self.unit(unit).escrow);
        self.record.escrow = rest(self.record.escrow);
    }

    /// Moves a unit whose runs have changed to the phase that they make.
    fn advance(&mut self, unit: u32) {
        self.touched.push(unit);
        let (replicas, audited) = (self.record.spec.replicas, self.record.spec.audit.0 > 0);
        let until = self.context.now.after(self.context.params.reveal);
        let panel = Panel::of(self.context.params);
        let at = Height(self.context.height.0.saturating_add(param::AUDIT_DELAY));
        let unit = self.unit(unit);
        match unit.phase {
            UnitPhase::Placing | UnitPhase::Running | UnitPhase::Sealed { .. } | UnitPhase::Revealing { .. } => {}
            UnitPhase::Drawing { .. }
            | UnitPhase::Agreed { .. }
            | UnitPhase::Final { .. }
            | UnitPhase::Undecided
            | UnitPhase::Expired
            | UnitPhase::Dropped => return,
        }
        if alive(unit) < target(unit, replicas, panel) {
            unit.phase = UnitPhase::Placing;
        } else if unit.runs.iter().any(|run| run.phase.is_busy()) {
            unit.phase = UnitPhase::Running;
        } else if audited && unit.audit == Audit::Undrawn {
            if !matches!(unit.phase, UnitPhase::Sealed { .. }) {
                unit.phase = UnitPhase::Sealed { at };
            }
        } else if !matches!(unit.phase, UnitPhase::Revealing { .. }) {
            unit.phase = UnitPhase::Revealing { until };
            for run in unit.runs.iter_mut().filter(|run| run.phase == RunPhase::Committed) {
                run.deadline = until;
            }
        }
    }

    fn on_stalled(&mut self, gap: Millis) {
        match &mut self.record.phase {
            JobPhase::Posted { until } => {
                *until = until.after(gap);
                let due = Some(Due { at: *until, awaited: true });
                self.push(Effect::Timer { unit: None, due });
            }
            JobPhase::Open { .. } => {
                for unit in self.all_units() {
                    let record = self.unit(unit);
                    let mut changed = false;
                    let revealing = matches!(record.phase, UnitPhase::Revealing { .. });
                    if let UnitPhase::Revealing { until } | UnitPhase::Drawing { until, .. } = &mut record.phase {
                        *until = until.after(gap);
                        changed = true;
                    }
                    for run in &mut record.runs {
                        if run.phase.is_busy() || (revealing && run.phase == RunPhase::Committed) {
                            run.deadline = run.deadline.after(gap);
                            changed = true;
                        }
                    }
                    if changed {
                        self.touched.push(unit);
                    }
                }
            }
            JobPhase::Closed { .. } => {}
        }
    }

    /// Closes the job when its last unit has ended, and sets the timers anew.
    fn finish(mut self) -> Vec<Effect> {
        self.touched.sort_unstable();
        self.touched.dedup();
        for unit in std::mem::take(&mut self.touched) {
            let due = deadline(self.record, unit);
            self.push(Effect::Timer { unit: Some(unit), due });
        }
        if matches!(self.record.phase, JobPhase::Open { .. })
            && self.record.units.iter().all(|unit| unit.phase.has_ended())
        {
            assert_eq!(self.record.escrow, MicroCredits::ZERO, "J1: {} closes with escrow", self.context.job);
            self.record.phase = JobPhase::Closed { closing: Closing::Settled, at: self.context.now };
        }
        self.effects
    }
}

fn find(record: &JobRecord, run: &RunId) -> Result<(usize, usize), Refusal> {
    let unknown = || Refusal::RunUnknown { run: *run };
    let unit = usize::try_from(run.unit).map_err(|_| unknown())?;
    let attempt = usize::try_from(run.attempt).map_err(|_| unknown())?;
    match record.units.get(unit).and_then(|unit| unit.runs.get(attempt)) {
        Some(_) => Ok((unit, attempt)),
        None => Err(unknown()),
    }
}
