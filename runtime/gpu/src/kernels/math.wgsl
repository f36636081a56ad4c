// Functions of one number (spec/09-tensor.md, section 9.2.4), as runtime/tensor/src/math.rs has them: the same
// coefficients, the same order, product and sum rounded apart. Numbers are their bits, as in number.wgsl.

fn exp_polynomial(x: f32) -> f32 {
    var sum = float(0x3ab6da72u);
    sum = raw_add(raw_mul(sum, x), float(0x3c091df0u));
    sum = raw_add(raw_mul(sum, x), float(0x3d2aaa2fu));
    sum = raw_add(raw_mul(sum, x), float(0x3e2aaa47u));
    sum = raw_add(raw_mul(sum, x), float(0x3f000000u));
    return sum;
}

fn log_polynomial(x: f32) -> f32 {
    var sum = float(0x3d8a2b9fu);
    sum = raw_add(raw_mul(sum, x), float(0xbdef1dfcu));
    sum = raw_add(raw_mul(sum, x), float(0x3df37846u));
    sum = raw_add(raw_mul(sum, x), float(0xbdfe1107u));
    sum = raw_add(raw_mul(sum, x), float(0x3e119bb3u));
    sum = raw_add(raw_mul(sum, x), float(0xbe2aae27u));
    sum = raw_add(raw_mul(sum, x), float(0x3e4cd25bu));
    sum = raw_add(raw_mul(sum, x), float(0xbe800003u));
    sum = raw_add(raw_mul(sum, x), float(0x3eaaaaa4u));
    return sum;
}

fn tanh_polynomial(x: f32) -> f32 {
    var sum = float(0xbbbb5614u);
    sum = raw_add(raw_mul(sum, x), float(0x3ca92b6eu));
    sum = raw_add(raw_mul(sum, x), float(0xbd5c2225u));
    sum = raw_add(raw_mul(sum, x), float(0x3e0883b4u));
    sum = raw_add(raw_mul(sum, x), float(0xbeaaaa9au));
    return sum;
}

fn erf_small_polynomial(x: f32) -> f32 {
    var sum = float(0x38b9c37eu);
    sum = raw_add(raw_mul(sum, x), float(0xba583e28u));
    sum = raw_add(raw_mul(sum, x), float(0x3baab601u));
    sum = raw_add(raw_mul(sum, x), float(0xbcdc0f04u));
    sum = raw_add(raw_mul(sum, x), float(0x3de71758u));
    sum = raw_add(raw_mul(sum, x), float(0xbec093a3u));
    sum = raw_add(raw_mul(sum, x), float(0x3e0375d4u));
    return sum;
}

fn erf_large_polynomial(x: f32) -> f32 {
    var sum = float(0x39559267u);
    sum = raw_add(raw_mul(sum, x), float(0xbb4c551bu));
    sum = raw_add(raw_mul(sum, x), float(0x3cb879f7u));
    sum = raw_add(raw_mul(sum, x), float(0xbdd611bbu));
    sum = raw_add(raw_mul(sum, x), float(0xbf22f2e6u));
    sum = raw_add(raw_mul(sum, x), float(0xbf90644eu));
    sum = raw_add(raw_mul(sum, x), float(0xb8db2f75u));
    return sum;
}

fn signed_as(value: u32, like: u32) -> u32 {
    return select((value & MAGNITUDE) | (like & SIGN), NAN, is_nan(like));
}

fn exp_of(x: u32) -> u32 {
    if (is_nan(x)) {
        return NAN;
    }
    // 2^-30: nearer to zero the result is 1.
    let near = float(select(x, 0u, (x & MAGNITUDE) < 0x30800000u));
    let held = clamp(near, -87.0, 89.0);
    let rounded = raw_add(raw_mul(held, float(0x3fb8aa3bu)), 12582912.0);
    let power = raw_sub(rounded, 12582912.0);
    let exponent = bitcast<i32>(bits(rounded)) - 0x4b400000;
    let rest = raw_sub(raw_sub(held, raw_mul(power, float(0x3f318000u))), raw_mul(power, float(0xb95e8083u)));
    let close = raw_add(raw_add(raw_mul(raw_mul(rest, rest), exp_polynomial(rest)), rest), 1.0);
    let value = bitcast<i32>(bits(close)) + (exponent << 23u);
    if (value < 0x01000000) {
        return 0u;
    }
    return select(bitcast<u32>(value), INFINITY, value >= 0x7f800000);
}

fn log_of(number: u32) -> u32 {
    let x = canon(number);
    if (is_nan(x)) {
        return NAN;
    }
    if ((x & MAGNITUDE) == 0u) {
        return SIGN | INFINITY;
    }
    if ((x & SIGN) != 0u) {
        return NAN;
    }
    if (x == INFINITY) {
        return x;
    }
    let exponent = (bitcast<i32>(x) - 0x3f3504f3) >> 23u;
    let f = raw_sub(float(bitcast<u32>(bitcast<i32>(x) - (exponent << 23u))), 1.0);
    let power = float(from_integer(bitcast<u32>(exponent)));
    let square = raw_mul(f, f);
    let terms = raw_add(raw_mul(raw_mul(f, square), log_polynomial(f)), raw_mul(power, float(0xb95e8083u)));
    let tail = raw_sub(terms, raw_mul(0.5, square));
    // A sum of zeros and numbers far above 2^-125.
    return bits(raw_add(raw_add(f, tail), raw_mul(power, float(0x3f318000u))));
}

fn tanh_of(number: u32) -> u32 {
    let x = canon(number);
    let magnitude = x & MAGNITUDE;
    var value: u32;
    if (magnitude < 0x3f200000u) {
        // Below 2^-12 the next term is less than half a unit in the last place.
        let middle = float(select(magnitude, 0u, magnitude < 0x39800000u));
        let square = raw_mul(middle, middle);
        value = bits(raw_add(raw_mul(middle, raw_mul(square, tanh_polynomial(square))), float(magnitude)));
    } else {
        let held = float(select(0x41200000u, magnitude, magnitude < 0x41200000u));
        let quotient = div(0x40000000u, add(exp_of(bits(held + held)), ONE));
        value = sub(ONE, quotient);
    }
    return signed_as(value, x);
}

fn sigmoid_of(x: u32) -> u32 {
    return div(ONE, add(ONE, exp_of(x ^ SIGN)));
}

fn erf_of(number: u32) -> u32 {
    let x = canon(number);
    let magnitude = x & MAGNITUDE;
    let held = select(0x40800000u, magnitude, magnitude < 0x40800000u);
    var value: u32;
    if (magnitude < 0x3f59999au) {
        value = add(mul(held, bits(erf_small_polynomial(float(mul(held, held))))), held);
    } else {
        value = sub(ONE, exp_of(bits(erf_large_polynomial(float(held)))));
    }
    return signed_as(value, x);
}

fn gelu_erf(x: u32) -> u32 {
    return mul(mul(0x3f000000u, x), add(ONE, erf_of(mul(x, 0x3f3504f3u))));
}

fn gelu_tanh(x: u32) -> u32 {
    let cube = mul(mul(x, x), x);
    let inner = mul(0x3f4c422au, add(x, mul(0x3d372713u, cube)));
    return mul(mul(0x3f000000u, x), add(ONE, tanh_of(inner)));
}
