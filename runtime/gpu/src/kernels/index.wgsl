// Where element `e` of the result lies in an operand that it was broadcast, transposed or cut from. At `at` lie the number
// of axes, their lengths, and for each operand a step along each axis.
fn place(e: u32, at: u32, operand: u32) -> u32 {
    let axes = P[at];
    let steps = at + axes * (operand + 1u);
    var rest = e;
    var offset = 0u;
    for (var axis = axes; axis > 1u; axis--) {
        let length = P[at + axis];
        offset += (rest % length) * P[steps + axis];
        rest /= length;
    }
    if (axes > 0u) {
        offset += rest * P[steps + 1u];
    }
    return offset;
}
