//! Audits: who draws them, who pays, and that nobody's silence decides one (`spec/04-verification.md`, section 10).
//!
//! The numbers are those of `lifecycle.rs`: a run earns 500 of at most 1000, its bond is 20 000, a post burns 110.
mod town;

use town::{check, hosts};

/// A unit of one replica that is audited for certain, committed to `a`, and its auditor to `letter`.
fn audited(letter: &str) -> String {
    hosts(4)
        + &format!(
            "
        post alice j k=1 audit=10000    | ok
        escrow j                        | 5000
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 a                  | ok
        unit j/0                        | running
        role j/0/0                      | replica
        run j/0/1                       | drawn
        role j/0/1                      | audit
        reveal j/0/0 a                  | RunPhase
        accept j/0/1                    | ok
        reveal j/0/0 a                  | RunPhase
        commit j/0/1 {letter}           | ok
        unit j/0                        | revealing
        reveal j/0/0 a                  | ok
        reveal j/0/1 {letter}           | ok
        "
        )
}

#[test]
fn an_auditor_is_bound_before_anything_is_shown_and_is_paid_as_a_host() {
    check(
        &(audited("a")
            + "
        unit j/0                        | provisional
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/0                     | 500
        gain @j/0/1                     | 500
        gain alice                      | -1110
        "),
    );
}

#[test]
fn a_single_liar_is_named_by_its_auditor_and_a_third_host() {
    check(
        &(audited("b")
            + "
        unit j/0                        | running
        role j/0/2                      | referee
        accept j/0/2                    | ok
        commit j/0/2 b                  | ok
        reveal j/0/2 b                  | ok
        run j/0/0                       | slashed
        wait 1000                       | ok
        gain @j/0/0                     | -20000
        unit j/0                        | final
        "),
    );
}

#[test]
fn a_lying_auditor_is_named_as_any_liar() {
    check(
        &(audited("b")
            + "
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        run j/0/1                       | slashed
        run j/0/0                       | revealed
        wait 1000                       | ok
        gain @j/0/1                     | -20000
        "),
    );
}

#[test]
fn a_unit_that_is_spared_goes_on_at_once() {
    check(
        &(hosts(3)
            + "
        post alice j k=1 audit=1        | ok
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 a                  | ok
        unit j/0                        | revealing
        run j/0/1                       | none
        reveal j/0/0 a                  | ok
        wait 1000                       | ok
        gain alice                      | -610
        "),
    );
}

#[test]
fn a_buyer_opens_its_secret_and_one_that_is_silent_is_audited_at_its_own_cost() {
    let script = hosts(4)
        + "
        post alice j k=1 audit=1 sealed units=2 | ok
        open j/0                        | UnitPhase
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/1/0                    | ok
        open j/0                        | UnitPhase
        commit j/0/0 a                  | ok
        unit j/0                        | drawing
        reveal j/0/0 a                  | RunPhase
        withdraw j/0/0                  | RunPhase
        open j/0 bob                    | NotA
        open j/7                        | UnitPhase
        open j/0 alice forged           | NotTheSeal
        open j/0                        | ok
        open j/0                        | UnitPhase
        unit j/0                        | revealing
        commit j/1/0 a                  | ok
        unit j/1                        | drawing
        wait 4999                       | ok
        unit j/1                        | drawing
        wait 1                          | ok
        unit j/1                        | running
        role j/1/1                      | audit
        ";
    check(&script);
}

#[test]
fn a_promise_may_be_taken_back_for_a_fee_until_the_draw_and_not_after() {
    check(
        &(hosts(4)
            + "
        post alice j k=2 audit=10000    | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 b                  | ok
        withdraw j/0/0                  | ok
        run j/0/0                       | lost
        gain @j/0/0                     | -500
        role j/0/2                      | replica
        accept j/0/2                    | ok
        commit j/0/1 a                  | ok
        commit j/0/2 a                  | ok
        role j/0/3                      | audit
        withdraw j/0/1                  | RunPhase
        "),
    );
    check(
        &(hosts(3)
            + "
        post alice j k=1                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 b                  | ok
        withdraw j/0/0                  | RunPhase
        "),
    );
}

#[test]
fn an_auditor_that_vanishes_pays_and_another_is_drawn_until_the_units_time_is_over() {
    check(
        &(hosts(3)
            + "
        post alice j k=1 audit=10000    | ok
        sign j                          | ok
        accept j/0/0                    | ok
        wait 7000                       | ok
        commit j/0/0 a                  | ok
        accept j/0/1                    | ok
        wait 8000                       | ok
        run j/0/1                       | lost
        role j/0/2                      | audit
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/0 a                  | ok
        reveal j/0/2 a                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/1                     | -500
        "),
    );
    // Nobody is left: the buyer is refunded, no bond is lost, and a lie shown to nobody is not believed.
    check(
        &(hosts(1)
            + "
        post alice j k=1 audit=10000 deadline=30000 | ok
        sign j                          | ok
        accept j/0/0                    | ok
        wait 7000                       | ok
        commit j/0/0 a                  | ok
        unit j/0                        | placing
        wait 29000                      | ok
        unit j/0                        | placing
        wait 1000                       | ok
        unit j/0                        | expired
        gain @j/0/0                     | 0
        gain alice                      | -110
        "),
    );
}

#[test]
fn the_chance_of_an_audit_is_a_share() {
    check(
        "
        publish alice count             | ok
        post alice j audit=10001        | BadJob
        post alice j audit=10000        | ok
        ",
    );
}

#[test]
fn who_replaces_a_silent_host_of_a_spared_unit_is_audited() {
    check(
        &(hosts(4)
            + "
        post alice j k=1 audit=1        | ok
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 a                  | ok
        unit j/0                        | revealing
        wait 10000                      | ok
        run j/0/0                       | unrevealed
        role j/0/1                      | replica
        role j/0/2                      | audit
        "),
    );
}

#[test]
fn two_bought_replicas_are_not_paid_over_an_auditor_that_was_never_heard() {
    check(
        &(hosts(3)
            + "
        post alice j k=2 audit=10000 deadline=9000 | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 b                  | ok
        commit j/0/1 b                  | ok
        role j/0/2                      | audit
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/0 b                  | ok
        reveal j/0/1 b                  | ok
        wait 10000                      | ok
        run j/0/2                       | unrevealed
        wait 30000                      | ok
        unit j/0                        | expired
        gain @j/0/0                     | 0
        "),
    );
}
