//! Receipts on disk, so that a host that restarts can still open what it promised.

use crate::invitation::replace;
use samebit_spec::{content::BlobRef, job::RunId, receipt::Receipt, wire};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

/// A folder with one file per run: hash of the rest, then run and receipt.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Keeps a receipt durably. Called before its commitment is sent.
    pub(crate) fn keep(&self, run: &RunId, receipt: &Receipt) -> io::Result<()> {
        let body = wire::encode(&(run, receipt));
        let mut bytes = BlobRef::of(&body).id.0.to_vec();
        bytes.extend_from_slice(&body);
        replace(&self.path(run), &bytes)
    }

    /// Every receipt that is sound. A damaged one is made again, since runs are pure.
    pub(crate) fn all(&self) -> io::Result<Vec<(RunId, Receipt)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match std::fs::read(&path).ok().and_then(|bytes| read(&bytes)) {
                Some(kept) => found.push(kept),
                None => tracing::warn!(path = %path.display(), "not a receipt, passed over"),
            }
        }
        found.sort_by_key(|(run, _)| *run);
        Ok(found)
    }

    /// Drops the receipts of runs that have ended.
    pub(crate) fn retain(&self, alive: &BTreeSet<RunId>) -> io::Result<()> {
        for (run, _) in self.all()? {
            if !alive.contains(&run) {
                std::fs::remove_file(self.path(&run))?;
            }
        }
        Ok(())
    }

    fn path(&self, run: &RunId) -> PathBuf {
        self.dir.join(format!("{}-{}-{}.receipt", run.job, run.unit, run.attempt))
    }
}

fn read(bytes: &[u8]) -> Option<(RunId, Receipt)> {
    let (hash, body) = bytes.split_first_chunk::<32>()?;
    if BlobRef::of(body).id.0 == *hash { wire::decode(body).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{
        execution::Outcome,
        id::{ExecutionId, HistoryRoot, JobId},
        receipt::Output,
        unit::Fuel,
    };

    #[test]
    fn receipts_survive_a_restart_and_damage_costs_only_the_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path()).unwrap();
        let run = |attempt| RunId { job: JobId([1; 32]), unit: 2, attempt };
        let output = Output { stdout: BlobRef::default(), tree: Default::default() };
        let (execution, history) = (ExecutionId([3; 32]), HistoryRoot([4; 32]));
        let outcome = Outcome::Exited { code: 0 };
        let receipt = Receipt { execution, outcome, output, fuel: Fuel(5), steps: 1, history };
        for attempt in 0..3 {
            shelf.keep(&run(attempt), &receipt).unwrap();
        }
        std::fs::write(shelf.path(&run(1)), b"cut short").unwrap();
        let kept = Shelf::open(dir.path()).unwrap().all().unwrap();
        assert_eq!(kept, [(run(0), receipt.clone()), (run(2), receipt)]);
        shelf.retain(&BTreeSet::from([run(2)])).unwrap();
        assert_eq!(shelf.all().unwrap().iter().map(|(run, _)| *run).collect::<Vec<_>>(), [run(2)]);
    }
}
