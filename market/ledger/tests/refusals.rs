//! Every refusal, and that it leaves no trace (`spec/05-settlement.md`, section 3).
mod town;

use samebit_ledger::{GenesisError, LedgerState};
use samebit_spec::{
    entry::{Body, Entry},
    id::GenesisId,
    param::Params,
    refusal::Refusal,
    sign::{Domain, PublicKey, Signature, SignatureError, Signer},
    unit::{MicroCredits, Millis},
    wire::Hashed,
};
use town::{Key, Town, check, genesis, hosts, key, sign_entry};

#[test]
fn money_moves_only_where_it_is_and_to_keys_that_can_hold_it() {
    check(
        "
        transfer alice carol 100        | ok
        gain carol                      | -999999900
        transfer carol alice 101        | Insufficient
        transfer carol alice 0          | Amount
        transfer dave alice 1           | NotA
        transfer carol carol 100        | ok
        transfer carol alice 100        | ok
        register h1 5 1 10000000        | ok
        transfer alice h1.op 1          | AlreadyA
        ",
    );
}

#[test]
fn an_entry_counts_once() {
    check(
        "
        transfer alice bob 5            | ok
        again                           | Replayed
        transfer alice bob 5            | ok
        ",
    );
}

#[test]
fn a_host_is_an_account_with_a_bond_and_an_operator_of_its_own() {
    check(
        "
        register h1 5 2 9999999         | BondTooSmall
        register h1 5 2 1000000001      | Insufficient
        register h1 10001 2 10000000    | AskTooHigh
        register h1 5 2 10000000 memory=4294967296 | BadOffer
        register h1 5 2 10000000 files=4294967297 | BadOffer
        register h1 5 2 10000000 stdout=268435457 | BadOffer
        register h1 5 2 10000000 inputs=68719476737 | BadOffer
        register h1 5 2 10000000 ops=2  | BadOffer
        register h1 5 2 10000000 adapter=discrete:0 | BadOffer
        register h1 5 2 10000000 adapter=discrete:8 | BadOffer
        register h1 5 2 10000000 ops=0 adapter=discrete:1 | BadOffer
        register h1 5 2 10000000 h2     | AlreadyA
        register h1 5 2 10000000 val    | AlreadyA
        register nobody 5 2 10000000    | NotA
        register h1 5 2 10000000        | ok
        register h1 5 2 10000000        | AlreadyA
        register h2 5 2 10000000 h1.op  | AlreadyA
        update h1 10001 2               | AskTooHigh
        update h1 10001 2 memory=4294967296 | AskTooHigh
        update h1 5 2 memory=4294967296 | BadOffer
        update h2 5 2                   | NotA
        update h1 6 0                   | ok
        bond h2 5                       | NotA
        bond h1 0                       | Amount
        bond h1 990000001               | Insufficient
        bond h1 5                       | ok
        unbond h2 5                     | NotA
        unbond h1 0                     | Amount
        unbond h1 10000006              | Insufficient
        unbond h1 6                     | BondTooSmall
        unbond h1 5                     | ok
        unbond h1 10000000              | ok
        transfer h1 bob 1000000000      | Insufficient
        wait 5000                       | ok
        transfer h1 bob 1000000000      | ok
        ",
    );
}

#[test]
fn a_task_is_published_once_and_by_an_account() {
    check(
        "
        publish nobody count            | NotA
        publish alice Count             | BadManifest
        publish alice count             | ok
        publish bob count               | TaskKnown
        ",
    );
}

#[test]
fn a_job_stays_within_every_bound() {
    check(
        "
        post nobody j                   | NotA
        post alice j price=18446744073709551615 fuel=18446744073709551615 | Amount
        post alice j fuel=1000000000000000 price=10000 | Insufficient
        post alice j                    | TaskUnknown
        publish alice count             | ok
        post alice j notask             | TaskUnknown
        post alice j forbob             | BadJob
        post alice j nonce+=1           | BadJob
        post alice j units=0            | BadJob
        post alice j units=1025         | BadJob
        post alice j argbytes=8193      | BadJob
        post alice j nul                | BadJob
        post alice j badenv             | BadJob
        post alice j fuel=0             | BadJob
        post alice j steps=0            | BadJob
        post alice j memory=4294967296  | BadJob
        post alice j inputs=68719476737 | BadJob
        post alice j on=software:0      | BadJob
        post alice j on=software:8      | BadJob
        post alice j budget=0           | BadJob
        post alice j k=0                | BadJob
        post alice j k=8                | BadJob
        post alice j price=0            | BadJob
        post alice j price=10001 fuel=1 | BadJob
        post alice j deadline=0         | BadJob
        post alice j deadline=604800001 | BadJob
        post alice j oldparams          | WrongParams
        post alice j                    | ok
        post alice most k=7 units=1024 fuel=1000000 argbytes=8192 | ok
        ",
    );
}

