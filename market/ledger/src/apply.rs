//! Applies entries and blocks: checks in the order of [`Refusal`], then changes (`spec/05-settlement.md`,
//! sections 2 and 3).
//!
//! Nothing is changed before everything is checked, so a refused entry leaves no trace; a refused block is
//! taken back whole.

use crate::state::{LedgerState, TaskRecord};
use samebit_market::lifecycle::{self, Context, Cost, Deed, Event};
use samebit_spec::{
    block::{Block, BlockError},
    entry::{Body, Entry, SignedEntry},
    id::{BlockId, EntryId, GenesisId, JobId, LedgerRoot},
    job::{HostRecord, HostTally, JobSpec, RunId},
    offer::{Kinds, Offer, TensorNeed},
    param,
    refusal::Refusal,
    sign::PublicKey,
    task::TaskManifest,
    tensor::host,
    unit::{FuelPrice, Height, MicroCredits, Time},
};

/// Withdrawals that one host may have under way; a further one joins the last. Bounds a host's record.
const UNBONDING_MAX: usize = 32;

/// Why a block does not follow the state. The state is unchanged whenever one is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Of another chain.
    #[error("block is of {given}, this is {own}")]
    Chain {
        /// This chain.
        own: GenesisId,
        /// The block's.
        given: GenesisId,
    },
    /// Not the next one.
    #[error("expected block {expected}, got {given}")]
    Height {
        /// The next.
        expected: Height,
        /// The block's.
        given: Height,
    },
    /// Built on another block.
    #[error("block {height} follows {given}, the head is {own}")]
    Parent {
        /// The block.
        height: Height,
        /// Our head.
        own: BlockId,
        /// The block's parent.
        given: BlockId,
    },
    /// Earlier than its parent.
    #[error("block {height} is of time {given}, its parent of {parent}")]
    Time {
        /// The block.
        height: Height,
        /// The parent's.
        parent: Time,
        /// The block's.
        given: Time,
    },
    /// More entries than a block may hold.
    #[error("block {height} holds {count} entries, at most {max}", max = param::BLOCK_ENTRIES_MAX)]
    Entries {
        /// The block.
        height: Height,
        /// How many.
        count: usize,
    },
    /// Not signed by the validator, or its entries are not those signed.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// An entry that the rules refuse.
    #[error("block {height}, {entry}: {refusal}")]
    Entry {
        /// The block.
        height: Height,
        /// The entry.
        entry: EntryId,
        /// Why.
        refusal: Refusal,
    },
    /// The state that the block claims is not the state that it makes. L3.
    #[error("block {height} claims state {given}, it makes {own}")]
    Root {
        /// The block.
        height: Height,
        /// What it makes.
        own: LedgerRoot,
        /// What it claims.
        given: LedgerRoot,
    },
}

impl LedgerState {
    /// Checks a block whole and applies it.
    ///
    /// # Errors
    /// [`ApplyError`]; the state is then what it was.
    pub fn apply_block(&mut self, block: &Block) -> Result<(), ApplyError> {
        let header = &block.header;
        let height = header.height;
        if header.genesis != self.genesis_id {
            return Err(ApplyError::Chain { own: self.genesis_id, given: header.genesis });
        }
        let expected = Height(self.height().0 + 1);
        if height != expected {
            return Err(ApplyError::Height { expected, given: height });
        }
        if header.parent != self.head() {
            return Err(ApplyError::Parent { height, own: self.head(), given: header.parent });
        }
        if header.time < self.time() {
            return Err(ApplyError::Time { height, parent: self.time(), given: header.time });
        }
        if block.entries.len() > param::BLOCK_ENTRIES_MAX {
            return Err(ApplyError::Entries { height, count: block.entries.len() });
        }
        block.verify(&self.genesis.validator, self.beacon())?;
        self.begin_block(height, header.time, header.beacon());
        for signed in &block.entries {
            if let Err(refusal) = self.apply(signed) {
                self.abandon_block();
                return Err(ApplyError::Entry { height, entry: signed.entry.id(), refusal });
            }
        }
        let own = self.root();
        if own != header.state {
            self.abandon_block();
            return Err(ApplyError::Root { height, own, given: header.state });
        }
        self.finish_block(header.id());
        Ok(())
    }

