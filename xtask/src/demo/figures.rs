//! Reads what `samebit -o json` prints and lays it out: jobs, accounts, tables.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A job as `job show` prints it.
pub(crate) struct Job {
    /// Its id.
    pub(crate) id: String,
    /// Its task, for people.
    pub(crate) name: String,
    /// Its units, in order.
    pub(crate) units: Vec<Unit>,
    whole: Value,
}

/// A unit of it.
pub(crate) struct Unit {
    /// Its number.
    pub(crate) unit: u64,
    /// Where it stands.
    pub(crate) phase: String,
    /// How the task ended, where hosts agree on it.
    pub(crate) outcome: String,
    /// Whether hosts showed receipts that differ, or one did not open its promise.
    pub(crate) disputed: bool,
    /// Hosts that were drawn to decide between receipts.
    pub(crate) referees: u64,
    /// Its runs.
    pub(crate) runs: Vec<Run>,
    whole: Value,
}

/// A run of it.
pub(crate) struct Run {
    /// The host's account.
    pub(crate) host: String,
    /// Where it stands.
    pub(crate) phase: String,
}

fn text(value: &Value, field: &str) -> Result<String, String> {
    value[field].as_str().map(str::to_owned).ok_or_else(|| format!("no {field} in {value}"))
}

fn number(value: &Value, field: &str) -> Result<u64, String> {
    value[field].as_u64().ok_or_else(|| format!("no {field} in {value}"))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], String> {
    value[field].as_array().map(Vec::as_slice).ok_or_else(|| format!("no {field} in {value}"))
}

impl Job {
    /// Reads `samebit/job/1`.
    pub(crate) fn read(name: &str, value: &Value) -> Result<Self, String> {
        let units = list(value, "units")?.iter().map(Unit::read).collect::<Result<_, _>>()?;
        Ok(Self { id: text(value, "job")?, name: name.to_owned(), units, whole: value.clone() })
    }

    /// Units whose hosts did not agree at first.
    pub(crate) fn disputed(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| unit.disputed)
    }

    /// Accounts that were slashed in it, each once.
    pub(crate) fn slashed(&self) -> impl Iterator<Item = &String> {
        let runs = self.units.iter().flat_map(|unit| &unit.runs);
        let hosts: BTreeSet<_> =
            runs.filter(|run| run.phase == "slashed" || run.phase == "unrevealed").map(|run| &run.host).collect();
        hosts.into_iter()
    }

    /// The job without its units, for the report.
    pub(crate) fn report(&self) -> Value {
        let mut value = self.whole.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("units");
            fields.remove("schema");
            fields.insert("slashed".to_owned(), self.slashed().cloned().collect());
            fields.insert("disputed".to_owned(), self.disputed().count().into());
        }
        value
    }

    /// One object per unit, for the report.
    pub(crate) fn unit_reports(&self, names: &BTreeMap<String, String>) -> Vec<Value> {
        let report = |unit: &Unit| {
            let mut value = unit.whole.clone();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("job".to_owned(), self.id.clone().into());
                fields.insert("task_name".to_owned(), self.name.clone().into());
                let hosts: Vec<_> = unit.runs.iter().map(|run| name(names, &run.host)).collect();
                fields.insert("hosts".to_owned(), hosts.into());
                let verdict = match (unit.phase.as_str(), unit.disputed) {
                    ("final", false) => "agreed",
                    ("final", true) => "decided by re-run",
                    (other, _) => other,
                };
                fields.insert("verdict".to_owned(), verdict.into());
            }
            value
        };
        self.units.iter().map(report).collect()
    }
}

impl Unit {
    fn read(value: &Value) -> Result<Self, String> {
        let run = |run: &Value| Ok(Run { host: text(run, "host")?, phase: text(run, "phase")? });
        Ok(Self {
            unit: number(value, "unit")?,
            phase: text(value, "phase")?,
            outcome: value["outcome"].as_str().unwrap_or_default().to_owned(),
            disputed: value["disputed"].as_bool().ok_or("a unit does not say whether it was disputed")?,
            referees: number(value, "referees")?,
            runs: list(value, "runs")?.iter().map(run).collect::<Result<_, String>>()?,
            whole: value.clone(),
        })
    }
}

/// An account as `ledger show` prints it. Micro-credits.
pub(crate) struct Account {
    /// Its key.
    pub(crate) key: String,
    /// Free money.
    pub(crate) balance: u64,
    bond_free: u64,
    bond_locked: u64,
    unbonding: u64,
}

impl Account {
    /// Its bond, free, locked and on its way out.
    pub(crate) fn bond(&self) -> u64 {
        self.bond_free + self.bond_locked + self.unbonding
    }

    /// All that it owns.
    pub(crate) fn total(&self) -> u64 {
        self.balance + self.bond()
    }

    fn json(&self) -> Value {
        json!({
            "balance": self.balance, "bond_free": self.bond_free, "bond_locked": self.bond_locked,
            "unbonding": self.unbonding, "total": self.total(),
        })
    }
}

