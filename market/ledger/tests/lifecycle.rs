//! Every arrow of the state chart: its deadline, what happens when it passes, and who pays
//! (`spec/04-verification.md`, section 2).
//!
//! The numbers: a run earns at most 1000 (100 M fuel at 10), 500 as run here; its bond is 20 000; two replicas
//! lock 5000 per unit; a post burns 110.
mod town;

use town::{check, hosts};

/// Two hosts have accepted and committed to `a` and to `letter`.
fn two_commits(letter: &str) -> String {
    hosts(3)
        + &format!(
            "
        post alice j k=2                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 {letter}           | ok
        "
        )
}

#[test]
fn honest_hosts_are_paid_for_their_fuel_and_the_buyer_gets_the_rest() {
    check(
        &(hosts(2)
            + "
        post alice j k=2                | ok
        escrow j                        | 5000
        gain alice                      | -5110
        burned                          | 110
        job j                           | posted
        sign j                          | ok
        unit j/0                        | running
        locked j/0/0                    | 0
        accept j/0/0                    | ok
        locked j/0/0                    | 20000
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        unit j/0                        | running
        commit j/0/1 a                  | ok
        unit j/0                        | revealing
        reveal j/0/1 a                  | ok
        unit j/0                        | revealing
        reveal j/0/0 a                  | ok
        unit j/0                        | provisional
        gain @j/0/0                     | 0
        locked j/0/0                    | 20000
        wait 999                        | ok
        unit j/0                        | provisional
        wait 1                          | ok
        unit j/0                        | final
        job j                           | settled
        gain @j/0/0                     | 500
        gain @j/0/1                     | 500
        gain alice                      | -1110
        escrow j                        | 0
        locked j/0/0                    | 0
        burned                          | 110
        "),
    );
}

#[test]
fn one_replica_is_believed() {
    check(
        &(hosts(1)
            + "
        post alice j k=1                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 b                  | ok
        reveal j/0/0 b                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/0                     | 500
        gain alice                      | -610
        "),
    );
}

#[test]
fn a_cancelled_a_refused_and_an_uncustodied_job_cost_the_fee_alone() {
    check(
        "
        publish alice count             | ok
        post alice a                    | ok
        cancel alice a                  | ok
        job a                           | cancelled
        unit a/0                        | dropped
        gain alice                      | -110
        post alice b                    | ok
        refuse b                        | ok
        job b                           | refused
        gain alice                      | -220
        post alice c                    | ok
        wait 29999                      | ok
        job c                           | posted
        wait 1                          | ok
        job c                           | uncustodied
        gain alice                      | -330
        burned                          | 330
        ",
    );
}

#[test]
fn declining_and_not_answering_cost_nothing_and_another_host_is_drawn() {
    check(
        &(hosts(3)
            + "
        post alice j k=1                | ok
        sign j                          | ok
        decline j/0/0                   | ok
        run j/0/0                       | declined
        run j/0/1                       | drawn
        wait 4999                       | ok
        run j/0/1                       | drawn
        wait 1                          | ok
        run j/0/1                       | lapsed
        run j/0/2                       | drawn
        accept j/0/1                    | RunPhase
        gain @j/0/0                     | 0
        gain @j/0/1                     | 0
        decline j/0/2                   | ok
        unit j/0                        | placing
        wait 60000                      | ok
        unit j/0                        | expired
        job j                           | settled
        gain alice                      | -110
        "),
    );
}

#[test]
fn an_accepted_host_that_falls_silent_or_gives_up_pays_the_no_show_fee() {
    check(
        &(hosts(3)
            + "
        post alice j k=1                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        wait 7999                       | ok
        beat j/0/0                      | ok
        wait 7999                       | ok
        run j/0/0                       | accepted
        wait 1                          | ok
        run j/0/0                       | lost
        gain @j/0/0                     | -500
        run j/0/1                       | drawn
        accept j/0/1                    | ok
        withdraw j/0/1                  | ok
        run j/0/1                       | lost
        gain @j/0/1                     | -500
        run j/0/2                       | drawn
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        wait 1000                       | ok
        gain @j/0/2                     | 500
        gain alice                      | -610
        burned                          | 1110
        "),
    );
}

#[test]
fn a_promise_that_is_not_opened_costs_the_whole_bond() {
    check(
        &(two_commits("a")
            + "
        reveal j/0/0 a                  | ok
        wait 9999                       | ok
        run j/0/1                       | committed
        wait 1                          | ok
        run j/0/1                       | unrevealed
        gain @j/0/1                     | -20000
        run j/0/2                       | drawn
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/0                     | 500
        gain @j/0/2                     | 500
        gain alice                      | -1110
        burned                          | 20110
        "),
    );
}

#[test]
fn a_copied_promise_cannot_be_opened_by_the_copier() {
    check(
        &(hosts(3)
            + "
        post alice j k=2                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 j/0/0 copied       | ok
        reveal j/0/0 a                  | ok
        reveal j/0/1 a                  | NotTheCommitment
        wait 10000                      | ok
        run j/0/1                       | unrevealed
        gain @j/0/1                     | -20000
        "),
    );
}

#[test]
fn a_liar_is_slashed_by_the_verdict_and_the_honest_share_what_is_not_burned() {
    check(
        &(two_commits("b")
            + "
        reveal j/0/0 a                  | ok
        reveal j/0/1 b                  | ok
        run j/0/2                       | drawn
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        unit j/0                        | provisional
        run j/0/1                       | slashed
        gain @j/0/1                     | -20000
        gain @j/0/0                     | 2000
        gain @j/0/2                     | 2000
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/0                     | 2500
        gain @j/0/2                     | 2500
        gain alice                      | -1110
        burned                          | 16110
        "),
    );
}

#[test]
fn a_slashed_host_is_not_drawn_until_its_exclusion_ends() {
    check(
        &(two_commits("b")
            + "
        reveal j/0/0 a                  | ok
        reveal j/0/1 b                  | ok
        accept j/0/2                    | ok
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        wait 1000                       | ok
        job j                           | settled
        post alice l k=3 deadline=604800000 | ok
        sign l                          | ok
        unit l/0                        | placing
        wait 598000                     | ok
        unit l/0                        | placing
        wait 2000                       | ok
        unit l/0                        | running
        "),
    );
}

#[test]
fn the_lie_pays_for_the_referees_that_it_caused() {
    // Five receipts: a, b, c, a, a. The first referee says what nobody else does, so two more are asked, together. Three
    // upheld runs where two were ordered: the third is paid from the bonds.
    check(
        &(hosts(5)
            + "
        post alice j k=2 deadline=600000 | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 b                  | ok
        reveal j/0/0 a                  | ok
        reveal j/0/1 b                  | ok
        accept j/0/2                    | ok
        commit j/0/2 c                  | ok
        reveal j/0/2 c                  | ok
        unit j/0                        | running
        role j/0/3                      | referee
        accept j/0/3                    | ok
        commit j/0/3 a                  | ok
        reveal j/0/3 a                  | RunPhase
        accept j/0/4                    | ok
        commit j/0/4 a                  | ok
        reveal j/0/3 a                  | ok
        unit j/0                        | revealing
        reveal j/0/4 a                  | ok
        unit j/0                        | provisional
        escrow j                        | 5500
        gain @j/0/0                     | 2499
        wait 1000                       | ok
        gain @j/0/0                     | 2999
        gain alice                      | -1110
        gain @j/0/1                     | -20000
        gain @j/0/2                     | -20000
        "),
    );
}

#[test]
fn when_no_two_referees_agree_nobody_is_slashed_and_nobody_paid() {
    let mut script = hosts(5)
        + "
        post alice j k=2 deadline=600000 | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 b                  | ok
        reveal j/0/0 a                  | ok
        reveal j/0/1 b                  | ok
        ";
    for round in [&[(2, "c")][..], &[(3, "d"), (4, "e")]] {
        for (attempt, letter) in round {
            script += &format!("accept j/0/{attempt} | ok\ncommit j/0/{attempt} {letter} | ok\n");
        }
        for (attempt, letter) in round {
            script += &format!("reveal j/0/{attempt} {letter} | ok\n");
        }
    }
    check(
        &(script
            + "
        unit j/0                        | undecided
        job j                           | settled
        run j/0/0                       | released
        gain @j/0/0                     | 0
        gain @j/0/4                     | 0
        gain alice                      | -110
        "),
    );
}

#[test]
fn three_replicas_that_differ_are_decided_by_a_fourth() {
    check(
        &(hosts(4)
            + "
        post alice j k=3                | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        accept j/0/2                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 a                  | ok
        commit j/0/2 b                  | ok
        reveal j/0/0 a                  | ok
        reveal j/0/1 a                  | ok
        reveal j/0/2 b                  | ok
        run j/0/2                       | revealed
        accept j/0/3                    | ok
        commit j/0/3 a                  | ok
        reveal j/0/3 a                  | ok
        run j/0/2                       | slashed
        wait 1000                       | ok
        gain alice                      | -1610
        "),
    );
}

#[test]
fn a_job_past_its_deadline_returns_every_bond_and_the_escrow() {
    check(
        &(hosts(3)
            + "
        post alice j k=3 deadline=6000  | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        wait 5999                       | ok
        run j/0/2                       | lapsed
        unit j/0                        | placing
        locked j/0/0                    | 20000
        wait 1                          | ok
        unit j/0                        | expired
        run j/0/0                       | released
        run j/0/1                       | released
        gain @j/0/0                     | 0
        gain @j/0/1                     | 0
        gain alice                      | -110
        "),
    );
}

/// `commits`: a letter per replica, each shown at once; the deadline is a minute.
fn all_shown(count: u8, commits: &str) -> String {
    use std::fmt::Write as _;
    let mut script = hosts(count) + &format!("post alice j k={} deadline=60000 | ok\nsign j | ok\n", commits.len());
    for deed in ["accept", "commit", "reveal"] {
        for (attempt, letter) in commits.chars().enumerate() {
            let letter = if deed == "accept" { String::new() } else { format!(" {letter}") };
            let _ = writeln!(script, "{deed} j/0/{attempt}{letter} | ok");
        }
    }
    script
}

#[test]
fn where_no_referee_is_left_nobody_is_named_and_nobody_is_paid() {
    check(
        &(all_shown(4, "aaba")
            + "
        unit j/0                        | placing
        wait 60000                      | ok
        unit j/0                        | placing
        wait 10000                      | ok
        unit j/0                        | expired
        run j/0/2                       | released
        job j                           | settled
        gain @j/0/2                     | 0
        gain @j/0/0                     | 0
        gain alice                      | -110
        burned                          | 110
        "),
    );
}

#[test]
fn of_two_hosts_that_differ_neither_can_be_named_and_the_unit_expires() {
    check(
        &(all_shown(2, "ab")
            + "
        wait 70000                      | ok
        unit j/0                        | expired
        gain @j/0/0                     | 0
        gain @j/0/1                     | 0
        gain alice                      | -110
        "),
    );
}

#[test]
fn a_lie_shown_just_before_the_deadline_leaves_time_for_the_rerun() {
    check(
        &(hosts(3)
            + "
        post alice j k=2 deadline=9000  | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        wait 7000                       | ok
        beat j/0/1                      | ok
        wait 1990                       | ok
        commit j/0/1 b                  | ok
        reveal j/0/0 a                  | ok
        reveal j/0/1 b                  | ok
        run j/0/2                       | drawn
        accept j/0/2                    | ok
        wait 5000                       | ok
        run j/0/2                       | accepted
        commit j/0/2 a                  | ok
        reveal j/0/2 a                  | ok
        unit j/0                        | provisional
        run j/0/1                       | slashed
        wait 1000                       | ok
        gain @j/0/0                     | 2500
        gain @j/0/2                     | 2500
        gain @j/0/1                     | -20000
        "),
    );
}

/// A host that has accepted run `run` beats for 63 seconds.
fn beats_for_a_minute(run: &str) -> String {
    format!("wait 7000 | ok\nbeat {run} | ok\n").repeat(9)
}

#[test]
fn a_referee_that_sits_a_dispute_out_pays_and_another_decides_it() {
    check(
        &(all_shown(5, "aba")
            + "
        role j/0/3                      | referee
        accept j/0/3                    | ok
        " + &beats_for_a_minute("j/0/3")
            + "
        run j/0/3                       | accepted
        wait 7000                       | ok
        run j/0/3                       | lost
        gain @j/0/3                     | -500
        role j/0/4                      | referee
        accept j/0/4                    | ok
        commit j/0/4 a                  | ok
        reveal j/0/4 a                  | ok
        run j/0/1                       | slashed
        wait 1000                       | ok
        unit j/0                        | final
        gain @j/0/1                     | -20000
        "),
    );
    // Where nobody is left to replace it, the unit expires as ever.
    check(
        &(all_shown(4, "aba")
            + "
        accept j/0/3                    | ok
        " + &beats_for_a_minute("j/0/3")
            + "
        wait 7000                       | ok
        unit j/0                        | placing
        wait 60000                      | ok
        unit j/0                        | expired
        run j/0/1                       | released
        gain alice                      | -110
        "),
    );
}

/// A silence among those who were asked last must not leave the unit standing still.
#[test]
fn a_referee_of_the_second_round_that_falls_silent_is_replaced() {
    check(
        &(all_shown(7, "aab")
            + "
        accept j/0/3                    | ok
        commit j/0/3 b                  | ok
        reveal j/0/3 b                  | ok
        role j/0/5                      | referee
        accept j/0/4                    | ok
        accept j/0/5                    | ok
        commit j/0/4 b                  | ok
        commit j/0/5 b                  | ok
        reveal j/0/4 b                  | ok
        wait 10000                      | ok
        run j/0/5                       | unrevealed
        role j/0/6                      | referee
        accept j/0/6                    | ok
        commit j/0/6 b                  | ok
        reveal j/0/6 b                  | ok
        run j/0/0                       | slashed
        run j/0/1                       | slashed
        wait 1000                       | ok
        unit j/0                        | final
        "),
    );
}

#[test]
fn openings_and_windows_outlive_the_deadline() {
    check(
        &(hosts(2)
            + "
        post alice j k=2 deadline=2000  | ok
        sign j                          | ok
        accept j/0/0                    | ok
        accept j/0/1                    | ok
        commit j/0/0 a                  | ok
        commit j/0/1 a                  | ok
        wait 5000                       | ok
        unit j/0                        | revealing
        reveal j/0/0 a                  | ok
        reveal j/0/1 a                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        "),
    );
}

#[test]
fn silence_before_the_deadline_has_its_price_even_when_both_are_seen_at_once() {
    check(
        &(hosts(1)
            + "
        post alice j k=1 deadline=8500  | ok
        sign j                          | ok
        accept j/0/0                    | ok
        wait 7900                       | ok
        jump 1000                       | ok
        run j/0/0                       | lost
        unit j/0                        | expired
        gain @j/0/0                     | -500
        "),
    );
}

#[test]
fn time_that_the_chain_stood_still_is_nobodys_silence() {
    check(
        &(two_commits("a")
            + "
        jump 3600000                    | ok
        unit j/0                        | revealing
        reveal j/0/0 a                  | ok
        reveal j/0/1 a                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        post alice l k=1                | ok
        jump 3600000                    | ok
        job l                           | posted
        wait 30000                      | ok
        job l                           | uncustodied
        "),
    );
}

#[test]
fn bonds_added_after_the_post_do_not_weigh_on_its_draw() {
    check(
        &(hosts(1)
            + "
        post alice j k=2 deadline=600000 | ok
        register h2 5 4 100000000       | ok
        sign j                          | ok
        unit j/0                        | placing
        post alice l k=2                | ok
        sign l                          | ok
        unit l/0                        | running
        unit j/0                        | placing
        "),
    );
}

#[test]
fn a_host_is_drawn_neither_above_its_slots_nor_below_its_ask_nor_beyond_its_bond() {
    check(
        "
        publish alice count             | ok
        register h1 5 1 10000000        | ok
        register h2 11 9 10000000       | ok
        post alice j k=1 units=2        | ok
        sign j                          | ok
        unit j/0                        | running
        unit j/1                        | placing
        update h2 10 9                  | ok
        unit j/1                        | running
        post alice l k=1 fuel=40000000000 units=2 | ok
        sign l                          | ok
        unit l/0                        | running
        unit l/1                        | placing
        ",
    );
}

#[test]
fn units_of_a_job_end_one_by_one() {
    check(
        &(hosts(2)
            + "
        post alice j k=1 units=2        | ok
        sign j                          | ok
        accept j/0/0                    | ok
        commit j/0/0 a                  | ok
        reveal j/0/0 a                  | ok
        wait 1000                       | ok
        unit j/0                        | final
        job j                           | open
        gain alice                      | -4620
        wait 60000                      | ok
        unit j/1                        | expired
        job j                           | settled
        gain alice                      | -620
        "),
    );
}

#[test]
fn waking_costs_little_however_many_units_wait() {
    use std::fmt::Write as _;
    let mut script = hosts(6);
    for n in 0..8 {
        let _ = writeln!(script, "post alice j{n} k=7 units=1024 fuel=1000000 deadline=600000 | ok\nsign j{n} | ok");
    }
    let town = check(&script);
    let begun = std::time::Instant::now();
    // Two minutes where every wake looks at every unit and host; a moment where none does.
    for _ in 0..50_000 {
        assert!(!town.state().wants_block());
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
}
