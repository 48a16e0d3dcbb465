//! The integer product against plain sums of 64 bits, on every level of integers that this processor has.

use proptest::prelude::*;

use super::super::super::kernels::{HALF_RANGE, IntegerLevel, Layout, PEAK, QuantisedProduct};
use super::super::super::tests::Numbers;
use super::super::super::{Parameters, plan::Conv};
use super::super::{Transform, frequencies};
use super::{Int16Conv, Matrix};

/// Channels of a group, as the layout of the inputs has them.
const GROUP: usize = 64;

const FOUR: Transform = Transform { size: [4, 4], three: false };

fn shape(inputs: usize, outputs: usize, kernel: usize) -> Conv {
    Conv { step: 0, norm: None, bias: true, inputs, outputs, kernel }
}

fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    assert!(exponent < 31, "a result beyond the range of half precision");
    let size = if exponent == 0 { mantissa } else { (1024.0 + mantissa) * f64::from(exponent - 1).exp2() };
    if bits >> 15 == 1 { -size } else { size }
}

/// Multiplies inputs that are as large as they may be, for one row with the signs that make the first output largest.
fn check(conv: &Conv, of_conv: &Parameters, transform: Transform, rows: usize, numbers: &mut Numbers) {
    let layout = Layout { rows, reals: 1, bins: transform.bins() };
    let frequencies = frequencies(conv, &of_conv.weight, transform);
    let matrices: Vec<Matrix> = frequencies.map(|frequency| Matrix::new(&frequency)).collect();
    for level in IntegerLevel::available() {
        let packed = Int16Conv::new(level, conv, Some(of_conv), transform);
        let taken = packed.weights.bytes() + packed.factors.bytes() + packed.bias.bytes();
        assert_eq!(Int16Conv::new(level, conv, None, transform).bytes(), taken);
        let stride = packed.output_stride();
        for (bin, matrix) in matrices.iter().enumerate() {
            let mut inputs = vec![[0i16; 2]; rows * conv.inputs];
            for (index, [a, b]) in inputs.iter_mut().enumerate() {
                let [c, d] = matrix.numbers[index % conv.inputs * conv.outputs];
                let mut any = || (numbers.next() * f32::from(PEAK)) as i16;
                let worst = [if c < 0 { -PEAK } else { PEAK }, if d < 0 { PEAK } else { -PEAK }];
                [*a, *b] = if index < conv.inputs { worst } else { [any(), any()] };
            }
            let [plane, slot] = [layout.input(conv.inputs), layout.output(stride)];
            let mut shorts = vec![0; 3 * plane];
            for (index, [a, b]) in inputs.iter().enumerate() {
                let (row, channel) = (index / conv.inputs, index % conv.inputs);
                let place = (channel / GROUP * rows + row) * GROUP + channel % GROUP;
                [shorts[place], shorts[place + plane], shorts[place + 2 * plane]] = [*a, *b, a + b];
            }
            let mut halves = vec![u16::MAX; 2 * slot];
            let factors = &packed.factors.get()[bin * packed.padded..][..packed.padded];
            level.run(QuantisedProduct {
                rows,
                complex: !matrix.real,
                input: &shorts,
                input_plane: plane,
                pairs: packed.pairs(),
                weights: &packed.weights.get()[packed.starts[bin]..],
                factors,
                output: &mut halves,
                output_slot: slot,
                output_stride: stride,
            });
            for (row, inputs) in inputs.chunks_exact(conv.inputs).enumerate() {
                for output in 0..conv.outputs {
                    let (mut re, mut im) = (0i64, 0i64);
                    for (input, &[a, b]) in inputs.iter().enumerate() {
                        let [[a, b], [c, d]] =
                            [[a, b], matrix.numbers[input * conv.outputs + output]].map(|z| z.map(i64::from));
                        (re, im) = if matrix.real { (re + a * c, 0) } else { (re + a * c - b * d, im + a * d + b * c) };
                    }
                    for (part, exact) in [re, im].into_iter().enumerate().take(if matrix.real { 1 } else { 2 }) {
                        assert!(i32::try_from(exact).is_ok(), "a sum of {exact}");
                        let found = half(halves[part * slot + row * stride + output]);
                        let expected = exact as f64 * f64::from(factors[output]) * f64::from(1 << 24);
                        let error = (found - expected).abs();
                        // Half a unit in the last place, of which the smallest is 1 here, and what `f32` adds to it.
                        assert!(
                            error <= (expected.abs() / 2048.0).max(0.5) * 1.001,
                            "{level:?}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn products_are_exact_and_never_overflow(
        seed: u64,
        inputs in prop_oneof![3 => 1usize..40, 1 => 40usize..200],
        outputs in prop_oneof![3 => 1usize..40, 1 => 40usize..80],
        large in prop::bool::ANY,
        three in prop::bool::ANY,
        rows in 1usize..14,
        gain in prop_oneof![Just(0.0f32), Just(1e-36), Just(1.0), Just(1e36)],
    ) {
        let mut numbers = Numbers(seed);
        let mut weight = numbers.list(outputs * inputs * 9, gain);
        // Whatever the distribution: some outputs with equal weights of equal signs, some with one that stands out.
        for (output, taps) in weight.chunks_exact_mut(inputs * 9).enumerate() {
            match output % 4 {
                0 => taps.fill(gain),
                1 => taps[4] = 100.0 * gain,
                _ => {}
            }
        }
        let of_conv = Parameters { weight, bias: numbers.list(outputs, 1.0) };
        let transform = Transform { size: if large { [7, 8] } else { [4, 4] }, three: !large && three };
        check(&shape(inputs, outputs, 3), &of_conv, transform, rows, &mut numbers);
    }
}

#[test]
fn units_use_the_range() {
    // Equal weights: the sums are what limits them, and the worst input comes close to the limit.
    let (conv, numbers) = (shape(128, 1, 1), Parameters { weight: vec![0.3; 128], bias: vec![0.0] });
    let matrix = Matrix::new(&frequencies(&conv, &numbers.weight, FOUR).next().expect("a bin"));
    let sum: i64 = matrix.numbers.iter().map(|[re, _]| i64::from(*re) * i64::from(PEAK)).sum();
    assert!((2_000_000_000..=i64::from(i32::MAX)).contains(&sum), "{sum}");
    let packed = Int16Conv::new(IntegerLevel::available()[0], &conv, Some(&numbers), FOUR);
    assert!(packed.factors.get().iter().all(|&factor| factor <= HALF_RANGE));
}