/// Reads the accounts of `samebit/ledger/1`.
pub(crate) fn accounts(ledger: &Value) -> Result<Vec<Account>, String> {
    let read = |account: &Value| {
        Ok(Account {
            key: text(account, "key")?,
            balance: number(account, "balance")?,
            bond_free: number(account, "bond_free")?,
            bond_locked: number(account, "bond_locked")?,
            unbonding: number(account, "unbonding")?,
        })
    };
    list(ledger, "accounts")?.iter().map(read).collect()
}

/// Every account's balance before and after, bonds included.
pub(crate) fn account_reports(
    before: &[Account],
    after: &[Account],
    names: &BTreeMap<String, String>,
    cheaters: &BTreeMap<String, String>,
) -> Vec<Value> {
    let report = |account: &Account| {
        let was = before.iter().find(|was| was.key == account.key);
        json!({
            "key": account.key,
            "name": name(names, &account.key),
            "cheat": cheaters.get(&account.key),
            "before": was.map(Account::json),
            "after": account.json(),
            "change": i128::from(account.total()) - was.map_or(0, |was| i128::from(was.total())),
        })
    };
    after.iter().map(report).collect()
}

/// Names of the devnet's accounts by key.
pub(crate) fn names(devnet: &Value) -> BTreeMap<String, String> {
    let hosts = devnet["hosts"].as_array().into_iter().flatten();
    let mut names: BTreeMap<_, _> =
        hosts.filter_map(|host| Some((text(host, "account").ok()?, text(host, "name").ok()?))).collect();
    if let Some(buyer) = devnet["buyer"].as_str() {
        names.insert(buyer.to_owned(), "buyer".to_owned());
    }
    names
}

/// Accounts of the hosts that cheat, and how.
pub(crate) fn cheaters(devnet: &Value) -> BTreeMap<String, String> {
    let hosts = devnet["hosts"].as_array().into_iter().flatten();
    hosts.filter_map(|host| Some((text(host, "account").ok()?, text(host, "cheat").ok()?))).collect()
}

/// What people call an account.
pub(crate) fn name(names: &BTreeMap<String, String>, key: &str) -> String {
    names.get(key).cloned().unwrap_or_else(|| short(key))
}

/// The first digits of an id.
pub(crate) fn short(id: &str) -> String {
    match id.split_once('-') {
        Some((kind, digits)) => format!("{kind}-{}", digits.chars().take(8).collect::<String>()),
        None => id.to_owned(),
    }
}

/// Micro-credits as credits.
pub(crate) fn credits(amount: u64) -> String {
    format!("{}.{:06}", amount / 1_000_000, amount % 1_000_000)
}

/// The difference, signed.
pub(crate) fn change(before: u64, after: u64) -> String {
    let sign = if after < before { "-" } else { "+" };
    format!("{sign}{}", credits(after.abs_diff(before)))
}

/// Columns under their heads, the first row. Columns of figures are set to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let width = |at| rows.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0);
    let is_figure = |at| {
        let body = rows.iter().skip(1).map(|row| cell(row, at));
        body.clone().all(|text| text.chars().all(|c| c.is_ascii_digit() || "+-.".contains(c)))
            && body.clone().any(|text| !text.is_empty())
    };
    let layout: Vec<(usize, bool)> = (0..columns).map(|at| (width(at), is_figure(at))).collect();
    let line = |row: &Vec<String>| {
        let cells = layout.iter().enumerate().map(|(at, (width, figure))| {
            let text = cell(row, at);
            if *figure { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(second_phase: &str, disputed: bool) -> Job {
        let value = json!({
            "job": "job-0011223344", "units": [{
                "unit": 0, "phase": "final", "disputed": disputed, "referees": 1,
                "runs": [{"host": "key-a", "phase": "upheld"}, {"host": "key-b", "phase": second_phase}],
            }],
        });
        Job::read("census", &value).expect("a sound job")
    }

    #[test]
    fn a_slashed_host_is_named_and_an_upheld_one_is_not() {
        assert_eq!(job("slashed", true).slashed().collect::<Vec<_>>(), ["key-b"]);
        assert_eq!(job("unrevealed", true).slashed().collect::<Vec<_>>(), ["key-b"]);
        assert_eq!(job("upheld", false).slashed().count(), 0);
    }

    #[test]
    fn a_disputed_unit_is_reported_as_decided_by_re_run() {
        let names = BTreeMap::from([("key-a".to_owned(), "host-1".to_owned())]);
        let reports = job("slashed", true).unit_reports(&names);
        assert_eq!(reports[0]["verdict"], "decided by re-run");
        assert_eq!(reports[0]["hosts"], json!(["host-1", "key-b"]));
        assert_eq!(job("upheld", false).unit_reports(&names)[0]["verdict"], "agreed");
    }

    #[test]
    fn a_job_without_a_field_is_refused_by_name() {
        let error = Job::read("census", &json!({"job": "job-00"})).err().expect("units are missing");
        assert!(error.contains("units"), "{error}");
    }

    #[test]
    fn figures_stand_to_the_right_and_words_to_the_left() {
        let rows = [["who", "change"], ["buyer", "-1.5"], ["host-1", "+10.25"]];
        let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), "  who     change\n  buyer     -1.5\n  host-1  +10.25");
    }

    #[test]
    fn a_change_carries_its_sign() {
        assert_eq!(change(2_000_000, 500_000), "-1.500000");
        assert_eq!(change(1, 2), "+0.000001");
    }
}
