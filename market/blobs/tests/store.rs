//! What the store promises to whoever keeps other people's content in it.

use samebit_blobs::{BlobError, BlobStore, Folder, PIECE, Reason};
use samebit_spec::{
    content::{BlobRef, Tree, TreeFile},
    unit::Bytes,
};
use std::{fs, path::Path, path::PathBuf};

fn file_of(store: &BlobStore, blob: &BlobRef) -> PathBuf {
    let hex = blob.id.to_string().replace("blob-", "");
    store.path().join("blobs").join(&hex[..2]).join(&hex[2..])
}

fn count_files(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { count_files(&path) } else { 1 })
        .sum()
}

#[test]
fn what_was_put_is_read_back_and_survives_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let blob = BlobStore::open(dir.path()).unwrap().put(b"hello").unwrap();
    assert_eq!(blob, BlobRef::of(b"hello"));
    let store = BlobStore::open(dir.path()).unwrap();
    assert!(store.has(&blob));
    assert_eq!(store.read(&blob).unwrap(), b"hello");
    store.verify(&blob).unwrap();
    assert!(matches!(store.read(&BlobRef::of(b"other")), Err(BlobError::Missing { .. })));
}

#[test]
fn a_corrupt_file_is_named_and_moved_aside_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    for damage in [&b"hellO"[..], b"hell", b"hello!", b""] {
        let blob = store.put(b"hello").unwrap();
        fs::write(file_of(&store, &blob), damage).unwrap();
        let Err(BlobError::Corrupt { blob: named, aside, .. }) = store.read(&blob) else {
            panic!("{damage:?} was not noticed");
        };
        assert_eq!(named, blob.id);
        assert_eq!(fs::read(aside).unwrap(), damage);
        assert!(matches!(store.verify(&blob), Err(BlobError::Missing { .. })));
    }
    let blob = store.put(b"hello").unwrap();
    assert_eq!(store.read(&blob).unwrap(), b"hello");
}

#[test]
fn a_reference_with_a_wrong_length_does_not_cost_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let blob = store.put(b"hello").unwrap();
    let wrong = BlobRef { len: Bytes(4), ..blob };
    assert!(!store.has(&wrong));
    assert!(matches!(store.read(&wrong), Err(BlobError::Length { len: Bytes(5), .. })));
    assert_eq!(store.read(&blob).unwrap(), b"hello");
}

#[test]
fn a_writer_keeps_only_the_promised_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let promised = BlobRef::of(b"promised");

    let mut short = store.writer(promised).unwrap();
    short.write(b"promise").unwrap();
    assert!(matches!(short.finish(), Err(BlobError::Mismatch { .. })));

    let mut other = store.writer(promised).unwrap();
    other.write(b"Promised").unwrap();
    assert!(matches!(other.finish(), Err(BlobError::Mismatch { .. })));

    let mut long = store.writer(promised).unwrap();
    assert!(matches!(long.write(b"promised and more"), Err(BlobError::Mismatch { .. })));
    drop(long);

    // A writer that is dropped half-way, as when its peer goes, leaves nothing at all.
    let mut half = store.writer(promised).unwrap();
    half.write(b"prom").unwrap();
    drop(half);
    assert!(!store.has(&promised));
    assert_eq!(count_files(&dir.path().join("tmp")) + count_files(&dir.path().join("blobs")), 0);

    let mut good = store.writer(promised).unwrap();
    good.write(b"prom").unwrap();
    good.write(b"ised").unwrap();
    good.finish().unwrap();
    assert_eq!(store.read(&promised).unwrap(), b"promised");
}

#[test]
fn a_crash_while_writing_leaves_no_blob_under_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let promised = BlobRef::of(b"promised");
    let mut writer = store.writer(promised).unwrap();
    writer.write(b"prom").unwrap();
    // A killed process runs no destructors.
    std::mem::forget(writer);
    let store = BlobStore::open(dir.path()).unwrap();
    assert!(!store.has(&promised));
    assert_eq!(count_files(&dir.path().join("blobs")), 0);
    store.put(b"promised").unwrap();
    assert_eq!(store.read(&promised).unwrap(), b"promised");
}

