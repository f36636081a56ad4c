//! What commands share: the home folder, keys, the network, and errors turned into prose.
//!
//! [`Network`] shows only what this machine has replayed and verified itself.

use crate::{
    devnet::{self, Place},
    exit::Exit,
    report::{Failure, Ui},
    view::Names,
};
use samebit_blobs::{BlobError, BlobStore};
use samebit_ledger::LedgerState;
use samebit_market::buyer::BuyerAgent;
use samebit_node::{
    client::{Client, ClientError},
    home::{Home, HomeError},
    invitation::{self, InvitationError},
    keys::{KeyError, Keypair},
};
use samebit_spec::{
    block::Invitation,
    content::{BlobRef, Tree, TreeRef},
    entry::Body,
    id::{GenesisId, JobId, TaskId},
    job::JobSpec,
    refusal::Refusal,
    task::TaskManifest,
    unit::Bytes,
    wire,
};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where a command works.
pub struct Context {
    home: Home,
    network: Option<String>,
}

impl Context {
    /// Reads the environment.
    pub fn new(ui: &Ui) -> Result<Self, Failure> {
        let home = match &ui.home {
            Some(dir) => Home::at(std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
            None => Home::from_env().map_err(|error| home_failure(&error))?,
        };
        Ok(Self { home, network: ui.network.clone() })
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The home folder, with its layout.
    pub fn home_dir(&self) -> &Home {
        &self.home
    }

    /// Where keys are.
    pub fn keys_dir(&self) -> PathBuf {
        self.home().join("keys")
    }

    /// Where the key `name` is or would be.
    pub fn key_path(&self, name: &str) -> Result<PathBuf, Failure> {
        self.home.key_path(name).map_err(|error| home_failure(&error))
    }

    /// The folder of the network `name`.
    pub fn network_dir(&self, name: &str) -> Result<PathBuf, Failure> {
        self.home.network_dir(name).map_err(|error| home_failure(&error))
    }

    /// Names of the keys that are here.
    pub fn key_names(&self) -> Vec<String> {
        self.home.keys()
    }

    /// Reads a key.
    pub fn key(&self, name: &str) -> Result<Keypair, Failure> {
        self.home.key(name).map_err(|error| match error {
            KeyError::Missing { .. } => Failure::new(Exit::NotFound, format!("no key {name:?}"))
                .help(format!("`samebit key list` shows your keys, `samebit key new {name}` makes one")),
            other => key_failure(&other),
        })
    }

    /// What people call the keys that are known here.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        for name in self.key_names() {
            if let Ok(key) = self.home.key(&name) {
                names.0.insert(key.public(), name);
            }
        }
        if let Ok(Some(state)) = Place::of(self).load() {
            names.0.extend(state.names());
        }
        names
    }

    /// Content that was sent or fetched.
    pub fn store(&self) -> Result<BlobStore, Failure> {
        BlobStore::open(&self.home.blobs_dir()).map_err(|error| blob_failure(&error))
    }

    /// Whether a network was asked for, or a devnet runs.
    pub fn has_network(&self) -> bool {
        self.network.is_some() || matches!(Place::of(self).load(), Ok(Some(state)) if state.is_running())
    }

    /// The invitation of the network that was asked for, and where its verified blocks are kept.
    pub fn invitation(&self) -> Result<(Invitation, PathBuf), Failure> {
        match self.network.as_deref() {
            None | Some(devnet::NETWORK) => {
                let place = Place::of(self);
                let nobody = || {
                    Failure::new(Exit::Unreachable, "no network: no devnet runs here")
                        .help("`samebit devnet up` starts one; `--network FILE` joins another by its invitation")
                };
                let state = place.load()?.ok_or_else(nobody)?;
                let invited = self.invited(&place.invitation())?;
                // Its validator may have been started again by hand: then its address answers.
                if state.is_running() || invited.0.addresses.iter().any(|address| answers(address)) {
                    return Ok(invited);
                }
                Err(nobody())
            }
            Some(name) if self.home.networks().iter().any(|known| known == name) => {
                self.invited(&self.home.invitation_path(name).map_err(|error| home_failure(&error))?)
            }
            Some(file) => self.invited(Path::new(file)),
        }
    }

    fn invited(&self, file: &Path) -> Result<(Invitation, PathBuf), Failure> {
        let invitation = invitation::read(file).map_err(|error| invitation_failure(&error))?;
        // The cache's files are named by chain, so that two networks of one name never share one.
        let chain = self.home().join("chains");
        Ok((invitation, chain))
    }