    /// Checks one entry and applies it to the block under way.
    ///
    /// # Errors
    /// [`Refusal`]; the state is then what it was.
    pub fn apply(&mut self, signed: &SignedEntry) -> Result<(), Refusal> {
        let Entry { genesis, signer, sequence, body } = &signed.entry;
        if *genesis != self.genesis_id {
            return Err(Refusal::WrongChain { own: self.genesis_id, given: *genesis });
        }
        signer.check().map_err(Refusal::Signature)?;
        signed.verify().map_err(Refusal::Signature)?;
        if let Some(key) = key_to_register(body) {
            key.check().map_err(Refusal::Signature)?;
        }
        let id = signed.entry.id();
        if let Some(height) = self.included(&id) {
            return Err(Refusal::Replayed { entry: id, height });
        }
        let expected = self.sequence(signer);
        if *sequence != expected {
            return Err(Refusal::Sequence { signer: *signer, expected, given: *sequence });
        }
        self.perform(*signer, *sequence, body)?;
        self.sequences.insert(*signer, expected + 1);
        self.remember(id);
        Ok(())
    }

    fn perform(&mut self, signer: PublicKey, sequence: u64, body: &Body) -> Result<(), Refusal> {
        match body {
            Body::Transfer { to, amount } => self.transfer(signer, *to, *amount),
            Body::HostRegister { operator, ask, slots, offer, bond } => {
                self.register(signer, *operator, (*ask, *slots, *offer), *bond)
            }
            Body::HostUpdate { ask, slots, offer } => {
                let host = self.require_operator(signer)?;
                check_ask(*ask)?;
                check_offer(offer)?;
                if let Some(record) = self.hosts.get_mut(&host) {
                    (record.ask, record.slots, record.offer) = (*ask, *slots, *offer);
                }
                Ok(())
            }
            Body::BondAdd { amount } => self.bond_add(signer, *amount),
            Body::BondWithdraw { amount } => self.bond_withdraw(signer, *amount),
            Body::TaskPublish { manifest } => self.publish(signer, manifest),
            Body::JobPost { spec } => self.post(signer, sequence, spec),
            Body::JobCancel { job } => {
                self.require_account(signer)?;
                if self.job(*job)?.buyer != signer {
                    return Err(Refusal::NotA { key: signer, role: String::from("buyer of the job") });
                }
                self.drive(*job, Event::Cancelled)
            }
            Body::CustodySign { job } => {
                self.require_keeper(signer)?;
                self.drive(*job, Event::CustodySigned)
            }
            Body::CustodyRefuse { job, reason } => {
                self.require_keeper(signer)?;
                self.drive(*job, Event::CustodyRefused { reason: *reason })
            }
            Body::AuditOpen { job, unit, opening } => {
                self.require_account(signer)?;
                if self.job(*job)?.buyer != signer {
                    return Err(Refusal::NotA { key: signer, role: String::from("buyer of the job") });
                }
                self.drive(*job, Event::AuditOpened { unit: *unit, opening })
            }
            Body::RunAccept { run } => {
                let host = self.require_operator(signer)?;
                let bond_free = self.hosts.get(&host).map(|record| record.bond_free).unwrap_or_default();
                self.deed(*run, signer, Deed::Accept { bond_free })
            }
            Body::RunDecline { run } => self.deed(*run, signer, Deed::Decline),
            Body::RunHeartbeat { run, mark: _, fuel: _ } => self.deed(*run, signer, Deed::Heartbeat),
            Body::RunWithdraw { run } => self.deed(*run, signer, Deed::Withdraw),
            Body::RunCommit { run, commitment } => self.deed(*run, signer, Deed::Commit { commitment: *commitment }),
            Body::RunReveal { run, salt, receipt, engine } => {
                self.deed(*run, signer, Deed::Reveal { salt, receipt, engine })
            }
        }
    }

    fn deed(&mut self, run: RunId, signer: PublicKey, deed: Deed<'_>) -> Result<(), Refusal> {
        let host = self.require_operator(signer)?;
        self.drive(run.job, Event::Deed { run, signer, host, deed })
    }

