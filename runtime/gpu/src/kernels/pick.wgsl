// ArgMax and TopK: a line for 64 threads. Every round takes the first, by order and then by index, of what comes behind
// the last one taken. P[5] length of the line, P[6] elements inside of the axis, P[7] and P[8] first round and behind the
// last, P[9] rounds in all, P[10] whether the greatest come first.
fn rank(x: u32) -> u32 {
    let word = ascending(key_of(x));
    return select(word, ~word, P[10] == 1u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let number = group_number(group);
    if (number >= P[4]) {
        return;
    }
    let length = P[5];
    let inner = P[6];
    let start = number / inner * length * inner + number % inner;
    let made = number / inner * P[9] * inner + number % inner;
    var last_rank = 0u;
    var last_at = 0u;
    let first_round = P[7];
    if (first_round > 0u) {
        last_at = indices_word(made + (first_round - 1u) * inner);
        last_rank = rank(a(start + last_at * inner));
    }
    for (var round = first_round; round < P[8]; round++) {
        var best = 0xffffffffu;
        var best_at = 0xffffffffu;
        for (var at = lane; at < length; at += 64u) {
            let word = rank(a(start + at * inner));
            let behind = round == 0u || word > last_rank || (word == last_rank && at > last_at);
            if (behind && (word < best || (word == best && at < best_at))) {
                best = word;
                best_at = at;
            }
        }
        least_pair(lane, best, best_at);
        last_rank = lanes[0];
        last_at = places[0];
        workgroupBarrier();
        if (lane == 0u) {
            put_picked(made + round * inner, last_at, start + last_at * inner);
        }
    }
}
