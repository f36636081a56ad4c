// Pools: the elements under a window, in its order, without padding. P[5] and P[6]: which of them are met now; P[7]: 1 when no more
// come later. A part that is not the first goes on from the bits in the result.

fn steps_over(reach: u32, step: u32) -> u32 {
    return reach / step + select(0u, 1u, reach % step != 0u);
}

// The first element of the window that lies on the axis, and how many do.
fn pool_members(axis: u32, at_place: u32) -> vec2<u32> {
    let start = at_place * P[22u + axis];
    let before = P[26u + axis];
    let end = before + P[16u + axis];
    let first = steps_over(before - min(before, start), P[24u + axis]);
    let last = min(steps_over(end - min(end, start), P[24u + axis]), P[20u + axis]);
    return vec2<u32>(first, last - min(first, last));
}

fn pooled(e: u32) -> u32 {
    let column = e % P[19];
    let row = e / P[19] % P[18];
    let plane = e / P[19] / P[18] * P[16] * P[17];
    let down = pool_members(0u, row);
    let along = pool_members(1u, column);
    let count = down.y * along.y;
    var total = 0u;
    if (P[5] > 0u) {
        total = out_word(e);
    }
    var high = P[5] / along.y;
    var wide = P[5] % along.y;
    let end = min(P[6], count);
    for (var at = P[5]; at < end; at++) {
        let y = window_inside(0u, row, down.x + high);
        let x = window_inside(1u, column, along.x + wide);
        let value = a(plane + y * P[17] + x);
        POOL_STEP
        wide += 1u;
        if (wide == along.y) {
            wide = 0u;
            high += 1u;
        }
    }
    if (P[7] == 0u) {
        return total;
    }
    return POOL_END;
}
