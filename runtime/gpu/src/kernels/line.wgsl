// What 64 threads do together with one line of elements (spec/09-tensor.md, sections 9.2.2 and 9.5.3): thread `lane` is lane
// `lane` of the sum, and the lanes are added in the order of the text.

var<workgroup> lanes: array<u32, 64>;
var<workgroup> places: array<u32, 64>;

// The canonical sum of the lanes.
fn tree(lane: u32, value: f32) -> u32 {
    lanes[lane] = bits(value);
    workgroupBarrier();
    for (var width = 32u; width > 0u; width >>= 1u) {
        if (lane < width) {
            lanes[lane] = bits(raw_add(float(lanes[lane]), float(lanes[lane + width])));
        }
        workgroupBarrier();
    }
    let total = lanes[0];
    workgroupBarrier();
    return canon(total);
}

// The greatest of the lanes' words.
fn greatest(lane: u32, value: u32) -> u32 {
    lanes[lane] = value;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width >>= 1u) {
        if (lane < width) {
            lanes[lane] = max(lanes[lane], lanes[lane + width]);
        }
        workgroupBarrier();
    }
    let value_of_all = lanes[0];
    workgroupBarrier();
    return value_of_all;
}

// The least pair of the lanes' words and places; left in lanes[0] and places[0].
fn least_pair(lane: u32, value: u32, at: u32) {
    lanes[lane] = value;
    places[lane] = at;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width >>= 1u) {
        if (lane < width) {
            let word = lanes[lane + width];
            let other = places[lane + width];
            if (word < lanes[lane] || (word == lanes[lane] && other < places[lane])) {
                lanes[lane] = word;
                places[lane] = other;
            }
        }
        workgroupBarrier();
    }
}

// Order keys as unsigned words, and back to the number.
fn ascending(key: i32) -> u32 {
    return bitcast<u32>(key) ^ SIGN;
}

fn of_key(word: u32) -> u32 {
    let key = bitcast<i32>(word ^ SIGN);
    return bitcast<u32>(select(key, key ^ 0x7fffffff, key < 0));
}

// 1 / sqrt(squares / n + epsilon).
fn spread(squares: u32, n: u32, epsilon: u32) -> u32 {
    return div(ONE, root(add(div(squares, from_integer(n)), epsilon)));
}

fn square(x: u32) -> f32 {
    let held = float(factor(x));
    return float(addend(bits(raw_mul(held, held))));
}
