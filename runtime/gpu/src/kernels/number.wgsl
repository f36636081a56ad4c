// Arithmetic on single numbers (spec/09-tensor.md, sections 9.2.1 and 9.2.3), as runtime/tensor/src/number.rs has it.
//
// A number is its 32 bits. What a compiler may do to floats (fuse, reorder, flush, assume that there is no NaN) is kept
// out by `bits`: an integer instruction with a word that only the dispatch knows stands between any two operations.
// Flushing is undone by rebuilding the sign of whatever is below 2^-125, and every NaN is told by its bits.

const SIGN: u32 = 0x80000000u;
const MAGNITUDE: u32 = 0x7fffffffu;
const INFINITY: u32 = 0x7f800000u;
const NAN: u32 = 0x7fc00000u;
const ONE: u32 = 0x3f800000u;
// 2^-125, 2^-51 and 2^-102.
const LEAST: u32 = 0x01000000u;
const LEAST_FACTOR: u32 = 0x26000000u;
const LEAST_ADDEND: u32 = 0x0c800000u;

fn bits(x: f32) -> u32 {
    return bitcast<u32>(x) ^ ZERO;
}

fn float(x: u32) -> f32 {
    return bitcast<f32>(x);
}

// Raw product, sum and difference: rounded once, nothing made canonical.
fn raw_mul(a: f32, b: f32) -> f32 {
    return float(bits(a * b));
}

fn raw_add(a: f32, b: f32) -> f32 {
    return float(bits(a + b));
}

fn raw_sub(a: f32, b: f32) -> f32 {
    return float(bits(a - b));
}

fn is_nan(x: u32) -> bool {
    return (x & MAGNITUDE) > INFINITY;
}

fn flush(x: u32, least: u32) -> u32 {
    return select(x, x & SIGN, (x & MAGNITUDE) < least);
}

fn canon(x: u32) -> u32 {
    return select(flush(x, LEAST), NAN, is_nan(x));
}

fn factor(x: u32) -> u32 {
    return flush(x, LEAST_FACTOR);
}

fn addend(x: u32) -> u32 {
    return flush(x, LEAST_ADDEND);
}

fn add(left: u32, right: u32) -> u32 {
    let a = canon(left);
    let b = canon(right);
    let sum = bits(float(a) + float(b));
    let size_a = a & MAGNITUDE;
    let size_b = b & MAGNITUDE;
    // The sign of a sum that is flushed: the larger operand's; of two that cancel plus, of two zeros both.
    let larger = select(b, a, size_a > size_b) & SIGN;
    let sign = select(larger, a & b & SIGN, size_a == size_b);
    let kept = select(sum, sign, (sum & MAGNITUDE) < LEAST);
    let apart = size_a == INFINITY && size_b == INFINITY && a != b;
    return select(kept, NAN, is_nan(a) || is_nan(b) || apart || is_nan(sum));
}

fn sub(left: u32, right: u32) -> u32 {
    return add(left, right ^ SIGN);
}

fn mul(left: u32, right: u32) -> u32 {
    let a = canon(left);
    let b = canon(right);
    let product = bits(float(a) * float(b));
    let kept = select(product, (a ^ b) & SIGN, (product & MAGNITUDE) < LEAST);
    return select(kept, NAN, is_nan(a) || is_nan(b) || is_nan(product));
}

