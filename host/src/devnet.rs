//! A network on this machine: one validator and some hosts, each a process of its own, loopback only.
//!
//! What runs is written to `devnet.json` before it matters, so that `devnet down` ends exactly the processes that
//! `devnet up` started, after a crash too. The chain is kept when the network stops, and goes on when it starts
//! again.

use crate::{
    cli::{
        host::{ACCOUNT_FILE, OPERATOR_FILE, PEER_FILE},
        tensor::{TensorBackend, of_a_host},
        validator::{INVITATION_FILE, SIGNER_FILE, make_genesis, write_genesis},
    },
    context::{Context, key_failure},
    exit::Exit,
    process::{self, Mark, Tie},
    report::{Failure, Ui},
    text,
};
use samebit_market::agent::Conduct;
use samebit_node::{invitation, keys::Keypair};
use samebit_spec::{param::Params, sign::PublicKey, unit::MicroCredits};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

/// The network's name.
pub const NETWORK: &str = "devnet";
/// Hosts unless told otherwise.
pub const HOSTS_DEFAULT: usize = 5;
/// Most hosts of a devnet: each is a process with an engine in it.
pub const HOSTS_MAX: usize = 64;
/// What the buyer begins with: a million credits.
const BUYER_MONEY: MicroCredits = MicroCredits(1_000_000_000_000);
/// What each host begins with: two thousand credits, half of which it bonds.
const HOST_MONEY: MicroCredits = MicroCredits(2_000_000_000);

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_GRACE: Duration = Duration::from_secs(10);
const STATE_SCHEMA: &str = "samebit/devnet-state/1";
/// How much of a log is shown when a process ended at once.
const LOG_LINES: usize = 12;

/// What `devnet.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    schema: String,
    genesis: String,
    buyer: String,
    validator: Option<Mark>,
    supervisor: Option<Mark>,
    hosts: Vec<Host>,
}

/// A host of the devnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Host {
    /// `host-1`, `host-2`, ...
    pub name: String,
    account: String,
    operator: String,
    cheat: Option<String>,
    /// What computes its tensors, as `host up` takes it; the processor when there is none.
    #[serde(default)]
    tensor_backend: Option<String>,
    process: Option<Mark>,
}

/// Where its files are.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// The devnet of `home`.
    pub fn of(context: &Context) -> Self {
        Self { dir: context.home_dir().devnet_dir() }
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("devnet.json")
    }

    fn validator_dir(&self) -> PathBuf {
        self.dir.join("validator")
    }

    fn host_dir(&self, name: &str) -> PathBuf {
        self.dir.join("hosts").join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// What the validator writes for those who join.
    pub fn invitation(&self) -> PathBuf {
        self.validator_dir().join(INVITATION_FILE)
    }

    /// What is known of the devnet; `None` when there is none.
    pub fn load(&self) -> Result<Option<State>, Failure> {
        let path = self.state_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk(&path)(error)),
        };
        let broken = |why: String| {
            Failure::new(Exit::Environment, format!("{}: {why}", path.display()))
                .help(format!("look which processes still run, then remove {}", self.dir.display()))
        };
        let state: State = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if state.schema == STATE_SCHEMA { Ok(Some(state)) } else { Err(broken(format!("schema {:?}", state.schema))) }
    }

    fn save(&self, state: &State) -> Result<(), Failure> {
        let path = self.state_file();
        let draft = path.with_extension("draft");
        let text = serde_json::to_string_pretty(state).expect("our own types serialise");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).map_err(disk(&path))
    }
}

fn disk(path: &Path) -> impl Fn(io::Error) -> Failure + use<> {
    let path = path.display().to_string();
    move |error| Failure::new(Exit::Environment, format!("{path}: {error}"))
}

impl State {
    fn marks(&self) -> Vec<Mark> {
        self.hosts.iter().filter_map(|host| host.process).chain(self.validator).collect()
    }

    /// Whether its validator runs.
    pub fn is_running(&self) -> bool {
        self.validator.is_some_and(Mark::is_running)
    }

