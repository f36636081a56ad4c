//! The mind of a host: what it does about the runs that the ledger shows it (`spec/04-verification.md`,
//! section 7).
//!
//! A [`HostAgent`] does no I/O and reads no clock. It is level-triggered: [`HostAgent::observe`] looks at how
//! things stand and says what to do next, so a missed event, a lost answer or a restart changes nothing but the
//! moment. It never holds a key; whoever drives it signs and sends.
//!
//! The dishonest [`Conduct`]s are the adversaries of the scripted runs and of `devnet up --cheat`.

use samebit_spec::{
    content::BlobRef,
    entry::Body,
    execution::Execution,
    id::{Commitment, OutputDigest, StateRoot},
    job::{JobPhase, JobRecord, RunId, RunPhase, RunRecord, UnitPhase, UnitRecord},
    param::Params,
    receipt::{self, Receipt, Salt},
    refusal::Refusal,
    sign::PublicKey,
    task::TaskManifest,
    unit::{Fuel, MicroCredits, Millis, Time},
    wire,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// How a host behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// By the rules.
    #[default]
    Honest,
    /// Runs the task, then shows another output than it got.
    WrongOutput,
    /// Runs nothing: copies the commitment of another host and hopes to open it with that host's receipt.
    /// Where there is nobody to copy, with one replica, it works honestly.
    LazyCopier,
    /// Commits and never reveals.
    Silent,
    /// Accepts and is never heard of again.
    NoShow,
    /// Declines everything.
    Decliner,
}

impl Conduct {
    /// Every conduct.
    pub const ALL: [Self; 6] =
        [Self::Honest, Self::WrongOutput, Self::LazyCopier, Self::Silent, Self::NoShow, Self::Decliner];

    const fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::WrongOutput => "wrong-output",
            Self::LazyCopier => "lazy-copier",
            Self::Silent => "silent",
            Self::NoShow => "no-show",
            Self::Decliner => "decliner",
        }
    }
}

impl fmt::Display for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no [`Conduct`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no conduct: honest, wrong-output, lazy-copier, silent, no-show or decliner")]
pub struct ConductError {
    /// What was given.
    pub text: String,
}

impl FromStr for Conduct {
    type Err = ConductError;

    fn from_str(text: &str) -> Result<Self, ConductError> {
        let found = Self::ALL.into_iter().find(|conduct| conduct.name() == text);
        found.ok_or_else(|| ConductError { text: text.to_owned() })
    }
}

/// What an agent sees of the ledger.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The rules.
    pub params: &'a Params,
    /// The moment: ledger time, or the host's own clock where that is later.
    pub now: Time,
    /// What of its bond is free.
    pub bond_free: MicroCredits,
    /// Its runs that have not ended.
    pub runs: Vec<RunView<'a>>,
}

/// One run of the agent's host.
#[derive(Clone, Copy, Debug)]
pub struct RunView<'a> {
    /// Which.
    pub run: RunId,
    /// Its job.
    pub job: &'a JobRecord,
    /// The job's task.
    pub task: &'a TaskManifest,
    /// Its unit.
    pub unit: &'a UnitRecord,
    /// Its record.
    pub record: &'a RunRecord,
}

/// What the agent wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Sign this as the operator and send it.
    Submit(Body),
    /// Run this, then call [`HostAgent::on_finished`] or [`HostAgent::on_fault`].
    Execute {
        /// For which run.
        run: RunId,
        /// What.
        execution: Execution,
        /// The module, with its length.
        module: BlobRef,
    },
    /// The run has ended on the ledger: its result is of no use any more.
    Stop {
        /// Which.
        run: RunId,
    },
}

/// Which entry an agent has sent for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Accept,
    Decline,
    Heartbeat,
    Withdraw,
    Commit,
    Reveal,
}

/// What an agent remembers of a run.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// [`Effect::Execute`] was given and no answer came yet.
    executing: bool,
    receipt: Option<Receipt>,
    /// It cannot be run here.
    fault: bool,
    root: StateRoot,
    fuel: Fuel,
    /// The ledger has shown this run, so its absence means that it has ended.
    seen: bool,
    /// When each entry was last sent.
    sent: BTreeMap<Sent, Time>,
    /// Entries that the ledger refused for good.
    refused: BTreeSet<Sent>,
}

/// A host's mind.
#[derive(Clone, Debug)]
pub struct HostAgent {
    host: PublicKey,
    salt_key: [u8; 32],
    engine: String,
    conduct: Conduct,
    memory: BTreeMap<RunId, Memory>,
}

impl HostAgent {
    /// A mind for the account `host`. `salt_key` is a secret of the host that survives restarts; `engine` names
    /// the build that runs tasks, at most [`samebit_spec::param::NAME_MAX`] bytes.
    #[must_use]
    pub const fn new(host: PublicKey, salt_key: [u8; 32], engine: String, conduct: Conduct) -> Self {
        Self { host, salt_key, engine, conduct, memory: BTreeMap::new() }
    }

    /// Whether whoever drives it must alter outputs before [`Self::on_finished`]: by real bytes, or by
    /// [`falsify`] where there are none.
    #[must_use]
    pub fn lies(&self) -> bool {
        self.conduct == Conduct::WrongOutput
    }

