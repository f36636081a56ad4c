//! The validator as keeper: signs that it holds a job's module and inputs, or says which it lacks.
//!
//! A buyer sends content before the post, or while the keeper waits: half the custody time. Looking
//! costs little while something is missing: trees are read one by one, and none is read again before the blob that was
//! missing has come. What was hashed a moment ago is not hashed again for the next job; whatever is served later is
//! hashed on its way.

use crate::ordering::{Awaiting, Fate, Order, Orders};
use samebit_blobs::{BlobError, BlobStore};
use samebit_spec::{
    content::BlobRef, entry::Body, id::BlobId, job::CustodyRefusal, param, refusal::Refusal, unit::Millis,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Jobs that are checked side by side.
const SIDE_BY_SIDE: usize = 4;
/// Pauses between two looks for content that is not there yet: the first, and the longest.
const LOOK: Duration = Duration::from_millis(150);
const LOOK_MOST: Duration = Duration::from_secs(1);
/// For so long a blob that was hashed is taken to be sound.
const SOUND: Duration = Duration::from_secs(60);
/// Blobs whose hash is remembered as checked.
const SOUND_MAX: usize = 1 << 18;
/// Times a refused signature is tried anew.
const TRIES: usize = 5;

/// What was found out before.
#[derive(Debug, Default)]
struct Known {
    sound: BTreeMap<BlobId, Instant>,
    admitted: BTreeMap<BlobId, bool>,
}

/// Checks jobs as they are posted, until the ordering thread has ended.
pub(crate) async fn run(mut jobs: mpsc::Receiver<Awaiting>, orders: Orders, store: BlobStore, custody: Millis) {
    let known = Arc::new(Mutex::new(Known::default()));
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    while let Some(awaiting) = jobs.recv().await {
        let (orders, store, known, places) = (orders.clone(), store.clone(), Arc::clone(&known), Arc::clone(&places));
        tokio::spawn(async move {
            let until = Instant::now() + Duration::from_millis(custody.0 / 2);
            let refusal = decide(&awaiting, &store, &known, &places, until).await;
            let job = awaiting.job;
            let body = match refusal {
                Ok(None) => Body::CustodySign { job },
                Ok(Some(reason)) => Body::CustodyRefuse { job, reason },
                // Unsigned, the job is refunded when its custody time ends.
                Err(error) => return tracing::error!(%job, %error, "cannot check custody"),
            };
            for _ in 0..TRIES {
                match sign(&orders, body.clone()).await {
                    Some(Ok(_)) => return tracing::info!(%job, ?refusal, "custody"),
                    Some(Err(Refusal::Sequence { .. })) => {}
                    Some(Err(refusal)) => return tracing::warn!(%job, %refusal, "custody entry refused"),
                    None => tokio::time::sleep(LOOK).await,
                }
            }
        });
    }
}

async fn sign(orders: &Orders, body: Body) -> Option<Fate> {
    let (fate, answer) = oneshot::channel();
    if orders.give(Order::Own { body: Box::new(body), fate }) { answer.await.ok() } else { None }
}

/// `None`: everything is here and sound.
async fn decide(
    awaiting: &Awaiting,
    store: &BlobStore,
    known: &Arc<Mutex<Known>>,
    places: &Semaphore,
    until: Instant,
) -> Result<Option<CustodyRefusal>, BlobError> {
    let (mut search, mut pause) = (Search::default(), LOOK);
    loop {
        let found = {
            let Ok(_place) = places.acquire().await else { return Ok(Some(CustodyRefusal::BadModule)) };
            let (awaiting, store, known) = (awaiting.clone(), store.clone(), Arc::clone(known));
            let looking = tokio::task::spawn_blocking(move || {
                let found = search.look(&awaiting, &store, &known);
                (search, found)
            });
            match looking.await {
                Ok((after, found)) => {
                    search = after;
                    found?
                }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        };
        match found {
            Some(CustodyRefusal::Missing { .. }) if Instant::now() < until => tokio::time::sleep(pause).await,
            found => return Ok(found),
        }
        pause = (pause * 2).min(LOOK_MOST);
    }
}

/// How far the look for a job's content has come.
#[derive(Debug, Default)]
struct Search {
    /// Without it there is no sense in looking on.
    lacking: Option<BlobId>,
    /// Units whose files were all there.
    units: usize,
    /// Their files, each once.
    files: BTreeSet<BlobRef>,
    bytes: u64,
}

impl Search {
    fn look(
        &mut self,
        awaiting: &Awaiting,
        store: &BlobStore,
        known: &Mutex<Known>,
    ) -> Result<Option<CustodyRefusal>, BlobError> {
        if let Some(blob) = self.lacking
            && store.len(&blob).is_none()
        {
            return Ok(Some(CustodyRefusal::Missing { blob }));
        }
        let found = self.check(awaiting, store, known)?;
        self.lacking = match &found {
            Some(CustodyRefusal::Missing { blob }) => Some(*blob),
            _ => None,
        };
        Ok(found)
    }

    fn check(
        &mut self,
        awaiting: &Awaiting,
        store: &BlobStore,
        known: &Mutex<Known>,
    ) -> Result<Option<CustodyRefusal>, BlobError> {
        let Some(module) = awaiting.module else { return Ok(Some(CustodyRefusal::BadModule)) };
        match admitted(&module, store, known) {
            Err(error) => return missing_or(error),
            Ok(false) => return Ok(Some(CustodyRefusal::BadModule)),
            Ok(true) => {}
        }
        // First whether all are there, which is quick, then whether they are sound.
        for (unit, tree) in (0_u32..).zip(&awaiting.spec.units).skip(self.units) {
            let tree = match store.tree(tree) {
                Ok(tree) => tree,
                Err(BlobError::Tree(_) | BlobError::Length { .. } | BlobError::TooLarge { .. }) => {
                    return Ok(Some(CustodyRefusal::BadTree { unit }));
                }
                Err(error) => return missing_or(error),
            };
            if tree.total() > awaiting.spec.needs.inputs {
                return Ok(Some(CustodyRefusal::TooMuchInput { unit }));
            }
            let new = tree.files().iter().map(|file| file.blob).filter(|blob| !self.files.contains(blob));
            let new: BTreeSet<BlobRef> = new.collect();
            let bytes = new.iter().fold(self.bytes, |bytes, blob| bytes.saturating_add(blob.len.0));
            if self.files.len() + new.len() > param::CUSTODY_FILES_MAX || bytes > param::CUSTODY_BYTES_MAX.0 {
                return Ok(Some(CustodyRefusal::TooLarge { unit }));
            }
            for blob in new {
                if !store.has(&blob) {
                    return Ok(Some(CustodyRefusal::Missing { blob: blob.id }));
                }
                self.files.insert(blob);
                self.bytes = self.bytes.saturating_add(blob.len.0);
            }
            self.units += 1;
        }
        for blob in &self.files {
            if let Err(error) = sound(blob, store, known) {
                return missing_or(error);
            }
        }
        Ok(None)
    }
}

/// What is corrupt or of another length is as good as missing: its buyer can send it again.
fn missing_or(error: BlobError) -> Result<Option<CustodyRefusal>, BlobError> {
    match error {
        BlobError::Missing { blob } | BlobError::Corrupt { blob, .. } => Ok(Some(CustodyRefusal::Missing { blob })),
        BlobError::Length { blob, .. } => Ok(Some(CustodyRefusal::Missing { blob: blob.id })),
        error => Err(error),
    }
}

fn admitted(module: &BlobRef, store: &BlobStore, known: &Mutex<Known>) -> Result<bool, BlobError> {
    let remembered = lock(known).admitted.get(&module.id).copied();
    if let Some(admitted) = remembered
        && store.has(module)
    {
        return Ok(admitted);
    }
    let admitted = samebit_runtime::inspect(&store.read(module)?).is_ok();
    let mut known = lock(known);
    if known.admitted.len() >= SOUND_MAX {
        known.admitted.clear();
    }
    known.admitted.insert(module.id, admitted);
    Ok(admitted)
}

fn sound(blob: &BlobRef, store: &BlobStore, known: &Mutex<Known>) -> Result<(), BlobError> {
    let checked = lock(known).sound.get(&blob.id).is_some_and(|at| at.elapsed() < SOUND);
    if checked && store.has(blob) {
        return Ok(());
    }
    store.verify(blob)?;
    let mut known = lock(known);
    if known.sound.len() >= SOUND_MAX {
        known.sound.clear();
    }
    known.sound.insert(blob.id, Instant::now());
    Ok(())
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::{
        content::{Tree, TreeFile},
        execution::Limits,
        id::{JobId, TaskId},
        job::JobSpec,
        offer::Needs,
        param::{self, Params},
        unit::{BasisPoints, Bytes, FuelPrice},
    };

    #[test]
    fn a_search_stops_at_the_first_missing_blob_goes_on_from_there_and_reads_no_tree_twice() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open_cache(dir.path()).unwrap();
        let module =
            store.put(&wat::parse_str("(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap());
        let blobs = [b"one", b"two"].map(|bytes| BlobRef::of(bytes));
        let units = blobs.map(|blob| {
            store.put_tree(&Tree::new(vec![TreeFile { path: String::from("input"), blob }]).unwrap()).unwrap()
        });
        let spec = JobSpec {
            buyer: crate::keys::Keypair::from_seed(&[1; 32]).public(),
            nonce: 0,
            task: TaskId([1; 32]),
            units: units.to_vec(),
            args: vec![],
            env: vec![],
            seed: [0; 32],
            limits: Limits::default(),
            needs: Needs { inputs: Bytes(3), ..Needs::default() },
            step_budget: param::STEP_BUDGET_DEFAULT,
            replicas: 2,
            audit: BasisPoints(0),
            seal: None,
            price: FuelPrice(1),
            deadline: Millis(60_000),
            params: Params::DEVNET.id(),
        };
        let awaiting = Awaiting { job: JobId([2; 32]), spec, module: Some(module.unwrap()) };
        let (known, mut search) = (Mutex::new(Known::default()), Search::default());
        let missing = |blob: BlobRef| Some(CustodyRefusal::Missing { blob: blob.id });
        assert_eq!(search.look(&awaiting, &store, &known).unwrap(), missing(blobs[0]));
        assert_eq!((search.units, search.lacking), (0, Some(blobs[0].id)));
        store.put(b"one").unwrap();
        assert_eq!(search.look(&awaiting, &store, &known).unwrap(), missing(blobs[1]));
        assert_eq!(search.units, 1, "the first unit is not looked through again");

        // What came with a wrong byte is set aside, and missing again.
        let hex = blobs[1].id.to_string().split_off(BlobId::KIND.len() + 1);
        std::fs::create_dir_all(dir.path().join("blobs").join(&hex[..2])).unwrap();
        let file = dir.path().join("blobs").join(&hex[..2]).join(&hex[2..]);
        std::fs::write(&file, b"twO").unwrap();
        assert_eq!(search.look(&awaiting, &store, &known).unwrap(), missing(blobs[1]));
        assert!(!file.exists());
        store.put(b"two").unwrap();
        assert_eq!(search.look(&awaiting, &store, &known).unwrap(), None);

        // Hosts were chosen by what the order says of its inputs.
        let mut understated = awaiting;
        understated.spec.needs.inputs = Bytes(2);
        let refused = Some(CustodyRefusal::TooMuchInput { unit: 0 });
        assert_eq!(Search::default().look(&understated, &store, &known).unwrap(), refused);

        // Sound trees, and together more than a keeper signs for: nobody needs to send the rest first.
        let mut large = understated;
        large.spec.needs.inputs = param::INPUTS_MAX;
        let blob = BlobRef { len: param::CUSTODY_BYTES_MAX, ..BlobRef::of(b"three") };
        large.spec.units[1] =
            store.put_tree(&Tree::new(vec![TreeFile { path: String::from("input"), blob }]).unwrap()).unwrap();
        let refused = Some(CustodyRefusal::TooLarge { unit: 1 });
        assert_eq!(Search::default().look(&large, &store, &known).unwrap(), refused);
    }
}
