//! The golden bytes of every type that is hashed, signed or sent, one file per type in `spec/vectors/`.
//!
//! A changed byte fails here. `cargo xtask vectors` writes the files anew; it is for a deliberate change of
//! the protocol, and its diff is what a reviewer reads.

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use samebit_spec::{
    audit::{AuditOpening, seal},
    block::{Block, Genesis, Header, Invitation, beacon_digest, entries_root},
    content::{BlobRef, Tree, TreeFile, TreeRef},
    entry::{Body, Entry, SignedEntry},
    execution::{Access, Execution, Limit, Limits, Mount, Outcome, Profile, TensorOps, Trap},
    history::{HistoryProof, Trace},
    id::{Beacon, BlobId, BlockId, Commitment, GenesisId, JobId, LedgerRoot, StateRoot, TaskId, TreeId},
    job::{CustodyRefusal, JobSpec, RunId},
    message::{BlobAnswer, BlobRequest, Follow, Request, Response, Status},
    offer::{AdapterClass, AdapterOffer, Kinds, Needs, Offer, TensorNeed},
    param::Params,
    receipt::{Output, Receipt, Salt, commitment, heartbeat_mark},
    refusal::Refusal,
    sign::{Domain, PublicKey, Signature, Signer, signing_bytes},
    state::{GlobalValue, MemoryRoot, StateImage, TensorMark, TensorSource, history_root, memory_root},
    task::{TaskForm, TaskManifest},
    tensor::{Dtype, TensorType},
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, Height, MicroCredits, Millis, Time},
    wire::{self, Hashed},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// A key whose secret half is `[seed; 32]`: for vectors only.
struct TestKey(SigningKey);

impl TestKey {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_bytes(&[seed; 32]))
    }
}

impl Signer for TestKey {
    fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

/// Collects the cases of a file and checks on the way that strict decoding inverts the encoding.
struct File {
    name: &'static str,
    context: Option<&'static str>,
    cases: Vec<Value>,
}

impl File {
    fn new(name: &'static str, context: Option<&'static str>) -> Self {
        Self { name, context, cases: Vec::new() }
    }

    fn value<T: BorshSerialize + BorshDeserialize + PartialEq + std::fmt::Debug>(
        mut self,
        case: &str,
        value: &T,
        digest: Option<[u8; 32]>,
    ) -> Self {
        let bytes = wire::encode(value);
        assert_eq!(&wire::decode::<T>(&bytes).expect("own bytes decode"), value, "{case}");
        let mut longer = bytes.clone();
        longer.push(0);
        wire::decode::<T>(&longer).expect_err("a trailing byte is refused");
        if !bytes.is_empty() {
            wire::decode::<T>(&bytes[..bytes.len() - 1]).expect_err("a missing byte is refused");
        }
        self.cases.push(json!({
            "case": case,
            "bytes": hex::encode(&bytes),
            "digest": digest.map(hex::encode),
        }));
        self
    }

    fn hashed<T: Hashed + BorshDeserialize + PartialEq + std::fmt::Debug>(self, case: &str, value: &T) -> Self {
        assert_eq!(self.context, Some(T::CONTEXT));
        self.value(case, value, Some(value.digest()))
    }

    fn derived(mut self, case: &str, input: &str, digest: [u8; 32]) -> Self {
        self.cases.push(json!({ "case": case, "input": input, "digest": hex::encode(digest) }));
        self
    }