    /// What the first process that should run and does not is called.
    pub fn missing(&self) -> Option<String> {
        let ended = |mark: Option<Mark>| mark.is_some_and(|mark| !mark.is_running());
        if ended(self.validator) {
            return Some("the validator".to_owned());
        }
        self.hosts.iter().find(|host| ended(host.process)).map(|host| host.name.clone())
    }

    /// How many hosts do not cheat, and how many there are.
    pub fn honest(&self) -> (usize, usize) {
        (self.hosts.iter().filter(|host| host.cheat.is_none()).count(), self.hosts.len())
    }

    /// Hosts by account.
    pub fn names(&self) -> impl Iterator<Item = (PublicKey, String)> {
        self.hosts.iter().filter_map(|host| Some((host.account.parse().ok()?, host.name.clone())))
    }

    /// As `samebit/devnet/1`.
    pub fn view(&self, place: &Place) -> serde_json::Value {
        let running = |mark: Option<Mark>| mark.is_some_and(Mark::is_running);
        let pid = |mark: Option<Mark>| mark.filter(|mark| mark.is_running()).map(|mark| mark.pid);
        let addresses = invitation::read(&place.invitation()).map(|found| found.addresses).unwrap_or_default();
        let host = |host: &Host| {
            serde_json::json!({
                "name": host.name, "account": host.account, "operator": host.operator, "cheat": host.cheat,
                "pid": pid(host.process), "running": running(host.process),
                "log": place.log(&host.name).display().to_string(),
            })
        };
        serde_json::json!({
            "schema": "samebit/devnet/1",
            "state": if self.is_running() { "running" } else { "stopped" },
            "network": NETWORK,
            "genesis": self.genesis,
            "ordering": "solo",
            "invitation": place.invitation().display().to_string(),
            "buyer": self.buyer,
            "validator": {
                "pid": pid(self.validator), "running": running(self.validator), "addresses": addresses,
                "log": place.log("validator").display().to_string(),
            },
            "hosts": self.hosts.iter().map(host).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self, place: &Place) -> String {
        let process = |mark: Option<Mark>| match mark.filter(|mark| mark.is_running()) {
            Some(mark) => mark.pid.to_string(),
            None => "stopped".to_owned(),
        };
        let mut table = text::table(["process", "pid", "account", "conduct"], &[1]);
        table.add_row(["validator".to_owned(), process(self.validator), String::new(), String::new()]);
        for host in &self.hosts {
            let conduct = host.cheat.clone().unwrap_or_else(|| "honest".to_owned());
            let account = crate::view::short(&host.account);
            table.add_row([host.name.clone(), process(host.process), account, conduct]);
        }
        let head = text::fields(&[
            ("network", format!("{NETWORK} ({})", crate::view::short(&self.genesis))),
            ("ordering", "Solo: the validator is a trusted coordinator".to_owned()),
            ("buyer", format!("key `default`, {} credits at genesis", text::credits(BUYER_MONEY))),
            ("folder", place.dir.display().to_string()),
        ]);
        format!("{head}\n\n{table}")
    }
}

/// What `devnet up` was asked for.
pub struct Wanted {
    /// What computes the tensors of so many hosts, or of all; as it was when not given.
    pub backend: Option<(TensorBackend, Option<usize>)>,
    /// How many hosts; `None`: as before, or [`HOSTS_DEFAULT`].
    pub hosts: Option<usize>,
    /// How many hosts behave how; `None`: as before.
    pub cheats: Option<Vec<(Conduct, usize)>>,
    /// Begin a new chain.
    pub fresh: bool,
    /// Whether the processes end with this one.
    pub tie: Tie,
}

/// A devnet that this process has started.
pub struct Running {
    /// What runs.
    pub state: State,
    place: Place,
    /// Kept for their lifelines, and so that the system need not keep the dead ones.
    children: Vec<(String, Child)>,
}

/// Starts the devnet and waits until every host is on the ledger. Whatever was started ends when that fails.
pub fn up(context: &Context, wanted: &Wanted, interrupted: &dyn Fn() -> bool, ui: &Ui) -> Result<Running, Failure> {
    let place = Place::of(context);
    let state = prepare(context, &place, wanted)?;
    let mut running = Running { state, place, children: Vec::new() };
    match running.start(context, wanted.tie, interrupted, ui) {
        Ok(()) => Ok(running),
        Err(failure) => {
            running.stop()?;
            Err(failure)
        }
    }
}

/// Ends the devnet's processes. Returns how many ran.
pub fn down(context: &Context) -> Result<usize, Failure> {
    let place = Place::of(context);
    let Some(mut state) = place.load()? else { return Ok(0) };
    let mut ended = 0;
    if let Some(supervisor) = state.supervisor.filter(|mark| mark.pid != std::process::id()) {
        // It takes its processes down itself, in order.
        process::end(&[supervisor], END_GRACE);
    }
    for marks in [state.hosts.iter().filter_map(|host| host.process).collect(), Vec::from_iter(state.validator)] {
        ended += process::end(&marks, END_GRACE);
    }
    forget(&mut state);
    place.save(&state)?;
    Ok(ended)
}

fn forget(state: &mut State) {
    (state.validator, state.supervisor) = (None, None);
    for host in &mut state.hosts {
        host.process = None;
    }
}

/// Makes the devnet's files, or takes those of the last time.
fn prepare(context: &Context, place: &Place, wanted: &Wanted) -> Result<State, Failure> {
    // Everything that can be refused is refused before anything of the old devnet is touched.
    let kept = match place.load()? {
        Some(state) if state.marks().iter().chain(&state.supervisor).any(|mark| mark.is_running()) => {
            return Err(Failure::new(Exit::Environment, "a devnet runs here already")
                .help("`samebit devnet status` shows it, `samebit devnet down` ends it"));
        }
        Some(state) if !wanted.fresh => {
            let count = state.hosts.len();
            if wanted.hosts.is_some_and(|hosts| hosts != count) {
                return Err(Failure::new(
                    Exit::Environment,
                    format!("the devnet that is here has {}", text::count(count, "host")),
                )
                .help("`samebit devnet up --fresh` begins a new chain with other hosts"));
            }
            Some(state)
        }
        Some(_) | None => None,
    };
    let count = kept.as_ref().map_or(wanted.hosts.unwrap_or(HOSTS_DEFAULT), |state| state.hosts.len());
    let named: usize = wanted.cheats.iter().flatten().map(|(_, count)| count).fold(0, |sum, n| sum.saturating_add(*n));
    if named > count {
        let hosts = text::count(count, "host");
        return Err(Failure::new(Exit::Usage, format!("--cheat names {named} of {hosts}")).help("nothing was changed"));
    }
    let mut state = match kept {
        Some(state) => state,
        None => make(context, place, count)?,
    };
    if let Some(cheats) = &wanted.cheats {
        let mut conducts = cheats.iter().flat_map(|(conduct, count)| std::iter::repeat_n(*conduct, *count));
        // The last hosts cheat, so that host-1 is honest in every devnet.
        for host in state.hosts.iter_mut().rev() {
            host.cheat = conducts.next().filter(|conduct| *conduct != Conduct::Honest).map(|c| c.to_string());
        }
    }
    if let Some((backend, count)) = &wanted.backend {
        // The first hosts, so that cheats and adapters meet in a small devnet only.
        for (at, host) in state.hosts.iter_mut().enumerate() {
            let here = *backend != TensorBackend::Cpu && count.is_none_or(|count| at < count);
            host.tensor_backend = here.then(|| backend.to_string());
        }
    }
    forget(&mut state);
    place.save(&state)?;
    Ok(state)
}

/// Makes keys, genesis and folders of a new chain.
fn make(context: &Context, place: &Place, count: usize) -> Result<State, Failure> {
    let key = |path: PathBuf| Keypair::read_or_make(&path).map_err(|error| key_failure(&error));
    // First, because a buyer's key that cannot be read must not cost the old chain.
    let buyer = key(context.key_path("default")?)?.public();
    for old in [&place.dir, &context.network_dir(NETWORK)?] {
        match fs::remove_dir_all(old) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(disk(old)(error)),
        }
    }
    for dir in [place.dir.join("logs"), place.validator_dir()] {
        fs::create_dir_all(&dir).map_err(disk(&dir))?;
    }
    let validator = key(place.validator_dir().join(SIGNER_FILE))?.public();
    let mut accounts = vec![(buyer, BUYER_MONEY)];
    let mut hosts = Vec::with_capacity(count);
    for number in 1..=count {
        let name = format!("host-{number}");
        let dir = place.host_dir(&name);
        let account = key(dir.join(ACCOUNT_FILE))?.public();
        let operator = key(dir.join(OPERATOR_FILE))?.public();
        key(dir.join(PEER_FILE))?;
        accounts.push((account, HOST_MONEY));
        let (account, operator) = (account.to_string(), operator.to_string());
        hosts.push(Host { name, account, operator, cheat: None, tensor_backend: None, process: None });
    }
    let genesis = make_genesis(NETWORK, validator, Params::DEVNET, accounts);
    write_genesis(&place.validator_dir(), &genesis)?;
    let (schema, genesis, buyer) = (STATE_SCHEMA.to_owned(), genesis.id().to_string(), buyer.to_string());
    Ok(State { schema, genesis, buyer, validator: None, supervisor: None, hosts })
}

impl Running {
    fn start(&mut self, context: &Context, tie: Tie, interrupted: &dyn Fn() -> bool, ui: &Ui) -> Result<(), Failure> {
        let count = self.state.hosts.len();
        let bar = ui.bar(count as u64 + 1, "starting the validator");
        if tie == Tie::Lifeline {
            self.state.supervisor = Some(Mark::of(std::process::id()));
        }
        let dir = self.place.validator_dir();
        let mark = self.spawn(context, "validator", &["validator", "up", "--dir", utf8(&dir)?], tie)?;
        self.state.validator = Some(mark);
        self.place.save(&self.state)?;
        let begun = Instant::now();
        let mut network = loop {
            // An old invitation is there after a restart: it counts only when the validator behind it answers.
            if self.place.invitation().is_file()
                && let Ok(network) = context.connect_to(&self.place.invitation())
            {
                break network;
            }
            self.check(begun, interrupted)?;
            sleep(Duration::from_millis(50));
        };
        bar.inc(1);
        bar.set_message("starting hosts");
        for at in 0..count {
            let host = self.state.hosts[at].clone();
            let (dir, invitation) = (self.place.host_dir(&host.name), self.place.invitation());
            let mut args = vec!["--network", utf8(&invitation)?, "host", "up", "--dir", utf8(&dir)?];
            if let Some(cheat) = &host.cheat {
                args.extend(["--cheat", cheat]);
            }
            if let Some(backend) = &host.tensor_backend {
                args.extend(["--tensor-backend", backend]);
            }
            self.state.hosts[at].process = Some(self.spawn(context, &host.name, &args, tie)?);
            self.place.save(&self.state)?;
        }
        let accounts: Vec<PublicKey> = self.state.names().map(|(account, _)| account).collect();
        loop {
            let there = network.wait(Duration::from_millis(300), |state| {
                let there = accounts.iter().filter(|account| state.hosts().contains_key(*account)).count();
                bar.set_position(there as u64 + 1);
                (there == count).then_some(())
            });
            match there {
                Ok(()) => break,
                Err(failure) if failure.exit == Exit::TimedOut => self.check(begun, interrupted)?,
                Err(failure) => return Err(failure),
            }
        }
        bar.finish_and_clear();
        self.check(begun, interrupted)
    }