    fn transfer(&mut self, signer: PublicKey, to: PublicKey, amount: MicroCredits) -> Result<(), Refusal> {
        self.require_account(signer)?;
        if self.operators.contains(&to) {
            return Err(Refusal::AlreadyA { key: to, role: String::from("an operator") });
        }
        require_some(amount)?;
        self.require_money(signer, amount)?;
        self.debit(signer, amount);
        self.credit(to, amount);
        Ok(())
    }

    fn register(
        &mut self,
        signer: PublicKey,
        operator: PublicKey,
        (ask, slots, offer): (FuelPrice, u16, Offer),
        bond: MicroCredits,
    ) -> Result<(), Refusal> {
        self.require_account(signer)?;
        let taken = if self.hosts.contains(&signer) {
            Some((signer, "a host"))
        } else if self.is_account(&operator) {
            Some((operator, "an account"))
        } else if self.operators.contains(&operator) {
            Some((operator, "an operator"))
        } else if operator == self.genesis.validator {
            Some((operator, "the validator"))
        } else {
            None
        };
        if let Some((key, role)) = taken {
            return Err(Refusal::AlreadyA { key, role: role.to_owned() });
        }
        self.require_money(signer, bond)?;
        let least = self.params().bond_least;
        if bond < least {
            return Err(Refusal::BondTooSmall { least, given: bond });
        }
        check_ask(ask)?;
        check_offer(&offer)?;
        self.debit(signer, bond);
        self.operators.insert(operator, signer);
        let record = HostRecord {
            operator,
            ask,
            slots,
            offer,
            bond_free: bond,
            bond_locked: MicroCredits::ZERO,
            unbonding: Vec::new(),
            bonded: self.height(),
            excluded_until: Time::ZERO,
            busy: 0,
            tally: HostTally::default(),
        };
        self.hosts.insert(signer, record);
        Ok(())
    }

    fn bond_add(&mut self, signer: PublicKey, amount: MicroCredits) -> Result<(), Refusal> {
        self.require_host(signer)?;
        require_some(amount)?;
        self.require_money(signer, amount)?;
        self.debit(signer, amount);
        let height = self.height();
        if let Some(record) = self.hosts.get_mut(&signer) {
            record.bond_free = record.bond_free.checked_add(amount).expect("L1: sums stay below the supply");
            record.bonded = height;
        }
        Ok(())
    }

    /// What stays must be the least bond, or nothing at all: then the host leaves.
    fn bond_withdraw(&mut self, signer: PublicKey, amount: MicroCredits) -> Result<(), Refusal> {
        self.require_host(signer)?;
        require_some(amount)?;
        let (least, unbonding, height) = (self.params().bond_least, self.params().unbonding, self.height());
        let mut at = self.time().after(unbonding);
        let Some(record) = self.hosts.get_mut(&signer) else { return Ok(()) };
        let Some(free) = record.bond_free.checked_sub(amount) else {
            return Err(Refusal::Insufficient { account: signer, holds: record.bond_free, needs: amount });
        };
        let given = free.saturating_add(record.bond_locked);
        if given < least && given != MicroCredits::ZERO {
            return Err(Refusal::BondTooSmall { least, given });
        }
        record.bond_free = free;
        record.bonded = height;
        let mut leaving = amount;
        if record.unbonding.len() >= UNBONDING_MAX
            && let Some((until, last)) = record.unbonding.pop()
        {
            (at, leaving) = (at.max(until), leaving.saturating_add(last));
        }
        record.unbonding.push((at, leaving));
        self.note_unbonding(at, signer);
        Ok(())
    }

    fn publish(&mut self, signer: PublicKey, manifest: &TaskManifest) -> Result<(), Refusal> {
        self.require_account(signer)?;
        if !manifest.is_sound() {
            return Err(Refusal::BadManifest { name: short(&manifest.name) });
        }
        let task = manifest.id();
        if self.tasks.contains(&task) {
            return Err(Refusal::TaskKnown { task });
        }
        let record = TaskRecord { manifest: manifest.clone(), publisher: signer, published: self.height() };
        self.tasks.insert(task, record);
        Ok(())
    }

