// ReduceSum, ReduceMean, ReduceMax and ReduceMin: a group of elements for 64 threads. P[5] members of a group, P[6] where the axes that
// stay are told (number, lengths, steps), P[7] where those that go.
fn walk(e: u32, at: u32) -> u32 {
    let axes = P[at];
    var rest = e;
    var offset = 0u;
    for (var axis = axes; axis > 0u; axis--) {
        let length = P[at + axis];
        offset += (rest % length) * P[at + axes + axis];
        rest /= length;
    }
    return offset;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let number = group_number(group);
    if (number >= P[4]) {
        return;
    }
    let start = walk(number, P[6]);
    let members = P[5];
    REDUCE
    if (lane == 0u) {
        out_put(number, total);
    }
}