    /// Joins the network that was asked for and catches up with it.
    pub fn connect(&self) -> Result<Network, Failure> {
        let (invitation, chain) = self.invitation()?;
        Network::connect(&invitation, Some(&chain))
    }

    /// Joins the network and replays it from its genesis, whatever was verified before.
    pub fn connect_afresh(&self) -> Result<Network, Failure> {
        Network::connect(&self.invitation()?.0, None)
    }

    /// Joins the network of an invitation file.
    pub fn connect_to(&self, file: &Path) -> Result<Network, Failure> {
        let (invitation, chain) = self.invited(file)?;
        Network::connect(&invitation, Some(&chain))
    }
}

/// A network, followed and verified.
pub struct Network {
    client: Client,
}

impl Network {
    fn connect(invitation: &Invitation, chain: Option<&Path>) -> Result<Self, Failure> {
        let mut client = Client::connect(invitation, chain).map_err(|error| client_failure(&error))?;
        client.sync().map_err(|error| client_failure(&error))?;
        Ok(Self { client })
    }

    /// The ledger as far as it was verified.
    pub fn state(&self) -> &LedgerState {
        self.client.state()
    }

    /// Fails for a key that the ledger does not know, by the name that was typed.
    pub fn expect_account(&self, name: &str, key: &Keypair) -> Result<(), Failure> {
        if self.state().is_account(&key.public()) {
            return Ok(());
        }
        Err(Failure::new(Exit::Refused, format!("--key {name}: key {name} is no account on this network"))
            .help("`samebit ledger show` lists the accounts; on a devnet the key `default` holds money"))
    }

    /// Every published task, in the order of publication.
    pub fn tasks(&self) -> Vec<(TaskId, TaskManifest)> {
        let mut tasks: Vec<_> = self.state().tasks().iter().collect();
        tasks.sort_by_key(|(id, task)| (task.published, **id));
        tasks.into_iter().map(|(id, task)| (*id, task.manifest.clone())).collect()
    }

    /// A published task.
    pub fn task(&self, id: &TaskId) -> Option<&TaskManifest> {
        self.state().tasks().get(id).map(|task| &task.manifest)
    }

    /// What a task is called.
    pub fn task_name(&self, id: &TaskId) -> String {
        self.state().tasks().get(id).map_or_else(|| id.short(), |task| task.manifest.name.clone())
    }

    /// Signs an entry, sends it, and returns when it is in a verified block.
    pub fn submit(&mut self, key: &Keypair, body: Body) -> Result<(), Failure> {
        self.client.submit(key, body).map(drop).map_err(|error| client_failure(&error))
    }

    /// Posts a job. Its nonce is the sequence number of the entry that posts it.
    pub fn post(&mut self, key: &Keypair, mut spec: JobSpec) -> Result<JobId, Failure> {
        let units = u32::try_from(spec.units.len()).unwrap_or(u32::MAX);
        let genesis = self.state().genesis_id();
        let posted = self.client.submit_with(key, |sequence| {
            spec.nonce = sequence;
            spec.seal = spec.seal.map(|_| buyer_of(genesis, key).seal(sequence, units));
            Body::JobPost { spec: spec.clone() }
        });
        posted.map_err(|error| client_failure(&error))?;
        Ok(spec.id())
    }

    /// Follows the chain until `look` finds what it looks for. It looks at once, then at every block.
    pub fn wait<T>(&mut self, timeout: Duration, look: impl FnMut(&LedgerState) -> Option<T>) -> Result<T, Failure> {
        self.client.wait(timeout, look).map_err(|error| client_failure(&error))
    }

