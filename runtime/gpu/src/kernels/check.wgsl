// Whether every index of a Gather is inside its axis (spec/09-tensor.md, section 9.3, refusal 6): the first one in
// row-major order that is not. P[5] length of the axis, P[6] where the answer goes.

@group(0) @binding(2) var<storage, read_write> refused: array<atomic<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let at = group_number(group) * 64u + lane;
    if (at >= P[4]) {
        return;
    }
    let index = bitcast<i32>(a(at));
    let length = i32(P[5]);
    if (index >= length || index < -length) {
        atomicMin(&refused[P[6]], at);
    }
}
