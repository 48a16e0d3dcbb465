//! Numbers of half precision, 5 bits of exponent and 10 of mantissa in a `u16`, for processors that cannot convert them.

/// Half precision, rounded to the nearest, to even in the middle. The number must be less than 65504 in size, or NaN.
pub(super) fn to_half(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    if x.is_nan() {
        return sign | 0x7e00;
    }
    // Adding a number 2^13 as large as one unit in the last place of the result rounds to that place. The exponent is at
    // least that of the smallest normal number, 2^-14, below which all places are the same.
    let size = x.abs();
    let exponent = (size.to_bits() >> 23).max(127 - 14);
    let rounder = f32::from_bits((exponent + 13) << 23);
    let rounded = (size + rounder) - rounder;
    // In units of 2^-24, the smallest number above zero: below 2^11 these are the bits of the result.
    if rounded < f32::from_bits((127 - 14) << 23) {
        return sign | (rounded * 16_777_216.0) as u16;
    }
    sign | ((rounded.to_bits() >> 13) - ((127 - 15) << 10)) as u16
}

/// The number that these bits of half precision mean.
pub(super) fn from_half(bits: u16) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    let size = match exponent {
        0 => mantissa as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits((exponent + 127 - 15) << 23 | mantissa << 13),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::{from_half, to_half};

    #[test]
    fn halves_round_to_the_nearest() {
        for bits in 0..0x7c00u16 {
            let x = from_half(bits);
            assert_eq!(to_half(x), bits);
            assert_eq!(to_half(-x), bits | 0x8000);
            if bits < 0x7bff {
                let (above, even) = (from_half(bits + 1), bits + (bits & 1));
                let middle = (x + above) / 2.0;
                assert_eq!(to_half(middle), even, "between {x} and {above}");
                assert_eq!(to_half(middle.next_down()), bits);
                assert_eq!(to_half(middle.next_up()), bits + 1);
            }
        }
        assert!(from_half(to_half(f32::NAN)).is_nan());
    }
}
