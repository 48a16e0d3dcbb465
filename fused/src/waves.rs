//! Fourier transforms of a board, one channel in each lane of a vector.
//!
//! A signal of `N` real numbers has `reals(N)` real and `pairs(N)` complex frequencies that say everything; the others are
//! conjugates. Spectra use the positive exponent, `X(k) = sum x(n) exp(+2 pi i k n / N)`, because that sign spares
//! negations. The inverse leaves its constants to whoever made the spectrum: it takes all complex frequencies doubled and
//! returns the signal times `N`.
//!
//! In two dimensions, the rows of a board are transformed after its columns. Slots of the spectrum: the real frequencies,
//! then real and imaginary part of the complex ones, first those of the rows that are real, then those of the complex rows
//! with all their columns.
//!
//! Boards of up to three rows and columns have a second transform, without complex numbers: see [`three_forward`].

#![expect(clippy::needless_range_loop, reason = "the loops over a tile or a board use one index on several arrays")]

use super::kernels::{Simd, Sink, Source};

/// Real frequencies of a signal of `n` real numbers: 0, and `n / 2` if there is one.
const fn reals(n: usize) -> usize {
    2 - n % 2
}

/// Complex frequencies of a signal of `n` real numbers that are not conjugates of each other.
const fn pairs(n: usize) -> usize {
    (n - 1) / 2
}

/// Real frequencies of the spectrum of `ny` by `nx` numbers.
pub(super) fn real_bins([ny, nx]: [usize; 2]) -> usize {
    reals(ny) * reals(nx)
}

/// All frequencies of that spectrum which are not conjugates of each other.
pub(super) fn bins([ny, nx]: [usize; 2]) -> usize {
    real_bins([ny, nx]) + reals(ny) * pairs(nx) + pairs(ny) * nx
}

/// Cosine and sine of a frequency's phase at each tap of a kernel with this side, row by row.
pub(super) fn phases(size: [usize; 2], bin: usize, side: usize) -> impl Iterator<Item = [f64; 2]> {
    let ([ny, nx], [ky, kx]) = (size, frequency(size, bin));
    (0..side * side).map(move |tap| {
        let [dy, dx] = [tap / side, tap % side].map(|at| at as f64 - (side / 2) as f64);
        let turns = dy * ky as f64 / ny as f64 + dx * kx as f64 / nx as f64;
        let (sin, cos) = (2.0 * std::f64::consts::PI * turns).sin_cos();
        [cos, sin]
    })
}

/// The frequency `(ky, kx)` of a bin of the spectrum of `ny` by `nx` numbers; the real ones come first.
fn frequency([ny, nx]: [usize; 2], bin: usize) -> [usize; 2] {
    if bin < reals(ny) * reals(nx) {
        return [bin / reals(nx) * (ny / 2), bin % reals(nx) * (nx / 2)];
    }
    let complex = bin - reals(ny) * reals(nx);
    let in_real_rows = reals(ny) * pairs(nx);
    if complex < in_real_rows {
        [complex / pairs(nx) * (ny / 2), 1 + complex % pairs(nx)]
    } else {
        [1 + (complex - in_real_rows) / nx, (complex - in_real_rows) % nx]
    }
}

/// Memory for the transforms of one board after the other. With `THREE` those of [`three_forward`], for 4 by 4 numbers.
pub(super) struct Board<V, const NY: usize, const NX: usize, const THREE: bool = false> {
    /// The board. Cells outside of it must stay zero.
    pub cells: [[V; NX]; NY],
    /// Spectra of the columns on the way forward; columns outside of the board stay zero.
    columns: [[V; NX]; NY],
    /// The same on the way back.
    rows: [[V; NX]; NY],
}

impl<V: Copy, const NY: usize, const NX: usize, const THREE: bool> Board<V, NY, NX, THREE> {
    /// Real numbers and pairs of complex ones in the transform of a column and of a row.
    const REALS: [usize; 2] = if THREE { [4; 2] } else { [reals(NY), reals(NX)] };
    const PAIRS: [usize; 2] = if THREE { [0; 2] } else { [pairs(NY), pairs(NX)] };

