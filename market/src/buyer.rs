//! The buyer's part after the post: it opens its secrets when audits are drawn (`spec/04-verification.md`, section 10).
//!
//! Like a host's mind it is level-triggered, does no I/O, reads no clock and holds no key. A buyer that is away loses
//! nothing but the chance that a unit is spared.

use samebit_spec::{
    audit::{self, AuditOpening},
    entry::Body,
    id::{AuditSeal, GenesisId, JobId},
    job::{JobRecord, UnitPhase},
    sign::PublicKey,
    unit::{Millis, Time},
    wire,
};
use std::collections::BTreeMap;

/// A buyer's mind.
#[derive(Clone, Debug)]
pub struct BuyerAgent {
    account: PublicKey,
    secret: [u8; 32],
    /// When each opening was last sent.
    sent: BTreeMap<(JobId, u32), Time>,
}

impl BuyerAgent {
    /// A mind for `account` on one chain. `secret` is of the account alone and survives restarts.
    #[must_use]
    pub fn new(genesis: GenesisId, account: PublicKey, secret: &[u8; 32]) -> Self {
        // Nonces begin anew on another chain: what was opened there must tell nothing here.
        let secret = wire::derive_all("samebit/v1/audit-chain", &[secret, &genesis.0]);
        Self { account, secret, sent: BTreeMap::new() }
    }

    /// What an order with this nonce and so many units is sealed with.
    #[must_use]
    pub fn seal(&self, nonce: u64, units: u32) -> AuditSeal {
        audit::seal(&self.master(nonce), units)
    }

    /// The openings that are awaited of it now, but for those sent within the last `retry`.
    pub fn observe<'a>(
        &mut self,
        jobs: impl Iterator<Item = (&'a JobId, &'a JobRecord)>,
        now: Time,
        retry: Millis,
    ) -> Vec<Body> {
        let mut bodies = Vec::new();
        let mut awaited = BTreeMap::new();
        for (job, record) in jobs.filter(|(_, record)| record.spec.buyer == self.account && record.spec.seal.is_some())
        {
            let Ok(units) = u32::try_from(record.units.len()) else { continue };
            for (unit, _) in
                (0..units).zip(&record.units).filter(|(_, unit)| matches!(unit.phase, UnitPhase::Drawing { .. }))
            {
                let key = (*job, unit);
                let sent = self.sent.get(&key).copied();
                if sent.is_some_and(|at| now < at.after(retry)) {
                    awaited.extend(sent.map(|at| (key, at)));
                    continue;
                }
                awaited.insert(key, now);
                if let Some(opening) = AuditOpening::of(&self.master(record.spec.nonce), units, unit) {
                    bodies.push(Body::AuditOpen { job: *job, unit, opening });
                }
            }
        }
        self.sent = awaited;
        bodies
    }

    fn master(&self, nonce: u64) -> [u8; 32] {
        wire::derive_all("samebit/v1/audit-master", &[&self.secret, &nonce.to_le_bytes()])
    }
}