    /// How it behaves.
    #[must_use]
    pub const fn conduct(&self) -> Conduct {
        self.conduct
    }

    /// The secret that hides a run's receipt: the same after a restart, unknown to others before the reveal.
    #[must_use]
    pub fn salt(&self, run: &RunId) -> Salt {
        let key = wire::derive("samebit/v1/salt", &self.salt_key);
        let mut keyed = blake3::Hasher::new_keyed(&key);
        keyed.update(&wire::encode(run));
        Salt(*keyed.finalize().as_bytes())
    }

    /// Puts back a receipt that was saved before a restart.
    pub fn restore(&mut self, run: RunId, receipt: Receipt) {
        self.memory.entry(run).or_default().receipt = Some(receipt);
    }

    /// A step is done.
    pub fn on_progress(&mut self, run: RunId, root: StateRoot, fuel: Fuel) {
        if let Some(memory) = self.memory.get_mut(&run) {
            (memory.root, memory.fuel) = (root, fuel);
        }
    }

    /// The run is done. Save the receipt first: after the commit it is owed.
    pub fn on_finished(&mut self, run: RunId, receipt: Receipt) {
        let memory = self.memory.entry(run).or_default();
        memory.executing = false;
        memory.receipt = Some(receipt);
    }

    /// The run cannot be done here: it is withdrawn, never answered with a made-up result.
    pub fn on_fault(&mut self, run: RunId) {
        let memory = self.memory.entry(run).or_default();
        memory.executing = false;
        memory.fault = true;
    }

    /// The ledger refused an entry. Refusals that a new signature may cure are tried again.
    pub fn on_refused(&mut self, body: &Body, refusal: &Refusal) {
        let Some((run, sent)) = kind(body) else { return };
        let memory = self.memory.entry(run).or_default();
        match refusal {
            Refusal::Sequence { .. } | Refusal::Replayed { .. } => {
                memory.sent.remove(&sent);
            }
            _ => {
                memory.refused.insert(sent);
            }
        }
    }

    /// Says what to do about how things stand. Call it after every block, after [`Self::on_finished`] and
    /// [`Self::on_fault`], and at least every quarter of the heartbeat time.
    pub fn observe(&mut self, view: &View<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut bond_free = view.bond_free;
        let shown: BTreeSet<RunId> = view.runs.iter().map(|run| run.run).collect();
        self.memory.retain(|run, memory| {
            let ended = memory.seen && !shown.contains(run);
            if ended && memory.executing {
                effects.push(Effect::Stop { run: *run });
            }
            !ended
        });
        for run in &view.runs {
            self.memory.entry(run.run).or_default().seen = true;
            match run.record.phase {
                RunPhase::Drawn => effects.extend(self.answer(run, view, &mut bond_free)),
                RunPhase::Accepted => effects.extend(self.work(run, view)),
                RunPhase::Committed => effects.extend(self.show(run, view)),
                RunPhase::Revealed
                | RunPhase::Declined
                | RunPhase::Lapsed
                | RunPhase::Lost
                | RunPhase::Unrevealed
                | RunPhase::Upheld
                | RunPhase::Slashed
                | RunPhase::Released => {}
            }
        }
        effects
    }

    fn answer(&mut self, run: &RunView<'_>, view: &View<'_>, bond_free: &mut MicroCredits) -> Option<Effect> {
        let covered = bond_free.checked_sub(run.job.bond).filter(|_| !self.recall(run.run).fault);
        match covered.filter(|_| self.conduct != Conduct::Decliner) {
            Some(rest) => {
                *bond_free = rest;
                self.send(Sent::Accept, Body::RunAccept { run: run.run }, view)
            }
            None => self.send(Sent::Decline, Body::RunDecline { run: run.run }, view),
        }
    }

    fn work(&mut self, run: &RunView<'_>, view: &View<'_>) -> Vec<Effect> {
        let conduct = self.conduct;
        let memory = self.recall(run.run);
        if conduct == Conduct::NoShow {
            return Vec::new();
        }
        if memory.fault {
            return self.send(Sent::Withdraw, Body::RunWithdraw { run: run.run }, view).into_iter().collect();
        }
        if conduct == Conduct::LazyCopier && run.job.spec.replicas > 1 {
            let Some(commitment) = copied(run) else { return self.beat(run, view).into_iter().collect() };
            return self.send(Sent::Commit, Body::RunCommit { run: run.run, commitment }, view).into_iter().collect();
        }
        if let Some(receipt) = memory.receipt.as_ref().map(Receipt::id) {
            let commitment = receipt::commitment(&run.run, &self.host, &self.salt(&run.run), receipt);
            return self.send(Sent::Commit, Body::RunCommit { run: run.run, commitment }, view).into_iter().collect();
        }
        self.execute(run).into_iter().chain(self.beat(run, view)).collect()
    }

