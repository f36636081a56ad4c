//! Jobs land only where what they need is offered (`spec/02-job.md`, sections 5 and 6; `spec/04-verification.md`, section 4).
mod town;

use town::{check, go_on};

/// Three hosts of which only `h2` offers `offer`; then `post alice j` with `needs`.
#[track_caller]
fn only_h2_is_drawn(offer: &str, needs: &str) {
    let mut town = check(&format!(
        "
        publish alice count             | ok
        publish alice tensor            | ok
        register h1 5 4 100000000 memory=65536 files=1000 stdout=1000 inputs=1000 ops=0 | ok
        register h3 5 4 100000000 memory=65536 files=1000 stdout=1000 inputs=1000 ops=0 | ok
        register h2 5 4 100000000 {offer} | ok
        post alice j k=1 {needs}        | ok
        sign j                          | ok
        run j/0/0                       | drawn
        "
    ));
    let drawn = town.state().run(&town.run_id("j/0/0")).expect("a run").host;
    assert_eq!(drawn, town::key("h2"), "{needs}");
    // And it alone: no second replica is found.
    go_on(
        &mut town,
        &format!("post alice two k=2 {needs} | ok\n sign two | ok\n unit two/0 | placing\n run two/0/0 | none"),
    );
    town.replay();
}

#[test]
fn a_unit_is_drawn_only_to_hosts_with_the_room_that_it_needs() {
    let little = "files=1000 stdout=1000 inputs=1000";
    only_h2_is_drawn("memory=65537", &format!("memory=65537 {little}"));
    only_h2_is_drawn("files=1001", "files=1001 stdout=1000 inputs=1000");
    only_h2_is_drawn("stdout=1001", "files=1000 stdout=1001 inputs=1000");
    only_h2_is_drawn("inputs=1001", "files=1000 stdout=1000 inputs=1001");
}

#[test]
fn a_task_on_tensors_is_drawn_only_to_hosts_that_compute_them() {
    only_h2_is_drawn("ops=1", "tensor files=1000 stdout=1000 inputs=1000");
}

#[test]
fn an_adapter_is_of_a_class_and_passed_the_gate_for_kinds() {
    let needs = |on: &str| format!("tensor files=1000 stdout=1000 on={on}");
    only_h2_is_drawn("adapter=software:1", &needs("software:1"));
    only_h2_is_drawn("adapter=discrete:7", &needs("software:1"));
    only_h2_is_drawn("adapter=discrete:7", &needs("integrated:6"));
    only_h2_is_drawn("ops=1", &needs("cpu"));
    check(
        "
        publish alice tensor            | ok
        register h1 5 4 100000000 adapter=integrated:3 | ok
        post alice class k=1 tensor on=discrete:1 | ok
        post alice kind k=1 tensor on=integrated:4 | ok
        post alice cpu k=1 tensor on=cpu | ok
        post alice any k=1 tensor       | ok
        post alice fits k=1 tensor on=software:2 | ok
        sign class                      | ok
        sign kind                       | ok
        sign cpu                        | ok
        sign any                        | ok
        sign fits                       | ok
        unit class/0                    | placing
        unit kind/0                     | placing
        unit cpu/0                      | placing
        run any/0/0                     | drawn
        run fits/0/0                    | drawn
        ",
    );
}

#[test]
fn a_unit_waits_until_a_host_offers_what_it_needs_and_is_refunded_if_none_does() {
    check(
        "
        publish alice count             | ok
        register h1 5 4 100000000       | ok
        post alice j k=1 memory=2147483648 | ok
        post alice never k=1 memory=4000000000 | ok
        sign j                          | ok
        sign never                      | ok
        unit j/0                        | placing
        update h1 5 4 memory=2147483647 | ok
        unit j/0                        | placing
        update h1 5 4 memory=2147483648 | ok
        run j/0/0                       | drawn
        wait 70000                      | ok
        unit never/0                    | expired
        escrow never                    | 0
        burned                          | 220
        ",
    );
}

#[test]
fn a_host_that_offered_more_than_it_has_declines_for_nothing_or_withdraws_for_the_fee() {
    check(
        "
        publish alice tensor            | ok
        register h1 5 4 100000000 adapter=discrete:7 | ok
        register h2 5 4 100000000 adapter=discrete:7 | ok
        register h3 5 4 100000000       | ok
        post alice j k=2 tensor on=discrete:1 | ok
        sign j                          | ok
        run j/0/0                       | drawn
        run j/0/1                       | drawn
        decline j/0/0                   | ok
        gain @j/0/0                     | 0
        accept j/0/1                    | ok
        withdraw j/0/1                  | ok
        run j/0/1                       | lost
        gain @j/0/1                     | -500
        unit j/0                        | placing
        ",
    );
}

#[test]
fn an_offer_that_changes_moves_no_run_that_is_drawn() {
    check(
        "
        publish alice tensor            | ok
        register h1 5 4 100000000 adapter=discrete:7 | ok
        post alice j k=1 tensor on=discrete:1 | ok
        sign j                          | ok
        update h1 5 4                   | ok
        run j/0/0                       | drawn
        accept j/0/0                    | ok
        commit j/0/0 a                  | ok
        reveal j/0/0 a                  | ok
        unit j/0                        | provisional
        post alice next k=1 tensor on=discrete:1 | ok
        sign next                       | ok
        unit next/0                     | placing
        ",
    );
}