    #[inline(always)]
    fn there<S: Simd<Vector = V>, const N: usize>(simd: S, signal: [V; N]) -> [V; N] {
        if THREE { three_forward(simd, signal) } else { signal_forward(simd, signal) }
    }

    #[inline(always)]
    fn back<S: Simd<Vector = V>, const N: usize>(simd: S, spectrum: [V; N]) -> [V; N] {
        if THREE { three_inverse(simd, spectrum) } else { signal_inverse(simd, spectrum) }
    }

    pub(super) fn new(zero: V) -> Self {
        Self { cells: [[zero; NX]; NY], columns: [[zero; NX]; NY], rows: [[zero; NX]; NY] }
    }

    /// Stores the spectrum of the cells, of which only the first `width` columns hold numbers.
    #[inline(always)]
    pub(super) fn forward<S: Simd<Vector = V>>(&mut self, simd: S, slots: &mut impl Sink<S, NY, NX>, width: usize) {
        assert!(width < NX, "{width} columns wrap around a transform of {NX}");
        for x in 0..width {
            let mut column = [simd.splat(0.0); NY];
            for y in 0..NY {
                column[y] = self.cells[y][x];
            }
            let column = Self::there(simd, column);
            for y in 0..NY {
                self.columns[y][x] = column[y];
            }
        }
        for y in 0..Self::REALS[0] {
            let waves = Self::there(simd, self.columns[y]);
            for x in 0..Self::REALS[1] {
                slots.set(y * Self::REALS[1] + x, waves[x]);
            }
            for k in 0..Self::PAIRS[1] {
                let at = Self::REALS[1] + 2 * k;
                Self::put(slots, y * Self::PAIRS[1] + k, (waves[at], waves[at + 1]));
            }
        }
        for row in 0..Self::PAIRS[0] {
            // A row of complex numbers a + i b: transform the two real signals, then add them.
            let a = Self::there(simd, self.columns[Self::REALS[0] + 2 * row]);
            let b = Self::there(simd, self.columns[Self::REALS[0] + 2 * row + 1]);
            let first = Self::REALS[0] * Self::PAIRS[1] + row * NX;
            for x in 0..Self::REALS[1] {
                Self::put(slots, first + x * (NX / 2), (a[x], b[x]));
            }
            for k in 1..=Self::PAIRS[1] {
                let at = Self::REALS[1] + 2 * k - 2;
                let (re, im) = ((a[at], b[at]), (a[at + 1], b[at + 1]));
                Self::put(slots, first + k, (simd.sub(re.0, im.1), simd.add(im.0, re.1)));
                Self::put(slots, first + NX - k, (simd.add(re.0, im.1), simd.sub(re.1, im.0)));
            }
        }
    }

    /// Sets the first `height` rows and `width` columns of the cells to the signal with this spectrum.
    #[inline(always)]
    pub(super) fn inverse<S: Simd<Vector = V>>(
        &mut self,
        simd: S,
        slots: &impl Source<S, NY, NX>,
        [height, width]: [usize; 2],
    ) {
        assert!(height < NY && width < NX, "a {height}x{width} board wraps around a transform of {NY}x{NX}");
        for y in 0..Self::REALS[0] {
            let mut waves = [simd.splat(0.0); NX];
            for x in 0..Self::REALS[1] {
                waves[x] = slots.get(y * Self::REALS[1] + x);
            }
            for k in 0..Self::PAIRS[1] {
                let at = Self::REALS[1] + 2 * k;
                (waves[at], waves[at + 1]) = Self::get(slots, y * Self::PAIRS[1] + k);
            }
            self.rows[y] = Self::back(simd, waves);
        }
        for row in 0..Self::PAIRS[0] {
            let first = Self::REALS[0] * Self::PAIRS[1] + row * NX;
            let (mut a, mut b) = ([simd.splat(0.0); NX], [simd.splat(0.0); NX]);
            for x in 0..Self::REALS[1] {
                (a[x], b[x]) = Self::get(slots, first + x * (NX / 2));
            }
            for k in 1..=Self::PAIRS[1] {
                let at = Self::REALS[1] + 2 * k - 2;
                let (re, im) = Self::get(slots, first + k);
                let (other_re, other_im) = Self::get(slots, first + NX - k);
                (a[at], a[at + 1]) = (simd.add(re, other_re), simd.sub(im, other_im));
                (b[at], b[at + 1]) = (simd.add(im, other_im), simd.sub(other_re, re));
            }
            self.rows[Self::REALS[0] + 2 * row] = Self::back(simd, a);
            self.rows[Self::REALS[0] + 2 * row + 1] = Self::back(simd, b);
        }
        for x in 0..width {
            let mut column = [simd.splat(0.0); NY];
            for k in 0..NY {
                column[k] = self.rows[k][x];
            }
            let column = Self::back(simd, column);
            for y in 0..height {
                self.cells[y][x] = column[y];
            }
        }
    }

