// LayerNormalization and RMSNormalization: a row for 64 threads. P[5] length of the row, P[6] epsilon.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let number = group_number(group);
    if (number >= P[4]) {
        return;
    }
    let length = P[5];
    let start = number * length;
    var mean = 0u;
    if (CENTRED) {
        var sum = 0.0;
        for (var at = lane; at < length; at += 64u) {
            sum = raw_add(sum, float(addend(a(start + at))));
        }
        mean = div(tree(lane, sum), from_integer(length));
    }
    var squares = 0.0;
    for (var at = lane; at < length; at += 64u) {
        squares = raw_add(squares, square(apart(a(start + at), mean)));
    }
    let factor_of_all = spread(tree(lane, squares), length, P[6]);
    for (var at = lane; at < length; at += 64u) {
        let scaled = mul(mul(apart(a(start + at), mean), factor_of_all), b(at));
        out_put(start + at, shifted(scaled, at));
    }
}
