// Softmax. P[5] length of the line, P[6] elements inside of the axis.
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
    var best = 0u;
    for (var at = lane; at < length; at += 64u) {
        best = max(best, ascending(order_key(a(start + at * inner))));
    }
    let top = of_key(greatest(lane, best));
    var sum = 0.0;
    for (var at = lane; at < length; at += 64u) {
        let power = exp_of(sub(a(start + at * inner), top));
        out_put(start + at * inner, power);
        sum = raw_add(sum, float(addend(power)));
    }
    let total = tree(lane, sum);
    // Each thread reads what it wrote itself.
    for (var at = lane; at < length; at += 64u) {
        out_put(start + at * inner, div(out_word(start + at * inner), total));
    }
}