    fn spawn(&mut self, context: &Context, name: &str, args: &[&str], tie: Tie) -> Result<Mark, Failure> {
        let mut all = vec!["--home", utf8(context.home())?];
        all.extend(args);
        all.push("--apart");
        if tie == Tie::Lifeline {
            all.push("--lifeline");
        }
        let log = self.place.log(name);
        let child = process::start(&all, &log, tie).map_err(disk(&log))?;
        let mark = Mark::of(child.id());
        self.children.push((name.to_owned(), child));
        Ok(mark)
    }

    /// Fails when the start takes too long, was interrupted, or a process has ended.
    fn check(&mut self, begun: Instant, interrupted: &dyn Fn() -> bool) -> Result<(), Failure> {
        if interrupted() {
            return Err(Failure::new(Exit::Interrupted, "interrupted; every process has ended"));
        }
        if let Some((name, status)) = self.ended() {
            let log = self.place.log(&name);
            let said = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
            return Err(Failure::new(
                Exit::Environment,
                format!("{name} ended while starting ({status}):\n    {last}"),
            )
            .help(format!("the whole log is {}", log.display())));
        }
        if begun.elapsed() > START_TIMEOUT {
            let seconds = START_TIMEOUT.as_secs();
            return Err(Failure::new(Exit::TimedOut, format!("the devnet was not up after {seconds} s"))
                .help(format!("the logs are in {}", self.place.dir.join("logs").display())));
        }
        Ok(())
    }

