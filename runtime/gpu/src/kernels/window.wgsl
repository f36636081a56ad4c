// Windows over one or two axes, one written as two (spec/09-tensor.md, sections 9.5.2 and 9.5.4). From P[16], a pair each: lengths of
// the operand, places, lengths of the window, strides, dilations, padding before.
fn window_inside(axis: u32, at_place: u32, at: u32) -> u32 {
    // Outside, on either side, is not below the length.
    return at_place * P[22u + axis] + at * P[24u + axis] - P[26u + axis];
}

fn pooled(e: u32) -> u32 {
    let column = e % P[19];
    let row = e / P[19] % P[18];
    let plane = e / P[19] / P[18] * P[16] * P[17];
    var total = POOL_START;
    var count = 0u;
    for (var high = 0u; high < P[20]; high++) {
        let y = window_inside(0u, row, high);
        if (y >= P[16]) {
            continue;
        }
        for (var wide = 0u; wide < P[21]; wide++) {
            let x = window_inside(1u, column, wide);
            if (x < P[17]) {
                let value = a(plane + y * P[17] + x);
                POOL_STEP
                count += 1u;
            }
        }
    }
    return POOL_END;
}