#[test]
fn a_full_store_refuses_and_counts_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open_bounded(dir.path(), Bytes(10)).unwrap();
    store.put(b"123456").unwrap();
    assert!(matches!(store.put(b"abcde"), Err(BlobError::Quota { needs: Bytes(5), free: Bytes(4) })));
    // The same blob again costs nothing, and a failed writer gives its claim back.
    store.put(b"123456").unwrap();
    let mut writer = store.writer(BlobRef::of(b"abcd")).unwrap();
    writer.write(b"abcX").unwrap();
    assert!(writer.finish().is_err());
    store.put(b"abcd").unwrap();
    let again = BlobStore::open_bounded(dir.path(), Bytes(10)).unwrap();
    assert!(matches!(again.put(b"x"), Err(BlobError::Quota { free: Bytes(0), .. })));
}

#[test]
fn a_blob_beyond_the_protocols_limit_is_refused_before_a_byte_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let huge = BlobRef { len: Bytes(u64::MAX), ..BlobRef::of(b"") };
    assert!(matches!(store.writer(huge), Err(BlobError::TooLarge { .. })));
}

fn sample(dir: &Path) {
    fs::create_dir_all(dir.join("b/deep")).unwrap();
    fs::write(dir.join("b/deep/z"), b"z").unwrap();
    fs::write(dir.join("b/a"), b"").unwrap();
    fs::write(dir.join("a.txt"), b"text").unwrap();
    fs::write(dir.join("a"), b"twice").unwrap();
    fs::write(dir.join("c"), b"twice").unwrap();
}

#[test]
fn a_folder_goes_in_and_comes_out_the_same() {
    let dir = tempfile::tempdir().unwrap();
    sample(&dir.path().join("in"));
    let store = BlobStore::open(&dir.path().join("store")).unwrap();
    let scanned = store.put_path(&dir.path().join("in")).unwrap();
    assert_eq!(scanned.skipped, vec![]);
    let paths: Vec<_> = scanned.tree.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a", "a.txt", "b/a", "b/deep/z", "c"]);

    // Whoever only looks gets the same tree as whoever copies, in whatever order the disk lists it.
    let folder = Folder::scan(&dir.path().join("in")).unwrap();
    assert_eq!(folder.tree_ref(), scanned.tree_ref());
    for file in folder.tree().files() {
        assert_eq!(folder.read(&file.blob).unwrap(), store.read(&file.blob).unwrap());
    }
    assert_eq!(folder.read(&folder.tree_ref().manifest()).unwrap(), folder.tree().to_bytes());

    let out = dir.path().join("out");
    store.export_tree(&scanned.tree_ref(), &out).unwrap();
    assert_eq!(Folder::scan(&out).unwrap().tree_ref(), scanned.tree_ref());
    assert!(matches!(store.export_tree(&scanned.tree_ref(), &out), Err(BlobError::Exists { .. })));
}

#[test]
fn a_single_file_is_a_tree_with_one_input() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data.json"), b"{}").unwrap();
    let folder = Folder::scan(&dir.path().join("data.json")).unwrap();
    let expected = Tree::new(vec![TreeFile { path: "input".into(), blob: BlobRef::of(b"{}") }]).unwrap();
    assert_eq!(folder.tree(), &expected);
    assert_eq!(folder.read(&BlobRef::of(b"{}")).unwrap(), b"{}");
}

#[cfg(unix)]
#[test]
fn what_a_tree_cannot_hold_is_listed() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    symlink("/etc/passwd", dir.path().join("link")).unwrap();
    symlink("..", dir.path().join("b/up")).unwrap();
    let _socket = UnixListener::bind(dir.path().join("socket")).unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"x").unwrap();
    let scanned = Folder::scan(dir.path()).unwrap().scanned().clone();
    assert_eq!(scanned.tree.files().len(), 5);
    let reasons: Vec<_> = scanned.skipped.iter().map(|skipped| skipped.reason).collect();
    assert_eq!(reasons, [Reason::Symlink, Reason::Name, Reason::Symlink, Reason::Special]);
}

#[test]
fn a_file_that_changed_since_the_scan_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), b"before").unwrap();
    let folder = Folder::scan(dir.path()).unwrap();
    fs::write(dir.path().join("a"), b"after!").unwrap();
    assert!(matches!(folder.read(&BlobRef::of(b"before")), Err(BlobError::Changed { .. })));
}

/// Three pieces and a bit.
fn large() -> Vec<u8> {
    (0..3 * PIECE + 77).map(|at| u8::try_from(at * 7 % 253).unwrap()).collect()
}

