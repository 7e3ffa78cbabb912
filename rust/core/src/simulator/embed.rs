//! Vectors made from texts: the same text always has the same one, of length 1.

/// The vector of a text. A shorter one is the beginning of a longer one, scaled to length 1 again.
pub(crate) fn vector(text: &str, dims: usize) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a: the same on every machine and release
    });
    let mut values: Vec<f64> = (0..dims).map(|_| uniform(&mut state)).collect();
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length == 0.0 {
        values.iter_mut().take(1).for_each(|value| *value = 1.0);
    }
    let scale = if length == 0.0 { 1.0 } else { length.recip() };
    values.into_iter().map(|value| (value * scale) as f32).collect()
}

/// The next number from -1 to 1 (SplitMix64).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

/// A vector as OpenAI's base64: little-endian 32-bit floats.
pub(crate) fn base64(vector: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn unit_length_the_same_for_the_same_and_far_for_others() {
        for dims in [1, 2, 3, 256, 1536] {
            let v = vector("hello", dims);
            assert_eq!(v.len(), dims);
            assert!((dot(&v, &v) - 1.0).abs() < 1e-5, "{dims}");
            assert_eq!(v, vector("hello", dims));
        }
        let (a, b) = (vector("hello", 1536), vector("hello!", 1536));
        assert!(dot(&a, &b).abs() < 0.2);
        let (short, long) = (vector("x", 4), vector("x", 8));
        assert!((short[0] / short[1] - long[0] / long[1]).abs() < 1e-4);
    }

    #[test]
    fn base64_is_little_endian() {
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
    }
}