    fn post(&mut self, signer: PublicKey, sequence: u64, spec: &JobSpec) -> Result<(), Refusal> {
        self.require_account(signer)?;
        let cost = Cost::of(spec, self.params());
        let sums = cost.and_then(|cost| Some((cost, cost.total()?)));
        let Some((cost, total)) = sums else {
            return Err(Refusal::Amount { amount: spec.reward_max().unwrap_or(MicroCredits(u64::MAX)) });
        };
        self.require_money(signer, total)?;
        if !self.tasks.contains(&spec.task) {
            return Err(Refusal::TaskUnknown { task: spec.task });
        }
        check_spec(spec, signer, sequence)?;
        let own = self.params().id();
        if spec.params != own {
            return Err(Refusal::WrongParams { own, given: spec.params });
        }
        self.debit(signer, total);
        self.burn(cost.fees);
        let id = spec.id();
        let task = self.tasks.get(&spec.task).expect("looked up above");
        let context = Context {
            params: &self.genesis.params,
            now: self.moment.time,
            height: self.moment.height,
            job: id,
            task: &task.manifest,
        };
        let (record, timer) = lifecycle::open(spec.clone(), &cost, &context);
        self.add_job(id, record, timer);
        Ok(())
    }

    fn job(&self, job: JobId) -> Result<&JobSpec, Refusal> {
        self.jobs.get(&job).map(|record| &record.spec).ok_or(Refusal::JobUnknown { job })
    }

    fn require_account(&self, key: PublicKey) -> Result<(), Refusal> {
        require(self.is_account(&key), key, "account")
    }

    fn require_host(&self, key: PublicKey) -> Result<(), Refusal> {
        require(self.hosts.contains(&key), key, "host")
    }

    fn require_keeper(&self, key: PublicKey) -> Result<(), Refusal> {
        require(key == self.genesis.validator, key, "keeper")
    }

    fn require_operator(&self, key: PublicKey) -> Result<PublicKey, Refusal> {
        self.host_of_operator(&key).ok_or_else(|| Refusal::NotA { key, role: String::from("operator of a host") })
    }

    fn require_money(&self, account: PublicKey, needs: MicroCredits) -> Result<(), Refusal> {
        let holds = self.balance(&account);
        if holds < needs { Err(Refusal::Insufficient { account, holds, needs }) } else { Ok(()) }
    }

    fn debit(&mut self, account: PublicKey, amount: MicroCredits) {
        let rest = self.balance(&account).checked_sub(amount).expect("L4: checked before anything is changed");
        self.accounts.insert(account, rest);
    }
}

fn require(holds: bool, key: PublicKey, role: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::NotA { key, role: role.to_owned() }) }
}

fn require_some(amount: MicroCredits) -> Result<(), Refusal> {
    if amount == MicroCredits::ZERO { Err(Refusal::Amount { amount }) } else { Ok(()) }
}

fn check_ask(ask: FuelPrice) -> Result<(), Refusal> {
    let max = param::PRICE_MAX;
    if ask > max { Err(Refusal::AskTooHigh { ask, max }) } else { Ok(()) }
}