    fn json(&self) -> String {
        let value = json!({ "type": self.name, "context": self.context, "cases": self.cases });
        let mut text = serde_json::to_string_pretty(&value).expect("json");
        text.push('\n');
        text
    }
}

fn tree() -> Tree {
    let file = |path: &str, bytes: &[u8]| TreeFile { path: path.into(), blob: BlobRef::of(bytes) };
    Tree::new(vec![file("src/lib.rs", b"fn main() {}\n"), file("Cargo.toml", b"[package]\n"), file("empty", b"")])
        .expect("sound")
}

fn manifest() -> TaskManifest {
    TaskManifest {
        name: "hello".into(),
        module: BlobRef::of(b"\0asm\x01\0\0\0"),
        form: TaskForm::Stepped,
        about: "Greets by name".into(),
        tensor_ops: TensorOps(1),
    }
}

fn spec() -> JobSpec {
    JobSpec {
        buyer: TestKey::new(1).public(),
        nonce: 7,
        task: manifest().id(),
        units: vec![tree().tree_ref(), TreeRef { id: TreeId([9; 32]), len: Bytes(16) }],
        args: vec!["--fast".into()],
        env: vec![("LANG".into(), "C".into())],
        seed: [5; 32],
        limits: Limits::default(),
        needs: Needs {
            inputs: Bytes(12),
            tensors: TensorNeed::Adapter(AdapterOffer { class: AdapterClass::Integrated, kinds: Kinds::F32 }),
        },
        step_budget: Fuel(1_000_000),
        replicas: 2,
        audit: BasisPoints(750),
        seal: Some(seal(&[3; 32], 2)),
        price: FuelPrice(10),
        deadline: Millis(60_000),
        params: Params::DEVNET.id(),
    }
}

fn adapter_offer() -> Offer {
    let adapter = AdapterOffer { class: AdapterClass::Discrete, kinds: Kinds::F32.with(Kinds::I8) };
    Offer { adapter: Some(adapter), ..Offer::default() }
}

fn execution() -> Execution {
    spec().execution(1, &manifest()).expect("unit 1 exists")
}

fn receipt(outcome: Outcome) -> Receipt {
    Receipt {
        execution: execution().id(),
        outcome,
        output: Output { stdout: BlobRef::of(b"hello\n"), tree: tree().tree_ref() },
        fuel: Fuel(123_456),
        steps: 3,
        history: history_root(&[StateRoot([1; 32]), StateRoot([2; 32])]),
    }
}

fn trace() -> Trace {
    Trace { receipt: receipt(Outcome::Exited { code: 0 }), roots: vec![StateRoot([1; 32]), StateRoot([2; 32])] }
}

fn run() -> RunId {
    RunId { job: spec().id(), unit: 1, attempt: 0 }
}

fn genesis() -> Genesis {
    Genesis {
        network: "vectors".into(),
        time: Time(1_700_000_000_000),
        validator: TestKey::new(2).public(),
        params: Params::DEVNET,
        accounts: vec![(TestKey::new(1).public(), MicroCredits(1_000_000))],
    }
}

fn bodies() -> Vec<(&'static str, Body)> {
    let key = TestKey::new(3).public();
    let job = JobId([4; 32]);
    vec![
        ("transfer", Body::Transfer { to: key, amount: MicroCredits(5) }),
        (
            "host-register",
            Body::HostRegister {
                operator: key,
                ask: FuelPrice(9),
                slots: 2,
                offer: Offer::default(),
                bond: MicroCredits(10_000_000),
            },
        ),
        ("host-update", Body::HostUpdate { ask: FuelPrice(8), slots: 0, offer: adapter_offer() }),
        ("bond-add", Body::BondAdd { amount: MicroCredits(1) }),
        ("bond-withdraw", Body::BondWithdraw { amount: MicroCredits(2) }),
        ("task-publish", Body::TaskPublish { manifest: manifest() }),
        ("job-post", Body::JobPost { spec: spec() }),
        ("job-cancel", Body::JobCancel { job }),
        ("audit-open", Body::AuditOpen { job, unit: 1, opening: AuditOpening::of(&[3; 32], 2, 1).expect("unit 1") }),
        ("custody-sign", Body::CustodySign { job }),
        (
            "custody-refuse-missing",
            Body::CustodyRefuse { job, reason: CustodyRefusal::Missing { blob: BlobId([6; 32]) } },
        ),
        ("custody-refuse-tree", Body::CustodyRefuse { job, reason: CustodyRefusal::BadTree { unit: 1 } }),
        ("custody-refuse-module", Body::CustodyRefuse { job, reason: CustodyRefusal::BadModule }),
        ("custody-refuse-input", Body::CustodyRefuse { job, reason: CustodyRefusal::TooMuchInput { unit: 1 } }),
        ("custody-refuse-large", Body::CustodyRefuse { job, reason: CustodyRefusal::TooLarge { unit: 1 } }),
        ("run-accept", Body::RunAccept { run: run() }),
        ("run-decline", Body::RunDecline { run: run() }),
        ("run-heartbeat", Body::RunHeartbeat { run: run(), mark: [7; 32], fuel: Fuel(99) }),
        ("run-withdraw", Body::RunWithdraw { run: run() }),
        ("run-commit", Body::RunCommit { run: run(), commitment: Commitment([8; 32]) }),
        (
            "run-reveal",
            Body::RunReveal {
                run: run(),
                salt: Salt([9; 32]),
                receipt: receipt(Outcome::Exited { code: 0 }),
                engine: "wasmtime-48.0.8".into(),
            },
        ),
    ]
}

fn entry(body: Body) -> Entry {
    Entry { genesis: genesis().id(), signer: TestKey::new(1).public(), sequence: 7, body }
}

fn signed(body: Body) -> SignedEntry {
    let entry = entry(body);
    let signature = TestKey::new(1).sign(Domain::Entry, entry.genesis, entry.digest());
    SignedEntry { entry, signature }
}

fn block() -> Block {
    let key = TestKey::new(2);
    let genesis = genesis().id();
    let entries = vec![signed(Body::BondAdd { amount: MicroCredits(1) })];
    let header = Header {
        genesis,
        height: Height(1),
        time: Time(1_700_000_000_500),
        parent: BlockId::default(),
        entries: entries_root(&entries),
        state: LedgerRoot([3; 32]),
        beacon_proof: key.sign(Domain::Beacon, genesis, beacon_digest(Beacon::default(), Height(1))),
    };
    let signature = key.sign(Domain::Block, genesis, header.digest());
    Block { header, signature, entries }
}

fn image() -> StateImage {
    StateImage {
        execution: execution().id(),
        step: 2,
        past: [8; 32],
        fuel: Fuel(1000),
        memory_pages: 17,
        memory: memory_root(&[1; 5000]),
        globals: vec![
            GlobalValue::I32(1),
            GlobalValue::I64(2),
            GlobalValue::F32(0x7fc0_0000),
            GlobalValue::F64(0x7ff8_0000_0000_0000),
            GlobalValue::V128(5),
        ],
        dropped_data: vec![],
        dropped_elements: vec![],
        wasi: [6; 32],
        stdout: BlobRef::of(b"so far"),
        tensors: vec![],
    }
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    let traps = [
        ("unreachable", Trap::Unreachable),
        ("memory", Trap::MemoryOutOfBounds),
        ("table", Trap::TableOutOfBounds),
        ("null-call", Trap::IndirectCallToNull),
        ("bad-signature", Trap::BadSignature),
        ("overflow", Trap::IntegerOverflow),
        ("division", Trap::DivisionByZero),
        ("conversion", Trap::BadConversionToInteger),
        ("stack", Trap::StackOverflow),
        ("step-code", Trap::BadStepCode),
        ("uncaught", Trap::UncaughtException),
    ];
    let mut all = vec![
        ("exited", Outcome::Exited { code: 3 }),
        ("failed", Outcome::Failed),
        ("fuel", Outcome::Exhausted { limit: Limit::Fuel }),
        ("step-fuel", Outcome::Exhausted { limit: Limit::StepFuel }),
        ("steps", Outcome::Exhausted { limit: Limit::Steps }),
        ("memory-limit", Outcome::Exhausted { limit: Limit::Memory }),
    ];
    all.extend(traps.map(|(name, trap)| (name, Outcome::Trapped { trap })));
    all
}

fn content_files() -> Vec<File> {
    let tree = tree();
    vec![
        File::new("Offer", None).value("processor", &Offer::default(), None).value("adapter", &adapter_offer(), None),
        File::new("BlobRef", None).value("empty", &BlobRef::of(b""), Some(BlobRef::of(b"").id.0)).value(
            "hello",
            &BlobRef::of(b"hello\n"),
            Some(BlobRef::of(b"hello\n").id.0),
        ),
        File::new("Tree", None).value("three-files", &tree.files().to_vec(), None).derived(
            "three-files-manifest",
            &hex::encode(tree.to_bytes()),
            tree.tree_ref().id.0,
        ),
        File::new("TaskManifest", Some(TaskManifest::CONTEXT)).hashed("stepped", &manifest()).hashed(
            "command",
            &TaskManifest { form: TaskForm::Command, about: String::new(), tensor_ops: TensorOps(0), ..manifest() },
        ),
    ]
}

fn execution_files() -> Vec<File> {
    let mut bare = execution();
    bare.mounts.push(Mount { path: ".".into(), tree: tree().tree_ref(), access: Access::CopyOnWrite });
    bare.profile = Profile::Samebit1;
    bare.tensor_ops = TensorOps(0);
    let mut zeros = vec![0; 3 * 4096];
    let only_zeros = memory_root(&zeros);
    assert_eq!(only_zeros, MemoryRoot::default());
    zeros[4096] = 1;
    let many: Vec<StateRoot> = (0..4097u32)
        .map(|n| {
            let mut root = [0; 32];
            root[..4].copy_from_slice(&n.to_le_bytes());
            StateRoot(root)
        })
        .collect();
    let of = TensorType::new(Dtype::F32, &[2, 3]).expect("six elements");
    let source = TensorSource { blob: BlobRef::of(b"weights"), offset: 4096 };
    let bytes = TensorMark::of(3, &of, |take| take(&[1; 24]));
    let file = TensorMark::of_source(2, &of, &source);
    let tensors = vec![TensorMark::next(4), file, bytes];
    let mut receipts = File::new("Receipt", Some(Receipt::CONTEXT));
    for (case, outcome) in outcomes() {
        receipts = receipts.hashed(case, &receipt(outcome));
    }
    vec![
        File::new("Execution", Some(Execution::CONTEXT)).hashed("unit", &execution()).hashed("mounted", &bare),
        File::new("StateImage", Some(StateImage::CONTEXT)).hashed("usual", &image()).hashed(
            "every-field",
            &StateImage { dropped_data: vec![1], dropped_elements: vec![2, 3], tensors, ..image() },
        ),
        File::new("TensorMark", None)
            .derived("next", "next handle 4", TensorMark::next(4).content)
            .derived("bytes", "f32 [2, 3] of 24 bytes of 1", bytes.content)
            .derived("file", "f32 [2, 3] of the blob `weights` from 4096 on", file.content),
        File::new("MemoryRoot", None)
            .derived("zeros", "12288 zero bytes", only_zeros.0)
            .derived("one-byte", "12288 bytes, all zero but a 1 at 4096", memory_root(&zeros).0)
            .derived("short-leaf", "5000 bytes of 1", memory_root(&[1; 5000]).0),
        File::new("HistoryRoot", None)
            .derived("none", "no roots", history_root(&[]).0)
            .derived("two", "roots [1; 32] and [2; 32]", history_root(&[StateRoot([1; 32]), StateRoot([2; 32])]).0)
            .derived("two-segments", "4097 roots, the n-th n in little-endian u32 then zeros", history_root(&many).0),
        File::new("HistoryProof", None)
            .value("only", &HistoryProof::open(&many[1..2], 0).expect("it is there"), None)
            .value("last-of-two-segments", &HistoryProof::open(&many, 4096).expect("it is there"), None),
        File::new("Trace", None).value("two", &trace(), None),
        File::new("Output", Some(Output::CONTEXT)).hashed("usual", &receipt(Outcome::Failed).output),
        receipts,
        File::new("Commitment", None).derived(
            "usual",
            "run, host key of seed 3, salt [9; 32], receipt `exited` of Receipt.json",
            commitment(&run(), &TestKey::new(3).public(), &Salt([9; 32]), receipt(Outcome::Exited { code: 3 }).id()).0,
        ),
        File::new("Heartbeat", None).derived(
            "usual",
            "salt [9; 32], root [1; 32]",
            heartbeat_mark(&Salt([9; 32]), &StateRoot([1; 32])),
        ),
    ]
}

fn ledger_files() -> Vec<File> {
    let signed_bytes = |case: &str, domain: Domain| {
        json!({
            "case": case,
            "input": "genesis `one-account` of Genesis.json, digest [7; 32]",
            "bytes": hex::encode(signing_bytes(domain, genesis().id(), [7; 32])),
        })
    };
    let mut signing = File::new("SigningBytes", None);
    for (case, domain) in [("entry", Domain::Entry), ("block", Domain::Block), ("beacon", Domain::Beacon)] {
        signing.cases.push(signed_bytes(case, domain));
    }
    let mut entries = File::new("Entry", Some(Entry::CONTEXT));
    let mut signed_entries = File::new("SignedEntry", None);
    for (case, body) in bodies() {
        entries = entries.hashed(case, &entry(body.clone()));
        let signed = signed(body);
        signed.verify().expect("own signature");
        signed_entries = signed_entries.value(case, &signed, None);
    }
    let block = block();
    block.verify(&TestKey::new(2).public(), Beacon::default()).expect("own block");
    vec![
        File::new("JobSpec", Some(JobSpec::CONTEXT)).hashed("two-units", &spec()),
        File::new("Params", Some(Params::CONTEXT)).hashed("devnet", &Params::DEVNET).hashed("public", &Params::PUBLIC),
        File::new("Genesis", Some(Genesis::CONTEXT)).hashed("one-account", &genesis()),
        signing,
        entries,
        signed_entries,
        File::new("Header", Some(Header::CONTEXT))
            .hashed("first", &block.header)
            .derived("beacon", "of the header `first`", block.header.beacon().0)
            .derived("beacon-input", "beacon of 32 zero bytes, height 1", beacon_digest(Beacon::default(), Height(1)))
            .derived("entries", "of the block `first` of Block.json", block.header.entries),
        File::new("Block", None).value("first", &block, Some(block.header.id().0)),
    ]
}

fn wire_files() -> Vec<File> {
    let entry = signed(Body::BondAdd { amount: MicroCredits(1) });
    let status =
        Status { genesis: genesis().id(), height: Height(3), head: BlockId([1; 32]), time: Time(1_700_000_000_000) };
    let refusal = Refusal::WrongChain { own: GenesisId([1; 32]), given: GenesisId([2; 32]) };
    vec![
        File::new("Request", None)
            .value("status", &Request::Status, None)
            .value("genesis", &Request::Genesis, None)
            .value("submit", &Request::Submit(entry.clone()), None)
            .value("missing", &Request::Missing(vec![BlobId([1; 32])]), None),
        File::new("Response", None)
            .value("status", &Response::Status(status), None)
            .value("genesis", &Response::Genesis(genesis()), None)
            .value("included", &Response::Included { entry: entry.entry.id(), height: Height(4) }, None)
            .value("refused", &Response::Refused(refusal), None)
            .value("refused-task", &Response::Refused(Refusal::TaskUnknown { task: TaskId([1; 32]) }), None)
            .value("missing", &Response::Missing(vec![]), None)
            .value("failed", &Response::Failed("disk full".into()), None),
        File::new("Stream", None)
            .value("follow", &Follow { from: Height(1) }, None)
            .value("get", &BlobRequest::Get { id: BlobId([1; 32]) }, None)
            .value("put", &BlobRequest::Put { id: BlobId([1; 32]), len: Bytes(5) }, None)
            .value("found", &BlobAnswer::Found { len: Bytes(5) }, None)
            .value("kept", &BlobAnswer::Kept, None)
            .value("unknown", &BlobAnswer::Unknown, None)
            .value("refused", &BlobAnswer::Refused, None),
        File::new("Invitation", None).value(
            "one-address",
            &Invitation { genesis: genesis(), addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()] },
            None,
        ),
    ]
}