#[test]
fn custody_is_the_keepers_and_cancelling_the_buyers() {
    check(
        "
        publish alice count             | ok
        sign j                          | JobUnknown
        cancel alice j                  | JobUnknown
        post alice j                    | ok
        sign j alice                    | NotA
        cancel bob j                    | NotA
        cancel nobody j                 | NotA
        sign j                          | ok
        sign j                          | JobPhase
        refuse j                        | JobPhase
        cancel alice j                  | JobPhase
        ",
    );
}

#[test]
fn a_run_is_its_hosts_and_goes_one_way() {
    check(
        &(hosts(3)
            + "
        accept j/0/0                    | JobUnknown
        accept j/0/0 as h4              | NotA
        post alice j k=2                | ok
        accept j/0/0                    | RunUnknown
        sign j                          | ok
        run j/0/0                       | drawn
        run j/0/1                       | drawn
        accept j/1/0                    | RunUnknown
        accept j/0/2                    | RunUnknown
        accept j/0/0 as h4              | NotA
        beat j/0/0                      | RunPhase
        withdraw j/0/0                  | RunPhase
        commit j/0/0 a                  | RunPhase
        reveal j/0/0 a                  | RunPhase
        accept j/0/0                    | ok
        accept j/0/0                    | RunPhase
        decline j/0/0                   | RunPhase
        beat j/0/0                      | ok
        commit j/0/0 a                  | ok
        commit j/0/0 b                  | RunPhase
        withdraw j/0/0                  | RunPhase
        reveal j/0/0 a                  | RunPhase
        accept j/0/1                    | ok
        commit j/0/1 a                  | ok
        unit j/0                        | revealing
        reveal j/0/0 b                  | NotTheCommitment
        reveal j/0/0 a                  | ok
        reveal j/0/0 a                  | RunPhase
        reveal j/0/1 a                  | ok
        unit j/0                        | provisional
        wait 1000                       | ok
        job j                           | settled
        reveal j/0/1 a                  | JobPhase
        accept j/0/0                    | JobPhase
        "),
    );
}

#[test]
fn another_host_may_not_act_for_a_run() {
    let mut town = check(&(hosts(3) + "post alice j k=1 | ok\n sign j | ok"));
    let drawn = town.state().run(&town.run_id("j/0/0")).expect("a run").host;
    let other = (1..=3).map(|n| format!("h{n}")).find(|name| key(name) != drawn).expect("two others");
    for verb in ["accept", "decline", "beat", "withdraw"] {
        assert_eq!(town.line(&format!("{verb} j/0/0 as {other}")), "NotYourRun");
    }
    assert_eq!(town.line(&format!("commit j/0/0 a as {other}")), "NotYourRun");
    assert_eq!(town.line(&format!("reveal j/0/0 a as {other}")), "NotYourRun");
}

#[test]
fn a_receipt_of_something_else_is_no_receipt_of_this_run() {
    for flaw in ["otherexecution", "muchfuel", "manysteps", "longengine"] {
        check(
            &(hosts(1)
                + &format!(
                    "
            post alice j k=1                | ok
            sign j                          | ok
            accept j/0/0                    | ok
            commit j/0/0 a {flaw}           | ok
            reveal j/0/0 a {flaw}           | ImpossibleReceipt
            "
                )),
        );
    }
}

#[test]
fn bond_that_left_since_the_draw_cannot_be_locked() {
    let mut town = check(&(hosts(1) + "post alice j k=1 fuel=1000000000000 | ok\n sign j | ok"));
    // The bond of this run would be 200 credits: nobody has that much, so nobody is drawn.
    assert_eq!(town.line("unit j/0"), "placing");
    town::go_on(
        &mut town,
        "
        post alice small k=1            | ok
        sign small                      | ok
        run small/0/0                   | drawn
        unbond h1 100000000             | ok
        accept small/0/0                | Insufficient
        decline small/0/0               | ok
        ",
    );
    town.replay();
}

#[test]
fn an_entry_for_another_chain_domain_or_key_is_refused() {
    let mut town = Town::new();
    let body = Body::Transfer { to: key("bob"), amount: MicroCredits(1) };
    let alice = Key::named("alice");
    let good = town.sign("alice", body.clone());

    let mut elsewhere = good.entry.clone();
    elsewhere.genesis = GenesisId([7; 32]);
    let own = town.state().genesis_id();
    assert_eq!(town.submit(sign_entry(&alice, elsewhere)), Err(Refusal::WrongChain { own, given: GenesisId([7; 32]) }));

    let forged = Err(Refusal::Signature(SignatureError::Forged { key: alice.public() }));
    // Signed for another chain, sent as if for this one.
    let mut signed = good.clone();
    signed.signature = alice.sign(Domain::Entry, GenesisId([7; 32]), good.entry.digest());
    assert_eq!(town.submit(signed), forged);
    // Signed as a block.
    let mut signed = good.clone();
    signed.signature = alice.sign(Domain::Block, own, good.entry.digest());
    assert_eq!(town.submit(signed), forged);
    // Changed after signing.
    let mut signed = good.clone();
    signed.entry.body = Body::Transfer { to: key("bob"), amount: MicroCredits(2) };
    assert_eq!(town.submit(signed), forged);
    // Signed by somebody else.
    assert_eq!(town.submit(sign_entry(&Key::named("bob"), good.entry.clone())), forged);

    let mut early = good.entry.clone();
    early.sequence = 1;
    let refusal = Refusal::Sequence { signer: alice.public(), expected: 0, given: 1 };
    assert_eq!(town.submit(sign_entry(&alice, early)), Err(refusal));
    assert_eq!(town.submit(good), Ok(()));
}

#[test]
fn a_key_under_which_any_signature_fits_is_nobodys() {
    // The neutral point: R = neutral and s = 0 verify for every message.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let small = PublicKey(neutral);
    let refused = || Err(Refusal::Signature(SignatureError::Key { key: small }));
    let mut signature = [0; 64];
    signature[0] = 1;
    let mut town = Town::new();
    let own = town.state().genesis_id();
    let body = Body::Transfer { to: key("bob"), amount: MicroCredits(1) };
    let entry = Entry { genesis: own, signer: small, sequence: 0, body };
    let signed = samebit_spec::entry::SignedEntry { entry, signature: Signature(signature) };
    assert_eq!(signed.verify(), Ok(()), "the attack is real");
    assert_eq!(town.submit(signed), refused());
    let paid = town.sign("alice", Body::Transfer { to: small, amount: MicroCredits(1) });
    assert_eq!(town.submit(paid), refused());
    let register = Body::HostRegister {
        operator: small,
        ask: samebit_spec::unit::FuelPrice(1),
        slots: 1,
        offer: samebit_spec::offer::Offer::default(),
        bond: MicroCredits(10_000_000),
    };
    let registered = town.sign("h1", register);
    assert_eq!(town.submit(registered), refused());
}

#[test]
fn a_genesis_is_sorted_bounded_and_of_usable_keys() {
    let refused = |change: &dyn Fn(&mut samebit_spec::block::Genesis)| {
        let mut bad = genesis();
        change(&mut bad);
        LedgerState::new(&bad).expect_err("a genesis that breaks a rule")
    };
    assert!(matches!(refused(&|bad| bad.network.clear()), GenesisError::Network { .. }));
    assert!(matches!(refused(&|bad| bad.network = "n".repeat(64)), GenesisError::Network { .. }));
    assert!(matches!(refused(&|bad| bad.validator = PublicKey([0; 32])), GenesisError::Key(_)));
    assert!(matches!(refused(&|bad| bad.accounts.swap(0, 1)), GenesisError::Order { .. }));
    assert!(matches!(refused(&|bad| bad.accounts[1] = bad.accounts[0]), GenesisError::Order { .. }));
    assert!(matches!(refused(&|bad| bad.accounts[0].1 = MicroCredits((1 << 62) + 1)), GenesisError::Supply));
    let swift = Params { accept: Millis(1), ..Params::DEVNET };
    assert!(matches!(refused(&|bad| bad.params = swift), GenesisError::Param(_)));
}