#[test]
fn a_large_blob_is_read_piece_by_piece_where_it_lies_and_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let large = large();
    fs::create_dir(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in/a"), &large).unwrap();
    fs::write(dir.path().join("in/b"), b"small").unwrap();
    let folder = Folder::scan(&dir.path().join("in")).unwrap();
    let store = BlobStore::open(&dir.path().join("store")).unwrap();
    let (blob, small) = (store.put(&large).unwrap(), store.put(b"small").unwrap());
    for (index, piece) in (0..).zip(large.chunks(PIECE)) {
        assert_eq!(folder.read_piece(&blob, index).unwrap(), piece);
        assert_eq!(store.read_piece(&blob, index).unwrap(), piece);
    }
    assert_eq!(folder.read_piece(&small, 0).unwrap(), b"small");
    assert_eq!(store.read_piece(&small, 0).unwrap(), b"small");
    for index in [4, u64::MAX] {
        assert!(folder.read_piece(&blob, index).is_err());
        assert!(matches!(store.read_piece(&blob, index), Err(BlobError::Missing { .. })));
    }
    assert_eq!(store.read(&blob).unwrap(), large, "a question too far costs nothing");
}

#[test]
fn a_piece_that_changed_is_noticed_and_the_others_are_not_to_blame() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = large();
    let path = dir.path().join("a");
    fs::write(&path, &bytes).unwrap();
    let folder = Folder::scan(&path).unwrap();
    let store = BlobStore::open(&dir.path().join("store")).unwrap();
    let blob = store.put(&bytes).unwrap();
    store.read_piece(&blob, 0).unwrap();
    bytes[PIECE + 5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    fs::write(file_of(&store, &blob), &bytes).unwrap();
    assert_eq!(folder.read_piece(&blob, 2).unwrap(), bytes[2 * PIECE..3 * PIECE]);
    assert!(matches!(folder.read_piece(&blob, 1), Err(BlobError::Changed { .. })));
    assert_eq!(store.read_piece(&blob, 2).unwrap(), bytes[2 * PIECE..3 * PIECE]);
    assert!(matches!(store.read_piece(&blob, 1), Err(BlobError::Corrupt { .. })));
    assert!(matches!(store.read_piece(&blob, 2), Err(BlobError::Missing { .. })), "it was moved aside");
}

#[test]
fn an_export_with_a_missing_file_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&dir.path().join("store")).unwrap();
    let here = store.put(b"here").unwrap();
    let gone = BlobRef::of(b"gone");
    let files = [("a", here), ("b", gone)].map(|(path, blob)| TreeFile { path: path.into(), blob });
    let tree = store.put_tree(&Tree::new(files.to_vec()).unwrap()).unwrap();
    let above = dir.path().join("exports");
    assert!(matches!(store.export_tree(&tree, &above.join("out")), Err(BlobError::Missing { .. })));
    assert_eq!(fs::read_dir(&above).unwrap().count(), 0);
}

#[test]
fn a_cache_gives_what_a_store_gives() {
    let dir = tempfile::tempdir().unwrap();
    sample(&dir.path().join("in"));
    let store = BlobStore::open_cache(&dir.path().join("store")).unwrap();
    let scanned = store.put_path(&dir.path().join("in")).unwrap();
    store.export_tree(&scanned.tree_ref(), &dir.path().join("out")).unwrap();
    assert_eq!(Folder::scan(&dir.path().join("out")).unwrap().tree_ref(), scanned.tree_ref());
    let mut writer = store.writer(BlobRef::of(b"x")).unwrap();
    writer.write(b"y").unwrap();
    assert!(writer.finish().is_err());
}

#[test]
fn a_blob_that_is_no_manifest_is_no_tree() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let blob = store.put(b"not a tree").unwrap();
    let tree = samebit_spec::content::TreeRef { id: samebit_spec::id::TreeId(blob.id.0), len: blob.len };
    assert!(matches!(store.tree(&tree), Err(BlobError::Tree(_))));
}

#[test]
fn thousands_of_small_files_take_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let start = std::time::Instant::now();
    let blobs = store.put_many((0..2000_u32).map(|n| n.to_le_bytes().repeat(50))).unwrap();
    let took = start.elapsed();
    assert!(blobs.iter().all(|blob| store.has(blob)));
    assert_eq!(count_files(&dir.path().join("tmp")), 0);
    eprintln!("2000 blobs in {took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}