    #[inline(always)]
    fn get<S: Simd<Vector = V>>(slots: &impl Source<S, NY, NX>, complex: usize) -> (V, V) {
        let slot = Self::REALS[0] * Self::REALS[1] + 2 * complex;
        (slots.get(slot), slots.get(slot + 1))
    }

    #[inline(always)]
    fn put<S: Simd<Vector = V>>(slots: &mut impl Sink<S, NY, NX>, complex: usize, (re, im): (V, V)) {
        let slot = Self::REALS[0] * Self::REALS[1] + 2 * complex;
        slots.set(slot, re);
        slots.set(slot + 1, im);
    }
}

/// The spectrum of a real signal: its real frequencies, then real and imaginary part of the complex ones.
#[inline(always)]
fn signal_forward<S: Simd, const N: usize>(simd: S, x: [S::Vector; N]) -> [S::Vector; N] {
    let mut o = [simd.splat(0.0); N];
    match N {
        4 => {
            let (even, odd) = (simd.add(x[0], x[2]), simd.add(x[1], x[3]));
            (o[0], o[1]) = (simd.add(even, odd), simd.sub(even, odd));
            (o[2], o[3]) = (simd.sub(x[0], x[2]), simd.sub(x[1], x[3]));
        }
        8 => {
            let c = simd.splat(std::f32::consts::FRAC_1_SQRT_2);
            let (s0, s1) = (simd.add(x[0], x[4]), simd.add(x[1], x[5]));
            let (s2, s3) = (simd.add(x[2], x[6]), simd.add(x[3], x[7]));
            let (d0, d1) = (simd.sub(x[0], x[4]), simd.sub(x[1], x[5]));
            let (d2, d3) = (simd.sub(x[2], x[6]), simd.sub(x[3], x[7]));
            let (even, odd) = (simd.add(s0, s2), simd.add(s1, s3));
            (o[0], o[1]) = (simd.add(even, odd), simd.sub(even, odd));
            (o[4], o[5]) = (simd.sub(s0, s2), simd.sub(s1, s3));
            let (less, more) = (simd.sub(d1, d3), simd.add(d1, d3));
            (o[2], o[3]) = (simd.mul_add(c, less, d0), simd.mul_add(c, more, d2));
            (o[6], o[7]) = (simd.neg_mul_add(c, less, d0), simd.mul_sub(c, more, d2));
        }
        _ => {
            // Numbers at the same distance from 0 share their cosines, and their sines but for the sign.
            let (mut sums, mut differences) = ([simd.splat(0.0); N], [simd.splat(0.0); N]);
            for j in 1..=pairs(N) {
                sums[j] = simd.add(x[j], x[N - j]);
                differences[j] = simd.sub(x[j], x[N - j]);
            }
            let (mut even, mut odd) = (x[0], simd.splat(0.0));
            if reals(N) == 2 {
                (even, odd) = if N.is_multiple_of(4) { (simd.add(even, x[N / 2]), odd) } else { (even, x[N / 2]) };
            }
            for j in 1..=pairs(N) {
                (even, odd) = if j % 2 == 0 { (simd.add(even, sums[j]), odd) } else { (even, simd.add(odd, sums[j])) };
            }
            o[0] = simd.add(even, odd);
            if reals(N) == 2 {
                o[1] = simd.sub(even, odd);
            }
            for k in 1..=pairs(N) {
                let (mut re, mut im) = (x[0], simd.splat(0.0));
                if reals(N) == 2 {
                    re = if k % 2 == 0 { simd.add(re, x[N / 2]) } else { simd.sub(re, x[N / 2]) };
                }
                for j in 1..=pairs(N) {
                    let (cos, sin) = Circle::<N>::POINTS[j * k % N];
                    re = simd.mul_add(simd.splat(cos), sums[j], re);
                    im = simd.mul_add(simd.splat(sin), differences[j], im);
                }
                (o[reals(N) + 2 * k - 2], o[reals(N) + 2 * k - 1]) = (re, im);
            }
        }
    }
    o
}

