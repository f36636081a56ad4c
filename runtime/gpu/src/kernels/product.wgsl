// Sums of products (spec/09-tensor.md, sections 9.2.2 and 9.5.2): tiles of both operands in shared memory, inner index ascending,
// each thread ROWS x COLUMNS results. `mac` is the protected product and sum that the gate chose.
//
// P[5] rows, P[6] columns, P[7] and P[8] first inner index and behind the last, P[9] length of the inner axis, P[10] tiles along the rows,
// P[11] along the columns, P[12] and P[13] steps of `a` along rows and inner, P[14] and P[15] steps of `b` along inner and columns; from P[18] how stacks lie. A run over
// a part of the inner axis that is not the first goes on from the sums in the result; only the last makes them canonical.

const BLOCK_ROWS: u32 = 16u * ROWS;
const BLOCK_COLUMNS: u32 = 16u * COLUMNS;
const DEPTH: u32 = 16u;

var<workgroup> left: array<f32, LEFT_SIZE>;
var<workgroup> right: array<f32, RIGHT_SIZE>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    ZERO = P[0];
    MINUS = float(P[1]);
    let number = group_number(group);
    if (number >= P[4]) {
        return;
    }
    let stack = number / P[11] / P[10];
    let first_row = number / P[11] % P[10] * BLOCK_ROWS;
    let first_column = number % P[11] * BLOCK_COLUMNS;
    let rows = P[5];
    let columns = P[6];
    let lane = local.y * 16u + local.x;
    let a_start = a_matrix(stack);
    let b_start = b_matrix(stack);
    let out_start = stack * rows * columns;
    DECLARE
    if (P[7] > 0u) {
        RESUME
    }
    for (var k = P[7]; k < P[8]; k += DEPTH) {
        let depth = min(DEPTH, P[8] - k);
        for (var at = lane; at < BLOCK_ROWS * DEPTH; at += 256u) {
            let row = first_row + at / DEPTH;
            let inner = at % DEPTH;
            var value = 0u;
            if (row < rows && inner < depth) {
                value = left_factor(a_start, row, k + inner);
            }
            left[inner * (BLOCK_ROWS + 1u) + at / DEPTH] = float(value);
        }
        for (var at = lane; at < BLOCK_COLUMNS * DEPTH; at += 256u) {
            let column = first_column + at % BLOCK_COLUMNS;
            let inner = at / BLOCK_COLUMNS;
            var value = 0u;
            if (column < columns && inner < depth) {
                value = right_factor(b_start, k + inner, column);
            }
            right[at] = float(value);
        }
        workgroupBarrier();
        for (var inner = 0u; inner < depth; inner++) {
            MULTIPLY
        }
        workgroupBarrier();
    }
    let last = P[8] == P[9];
    STORE
}