// Correctly rounded: the machine's quotient is only a first guess at 25 bits, which the exact remainder, modulo 2^32,
// then settles.
fn div(left: u32, right: u32) -> u32 {
    let a = canon(left);
    let b = canon(right);
    let sign = (a ^ b) & SIGN;
    let size_a = a & MAGNITUDE;
    let size_b = b & MAGNITUDE;
    if (is_nan(a) || is_nan(b) || (size_a == size_b && (size_a == 0u || size_a == INFINITY))) {
        return NAN;
    }
    if (size_a == INFINITY || size_b == 0u) {
        return sign | INFINITY;
    }
    if (size_b == INFINITY || size_a == 0u) {
        return sign;
    }
    let x = (size_a & 0x007fffffu) | 0x00800000u;
    let y = (size_b & 0x007fffffu) | 0x00800000u;
    var exponent = i32(size_a >> 23u) - i32(size_b >> 23u) + 127;
    var shift = 24u;
    var scale = 16777216.0;
    if (x < y) {
        exponent -= 1;
        shift = 25u;
        scale = 33554432.0;
    }
    var quotient = u32((f32(x) / f32(y)) * scale);
    var rest = bitcast<i32>((x << shift) - quotient * y);
    let step = i32(y);
    for (var turn = 0; turn < 64 && rest < 0; turn++) {
        quotient -= 1u;
        rest += step;
    }
    for (var turn = 0; turn < 64 && rest >= step; turn++) {
        quotient += 1u;
        rest -= step;
    }
    let kept = quotient >> 1u;
    let up = (quotient & 1u) == 1u && (rest != 0 || (kept & 1u) == 1u);
    if (exponent >= 255) {
        return sign | INFINITY;
    }
    if (exponent < 1) {
        return sign;
    }
    let value = u32(exponent - 1) * 0x00800000u + kept + select(0u, 1u, up);
    return sign | select(select(value, 0u, value < LEAST), INFINITY, value >= INFINITY);
}

// Correctly rounded, as `div`: the root of a number is never halfway between two.
fn root(of_number: u32) -> u32 {
    let x = canon(of_number);
    if (is_nan(x) || (x & MAGNITUDE) == 0u || x == INFINITY) {
        return x;
    }
    if ((x & SIGN) != 0u) {
        return NAN;
    }
    let exponent = i32(x >> 23u) - 127;
    let odd = (exponent & 1) != 0;
    let significand = (x & 0x007fffffu) | 0x00800000u;
    let shift = select(25u, 26u, odd);
    var guess = u32(sqrt(f32(significand) * select(33554432.0, 67108864.0, odd)));
    var rest = bitcast<i32>((significand << shift) - guess * guess);
    for (var turn = 0; turn < 32 && rest < 0; turn++) {
        guess -= 1u;
        rest += bitcast<i32>(2u * guess + 1u);
    }
    for (var turn = 0; turn < 32 && rest > bitcast<i32>(2u * guess); turn++) {
        rest -= bitcast<i32>(2u * guess + 1u);
        guess += 1u;
    }
    return u32((exponent >> 1u) + 126) * 0x00800000u + (guess >> 1u) + (guess & 1u);
}

fn neg(x: u32) -> u32 {
    return select(canon(x) ^ SIGN, NAN, is_nan(x));
}

fn size(x: u32) -> u32 {
    return canon(x) & MAGNITUDE;
}

// The order of section 9.2.1: -0 before +0, NaN behind infinity.
fn order_key(x: u32) -> i32 {
    let number = bitcast<i32>(canon(x));
    return select(number, number ^ 0x7fffffff, number < 0);
}

fn greater(a: u32, b: u32) -> u32 {
    return select(canon(a), canon(b), order_key(b) > order_key(a));
}

fn lesser(a: u32, b: u32) -> u32 {
    return select(select(canon(a), canon(b), order_key(b) < order_key(a)), NAN, is_nan(a) || is_nan(b));
}

// Comparisons of IEEE 754.
fn equal(a: u32, b: u32) -> u32 {
    let same = canon(a) == canon(b) || (size(a) == 0u && size(b) == 0u);
    return select(0u, 1u, same && !is_nan(a) && !is_nan(b));
}

fn below(a: u32, b: u32) -> u32 {
    let zeros = size(a) == 0u && size(b) == 0u;
    return select(0u, 1u, order_key(a) < order_key(b) && !zeros && !is_nan(a) && !is_nan(b));
}

