// Windows over one or two axes, one written as two (spec/09-tensor.md, sections 9.5.2 and 9.5.4). From P[16], a pair each: lengths of
// the operand, places, lengths of the window, strides, dilations, padding before. No sum wraps: an axis with its padding has fewer
// than 2^31 elements, and the last window ends on it.
fn window_inside(axis: u32, at_place: u32, at: u32) -> u32 {
    // Outside, on either side, is not below the length.
    return at_place * P[22u + axis] + at * P[24u + axis] - P[26u + axis];
}