    /// The first process that has ended by itself since the last call.
    pub fn ended(&mut self) -> Option<(String, String)> {
        let at = self.children.iter_mut().position(|(_, child)| !matches!(child.try_wait(), Ok(None)))?;
        let (name, mut child) = self.children.remove(at);
        let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        Some((name, status))
    }

    /// Ends every process, hosts first.
    pub fn stop(&mut self) -> Result<(), Failure> {
        let hosts: Vec<Mark> = self.state.hosts.iter().filter_map(|host| host.process).collect();
        process::end(&hosts, END_GRACE);
        process::end(&Vec::from_iter(self.state.validator), END_GRACE);
        for (_, child) in &mut self.children {
            let _ = child.wait();
        }
        self.children.clear();
        forget(&mut self.state);
        self.place.save(&self.state)
    }

    /// Lets the processes go on without this one.
    pub fn release(self) -> State {
        self.state
    }

    /// Where its files are.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::new(Exit::Environment, format!("{} is not UTF-8", path.display())))
}

/// Reads `BACKEND=COUNT`, or `BACKEND` for every host.
pub fn backend(text: &str) -> Result<(TensorBackend, Option<usize>), String> {
    let (backend, count) = text.split_once('=').map_or((text, None), |(backend, count)| (backend, Some(count)));
    let count = count.map(|count| count.parse().map_err(|_| format!("{count:?} is no number of hosts")));
    Ok((of_a_host(backend)?, count.transpose()?))
}

/// Reads `KIND:COUNT`, or `KIND` for one host.
pub fn cheat(text: &str) -> Result<(Conduct, usize), String> {
    let (kind, count) = text.split_once(':').unwrap_or((text, "1"));
    let liars = Conduct::ALL.into_iter().filter(|conduct| *conduct != Conduct::Honest);
    let kinds = liars.map(|conduct| conduct.to_string()).collect::<Vec<_>>().join(", ");
    let conduct = kind.parse::<Conduct>().map_err(|_| format!("{kind:?} is none of {kinds}"))?;
    let count = count.parse::<usize>().map_err(|_| format!("{count:?} is no number of hosts"))?;
    Ok((conduct, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_for_every_host_or_a_number_of_them() {
        assert_eq!(backend("gpu"), Ok((TensorBackend::Gpu(0), None)));
        assert_eq!(backend("gpu:1=2"), Ok((TensorBackend::Gpu(1), Some(2))));
        for bad in ["", "oracle", "gpu:x=1", "gpu=x", "gpu=-1"] {
            assert!(backend(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cheat_is_a_kind_and_a_number_of_hosts() {
        assert_eq!(cheat("wrong-output:2"), Ok((Conduct::WrongOutput, 2)));
        assert_eq!(cheat("lazy-copier"), Ok((Conduct::LazyCopier, 1)));
        for bad in ["", "liar:1", "silent:-1", "silent:x", ":1"] {
            assert!(cheat(bad).is_err(), "{bad}");
        }
    }
}
