//! The validator as keeper: signs that it holds a job's module and inputs, or says which it lacks.
//!
//! A buyer sends content before the post, or while the keeper waits: half the custody time. What was hashed once
//! in this process is not hashed again, since the store hashes whatever it reads.

use crate::ordering::{Awaiting, Fate, Order, Orders};
use samebit_blobs::{BlobError, BlobStore};
use samebit_spec::{content::BlobRef, entry::Body, id::BlobId, job::CustodyRefusal, refusal::Refusal, unit::Millis};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Jobs that are checked side by side.
const SIDE_BY_SIDE: usize = 4;
/// Pause between two looks for content that is not there yet.
const LOOK: Duration = Duration::from_millis(150);
/// Blobs whose hash is remembered as checked.
const SOUND_MAX: usize = 1 << 18;
/// Times a refused signature is tried anew.
const TRIES: usize = 5;

/// What was found out before.
#[derive(Debug, Default)]
struct Known {
    sound: BTreeSet<BlobId>,
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
    loop {
        let found = {
            let Ok(_place) = places.acquire().await else { return Ok(Some(CustodyRefusal::BadModule)) };
            let (awaiting, store, known) = (awaiting.clone(), store.clone(), Arc::clone(known));
            match tokio::task::spawn_blocking(move || check(&awaiting, &store, &known)).await {
                Ok(found) => found?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        };
        match found {
            Some(CustodyRefusal::Missing { .. }) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            found => return Ok(found),
        }
    }
}

fn check(awaiting: &Awaiting, store: &BlobStore, known: &Mutex<Known>) -> Result<Option<CustodyRefusal>, BlobError> {
    let Some(module) = awaiting.module else { return Ok(Some(CustodyRefusal::BadModule)) };
    match admitted(&module, store, known) {
        Err(error) => return missing_or(error),
        Ok(false) => return Ok(Some(CustodyRefusal::BadModule)),
        Ok(true) => {}
    }
    let mut files = BTreeSet::new();
    for (unit, tree) in (0_u32..).zip(&awaiting.spec.units) {
        match store.tree(tree) {
            Ok(tree) => files.extend(tree.files().iter().map(|file| file.blob)),
            Err(BlobError::Tree(_) | BlobError::Length { .. } | BlobError::TooLarge { .. }) => {
                return Ok(Some(CustodyRefusal::BadTree { unit }));
            }
            Err(error) => return missing_or(error),
        }
    }
    // First whether all are there, which is quick, then whether they are sound.
    if let Some(blob) = files.iter().find(|blob| !store.has(blob)) {
        return Ok(Some(CustodyRefusal::Missing { blob: blob.id }));
    }
    for blob in &files {
        if let Err(error) = sound(blob, store, known) {
            return missing_or(error);
        }
    }
    Ok(None)
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
    if lock(known).sound.contains(&blob.id) {
        return Ok(());
    }
    store.verify(blob)?;
    let mut known = lock(known);
    if known.sound.len() >= SOUND_MAX {
        known.sound.clear();
    }
    known.sound.insert(blob.id);
    Ok(())
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
