// Every element of the result by itself: `element(e)` gives the bits of element `e`, which is put in elsewhere for each
// operation (elements.rs). A thread makes one word, so that narrow elements that share one are not written by two.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    ZERO = P[0];
    let word = group_number(group) * 64u + lane;
    if (word >= (P[4] + PER_WORD - 1u) / PER_WORD) {
        return;
    }
    var value = OLD_WORD;
    for (var at = 0u; at < PER_WORD; at++) {
        let e = word * PER_WORD + at;
        if (e < P[4] && present(e)) {
            let shift = at * ELEMENT_BITS;
            value = (value & ~(ELEMENT_MASK << shift)) | ((element(e) & ELEMENT_MASK) << shift);
        }
    }
    out_put(word, value);
}