/// The real signal of a spectrum as `signal_forward` lays it out, times `N`, where the complex frequencies are doubled.
#[inline(always)]
fn signal_inverse<S: Simd, const N: usize>(simd: S, o: [S::Vector; N]) -> [S::Vector; N] {
    let mut x = [simd.splat(0.0); N];
    match N {
        4 => {
            let (even, odd) = (simd.add(o[0], o[1]), simd.sub(o[0], o[1]));
            (x[0], x[2]) = (simd.add(even, o[2]), simd.sub(even, o[2]));
            (x[1], x[3]) = (simd.add(odd, o[3]), simd.sub(odd, o[3]));
        }
        8 => {
            let c = simd.splat(std::f32::consts::FRAC_1_SQRT_2);
            let (even, odd) = (simd.add(o[0], o[1]), simd.sub(o[0], o[1]));
            let (e0, e2) = (simd.add(even, o[4]), simd.sub(even, o[4]));
            let (e1, e3) = (simd.add(odd, o[5]), simd.sub(odd, o[5]));
            let (re_sum, re_less) = (simd.add(o[2], o[6]), simd.sub(o[2], o[6]));
            let (im_sum, im_less) = (simd.add(o[3], o[7]), simd.sub(o[3], o[7]));
            let (with, without) = (simd.add(im_sum, re_less), simd.sub(im_sum, re_less));
            (x[0], x[4]) = (simd.add(e0, re_sum), simd.sub(e0, re_sum));
            (x[2], x[6]) = (simd.add(e2, im_less), simd.sub(e2, im_less));
            (x[1], x[5]) = (simd.mul_add(c, with, e1), simd.neg_mul_add(c, with, e1));
            (x[3], x[7]) = (simd.mul_add(c, without, e3), simd.neg_mul_add(c, without, e3));
        }
        _ => {
            let (mut even, mut odd) = (o[0], o[0]);
            if reals(N) == 2 {
                (even, odd) = (simd.add(o[0], o[1]), simd.sub(o[0], o[1]));
            }
            for n in 0..=N / 2 {
                let (mut cosines, mut sines) = (if n % 2 == 0 { even } else { odd }, simd.splat(0.0));
                for k in 1..=pairs(N) {
                    let (cos, sin) = Circle::<N>::POINTS[n * k % N];
                    cosines = simd.mul_add(simd.splat(cos), o[reals(N) + 2 * k - 2], cosines);
                    sines = simd.mul_add(simd.splat(sin), o[reals(N) + 2 * k - 1], sines);
                }
                x[n] = simd.add(cosines, sines);
                if n > 0 {
                    x[N - n] = simd.sub(cosines, sines);
                }
            }
        }
    }
    x
}

