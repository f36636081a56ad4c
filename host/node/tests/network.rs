//! A whole network in one process: a validator, hosts, a client, real sockets on loopback.

use samebit_blobs::BlobStore;
use samebit_market::agent::Conduct;
use samebit_net::{Lane, Link, NetConfig, Remote};
use samebit_node::{
    audit::{self, Ours, Verdict},
    client::{Client, ClientError},
    daemon::{Announce, NodeError, Shutdown, Stop},
    host, invitation,
    keys::Keypair,
    validator,
};
use samebit_runtime::{
    Backend, Cpu, Runtime,
    backend::{Failure, Fault, Tensor},
};
use samebit_spec::{
    block::{Genesis, Invitation},
    content::{BlobRef, Tree, TreeFile, TreeRef},
    entry::{Body, Entry, SignedEntry},
    execution::{Limits, TensorOps},
    id::{BlobId, JobId, TaskId},
    job::{Closing, CustodyRefusal, HostRecord, HostTally, JobPhase, JobSpec, RunPhase, RunRole, UnitPhase},
    message::{BlobAnswer, BlobRequest, Request, Response},
    offer::{AdapterClass, AdapterOffer, Kinds, Needs, Offer, TensorNeed},
    param::{self, Params},
    refusal::Refusal,
    sign::{Domain, Signature, SignatureError, Signer},
    task::{TaskForm, TaskManifest},
    tensor::{Graph, Node, Op, Plan},
    unit::{BasisPoints, Bytes, Fuel, FuelPrice, MicroCredits, Millis, Time},
    wire,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(90);
const RICH: MicroCredits = MicroCredits(1_000_000_000);

/// Writes its only argument's digits, whatever they are: `hello 42`.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "hello 42\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 9))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

const VALIDATOR: u8 = 1;
const BUYER: u8 = 2;
/// Accounts of hosts begin here, their operators 50 later, their peers 100 later.
const HOSTS: u8 = 10;

struct Daemon {
    stop: Stop,
    task: JoinHandle<Result<(), NodeError>>,
}

struct Network {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    genesis: Genesis,
    validator: Option<Daemon>,
    hosts: Vec<Daemon>,
}

impl Network {
    fn start(hosts: &[Conduct]) -> Self {
        let mut accounts: Vec<_> =
            (0..8).map(|n| (key(HOSTS + n).public(), RICH)).chain([(key(BUYER).public(), RICH)]).collect();
        accounts.sort();
        let time = Time(u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap());
        let (network, validator) = (String::from("test"), key(VALIDATOR).public());
        let genesis = Genesis { network, time, validator, params: Params::DEVNET, accounts };
        let mut network = Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            genesis,
            validator: None,
            hosts: Vec::new(),
        };
        network.start_validator();
        for (&conduct, number) in hosts.iter().zip(0..) {
            network.start_host(number, conduct);
        }
        network
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start_validator(&mut self) {
        let (stop, shutdown) = Shutdown::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let config = validator::Config {
            dir: self.path("validator"),
            genesis: self.genesis.clone(),
            signer: key(VALIDATOR),
            peer: key(VALIDATOR + 100),
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".into(), "/ip4/127.0.0.1/tcp/0".into()],
            invitation: Some(self.path("invitation.json")),
            quota: Bytes(64 << 20),
            announce: Announce::Tell(tell),
        };
        let task = self.runtime.spawn(validator::run(config, shutdown));
        match self.runtime.block_on(told) {
            Ok(announcement) => assert_eq!(announcement.addresses.len(), 2),
            Err(_) => panic!("{:?}", self.runtime.block_on(task)),
        }
        self.validator = Some(Daemon { stop, task });
    }

    fn stop_validator(&mut self) {
        let Daemon { stop, task } = self.validator.take().unwrap();
        stop.now();
        self.runtime.block_on(task).unwrap().unwrap();
    }

    fn start_host(&mut self, number: u8, conduct: Conduct) {
        self.start_host_with(number, conduct, Offer::default(), None);
    }

    fn start_host_with(&mut self, number: u8, conduct: Conduct, offer: Offer, backend: Option<Arc<dyn Backend>>) {
        let (stop, shutdown) = Shutdown::new();
        let (tell, told) = tokio::sync::oneshot::channel();
        let config = host::Config {
            dir: self.path(&format!("host-{number}")),
            invitation: self.invitation(),
            account: Some(key(HOSTS + number)),
            operator: key(HOSTS + number + 50),
            peer: key(HOSTS + number + 100),
            ask: FuelPrice(5),
            slots: 4,
            bond: MicroCredits(100_000_000),
            conduct,
            offer,
            backend,
            announce: Announce::Tell(tell),
        };
        let task = self.runtime.spawn(host::run(config, shutdown));
        if self.runtime.block_on(told).is_err() {
            panic!("{:?}", self.runtime.block_on(task));
        }
        self.hosts.push(Daemon { stop, task });
    }

    fn invitation(&self) -> Invitation {
        invitation::read(&self.path("invitation.json")).unwrap()
    }

    fn client(&self) -> Client {
        Client::connect(&self.invitation(), Some(&self.path("chain"))).unwrap()
    }

    fn link(&self, number: u8) -> Link {
        let start = samebit_net::start(NetConfig::dialler([number; 32]));
        let (net, _) = self.runtime.block_on(start).unwrap();
        Link::new(net, Remote::parse(&self.invitation().addresses).unwrap())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for daemon in self.hosts.drain(..).chain(self.validator.take()) {
            daemon.stop.now();
            let _ = self.runtime.block_on(daemon.task);
        }
    }
}

fn publish(client: &mut Client, store: &BlobStore) -> TaskId {
    publish_as(client, store, "hello", HELLO, TensorOps::default())
}

fn publish_as(client: &mut Client, store: &BlobStore, name: &str, text: &str, tensor_ops: TensorOps) -> TaskId {
    let module = store.put(&wat::parse_str(text).unwrap()).unwrap();
    client.push(store, &[module], |_, _| ()).unwrap();
    let manifest =
        TaskManifest { name: name.into(), module, form: TaskForm::Command, about: String::new(), tensor_ops };
    client.submit(&key(BUYER), Body::TaskPublish { manifest: manifest.clone() }).unwrap();
    manifest.id()
}

fn input(store: &BlobStore, text: &str) -> TreeRef {
    let blob = store.put(text.as_bytes()).unwrap();
    store.put_tree(&Tree::new(vec![TreeFile { path: "input".into(), blob }]).unwrap()).unwrap()
}

fn spec(task: TaskId, units: Vec<TreeRef>) -> JobSpec {
    JobSpec {
        buyer: key(BUYER).public(),
        nonce: 0,
        task,
        units,
        args: vec![],
        env: vec![],
        seed: [0; 32],
        limits: Limits { fuel: Fuel(100_000_000), ..Limits::default() },
        needs: Needs { inputs: Bytes(1 << 30), ..Needs::default() },
        step_budget: param::STEP_BUDGET_DEFAULT,
        replicas: 2,
        audit: BasisPoints(0),
        seal: None,
        price: FuelPrice(10),
        deadline: Millis(60_000),
        params: Params::DEVNET.id(),
    }
}

fn post(client: &mut Client, mut spec: JobSpec) -> JobId {
    client
        .submit_with(&key(BUYER), |sequence| {
            spec.nonce = sequence;
            Body::JobPost { spec: spec.clone() }
        })
        .unwrap();
    spec.id()
}

fn closed(client: &mut Client, job: JobId) -> Closing {
    client
        .wait(LONG, |state| match state.jobs()[&job].phase {
            JobPhase::Closed { closing, .. } => Some(closing),
            JobPhase::Posted { .. } | JobPhase::Open { .. } => None,
        })
        .unwrap()
}

#[test]
fn a_job_is_published_run_by_two_hosts_agreed_on_and_paid() {
    let network = Network::start(&[Conduct::Honest; 3]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let unit = input(&store, "anything");
    let pushed = client.push_trees(&store, &[unit], |_, _| ()).unwrap();
    assert_eq!(pushed.blobs, 2);
    assert_eq!(client.push_trees(&store, &[unit], |_, _| ()).unwrap().blobs, 0, "a second push finds all there");

    let job = post(&mut client, spec(task, vec![unit]));
    assert_eq!(closed(&mut client, job), Closing::Settled);
    let record = client.state().jobs()[&job].clone();
    let unit = &record.units[0];
    assert!(matches!(unit.phase, UnitPhase::Final { .. }), "{:?}", unit.phase);
    let upheld: Vec<_> = unit.runs.iter().filter(|run| run.phase == RunPhase::Upheld).collect();
    assert_eq!(upheld.len(), 2);
    assert!(upheld.iter().all(|run| run.paid > MicroCredits::ZERO));
    client.state().check().unwrap();

    // The output is there for whoever wants it.
    let receipt = upheld[0].receipt.clone().unwrap();
    client.fetch(&receipt.output.stdout, &store).unwrap();
    assert_eq!(store.read(&receipt.output.stdout).unwrap(), b"hello 42\n");
    client.fetch_tree(&receipt.output.tree, &store).unwrap();

    // A second command starts from the cache that the first one left, and sees the same.
    let head = client.state().head();
    drop(client);
    let mut again = network.client();
    assert!(again.state().jobs().contains_key(&job), "the cache was replayed");
    again.sync().unwrap();
    assert!(again.state().height() > samebit_spec::unit::Height::ZERO && head != Default::default());
}

/// One replica, audited for certain, and the one host that lies among four is found in each unit that it is drawn for.
#[test]
fn one_replica_that_lies_is_found_by_a_blind_audit() {
    let network = Network::start(&[Conduct::WrongOutput, Conduct::Honest, Conduct::Honest, Conduct::Honest]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let units: Vec<_> = (0..8).map(|n| input(&store, &format!("unit {n}"))).collect();
    client.push_trees(&store, &units, |_, _| ()).unwrap();
    let liar = key(HOSTS).public();
    let job = post(&mut client, JobSpec { replicas: 1, audit: BasisPoints(10_000), ..spec(task, units) });
    assert_eq!(closed(&mut client, job), Closing::Settled);

    let state = client.sync().unwrap();
    let record = &state.jobs()[&job];
    for unit in &record.units {
        assert!(matches!(unit.phase, UnitPhase::Final { .. }), "{:?}", unit.phase);
        assert!(unit.audit.is_ordered());
        let audits: Vec<_> = unit.runs.iter().filter(|run| run.role == RunRole::Audit).collect();
        assert!(audits.iter().any(|run| run.receipt.is_some()), "{:?}", unit.runs);
        let drawn = |role| unit.runs.iter().filter(|run| run.role == role).map(|run| run.drawn_at).min();
        assert!(drawn(RunRole::Audit) > drawn(RunRole::Replica), "an auditor is drawn after the replica is bound");
    }
    let runs = || record.units.iter().flat_map(|unit| &unit.runs);
    assert!(runs().filter(|run| run.receipt.is_some()).count() >= 16);
    assert!(runs().all(|run| run.host == liar || run.phase != RunPhase::Slashed));
    assert!(runs().all(|run| run.host != liar || run.phase != RunPhase::Upheld));
    state.check().unwrap();
}

#[test]
fn a_host_that_reports_a_wrong_output_is_slashed_and_an_audit_names_it() {
    let network = Network::start(&[Conduct::WrongOutput, Conduct::Honest, Conduct::Honest]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let units: Vec<_> = (0..8).map(|n| input(&store, &format!("unit {n}"))).collect();
    client.push_trees(&store, &units, |_, _| ()).unwrap();
    let liar = key(HOSTS).public();
    let before = client.state().hosts()[&liar].clone();
    let job = post(&mut client, spec(task, units));
    assert_eq!(closed(&mut client, job), Closing::Settled);

    let state = client.sync().unwrap();
    let record = &state.jobs()[&job];
    assert!(record.units.iter().all(|unit| matches!(unit.phase, UnitPhase::Final { .. })), "{:?}", record.units);
    let runs = || record.units.iter().flat_map(|unit| &unit.runs);
    assert!(runs().any(|run| run.host == liar && run.phase == RunPhase::Slashed));
    assert!(runs().all(|run| run.host == liar || run.phase != RunPhase::Slashed));
    let after = &state.hosts()[&liar];
    assert!(after.bond_free.0 + after.bond_locked.0 < before.bond_free.0 + before.bond_locked.0);
    assert!(after.tally.slashed > 0);
    state.check().unwrap();

    let runtime = Runtime::new().unwrap();
    let report = audit::audit(&mut client, &store, &runtime, job, None, &mut |_| ()).unwrap();
    assert!(report.any_wrong() && !report.ledger_wrong() && !report.cannot_tell(), "{report:?}");
    let lies: Vec<_> = report.units.iter().flat_map(|unit| &unit.runs).filter(|run| run.host == liar).collect();
    assert!(lies.iter().all(|run| run.ours == Verdict::Wrong && run.differs == ["stdout"]), "{lies:?}");
    // The lie itself can be fetched and looked at.
    let shown = lies[0].receipt.clone().unwrap().output.stdout;
    client.fetch(&shown, &store).unwrap();
    assert_eq!(store.read(&shown).unwrap(), b"hello 52\n");

    // An auditor without the content accuses nobody.
    let lost = BlobStore::open(&network.path("elsewhere")).unwrap();
    let blobs = validator::blobs_dir(&network.path("validator")).join("blobs");
    std::fs::remove_dir_all(blobs).unwrap();
    let report = audit::audit(&mut client, &lost, &runtime, job, Some(&[0]), &mut |_| ()).unwrap();
    assert!(report.cannot_tell() && !report.any_wrong());
    assert!(matches!(&report.units[0].ours, Ours::CannotTell { why } if why.contains("blob-")), "{report:?}");
}

#[test]
fn a_lazy_copier_is_slashed_and_a_host_that_falls_silent_is_replaced() {
    let (copier, silent) = (key(HOSTS).public(), key(HOSTS + 1).public());
    let honest = Conduct::Honest;
    let network = Network::start(&[Conduct::LazyCopier, Conduct::NoShow, honest, honest, honest]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let units: Vec<_> = (0..10).map(|n| input(&store, &format!("unit {n}"))).collect();
    client.push_trees(&store, &units, |_, _| ()).unwrap();
    let bond = |client: &Client, host: samebit_spec::sign::PublicKey| {
        let record = &client.state().hosts()[&host];
        record.bond_free.0 + record.bond_locked.0
    };
    let before = [copier, silent].map(|host| bond(&client, host));
    let job = post(&mut client, spec(task, units));
    assert_eq!(closed(&mut client, job), Closing::Settled);

    let record = &client.state().jobs()[&job];
    assert!(record.units.iter().all(|unit| matches!(unit.phase, UnitPhase::Final { .. })), "{:?}", record.units);
    let ended =
        |host, phase| record.units.iter().flat_map(|unit| &unit.runs).any(|run| run.host == host && run.phase == phase);
    assert!(ended(copier, RunPhase::Unrevealed));
    assert!(ended(silent, RunPhase::Lost));
    assert!(bond(&client, copier) < before[0] && bond(&client, silent) < before[1]);
    for (host, record) in client.state().hosts() {
        assert!([copier, silent].contains(host) || (record.tally.slashed, record.tally.lost) == (0, 0));
    }
    client.state().check().unwrap();
}

#[test]
fn jobs_on_an_idle_network_settle_within_a_few_seconds() {
    let network = Network::start(&[Conduct::Honest; 2]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let unit = input(&store, "anything");
    client.push_trees(&store, &[unit], |_, _| ()).unwrap();
    let mut took: Vec<Duration> = (0..5)
        .map(|_| {
            let start = std::time::Instant::now();
            let job = post(&mut client, spec(task, vec![unit]));
            assert_eq!(closed(&mut client, job), Closing::Settled);
            start.elapsed()
        })
        .collect();
    took.sort();
    eprintln!("submit to final: {took:?}");
    // The window alone is a second; the rest is what the machine is busy with.
    assert!(took[2] < Duration::from_secs(5), "{took:?}");
}

#[test]
fn thousands_of_small_files_travel_within_seconds() {
    let network = Network::start(&[]);
    let (mut client, store) = (network.client(), BlobStore::open_cache(&network.path("store")).unwrap());
    let file = |n: u32| {
        let blob = store.put(&n.to_le_bytes().repeat(200)).unwrap();
        TreeFile { path: format!("{}/{n}", n % 17), blob }
    };
    let tree = store.put_tree(&Tree::new((0..2000).map(file).collect()).unwrap()).unwrap();
    let start = std::time::Instant::now();
    let pushed = client.push_trees(&store, &[tree], |_, _| ()).unwrap();
    let there = start.elapsed();
    assert_eq!(pushed.blobs, 2001);
    let elsewhere = BlobStore::open_cache(&network.path("elsewhere")).unwrap();
    client.fetch_tree(&tree, &elsewhere).unwrap();
    let back = start.elapsed() - there;
    eprintln!("2000 files: {there:?} there, {back:?} back");
    assert!(there < Duration::from_secs(30) && back < Duration::from_secs(30), "{there:?}, {back:?}");
}

#[test]
fn a_validator_that_restarts_has_lost_nothing_and_hosts_come_back_to_it() {
    let mut network = Network::start(&[Conduct::Honest; 2]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let unit = input(&store, "anything");
    client.push_trees(&store, &[unit], |_, _| ()).unwrap();
    let (height, head) = (client.state().height(), client.state().head());
    let addresses = network.invitation().addresses;

    network.stop_validator();
    let away = client.status();
    assert!(matches!(&away, Err(ClientError::Unreachable { addresses: tried, .. }) if *tried == addresses), "{away:?}");
    network.start_validator();
    assert_eq!(network.invitation().addresses, addresses, "it listens where it listened before");
    let status = client.status().unwrap();
    assert!(status.height >= height && (status.height > height || status.head == head));

    let job = post(&mut client, spec(task, vec![unit]));
    assert_eq!(closed(&mut client, job), Closing::Settled);
    assert!(matches!(client.state().jobs()[&job].units[0].phase, UnitPhase::Final { .. }));
}

#[test]
fn entries_that_are_replayed_forged_foreign_or_out_of_order_are_refused_by_name() {
    let network = Network::start(&[]);
    let mut client = network.client();
    let (buyer, link) = (key(BUYER), network.link(200));
    let genesis = network.genesis.id();
    let submit = |entry: &Entry, signature: Signature| {
        let signed = SignedEntry { entry: entry.clone(), signature };
        network.runtime.block_on(link.request(Request::Submit(signed))).unwrap()
    };
    let amount = MicroCredits(5);
    let body = Body::Transfer { to: key(99).public(), amount };
    let entry = Entry { genesis, signer: buyer.public(), sequence: 0, body: body.clone() };
    let signature = buyer.sign(Domain::Entry, genesis, entry.id().0);
    let Response::Included { entry: id, height } = submit(&entry, signature) else { panic!("not included") };
    assert_eq!(id, entry.id());
    assert_eq!(submit(&entry, signature), Response::Refused(Refusal::Replayed { entry: id, height }));

    let next = Entry { sequence: 1, ..entry.clone() };
    let forged = SignatureError::Forged { key: buyer.public() };
    assert_eq!(submit(&next, signature), Response::Refused(Refusal::Signature(forged)));
    let gap = Entry { sequence: 7, ..entry.clone() };
    let refused = submit(&gap, buyer.sign(Domain::Entry, genesis, gap.id().0));
    assert_eq!(refused, Response::Refused(Refusal::Sequence { signer: buyer.public(), expected: 1, given: 7 }));
    let elsewhere = samebit_spec::id::GenesisId([9; 32]);
    let foreign = Entry { genesis: elsewhere, ..next };
    let refused = submit(&foreign, buyer.sign(Domain::Entry, elsewhere, foreign.id().0));
    assert_eq!(refused, Response::Refused(Refusal::WrongChain { own: genesis, given: elsewhere }));

    assert_eq!(client.sync().unwrap().balance(&key(99).public()), amount, "once, and only once");
    let poor = client.submit(&buyer, Body::Transfer { to: key(99).public(), amount: MicroCredits(u64::MAX) });
    assert!(matches!(poor, Err(ClientError::Refused(Refusal::Insufficient { .. }))), "{poor:?}");
    client.submit(&buyer, body).unwrap();
    assert_eq!(client.state().sequence(&buyer.public()), 2);
}

#[test]
fn content_with_wrong_bytes_is_refused_and_what_is_unknown_is_named() {
    let network = Network::start(&[]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let link = network.link(201);
    let within = Duration::from_secs(10);
    network.runtime.block_on(async {
        let mut stream = link.open(Lane::Blobs).await.unwrap();
        let promised = BlobRef::of(b"promised");
        let put = BlobRequest::Put { id: promised.id, len: promised.len };
        for (bytes, expected) in
            [(b"Promised", BlobAnswer::Refused), (b"promised", BlobAnswer::Kept), (b"promised", BlobAnswer::Kept)]
        {
            stream.send(&put, within).await.unwrap();
            stream.write_raw(bytes, within).await.unwrap();
            stream.flush(within).await.unwrap();
            assert_eq!(stream.receive::<BlobAnswer>(64, within).await, Ok(Some(expected)));
        }
        // Longer than any blob may be, and more than the store holds: told at once.
        for len in [Bytes(u64::MAX), Bytes(1 << 30)] {
            let mut stream = link.open(Lane::Blobs).await.unwrap();
            stream.send(&BlobRequest::Put { id: BlobId([1; 32]), len }, within).await.unwrap();
            assert_eq!(stream.receive::<BlobAnswer>(64, within).await, Ok(Some(BlobAnswer::Refused)));
        }
        let mut stream = link.open(Lane::Blobs).await.unwrap();
        stream.send(&BlobRequest::Get { id: BlobId([1; 32]) }, within).await.unwrap();
        assert_eq!(stream.receive::<BlobAnswer>(64, within).await, Ok(Some(BlobAnswer::Unknown)));
        // One that claims bytes and sends none does not keep its place for ever, nor anyone else's.
        stream.send(&put, within).await.unwrap();
    });
    let unknown = BlobRef::of(b"nobody has this");
    assert!(matches!(client.fetch(&unknown, &store), Err(ClientError::MissingBlob { blob }) if blob == unknown.id));
    client.fetch(&BlobRef::of(b"promised"), &store).unwrap();
}

#[test]
fn a_large_blob_that_went_bad_at_the_keeper_is_set_aside_and_can_be_sent_again() {
    let network = Network::start(&[]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let elsewhere = BlobStore::open(&network.path("elsewhere")).unwrap();
    let blob = store.put(&b"large".repeat(300_000)).unwrap();
    client.push(&store, &[blob], |_, _| ()).unwrap();
    let hex = blob.id.to_string().split_off(BlobId::KIND.len() + 1);
    let blobs = validator::blobs_dir(&network.path("validator")).join("blobs");
    let file = blobs.join(&hex[..2]).join(&hex[2..]);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[700_000] ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let bad = client.fetch(&blob, &elsewhere);
    assert!(matches!(bad, Err(ClientError::MissingBlob { blob: named }) if named == blob.id), "{bad:?}");
    assert_eq!(client.push(&store, &[blob], |_, _| ()).unwrap().blobs, 1, "the keeper wants it again");
    client.fetch(&blob, &elsewhere).unwrap();
    elsewhere.verify(&blob).unwrap();
}

#[test]
fn a_job_whose_module_is_refused_or_whose_input_is_no_tree_is_refunded() {
    let network = Network::start(&[]);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let hello = publish(&mut client, &store);
    let unit = input(&store, "anything");
    client.push_trees(&store, &[unit], |_, _| ()).unwrap();

    let module = store.put(b"\0asm not really").unwrap();
    client.push(&store, &[module], |_, _| ()).unwrap();
    let manifest = TaskManifest {
        name: "broken".into(),
        module,
        form: TaskForm::Command,
        about: String::new(),
        tensor_ops: TensorOps::default(),
    };
    client.submit(&key(BUYER), Body::TaskPublish { manifest: manifest.clone() }).unwrap();
    let job = post(&mut client, spec(manifest.id(), vec![unit]));
    assert_eq!(closed(&mut client, job), Closing::Refused { reason: CustodyRefusal::BadModule });

    let not_a_tree = TreeRef { id: samebit_spec::id::TreeId(module.id.0), len: module.len };
    let job = post(&mut client, spec(hello, vec![unit, not_a_tree]));
    assert_eq!(closed(&mut client, job), Closing::Refused { reason: CustodyRefusal::BadTree { unit: 1 } });
    assert_eq!(client.state().jobs()[&job].escrow, MicroCredits::ZERO);
}

#[test]
fn an_invitation_to_another_chain_is_not_believed() {
    let network = Network::start(&[]);
    let mut invitation = network.invitation();
    invitation.genesis.network = String::from("other");
    assert!(matches!(Client::connect(&invitation, None), Err(ClientError::WrongChain { .. })));
    let nobody = Invitation {
        addresses: vec!["/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".into()],
        ..network.invitation()
    };
    let refused = Client::connect(&nobody, None).unwrap_err();
    assert!(matches!(&refused, ClientError::Unreachable { addresses, .. } if *addresses == nobody.addresses));
}

fn record(client: &mut Client, host: u8) -> HostRecord {
    client.sync().unwrap().hosts()[&key(HOSTS + host).public()].clone()
}

#[test]
fn jobs_land_only_on_hosts_with_the_room_that_they_need_and_an_order_that_hides_its_inputs_is_refused() {
    let mut network = Network::start(&[]);
    let small = Offer { memory: Bytes(1 << 20), ..Offer::default() };
    network.start_host_with(0, Conduct::Honest, small, None);
    network.start_host(1, Conduct::Honest);
    network.start_host(2, Conduct::Honest);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish(&mut client, &store);
    let units: Vec<_> = (0..6).map(|n| input(&store, &format!("unit {n}"))).collect();
    client.push_trees(&store, &units, |_, _| ()).unwrap();

    let job = post(&mut client, spec(task, units.clone()));
    assert_eq!(closed(&mut client, job), Closing::Settled);
    let hosts = |client: &Client, job| -> Vec<_> {
        client.state().jobs()[&job].units.iter().flat_map(|unit| &unit.runs).map(|run| run.host).collect()
    };
    let first = key(HOSTS).public();
    assert!(!hosts(&client, job).contains(&first), "512 MiB are needed, it offers one");
    assert!((0..3).all(|n| record(&mut client, n).tally.declined == 0), "nobody was asked in vain");

    // What nobody offers is given to nobody, and refunded.
    let mut greedy = spec(task, units[..1].to_vec());
    greedy.limits.memory = Bytes(2 << 30);
    greedy.deadline = Millis(3_000);
    let job = post(&mut client, greedy);
    assert_eq!(closed(&mut client, job), Closing::Settled);
    let unit = &client.state().jobs()[&job].units[0];
    assert!(unit.phase == UnitPhase::Expired && unit.runs.is_empty(), "{unit:?}");

    // The keeper has the files, and holds the order to what it says of them.
    let mut hidden = spec(task, units[..1].to_vec());
    hidden.needs.inputs = Bytes(5);
    let job = post(&mut client, hidden);
    assert_eq!(closed(&mut client, job), Closing::Refused { reason: CustodyRefusal::TooMuchInput { unit: 0 } });

    // A host that starts again with more says so, and is drawn.
    let Daemon { stop, task: ended } = network.hosts.remove(0);
    stop.now();
    network.runtime.block_on(ended).unwrap().unwrap();
    network.start_host(0, Conduct::Honest);
    assert_eq!(record(&mut client, 0).offer, Offer::default());
    let job = post(&mut client, JobSpec { replicas: 3, ..spec(task, units[..1].to_vec()) });
    assert_eq!(closed(&mut client, job), Closing::Settled);
    assert!(hosts(&client, job).contains(&first));
}

/// A device that is lost with its first graph.
#[derive(Debug, Default)]
struct Frail(AtomicBool);

impl Backend for Frail {
    fn describe(&self) -> String {
        String::from("frail")
    }

    fn given_up(&self) -> Option<String> {
        self.0.load(Ordering::Relaxed).then(|| String::from("lost"))
    }

    fn run(&self, _: &Graph, _: &Plan, _: &[Tensor], _: &(dyn Fn() -> bool + Sync)) -> Result<Vec<Tensor>, Failure> {
        self.0.store(true, Ordering::Relaxed);
        Err(Fault::Device { device: String::from("frail"), reason: String::from("lost") }.into())
    }
}

/// Writes the eight bytes of `[1.5, 2.5] + [1.5, 2.5]`.
fn doubling() -> String {
    let text = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"));
    let add = Graph { nodes: vec![Node { op: Op::Add, inputs: vec![0, 0] }], outputs: vec![1] };
    let add = wire::encode(&add);
    let numbers: Vec<u8> = [1.5_f32, 2.5].iter().flat_map(|number| number.to_le_bytes()).collect();
    format!(
        r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "create" (func $create (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "submit" (func $submit (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "samebit_tensor" "read" (func $read (param i32 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "\02\00\00\00") (data (i32.const 128) "{}") (data (i32.const 512) "{}")
    (func $must (param i32) (if (local.get 0) (then unreachable)))
    (func (export "_start")
        (call $must (call $create (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 128) (i32.const 8) (i32.const 256)))
        (call $must (call $submit (i32.const 512) (i32.const {}) (i32.const 256) (i32.const 1) (i32.const 260) (i32.const 1)))
        (call $must (call $read (i32.load (i32.const 260)) (i64.const 0) (i32.const 300) (i32.const 8)))
        (i32.store (i32.const 0) (i32.const 300))
        (i32.store (i32.const 4) (i32.const 8))
        (call $must (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        text(&numbers),
        text(&add),
        add.len()
    )
}

#[test]
fn a_device_that_is_lost_makes_no_result_and_leaves_the_offer_while_others_finish_the_job() {
    let mut network = Network::start(&[]);
    let adapter = AdapterOffer { class: AdapterClass::Discrete, kinds: Kinds::ALL };
    let offer = Offer { adapter: Some(adapter), ..Offer::default() };
    network.start_host_with(0, Conduct::Honest, offer, Some(Arc::new(Frail::default())));
    // These say that they have one and compute on the processor: with the same bits, so nobody can tell.
    network.start_host_with(1, Conduct::Honest, offer, Some(Arc::new(Cpu)));
    network.start_host_with(2, Conduct::Honest, offer, Some(Arc::new(Cpu)));
    network.start_host(3, Conduct::Honest);
    let (mut client, store) = (network.client(), BlobStore::open(&network.path("store")).unwrap());
    let task = publish_as(&mut client, &store, "doubling", &doubling(), TensorOps(1));
    let unit = input(&store, "anything");
    client.push_trees(&store, &[unit], |_, _| ()).unwrap();
    let on_adapters = |replicas| {
        let needs = Needs { tensors: TensorNeed::Adapter(adapter), inputs: Bytes(100) };
        JobSpec { needs, replicas, ..spec(task, vec![unit]) }
    };
    let before = record(&mut client, 0);
    // Three replicas on three such hosts: the frail one is drawn, and withdraws; nobody else offers an adapter.
    let job = post(&mut client, JobSpec { deadline: Millis(20_000), ..on_adapters(3) });
    let lost = client
        .wait(LONG, |state| {
            let runs = &state.jobs()[&job].units[0].runs;
            runs.iter().find(|run| run.phase == RunPhase::Lost).map(|run| run.host)
        })
        .unwrap();
    assert_eq!(lost, key(HOSTS).public());
    client.wait(LONG, |state| state.hosts()[&lost].offer.adapter.is_none().then_some(())).unwrap();
    let after = record(&mut client, 0);
    assert!(after.bond_free < before.bond_free && after.tally.slashed == 0, "the fee and no more");

    // What needs an adapter goes past it from now on, and past the host that never had one.
    for _ in 0..3 {
        let job = post(&mut client, on_adapters(2));
        assert_eq!(closed(&mut client, job), Closing::Settled);
        let unit = client.state().jobs()[&job].units[0].clone();
        assert!(matches!(unit.phase, UnitPhase::Final { .. }), "{unit:?}");
        assert!(unit.runs.iter().all(|run| [1, 2].map(|n| key(HOSTS + n).public()).contains(&run.host)));
        let stdout = unit.runs[0].receipt.clone().unwrap().output.stdout;
        client.fetch(&stdout, &store).unwrap();
        let doubled: Vec<u8> = [3.0_f32, 5.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(store.read(&stdout).unwrap(), doubled);
    }
    assert_eq!(record(&mut client, 3).tally, HostTally::default());
    client.state().check().unwrap();
}