fn files() -> Vec<File> {
    [content_files(), execution_files(), ledger_files(), wire_files()].into_iter().flatten().collect()
}

#[test]
fn every_hashed_signed_or_sent_type_keeps_its_bytes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let write = std::env::var_os("SAMEBIT_WRITE_VECTORS").is_some();
    let mut names = Vec::new();
    for file in files() {
        let path = folder.join(format!("{}.json", file.name));
        names.push(format!("{}.json", file.name));
        if write {
            fs::write(&path, file.json()).expect("the vectors folder is writable");
            continue;
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", file.name));
        assert_eq!(
            golden,
            file.json(),
            "{} changed its bytes; if that is meant, run `cargo xtask vectors` and say why in spec/decisions",
            file.name
        );
    }
    for found in fs::read_dir(&folder).expect("the vectors folder is there") {
        let name = found.expect("readable").file_name().into_string().expect("utf-8");
        // Results of operations, which `samebit-tensor` checks.
        if name == "tensor" {
            continue;
        }
        assert!(names.contains(&name), "{name} is no type's vectors");
    }
}

#[test]
fn a_signature_of_one_domain_or_chain_fits_no_other() {
    let key = TestKey::new(1);
    let digest = [7; 32];
    let signature = key.sign(Domain::Entry, GenesisId([1; 32]), digest);
    let check = |domain, genesis, digest| key.public().verify(domain, genesis, digest, &signature);
    check(Domain::Entry, GenesisId([1; 32]), digest).expect("as signed");
    check(Domain::Block, GenesisId([1; 32]), digest).expect_err("another domain");
    check(Domain::Entry, GenesisId([2; 32]), digest).expect_err("another chain");
    check(Domain::Entry, GenesisId([1; 32]), [8; 32]).expect_err("another message");
}