/// Three numbers as four from which every convolution with a kernel of three, and zeros beyond the ends, is a product of
/// real numbers: four multiplications where the frequencies of four numbers, two of them real and two a complex pair, take
/// five, and so 16 for 22 on a board of three by three.
///
/// With the matrices `U` and `L` that shift by one either way, the convolution is `w0 + w1 U + w-1 L`. `U + L` and `U - L`
/// take odd cells to even ones and back, on the sum of the odd cells the one, on their difference the other. Each has a
/// pair of matrices of rank one, `u v^T` with `+` and with `-` in the middle of both, whose difference it is:
///
/// | | `u` | `v` | their difference | their sum |
/// |---|---|---|---|---|
/// | 1 | `(a, 1, a)` | `(a, 1, a)` | `2a (U + L)` | `2 diag(a^2, 1, a^2)`, and `2a^2` in the corners |
/// | 2 | `(b, 1, -b)` | `(-b, 1, b)` | `2b (U - L)` | `2 diag(-b^2, 1, -b^2)`, and `2b^2` in the corners |
///
/// In the sums the corners cancel when each is divided by its `a^2` or `b^2`, and what is left is a multiple of the identity
/// if `1 / a^2 = 1 / b^2 + 2`: the middle cell, which both count, leaves that freedom. Here `a^2 = 1/3` and `b = 1`. A
/// Fourier transform would have to have `b^2 = -1`.
#[inline(always)]
fn three_forward<S: Simd, const N: usize>(simd: S, x: [S::Vector; N]) -> [S::Vector; N] {
    assert!(N == 4);
    let a = simd.splat(THIRD_ROOT);
    let (sum, difference) = (simd.add(x[0], x[2]), simd.sub(x[2], x[0]));
    let mut o = [x[1]; N];
    (o[0], o[1]) = (simd.mul_add(a, sum, x[1]), simd.neg_mul_add(a, sum, x[1]));
    (o[2], o[3]) = (simd.add(x[1], difference), simd.sub(x[1], difference));
    o
}

/// The three numbers whose products, of [`three_forward`] with [`three_kernel`], these are.
#[inline(always)]
fn three_inverse<S: Simd, const N: usize>(simd: S, o: [S::Vector; N]) -> [S::Vector; N] {
    assert!(N == 4);
    let even = simd.mul(simd.splat(THIRD_ROOT), simd.sub(o[0], o[1]));
    let odd = simd.sub(o[2], o[3]);
    let mut x = [simd.splat(0.0); N];
    (x[0], x[2]) = (simd.add(even, odd), simd.sub(even, odd));
    x[1] = simd.add(simd.add(o[0], o[1]), simd.add(o[2], o[3]));
    x
}

/// What each of the four numbers is multiplied by for the tap of a kernel that reads `distance` cells further on, -1 to 1.
pub(super) fn three_kernel(number: usize, distance: isize) -> f64 {
    let sign = if number.is_multiple_of(2) { 0.25 } else { -0.25 };
    match (number / 2, distance) {
        (0, 0) => 0.75,
        (0, _) => sign * 3f64.sqrt(),
        (_, 0) => -0.25,
        (_, distance) => sign * distance as f64,
    }
}

/// The root of one third.
const THIRD_ROOT: f32 = 0.577_350_26;

/// Points of the unit circle.
struct Circle<const N: usize>;

impl<const N: usize> Circle<N> {
    /// Cosine and sine of `2 pi i / N`.
    const POINTS: [(f32, f32); N] = {
        let mut points = [(0.0, 0.0); N];
        let mut i = 0;
        while i < N {
            // Cosine and sine are not `const`: their series, for an angle of at most pi either way.
            let turn = if 2 * i > N { i as f64 - N as f64 } else { i as f64 };
            let angle = 2.0 * std::f64::consts::PI * turn / N as f64;
            let (mut cos, mut sin, mut term, mut power) = (0.0, 0.0, 1.0, 0);
            while power < 40 {
                cos += term;
                term *= angle / (power + 1) as f64;
                sin += term;
                term *= -angle / (power + 2) as f64;
                power += 2;
            }
            points[i] = (cos as f32, sin as f32);
            i += 1;
        }
        points
    };
}