/// Every bound of an offer (`spec/02-job.md`, section 5), in the order of the fields.
fn check_offer(offer: &Offer) -> Result<(), Refusal> {
    let bad =
        |field: &str, given: String, allowed: String| Refusal::BadOffer { field: field.to_owned(), given, allowed };
    let rooms = [
        ("memory", offer.memory, param::MEMORY_MAX),
        ("files", offer.files, param::FILES_MAX),
        ("stdout", offer.stdout, param::STDOUT_MAX),
        ("inputs", offer.inputs, param::INPUTS_MAX),
    ];
    for (field, given, most) in rooms {
        if given > most {
            return Err(bad(field, given.to_string(), format!("0 to {most}")));
        }
    }
    if offer.tensor_ops.0 > host::VERSION {
        return Err(bad("tensor_ops", offer.tensor_ops.0.to_string(), format!("0 to {}", host::VERSION)));
    }
    match offer.adapter {
        Some(adapter) if !adapter.kinds.is_sound() => {
            Err(bad("adapter.kinds", adapter.kinds.0.to_string(), format!("1 to {}", Kinds::ALL.0)))
        }
        Some(_) if offer.tensor_ops.0 == 0 => {
            Err(bad("adapter", String::from("an adapter"), String::from("none without tensor operations")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A key that the entry would give a role. One of small order would sign everything for everyone.
const fn key_to_register(body: &Body) -> Option<PublicKey> {
    match body {
        Body::Transfer { to, .. } => Some(*to),
        Body::HostRegister { operator, .. } => Some(*operator),
        Body::HostUpdate { .. }
        | Body::BondAdd { .. }
        | Body::BondWithdraw { .. }
        | Body::TaskPublish { .. }
        | Body::JobPost { .. }
        | Body::JobCancel { .. }
        | Body::CustodySign { .. }
        | Body::CustodyRefuse { .. }
        | Body::AuditOpen { .. }
        | Body::RunAccept { .. }
        | Body::RunDecline { .. }
        | Body::RunHeartbeat { .. }
        | Body::RunWithdraw { .. }
        | Body::RunCommit { .. }
        | Body::RunReveal { .. } => None,
    }
}

/// Every bound of a job (`spec/02-job.md`, section 2), in the order of the fields.
fn check_spec(spec: &JobSpec, signer: PublicKey, sequence: u64) -> Result<(), Refusal> {
    let bad = |field: &str, given: String, allowed: String| Refusal::BadJob { field: field.to_owned(), given, allowed };
    let bounded = |field: &str, given: u64, least: u64, most: u64| {
        if (least..=most).contains(&given) {
            Ok(())
        } else {
            Err(bad(field, given.to_string(), format!("{least} to {most}")))
        }
    };
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    if spec.buyer != signer {
        return Err(bad("buyer", spec.buyer.to_string(), format!("the signer, {signer}")));
    }
    if spec.nonce != sequence {
        return Err(bad("nonce", spec.nonce.to_string(), format!("the entry's sequence, {sequence}")));
    }
    bounded("units", count(spec.units.len()), 1, count(param::UNITS_MAX))?;
    for tree in &spec.units {
        bounded("units.len", tree.len.0, 0, param::BLOB_BYTES_MAX.0)?;
    }
    bounded("args", count(spec.args.len()), 0, count(param::ARGS_MAX))?;
    bounded("env", count(spec.env.len()), 0, count(param::ARGS_MAX))?;
    let texts = || spec.args.iter().chain(spec.env.iter().flat_map(|(name, value)| [name, value]));
    bounded("args and env bytes", count(texts().map(String::len).sum()), 0, count(param::ARGS_BYTES_MAX))?;
    if let Some(text) = texts().find(|text| text.contains('\0')) {
        return Err(bad("args or env", short(text), String::from("no NUL")));
    }
    if let Some((name, _)) = spec.env.iter().find(|(name, _)| name.is_empty() || name.contains('=')) {
        return Err(bad("env name", short(name), String::from("a name without =")));
    }
    let limits = &spec.limits;
    bounded("limits.fuel", limits.fuel.0, 1, param::FUEL_MAX.0)?;
    bounded("limits.memory", limits.memory.0, 0, param::MEMORY_MAX.0)?;
    bounded("limits.files", limits.files.0, 0, param::FILES_MAX.0)?;
    bounded("limits.inodes", limits.inodes.into(), 0, param::INODES_MAX.into())?;
    bounded("limits.stdout", limits.stdout.0, 0, param::STDOUT_MAX.0)?;
    bounded("limits.steps", limits.steps.into(), 1, param::STEPS_MAX.into())?;
    bounded("needs.inputs", spec.needs.inputs.0, 0, param::INPUTS_MAX.0)?;
    if let TensorNeed::Adapter(least) = spec.needs.tensors
        && !least.kinds.is_sound()
    {
        return Err(bad("needs.tensors", least.kinds.0.to_string(), format!("1 to {}", Kinds::ALL.0)));
    }
    bounded("step_budget", spec.step_budget.0, 1, param::FUEL_MAX.0)?;
    bounded("replicas", spec.replicas.into(), 1, param::REPLICAS_MAX.into())?;
    bounded("audit", spec.audit.0.into(), 0, 10_000)?;
    bounded("price", spec.price.0, 1, param::PRICE_MAX.0)?;
    bounded("deadline", spec.deadline.0, 1, param::DEADLINE_MAX.0)
}

/// At most 64 bytes of `text`, whole characters.
fn short(text: &str) -> String {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
