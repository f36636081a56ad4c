//! Ordered tables that can take a block back, and their hashes (`spec/05-settlement.md`, section 5).
//!
//! A [`Table`] remembers the rows that a block touched as they were before it, so that undoing a block costs
//! what the block did and not what the ledger holds. [`Hashes`] keeps the hash of every row and of 256 buckets,
//! so that a root after a block costs the touched rows and their buckets.

use borsh::BorshSerialize;
use samebit_spec::{
    id::{JobId, TaskId},
    sign::PublicKey,
    wire,
};
use std::collections::BTreeMap;

/// Rows by key, with what the current block has changed.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    /// Rows touched since [`Table::keep`] as they were then; `None`: not there.
    before: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), before: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(crate) const fn rows(&self) -> &BTreeMap<K, V> {
        &self.rows
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        if !self.before.contains_key(key) {
            self.before.insert(key.clone(), Some(row.clone()));
        }
        Some(row)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let old = self.rows.insert(key.clone(), value);
        self.before.entry(key).or_insert(old);
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.rows.remove(key)?;
        self.before.entry(key.clone()).or_insert_with(|| Some(old.clone()));
        Some(old)
    }

    /// The touched rows stay as they are.
    pub(crate) fn keep(&mut self) {
        self.before.clear();
    }

    /// The touched rows become what they were. The caller still sees them as touched until [`Self::keep`].
    pub(crate) fn restore(&mut self) {
        for (key, old) in &self.before {
            match old {
                Some(row) => self.rows.insert(key.clone(), row.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

/// A key whose first byte spreads rows over buckets.
pub(crate) trait Key: Ord + Copy + BorshSerialize {
    fn first_of(bucket: u8) -> Self;
    fn bucket(&self) -> u8;
}

macro_rules! key {
    ($($name:ident),*) => {$(
        impl Key for $name {
            fn first_of(bucket: u8) -> Self {
                let mut bytes = [0; 32];
                bytes[0] = bucket;
                Self(bytes)
            }

            fn bucket(&self) -> u8 {
                self.0[0]
            }
        }
    )*};
}

key!(PublicKey, TaskId, JobId);

/// Row and bucket hashes of a [`Table`] as of its last [`Hashes::refresh`].
#[derive(Clone, Debug)]
pub(crate) struct Hashes<K> {
    rows: BTreeMap<K, [u8; 32]>,
    buckets: BTreeMap<u8, [u8; 32]>,
}

impl<K> Default for Hashes<K> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), buckets: BTreeMap::new() }
    }
}

impl<K: Key> Hashes<K> {
    /// The root of `table` as it is now, without keeping what was computed.
    pub(crate) fn root<V: Clone + BorshSerialize>(&self, table: &Table<K, V>) -> [u8; 32] {
        root_of(&self.buckets_now(table, &fresh(table)))
    }

    /// Takes over the hashes of the rows that were touched.
    pub(crate) fn refresh<V: Clone + BorshSerialize>(&mut self, table: &Table<K, V>) {
        let fresh = fresh(table);
        self.buckets = self.buckets_now(table, &fresh);
        for (key, hash) in fresh {
            match hash {
                Some(hash) => self.rows.insert(key, hash),
                None => self.rows.remove(&key),
            };
        }
    }

    fn buckets_now<V: Clone>(
        &self,
        table: &Table<K, V>,
        fresh: &BTreeMap<K, Option<[u8; 32]>>,
    ) -> BTreeMap<u8, [u8; 32]> {
        let mut buckets = self.buckets.clone();
        let mut touched: Vec<u8> = fresh.keys().map(Key::bucket).collect();
        touched.dedup();
        for bucket in touched {
            let mut marks: Vec<[u8; 32]> = Vec::new();
            for (key, _) in table.rows().range(K::first_of(bucket)..).take_while(|(key, _)| key.bucket() == bucket) {
                let hash = match fresh.get(key) {
                    Some(hash) => *hash,
                    None => self.rows.get(key).copied(),
                };
                marks.push(hash.expect("every row was touched once since the table was empty"));
            }
            if marks.is_empty() {
                buckets.remove(&bucket);
            } else {
                buckets.insert(bucket, wire::derive("samebit/v1/ledger-bucket", &wire::encode(&marks)));
            }
        }
        buckets
    }
}

/// Hash of each touched row, key included; `None` for one that is gone.
fn fresh<K: Key, V: Clone + BorshSerialize>(table: &Table<K, V>) -> BTreeMap<K, Option<[u8; 32]>> {
    let hash = |key: &K| {
        let row = table.get(key)?;
        Some(wire::derive("samebit/v1/ledger-row", &wire::encode(&(key, row))))
    };
    table.before.keys().map(|key| (*key, hash(key))).collect()
}

fn root_of(buckets: &BTreeMap<u8, [u8; 32]>) -> [u8; 32] {
    wire::derive("samebit/v1/ledger-table", &wire::encode(buckets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, u64),
        Change(u8, u8, u64),
        Remove(u8, u8),
        Keep,
        Undo,
        Refresh,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few keys in few buckets, so that rows meet.
        let key = (0_u8..3, 0_u8..4);
        prop_oneof![
            (key.clone(), any::<u64>()).prop_map(|((a, b), v)| Step::Put(a, b, v)),
            (key.clone(), any::<u64>()).prop_map(|((a, b), v)| Step::Change(a, b, v)),
            key.prop_map(|(a, b)| Step::Remove(a, b)),
            Just(Step::Keep),
            Just(Step::Undo),
            Just(Step::Refresh),
        ]
    }

    fn key(a: u8, b: u8) -> PublicKey {
        let mut bytes = [0; 32];
        (bytes[0], bytes[1]) = (a, b);
        PublicKey(bytes)
    }

    /// The root as the chapter defines it, from the rows alone.
    fn root_from_nothing(rows: &BTreeMap<PublicKey, u64>) -> [u8; 32] {
        let mut table = Table::default();
        for (key, row) in rows {
            table.insert(*key, *row);
        }
        Hashes::default().root(&table)
    }

    proptest! {
        #[test]
        fn a_table_is_what_it_was_and_its_root_is_that_of_its_rows(steps in prop::collection::vec(step(), 0..60)) {
            let (mut table, mut hashes) = (Table::default(), Hashes::default());
            let (mut model, mut kept) = (BTreeMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Put(a, b, v) => { table.insert(key(a, b), v); model.insert(key(a, b), v); }
                    Step::Change(a, b, v) => {
                        if let Some(row) = table.get_mut(&key(a, b)) { *row = v; }
                        if let Some(row) = model.get_mut(&key(a, b)) { *row = v; }
                    }
                    Step::Remove(a, b) => { prop_assert_eq!(table.remove(&key(a, b)), model.remove(&key(a, b))); }
                    Step::Keep => { hashes.refresh(&table); table.keep(); kept = model.clone(); }
                    Step::Undo => { table.restore(); hashes.refresh(&table); table.keep(); model = kept.clone(); }
                    Step::Refresh => hashes.refresh(&table),
                }
                prop_assert_eq!(table.rows(), &model);
                prop_assert_eq!(hashes.root(&table), root_from_nothing(&model));
            }
        }
    }
}
