//! Journeys of real processes on loopback, one per story that a user would tell.

use samebit_tests::{Devnet, guest, kill, lives, runs, units};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

fn submit_hello(net: &Devnet, names: &[&str]) -> Value {
    let module = guest("hello").display().to_string();
    let mut args = vec!["job".to_owned(), "submit".into(), module, "--wait".into()];
    for (at, name) in names.iter().enumerate() {
        let path = net.home.write(&format!("inputs/{at}"), format!("{{\"name\":\"{name}\"}}"));
        args.extend(["--input".into(), path]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    net.json(&args)
}

#[test]
fn honest_hosts_agree_are_paid_and_the_buyer_gets_the_result() {
    let net = Devnet::up(3, &[]);
    let before = net.json(&["ledger", "account", "default"])["balance"].as_u64().expect("money");
    let job = submit_hello(&net, &["Ada", "Grace", "Barbara"]);
    assert_eq!(job["standing"], "final", "{job}");
    let mut paid = 0;
    for unit in units(&job) {
        assert_eq!(unit["disputed"], false, "{unit}");
        let upheld: Vec<&Value> = runs(unit).iter().filter(|run| run["phase"] == "upheld").collect();
        assert_eq!(upheld.len(), 2, "{unit}");
        assert_eq!(upheld[0]["receipt"], upheld[1]["receipt"]);
        assert_ne!(upheld[0]["host"], upheld[1]["host"]);
        assert_ne!(upheld[0]["commitment"], upheld[1]["commitment"], "commitments are salted");
        paid += upheld.iter().map(|run| run["paid"].as_u64().expect("pay")).sum::<u64>();
    }
    assert!(paid > 0);
    let after = net.json(&["ledger", "account", "default"])["balance"].as_u64().expect("money");
    // The buyer has paid exactly the hosts and the burned fees; the rest of the escrow is back.
    let fees = 100 + 3 * 10;
    assert_eq!(before - after, paid + fees);

    let id = job["job"].as_str().expect("an id");
    let output = net.json(&["job", "output", id, "--unit", "1"]);
    assert!(output["units"][0]["result"].to_string().contains("Grace"), "{output}");
    assert_eq!(output["units"][0]["standing"], "final");
    net.run(&["audit", "job", id]).code(0);
    net.only_slashed_are(&[]);
    net.verify();
}

#[test]
fn a_host_that_reports_wrong_outputs_is_named_slashed_and_excluded() {
    let net = Devnet::up(4, &["wrong-output:1"]);
    let liars = net.cheats("wrong-output");
    assert_eq!(liars.len(), 1);
    let job = net.until("the liar to be drawn and slashed", |net| {
        let job = submit_hello(net, &["Ada", "Grace", "Barbara", "Frances"]);
        units(&job).iter().any(|unit| unit["disputed"] == true).then_some(job)
    });
    let disputed: Vec<&Value> = units(&job).iter().filter(|unit| unit["disputed"] == true).collect();
    for unit in &disputed {
        let slashed: Vec<&Value> = runs(unit).iter().filter(|run| run["phase"] == "slashed").collect();
        assert_eq!(slashed.len(), 1, "{unit}");
        assert_eq!(slashed[0]["name"], liars[0].as_str());
        assert!(slashed[0]["lost"].as_u64() > Some(0));
        assert_ne!(slashed[0]["receipt"], unit["receipt"]);
        assert_eq!(runs(unit).iter().filter(|run| run["phase"] == "upheld").count(), 2, "{unit}");
    }
    let id = job["job"].as_str().expect("an id");
    let audit = net.run(&["-o", "json", "audit", "job", id]).code(0).json();
    assert_eq!(audit["verdict"], "right", "{audit}");
    for unit in audit["units"].as_array().expect("units") {
        for run in unit["runs"].as_array().expect("runs").iter().filter(|run| !run["right"].is_null()) {
            assert_eq!(run["right"] == false, run["name"] == liars[0].as_str(), "{unit}");
        }
    }
    net.only_slashed_are(&liars);
    net.verify();
}

#[test]
fn a_lazy_copier_cannot_open_what_it_copied_and_is_slashed() {
    let net = Devnet::up(4, &["lazy-copier:1"]);
    let liars = net.cheats("lazy-copier");
    let job = net.until("the copier to be drawn", |net| {
        let job = submit_hello(net, &["Ada", "Grace", "Barbara", "Frances"]);
        units(&job)
            .iter()
            .any(|unit| runs(unit).iter().any(|run| run["name"] == liars[0].as_str() && run["lost"].as_u64() > Some(0)))
            .then_some(job)
    });
    assert_eq!(job["standing"], "final", "{job}");
    for unit in units(&job) {
        for run in runs(unit).iter().filter(|run| run["name"] == liars[0].as_str()) {
            assert_ne!(run["phase"], "upheld", "{unit}");
            assert_eq!(run["paid"], 0, "{unit}");
        }
    }
    net.only_slashed_are(&liars);
    net.verify();
}

/// A picture that keeps a core busy for some seconds, in many steps.
fn long_job(net: &Devnet) -> Vec<String> {
    let input = net.home.write(
        "long.json",
        r#"{"width":600,"height":400,"iterations":20000,"rows_per_step":2,"centre":[-0.7435,0.1314],"scale":0.002}"#,
    );
    vec!["job".into(), "submit".into(), guest("mandelbrot").display().to_string(), "--input".into(), input]
}

fn submit(net: &Devnet, args: &[String]) -> String {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    net.json(&args)["job"].as_str().expect("an id").to_owned()
}

#[test]
fn a_host_killed_in_the_middle_of_a_run_is_replaced() {
    let net = Devnet::up(4, &[]);
    let id = submit(&net, &long_job(&net));
    let victim = net.until("a host to be at work", |net| {
        let job = net.json(&["job", "show", &id]);
        runs(&units(&job)[0]).iter().find(|run| run["phase"] == "accepted").map(|run| run["name"].clone())
    });
    let victim = victim.as_str().expect("named");
    kill(net.pid(victim));
    let job = net.run(&["-o", "json", "job", "watch", &id]).code(0).json();
    let unit = &units(&job)[0];
    assert_eq!(unit["standing"], "final", "{job}");
    let lost = runs(unit).iter().find(|run| run["name"] == victim).expect("the victim was drawn");
    assert_eq!(lost["phase"], "lost", "{unit}");
    assert_eq!(runs(unit).iter().filter(|run| run["phase"] == "upheld").count(), 2, "{unit}");
    net.only_slashed_are(&[]);
    net.verify();
}

#[test]
fn a_validator_killed_and_restarted_has_lost_nothing() {
    let net = Devnet::up(3, &[]);
    let first = submit_hello(&net, &["Ada"]);
    let id = submit(&net, &long_job(&net));
    let before = net.json(&["ledger", "show"]);
    kill(net.pid("validator"));
    let unreachable = net.run(&["job", "submit", &guest("hello").display().to_string()]);
    assert_eq!(unreachable.code, 5, "{}", unreachable.stderr);

    let folder = net.home.path().join("home/devnet/validator").display().to_string();
    let mut validator = net
        .home
        .command(&["validator", "up", "--dir", &folder])
        // It ends with this test, however that ends.
        .env("SAMEBIT_LIFELINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let job = net.until("the network to answer again", |net| {
        let shown = net.run(&["-o", "json", "job", "watch", &id]);
        (shown.code == 0).then(|| shown.json())
    });
    assert_eq!(job["standing"], "final", "{job}");
    let after = net.json(&["ledger", "show"]);
    assert!(after["height"].as_u64() > before["height"].as_u64());
    let again = net.json(&["job", "show", first["job"].as_str().expect("an id")]);
    assert_eq!(again["units"], first["units"], "a settled job reads the same after the crash");
    net.only_slashed_are(&[]);
    net.verify();
    validator.kill().expect("still running");
    validator.wait().expect("ended");
}

#[test]
fn a_buyer_may_go_and_come_back_for_the_result() {
    let net = Devnet::up(3, &[]);
    let input = net.home.write("name.json", r#"{"name":"Ada"}"#);
    let module = guest("hello").display().to_string();
    // The command that submits has ended; nothing of the buyer runs from here on.
    let id = net.json(&["job", "submit", &module, "--input", &input])["job"].as_str().expect("an id").to_owned();
    let job = net.until("the job to settle by itself", |net| {
        let job = net.json(&["job", "show", &id]);
        (job["standing"] == "final").then_some(job)
    });
    assert_eq!(job["phase"], "settled", "{job}");
    let prefix = &id[..12];
    let output = net.json(&["job", "output", prefix]);
    assert!(output["units"][0]["result"].to_string().contains("Ada"), "{output}");
    net.verify();
}

#[test]
fn bad_orders_are_refused_with_the_value_and_change_nothing() {
    let net = Devnet::up(3, &[]);
    let hello = guest("hello").display().to_string();
    let before = net.json(&["ledger", "show"]);

    let forbidden = wat::parse_str(
        r#"(module (import "env" "gettimeofday" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
    )
    .expect("wat");
    let module = net.home.write("forbidden.wasm", forbidden);
    let ran = net.run(&["task", "publish", &module]).code(22);
    assert!(ran.stderr.contains("gettimeofday"), "{}", ran.stderr);

    let whole = std::fs::read(guest("hello")).expect("built");
    let module = net.home.write("truncated.wasm", &whole[..whole.len() / 2]);
    net.run(&["task", "publish", &module]).code(22);
    let module = net.home.write("huge.wasm", {
        let mut bytes = whole.clone();
        bytes.resize(97 << 20, 0);
        bytes
    });
    net.run(&["task", "publish", &module]).code(22);

    let ran = net.run(&["job", "submit", &hello, "--fuel", "1000000000000000", "--price", "10000"]).code(7);
    assert!(ran.stderr.contains("holds"), "{}", ran.stderr);
    net.run(&["job", "show", "job-00000000"]).code(3);
    net.run(&["task", "show", "no-such-task"]).code(3);
    net.run(&["ledger", "account", "key-0000"]).code(3);
    net.run(&["audit", "job", "ffffffff"]).code(3);

    let after = net.json(&["ledger", "show"]);
    for unchanged in ["supply", "burned", "escrow", "jobs", "accounts"] {
        // Publishing is the one thing that was accepted, and it costs nothing.
        let (mut before, mut after) = (before[unchanged].clone(), after[unchanged].clone());
        for account in before.as_array_mut().into_iter().chain(after.as_array_mut()).flatten() {
            account["sequence"].take();
        }
        assert_eq!(before, after, "{unchanged}");
    }
    net.verify();
}

#[test]
fn peers_that_send_garbage_or_nothing_hurt_nobody() {
    let net = Devnet::up(3, &[]);
    let addresses = net.banner["validator"]["addresses"].as_array().expect("addresses").clone();
    let port: u16 = addresses
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|address| address.split("/tcp/").nth(1)?.split('/').next()?.parse().ok())
        .next()
        .expect("a TCP address");
    let mut silent = Vec::new();
    for round in 0..20u8 {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).expect("the validator listens");
        peer.set_read_timeout(Some(Duration::from_millis(200))).expect("settable");
        // Bounded garbage: 64 KiB of a repeated byte, a truncated handshake, or nothing at all.
        match round % 3 {
            0 => drop(peer.write_all(&[round; 65_536])),
            1 => drop(peer.write_all(b"\x13/multistream/1.0.0\n\xff\xff\xff\xff")),
            _ => {}
        }
        let mut answer = [0; 512];
        let _ = peer.read(&mut answer);
        silent.push(peer);
    }
    let job = submit_hello(&net, &["Ada"]);
    assert_eq!(job["standing"], "final", "{job}");
    drop(silent);
    assert!(lives(net.pid("validator")), "the validator lives");
    net.verify();
}
