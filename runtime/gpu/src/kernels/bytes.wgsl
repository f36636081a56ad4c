// MatMulInteger (spec/09-tensor.md, section 9.5.2): four bytes of the inner axis to a word, sums modulo 2^32 in any order.
//
// P[5] to P[15] as in product.wgsl; P[16] and P[17] zero points, of unsigned operands less 128, as their bytes are too.
// sum((a - za) * (b - zb)) = sum(ab) - za * sum(b) - zb * sum(a) + length * za * zb.

const BLOCK_ROWS: u32 = 16u * ROWS;
const BLOCK_COLUMNS: u32 = 16u * COLUMNS;
// Words.
const DEPTH: u32 = 8u;

var<workgroup> left: array<u32, LEFT_SIZE>;
var<workgroup> right: array<u32, RIGHT_SIZE>;

fn left_word(start: u32, row: u32, k: u32, end: u32) -> u32 {
    let first = start + row * P[12] + k * P[13];
    // Four bytes that lie in one word.
    if (P[13] == 1u && (first & 3u) == 0u && end - k >= 4u) {
        return a_word(first >> 2u) ^ (LEFT_FLIP * 0x01010101u);
    }
    var word = 0u;
    for (var at = 0u; at < min(4u, end - k); at++) {
        word |= ((a(start + row * P[12] + (k + at) * P[13]) ^ LEFT_FLIP) & 0xffu) << (8u * at);
    }
    return word;
}

fn right_word(start: u32, k: u32, column: u32, end: u32) -> u32 {
    var word = 0u;
    for (var at = 0u; at < min(4u, end - k); at++) {
        word |= ((b(start + (k + at) * P[14] + column * P[15]) ^ RIGHT_FLIP) & 0xffu) << (8u * at);
    }
    return word;
}

// Byte `at` of each of four words.
fn column_of(words: vec4<u32>, at: u32) -> u32 {
    let bytes = (words >> vec4(8u * at)) & vec4(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    ZERO = P[0];
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
    for (var k = P[7]; k < P[8]; k += 4u * DEPTH) {
        for (var at = lane; at < BLOCK_ROWS * DEPTH; at += 256u) {
            let row = first_row + at / DEPTH;
            let inner = k + 4u * (at % DEPTH);
            var value = 0u;
            if (row < rows && inner < P[8]) {
                value = left_word(a_start, row, inner, P[8]);
            }
            left[at % DEPTH * (BLOCK_ROWS + 1u) + at / DEPTH] = value;
        }
        // Four columns at a time: where four bytes of a row lie in one word, four words are turned.
        for (var at = lane; at < BLOCK_COLUMNS / 4u * DEPTH; at += 256u) {
            let column = first_column + 4u * (at % (BLOCK_COLUMNS / 4u));
            let inner = k + 4u * (at / (BLOCK_COLUMNS / 4u));
            let first = b_start + inner * P[14] + column * P[15];
            let whole = column + 4u <= columns && inner + 4u <= P[8];
            if (whole && P[15] == 1u && ((first | P[14]) & 3u) == 0u) {
                let step = P[14] >> 2u;
                let word = first >> 2u;
                let words = vec4(b_word(word), b_word(word + step), b_word(word + 2u * step), b_word(word + 3u * step))
                    ^ vec4(RIGHT_FLIP * 0x01010101u);
                for (var byte = 0u; byte < 4u; byte++) {
                    right[4u * at + byte] = column_of(words, byte);
                }
            } else {
                for (var byte = 0u; byte < 4u; byte++) {
                    var value = 0u;
                    if (column + byte < columns && inner < P[8]) {
                        value = right_word(b_start, inner, column + byte, P[8]);
                    }
                    right[4u * at + byte] = value;
                }
            }
        }
        workgroupBarrier();
        for (var inner = 0u; inner < DEPTH; inner++) {
            MULTIPLY
        }
        workgroupBarrier();
    }
    let zeros = bitcast<i32>(P[16]) * bitcast<i32>(P[17]) * bitcast<i32>(P[8] - P[7]);
    STORE
}