    /// Sends the keeper what it lacks of `blobs`, with progress.
    pub fn push(&mut self, store: &BlobStore, blobs: &[BlobRef], ui: &Ui, label: &'static str) -> Result<(), Failure> {
        let bar = ui.bytes_bar(0, label);
        let done = self.client.push(store, blobs, |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        done.map(drop).map_err(|error| client_failure(&error))
    }

    /// Fetches a blob into the store, unless it is there, and checks it against its hash.
    pub fn fetch(&mut self, blob: &BlobRef, store: &BlobStore) -> Result<(), Failure> {
        self.client.fetch(blob, store).map_err(|error| client_failure(&error))
    }

    /// Fetches a tree with all its files.
    pub fn fetch_tree(&mut self, tree: &TreeRef, store: &BlobStore) -> Result<Tree, Failure> {
        self.client.fetch_tree(tree, store).map_err(|error| client_failure(&error))
    }

    /// The client itself.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// The buyer's mind of a key: its secrets follow from the key's own.
pub fn buyer_of(genesis: GenesisId, key: &Keypair) -> BuyerAgent {
    BuyerAgent::new(genesis, key.public(), &wire::derive("samebit/v1/buyer-secret", &key.seed()))
}

/// Reads a whole file of at most `max` bytes.
pub fn read_file(path: &Path, max: Bytes) -> Result<Vec<u8>, Failure> {
    let failure = |error: std::io::Error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Environment };
        Failure::new(exit, format!("{}: {error}", path.display()))
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(max.0 + 1).read_to_end(&mut bytes)).map_err(failure)?;
    if bytes.len() as u64 > max.0 {
        return Err(Failure::new(Exit::ModuleRefused, format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(bytes)
}

/// Prose for a home folder that is none.
pub fn home_failure(error: &HomeError) -> Failure {
    match error {
        HomeError::NoHome => {
            Failure::new(Exit::Environment, error.to_string()).help("set SAMEBIT_HOME to a folder of yours")
        }
        HomeError::Name { .. } => Failure::new(Exit::Usage, error.to_string()),
    }
}

/// Prose for a key that is not to be had.
pub fn key_failure(error: &KeyError) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        KeyError::Missing { .. } => failure(Exit::NotFound).help("`samebit key list` shows your keys"),
        KeyError::Exposed { path, .. } => failure(Exit::Environment).help(format!("chmod 600 {}", path.display())),
        KeyError::Exists { .. } => failure(Exit::Environment).help("choose another name; a key is never overwritten"),
        KeyError::Malformed { .. } | KeyError::Randomness { .. } | KeyError::Io { .. } => failure(Exit::Environment),
    }
}

/// Prose for an invitation that is none.
pub fn invitation_failure(error: &InvitationError) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        InvitationError::Missing { .. } => {
            failure(Exit::NotFound).help("`--network` takes `devnet` or the file of an invitation")
        }
        InvitationError::Malformed { .. } | InvitationError::Io { .. } => failure(Exit::Environment),
    }
}

/// Prose for content that is not to be had.
pub fn blob_failure(error: &BlobError) -> Failure {
    let exit = match error {
        BlobError::Missing { .. } => Exit::NotFound,
        BlobError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Environment,
    };
    Failure::new(exit, error.to_string())
}

/// Prose for what went wrong between here and the network.
pub fn client_failure(error: &ClientError) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        ClientError::Unreachable { .. } => failure(Exit::Unreachable)
            .help("`samebit devnet status` shows whether the devnet runs; its logs are in the devnet folder"),
        ClientError::Refused(refusal) => {
            Failure::new(Exit::Refused, format!("the ledger refuses: {refusal}")).help(refusal_help(refusal))
        }
        ClientError::Timeout { .. } => failure(Exit::TimedOut),
        ClientError::WrongChain { .. } => {
            failure(Exit::LedgerInvalid).help("ask whoever runs the network for a new invitation")
        }
        ClientError::BadChain(_) | ClientError::Equivocation { .. } => {
            failure(Exit::LedgerInvalid).help("do not trust this validator; keep its blocks as evidence")
        }
        ClientError::MissingBlob { .. } => failure(Exit::NotFound),
        ClientError::Transfer(_) | ClientError::Protocol { .. } => failure(Exit::Unreachable),
        ClientError::Blob(error) => blob_failure(error),
        ClientError::Environment { .. } => failure(Exit::Environment).help("`samebit doctor` checks this machine"),
    }
}

fn refusal_help(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Insufficient { .. } => "`samebit ledger account default` shows what the key holds",
        Refusal::TaskUnknown { .. } => "`samebit task list` shows what is published",
        Refusal::JobUnknown { .. } | Refusal::JobPhase { .. } => {
            "`samebit job list` shows every job and where it stands"
        }
        _ => "nothing was changed; `samebit ledger show` shows the ledger as it is",
    }
}

/// Whether somebody listens at a multiaddress of the form `/ip4/ADDRESS/tcp/PORT/...`.
fn answers(address: &str) -> bool {
    let mut parts = address.split('/').skip(1);
    let (Some("ip4"), Some(ip), Some("tcp"), Some(port)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    format!("{ip}:{port}")
        .parse()
        .is_ok_and(|address| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok())
}