// Section 9.2.3.
fn from_integer(x: u32) -> u32 {
    if (x == 0u) {
        return 0u;
    }
    let negative = (x & SIGN) != 0u;
    let count = select(x, 0u - x, negative);
    let high = 31u - countLeadingZeros(count);
    var value = (high + 126u) * 0x00800000u;
    if (high <= 23u) {
        value += count << (23u - high);
    } else {
        let shift = high - 23u;
        let kept = count >> shift;
        let rest = count & ((1u << shift) - 1u);
        let half = 1u << (shift - 1u);
        value += kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u));
    }
    return select(value, value | SIGN, negative);
}

// Towards zero (`even` false) or to the nearest, ties to even; held to the range of i32, 0 for NaN.
fn to_integer(number: u32, even: bool) -> i32 {
    let x = canon(number);
    let magnitude = x & MAGNITUDE;
    if (is_nan(x) || magnitude < 0x3f000000u) {
        return 0;
    }
    let negative = (x & SIGN) != 0u;
    if (magnitude >= 0x4f000000u) {
        return select(0x7fffffff, bitcast<i32>(SIGN), negative);
    }
    let significand = (magnitude & 0x007fffffu) | 0x00800000u;
    let exponent = magnitude >> 23u;
    var whole: u32;
    if (exponent >= 150u) {
        whole = significand << (exponent - 150u);
    } else {
        let shift = 150u - exponent;
        whole = significand >> shift;
        let rest = significand & ((1u << shift) - 1u);
        let half = 1u << (shift - 1u);
        if (even && (rest > half || (rest == half && (whole & 1u) == 1u))) {
            whole += 1u;
        }
    }
    return bitcast<i32>(select(whole, 0u - whole, negative));
}

fn from_half(x: u32) -> u32 {
    let sign = (x & 0x8000u) << 16u;
    let magnitude = x & 0x7fffu;
    if (magnitude == 0u) {
        return sign;
    }
    if (magnitude < 0x0400u) {
        let high = 31u - countLeadingZeros(magnitude);
        return sign | ((high + 103u) << 23u) | ((magnitude << (23u - high)) & 0x007fffffu);
    }
    if (magnitude < 0x7c00u) {
        return sign | ((magnitude << 13u) + 0x38000000u);
    }
    return select(NAN, sign | INFINITY, magnitude == 0x7c00u);
}

fn to_half(number: u32) -> u32 {
    let x = canon(number);
    let sign = (x & SIGN) >> 16u;
    let magnitude = x & MAGNITUDE;
    if (magnitude > INFINITY) {
        return 0x7e00u;
    }
    if (magnitude >= 0x477ff000u) {
        return sign | 0x7c00u;
    }
    var kept: u32;
    var rest: u32;
    var half: u32;
    if (magnitude >= 0x38800000u) {
        kept = (magnitude - 0x38000000u) >> 13u;
        rest = magnitude & 0x1fffu;
        half = 0x1000u;
    } else {
        let shift = 126u - (magnitude >> 23u);
        if (shift > 24u) {
            return sign;
        }
        let significand = (magnitude & 0x007fffffu) | 0x00800000u;
        kept = significand >> shift;
        rest = significand & ((1u << shift) - 1u);
        half = 1u << (shift - 1u);
    }
    return sign | (kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) == 1u)));
}

fn quantized(x: u32, scale: u32, zero: i32, low: i32, high: i32) -> u32 {
    // Further away than this the zero point, which is a byte, changes nothing.
    let rounded = clamp(to_integer(div(x, scale), true), -65536, 65536);
    return bitcast<u32>(clamp(rounded + zero, low, high));
}

fn integer_quotient(a: u32, b: u32) -> u32 {
    let by = bitcast<i32>(b);
    if (by == 0) {
        return 0u;
    }
    if (by == -1) {
        return 0u - a;
    }
    return bitcast<u32>(bitcast<i32>(a) / by);
}