#[test]
fn keys_of_small_order_cannot_be_registered() {
    // The eight torsion points, in canonical form (RFC 8032 curve; ZIP-215, section "Test vectors").
    let identity = {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    };
    let order_two = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };
    for bytes in [identity, order_two, [0; 32]] {
        PublicKey(bytes).check().expect_err("small order");
    }
    let off_curve = {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        bytes
    };
    PublicKey(off_curve).check().expect_err("no point of the curve has y = 2");
    TestKey::new(1).public().check().expect("an ordinary key");
}

#[test]
fn trees_refuse_paths_that_leave_them_or_clash() {
    let blob = BlobRef::of(b"x");
    let build = |paths: &[&str]| Tree::new(paths.iter().map(|p| TreeFile { path: (*p).into(), blob }).collect());
    build(&["a", "a.b", "b/c", "b/d"]).expect("sound");
    for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b"] {
        build(&[bad]).expect_err(bad);
    }
    build(&["a", "a"]).expect_err("twice");
    build(&["a", "a/b"]).expect_err("a file is no folder");
    build(&["a", "a-b", "a/b"]).expect_err("a file is no folder, with another between them");
    let sound = build(&["a", "b"]).expect("sound").to_bytes();
    Tree::from_bytes(&sound).expect("own bytes");
    Tree::from_bytes(&sound[1..]).expect_err("no magic");
    Tree::from_bytes(&sound[..sound.len() - 1]).expect_err("short");
}
