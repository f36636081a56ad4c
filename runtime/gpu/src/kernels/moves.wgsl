// Moves that are more than a step along each axis (spec/09-tensor.md, section 9.5.5). Bits stay as they are.

// P[5] length of the axis, P[6] elements inside of it, P[7] number of indices. An index outside is refused by check.wgsl;
// here it reads anything.
fn gather_place(e: u32, index: i32) -> u32 {
    let inner = e % P[6];
    let outer = e / P[6] / P[7];
    let at = select(index, index + i32(P[5]), index < 0);
    let held = select(0u, u32(at), at >= 0 && at < i32(P[5]));
    return (outer * P[5] + held) * P[6] + inner;
}

fn gather_index(e: u32) -> u32 {
    return e / P[6] % P[7];
}

// P[5] where the operand begins along the axis, P[6] its length there, P[7] elements inside, P[8] length of the result.
fn concat_at(e: u32) -> u32 {
    return e / P[7] % P[8] - P[5];
}

fn concat_place(e: u32) -> u32 {
    return (e / P[7] / P[8] * P[6] + concat_at(e)) * P[7] + e % P[7];
}

// From P[8]: number of axes, lengths of the result, padding before, lengths of the operand. Outside: 0xffffffff.
fn pad_place(e: u32) -> u32 {
    let axes = P[8];
    var rest = e;
    var offset = 0u;
    var step = 1u;
    var inside = true;
    for (var axis = axes; axis > 0u; axis--) {
        let length = P[8u + axis];
        let at = rest % length - P[8u + axes + axis];
        let held = P[8u + 2u * axes + axis];
        rest /= length;
        inside = inside && at < held;
        offset += at * step;
        step *= held;
    }
    return select(0xffffffffu, offset, inside);
}
