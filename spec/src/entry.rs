//! What may be written to the ledger (`spec/05-settlement.md`, section 2).

use crate::{
    audit::AuditOpening,
    id::{Commitment, EntryId, GenesisId, JobId},
    job::{CustodyRefusal, JobSpec, RunId},
    offer::Offer,
    receipt::{Receipt, Salt},
    sign::{Domain, PublicKey, Signature, SignatureError},
    task::TaskManifest,
    unit::{Fuel, FuelPrice, MicroCredits},
    wire::Hashed,
};
use alloc::string::String;
use borsh::{BorshDeserialize, BorshSerialize};

/// The unsigned part of an entry. Its hash is the entry's id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The chain it is for.
    pub genesis: GenesisId,
    /// Who signs.
    pub signer: PublicKey,
    /// Counts the signer's entries from 0, without gaps: a replay is refused.
    pub sequence: u64,
    /// What is asked.
    pub body: Body,
}

impl Hashed for Entry {
    const CONTEXT: &'static str = "samebit/v1/entry";
}

impl Entry {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId(self.digest())
    }
}

/// An entry with its signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedEntry {
    /// What is signed.
    pub entry: Entry,
    /// By [`Entry::signer`], in [`Domain::Entry`].
    pub signature: Signature,
}

impl SignedEntry {
    /// Checks the signature.
    ///
    /// # Errors
    /// [`SignatureError`] when the key is unusable or the signature does not fit.
    pub fn verify(&self) -> Result<(), SignatureError> {
        let entry = &self.entry;
        entry.signer.verify(Domain::Entry, entry.genesis, entry.digest(), &self.signature)
    }
}

/// What an entry asks. The signer is an account's key unless the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Body {
    /// Moves money to another account, which it creates when there is none.
    Transfer {
        /// To whom.
        to: PublicKey,
        /// How much; not zero.
        amount: MicroCredits,
    },
    /// Makes the signer's account a host.
    HostRegister {
        /// Hot key that may act for the host; not an account, not another host's operator.
        operator: PublicKey,
        /// Least price.
        ask: FuelPrice,
        /// Runs at once.
        slots: u16,
        /// What a run may ask of it.
        offer: Offer,
        /// Moved from the account to the bond.
        bond: MicroCredits,
    },
    /// Changes the signer's standing ask and offer. Signer: the host's operator.
    HostUpdate {
        /// Least price.
        ask: FuelPrice,
        /// Runs at once; 0 pauses.
        slots: u16,
        /// What a run may ask of it.
        offer: Offer,
    },
    /// Moves money from the host's account to its bond.
    BondAdd {
        /// How much; not zero.
        amount: MicroCredits,
    },
    /// Takes free bond out; it is the account's again after the unbonding time.
    BondWithdraw {
        /// How much; not zero.
        amount: MicroCredits,
    },
    /// Publishes code.
    TaskPublish {
        /// What.
        manifest: TaskManifest,
    },
    /// Orders work and locks escrow for the worst case.
    JobPost {
        /// The order.
        spec: JobSpec,
    },
    /// Withdraws a job that no keeper has taken into custody yet.
    JobCancel {
        /// Which.
        job: JobId,
    },
    /// Says that module and inputs are held until the job closes. Signer: a keeper (the validator).
    CustodySign {
        /// Of which job.
        job: JobId,
    },
    /// Says why they cannot be. Signer: a keeper (the validator).
    CustodyRefuse {
        /// Which job.
        job: JobId,
        /// Why.
        reason: CustodyRefusal,
    },
    /// Opens the buyer's secret in the draw of a unit's audit. Signer: the buyer.
    AuditOpen {
        /// Of which job.
        job: JobId,
        /// And unit.
        unit: u32,
        /// What the job's seal holds for it.
        opening: AuditOpening,
    },
    /// Takes a drawn run and locks the bond. Signer: the host's operator, as in the variants that follow.
    RunAccept {
        /// Which.
        run: RunId,
    },
    /// Leaves a drawn run to another host.
    RunDecline {
        /// Which.
        run: RunId,
    },
    /// Shows life during a run.
    RunHeartbeat {
        /// Which.
        run: RunId,
        /// [`crate::receipt::heartbeat_mark`] of the root reached.
        mark: [u8; 32],
        /// Fuel used so far, in clear.
        fuel: Fuel,
    },
    /// Gives an accepted run up: a host fault, never a result.
    RunWithdraw {
        /// Which.
        run: RunId,
    },
    /// Promises a receipt.
    RunCommit {
        /// Which.
        run: RunId,
        /// [`crate::receipt::commitment`] of it.
        commitment: Commitment,
    },
    /// Opens the promise.
    RunReveal {
        /// Which.
        run: RunId,
        /// The secret.
        salt: Salt,
        /// The receipt.
        receipt: Receipt,
        /// Engine build that made it, for people and auditors; at most [`crate::param::NAME_MAX`] bytes.
        engine: String,
    },
}
