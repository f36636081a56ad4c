//! Why the ledger refuses an entry (`spec/05-settlement.md`, section 3).
//!
//! One variant per rule. Rules are checked in the order in which they stand here, so that every node refuses
//! for the same reason. A refused entry leaves no trace.

use crate::{
    id::{EntryId, GenesisId, JobId, ParamsId, TaskId},
    job::RunId,
    sign::{PublicKey, SignatureError},
    unit::{FuelPrice, Height, MicroCredits},
};
use alloc::string::String;
use borsh::{BorshDeserialize, BorshSerialize};

/// Why an entry was refused. The ledger is unchanged whenever one is returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, BorshSerialize, BorshDeserialize)]
pub enum Refusal {
    /// Signed for another chain.
    #[error("entry is for {given}, this is {own}")]
    WrongChain {
        /// This chain.
        own: GenesisId,
        /// The entry's.
        given: GenesisId,
    },
    /// The signature or the key.
    #[error("{0}")]
    Signature(SignatureError),
    /// The entry is already in the chain.
    #[error("{entry} is already in block {height}")]
    Replayed {
        /// The entry.
        entry: EntryId,
        /// Where it is.
        height: Height,
    },
    /// Not the signer's next sequence number.
    #[error("{signer} is at sequence {expected}, entry has {given}")]
    Sequence {
        /// The signer.
        signer: PublicKey,
        /// What would be accepted.
        expected: u64,
        /// What was given.
        given: u64,
    },
    /// No account, or no host, or no operator of one, where one is needed.
    #[error("{key} is no {role}")]
    NotA {
        /// The key.
        key: PublicKey,
        /// What it would have to be, such as `host`.
        role: String,
    },
    /// The key already has a role that excludes the new one.
    #[error("{key} already is {role}")]
    AlreadyA {
        /// The key.
        key: PublicKey,
        /// What it is.
        role: String,
    },
    /// An amount of zero, or a sum beyond the largest amount.
    #[error("amount {amount} is not allowed here")]
    Amount {
        /// The amount.
        amount: MicroCredits,
    },
    /// Not enough money.
    #[error("{account} holds {holds}, needs {needs}")]
    Insufficient {
        /// Whose.
        account: PublicKey,
        /// What is free.
        holds: MicroCredits,
        /// What the entry takes.
        needs: MicroCredits,
    },
    /// Bond below the least that a host must have.
    #[error("bond {given} is below the least, {least}")]
    BondTooSmall {
        /// The least.
        least: MicroCredits,
        /// What would remain or be given.
        given: MicroCredits,
    },
    /// A manifest out of its limits.
    #[error("task manifest {name:?} is not sound")]
    BadManifest {
        /// Its name, shortened to 64 bytes.
        name: String,
    },
    /// Published before.
    #[error("{task} is already published")]
    TaskKnown {
        /// The task.
        task: TaskId,
    },
    /// Never published.
    #[error("{task} is not published")]
    TaskUnknown {
        /// The task.
        task: TaskId,
    },
    /// A field of a job out of its bounds.
    #[error("job: {field} is {given}, allowed {allowed}")]
    BadJob {
        /// The field.
        field: String,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// Posted under rules that are not in force.
    #[error("job names {given}, in force is {own}")]
    WrongParams {
        /// In force.
        own: ParamsId,
        /// The job's.
        given: ParamsId,
    },
    /// No such job.
    #[error("{job} is not known")]
    JobUnknown {
        /// The job.
        job: JobId,
    },
    /// The job is past the point where the entry makes sense.
    #[error("{job} is {phase}")]
    JobPhase {
        /// The job.
        job: JobId,
        /// Where it stands.
        phase: String,
    },
    /// The unit is past the point where the entry makes sense, or not yet at it, or not there.
    #[error("unit {unit} of {job} is {phase}")]
    UnitPhase {
        /// The job.
        job: JobId,
        /// The unit.
        unit: u32,
        /// Where it stands.
        phase: String,
    },
    /// The opening is not what the job's seal holds for the unit.
    #[error("unit {unit} of {job}: the secret does not open the job's seal")]
    NotTheSeal {
        /// The job.
        job: JobId,
        /// The unit.
        unit: u32,
    },
    /// No such unit or attempt.
    #[error("run {run} is not known")]
    RunUnknown {
        /// The run.
        run: RunId,
    },
    /// The signer does not act for the run's host.
    #[error("{signer} does not act for the host of run {run}")]
    NotYourRun {
        /// The run.
        run: RunId,
        /// Who signed.
        signer: PublicKey,
    },
    /// The run is past the point, or not yet at it.
    #[error("run {run} is {phase}")]
    RunPhase {
        /// The run.
        run: RunId,
        /// Where it stands.
        phase: String,
    },
    /// The opening is not of the promise.
    #[error("run {run}: receipt and salt do not open the commitment")]
    NotTheCommitment {
        /// The run.
        run: RunId,
    },
    /// The receipt is of another execution, or claims more than its limits.
    #[error("run {run}: receipt's {field} cannot be of this run")]
    ImpossibleReceipt {
        /// The run.
        run: RunId,
        /// The field.
        field: String,
    },
    /// The host's ask is above what any job may pay.
    #[error("ask {ask} is above {max}")]
    AskTooHigh {
        /// The ask.
        ask: FuelPrice,
        /// The most.
        max: FuelPrice,
    },
    /// A field of a host's offer out of its bounds.
    #[error("offer: {field} is {given}, allowed {allowed}")]
    BadOffer {
        /// The field.
        field: String,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
}