    fn show(&mut self, run: &RunView<'_>, view: &View<'_>) -> Option<Effect> {
        let UnitPhase::Revealing { .. } = run.unit.phase else { return None };
        let receipt = match self.conduct {
            Conduct::Silent => return None,
            Conduct::LazyCopier if run.job.spec.replicas > 1 => stolen(run)?.clone(),
            Conduct::Honest | Conduct::WrongOutput | Conduct::LazyCopier | Conduct::NoShow | Conduct::Decliner => {
                match self.recall(run.run).receipt.clone() {
                    Some(receipt) => receipt,
                    // Lost with a disk: runs are pure, so the same receipt can be had again.
                    None => return self.execute(run),
                }
            }
        };
        let (salt, engine) = (self.salt(&run.run), self.engine.clone());
        self.send(Sent::Reveal, Body::RunReveal { run: run.run, salt, receipt, engine }, view)
    }

    fn execute(&mut self, run: &RunView<'_>) -> Option<Effect> {
        let module = run.task.module;
        let execution = run.job.spec.execution(run.run.unit, run.task)?;
        let memory = self.recall(run.run);
        if std::mem::replace(&mut memory.executing, true) || memory.fault {
            return None;
        }
        Some(Effect::Execute { run: run.run, execution, module })
    }

    /// A sign of life when a third of the heartbeat time has passed.
    fn beat(&mut self, run: &RunView<'_>, view: &View<'_>) -> Option<Effect> {
        let third = Millis(view.params.heartbeat.0 / 3);
        if view.now.after(Millis(third.0 * 2)) < run.record.deadline {
            return None;
        }
        let salt = self.salt(&run.run);
        let memory = self.recall(run.run);
        let (mark, fuel) = (receipt::heartbeat_mark(&salt, &memory.root), memory.fuel);
        self.send(Sent::Heartbeat, Body::RunHeartbeat { run: run.run, mark, fuel }, view)
    }

    fn recall(&mut self, run: RunId) -> &mut Memory {
        self.memory.entry(run).or_default()
    }

    /// Submits `body` unless it was refused, or was sent a moment ago and may still be under way.
    fn send(&mut self, sent: Sent, body: Body, view: &View<'_>) -> Option<Effect> {
        let (run, _) = kind(&body)?;
        let retry = Millis(view.params.accept.min(view.params.heartbeat).min(view.params.reveal).0 / 4);
        let memory = self.recall(run);
        let recent = memory.sent.get(&sent).is_some_and(|&at| view.now < at.after(retry));
        if recent || memory.refused.contains(&sent) {
            return None;
        }
        memory.sent.insert(sent, view.now);
        Some(Effect::Submit(body))
    }
}

/// `receipt` with an output that nobody computed.
#[must_use]
pub fn falsify(receipt: Receipt) -> Receipt {
    let OutputDigest(mark) = receipt.output.id();
    let mut lie = receipt;
    lie.output.stdout = BlobRef::of(&mark);
    lie
}

/// The commitment of another host of the unit.
fn copied(run: &RunView<'_>) -> Option<Commitment> {
    others(run).find_map(|other| other.commitment)
}

/// The receipt that another host of the unit has shown.
fn stolen<'a>(run: &RunView<'a>) -> Option<&'a Receipt> {
    others(run).find_map(|other| other.receipt.as_ref())
}

fn others<'a>(run: &RunView<'a>) -> impl Iterator<Item = &'a RunRecord> {
    let host = run.record.host;
    run.unit.runs.iter().filter(move |other| other.host != host)
}

fn kind(body: &Body) -> Option<(RunId, Sent)> {
    match body {
        Body::RunAccept { run } => Some((*run, Sent::Accept)),
        Body::RunDecline { run } => Some((*run, Sent::Decline)),
        Body::RunHeartbeat { run, .. } => Some((*run, Sent::Heartbeat)),
        Body::RunWithdraw { run } => Some((*run, Sent::Withdraw)),
        Body::RunCommit { run, .. } => Some((*run, Sent::Commit)),
        Body::RunReveal { run, .. } => Some((*run, Sent::Reveal)),
        Body::AuditOpen { .. }
        | Body::Transfer { .. }
        | Body::HostRegister { .. }
        | Body::HostUpdate { .. }
        | Body::BondAdd { .. }
        | Body::BondWithdraw { .. }
        | Body::TaskPublish { .. }
        | Body::JobPost { .. }
        | Body::JobCancel { .. }
        | Body::CustodySign { .. }
        | Body::CustodyRefuse { .. } => None,
    }
}

/// The runs of `host` in `job` that have not ended, each with what its host needs to know.
pub fn runs_of<'a>(
    host: &'a PublicKey,
    id: samebit_spec::id::JobId,
    job: &'a JobRecord,
    task: &'a TaskManifest,
) -> impl Iterator<Item = RunView<'a>> + 'a {
    let open = matches!(job.phase, JobPhase::Open { .. });
    job.units.iter().zip(0_u32..).filter(move |_| open).flat_map(move |(unit, index)| {
        unit.runs.iter().zip(0_u32..).filter(move |(record, _)| record.host == *host && record.phase.is_alive()).map(
            move |(record, attempt)| RunView { run: RunId { job: id, unit: index, attempt }, job, task, unit, record },
        )
    })
}
