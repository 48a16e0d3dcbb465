//! Intervals for differences: between two players on the same positions, and between groups of runs.

use serde::Serialize;

/// A difference with its 95 % interval: `low <= value <= high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Interval {
    /// The difference as it was measured.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

impl Interval {
    /// Whether the interval lies on one side of 0.
    pub fn is_certain(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Returns how many more mistakes the second player makes than the first one on the same positions. Only positions count in
/// which one of them errs and the other one does not: under equal strength either is as likely as the other (McNemar 1947).
/// The interval is the exact one for that share (Clopper and Pearson 1934), given how many such positions there are, so that
/// it holds for few positions too, and leaves 0 out exactly when the exact test rejects equal strength.
///
/// # Panics
/// If the lists are not of the same length.
pub fn more_mistakes(first: &[bool], second: &[bool]) -> Interval {
    assert_eq!(first.len(), second.len(), "mistakes in the same positions");
    let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| **a && !**b).count() as f64;
    let (fewer, more) = (only(first, second), only(second, first));
    let differ = fewer + more;
    // The share of `more` among those that differ, and what it means in positions.
    let positions = |share: f64| (2.0 * share - 1.0) * differ;
    let low = if more > 0.0 { beta_quantile(0.025, more, fewer + 1.0) } else { 0.0 };
    let high = if fewer > 0.0 { beta_quantile(0.975, more + 1.0, fewer) } else { 1.0 };
    Interval { value: more - fewer, low: positions(low), high: positions(high) }
}

/// Returns the mean of some differences, with Student's interval; `None` for fewer than two.
pub fn mean_of(differences: &[f64]) -> Option<Interval> {
    let (mean, variance) = mean_and_variance(differences)?;
    let n = differences.len() as f64;
    Some(around(mean, variance / n, n - 1.0))
}

/// Returns by how much the mean of the second group is above that of the first one, with the interval of Welch (1947) where
/// both have two numbers or more. Where one has a single number, that is taken to vary as the numbers of the other do. `None`
/// where both have fewer than two.
pub fn between(first: &[f64], second: &[f64]) -> Option<Interval> {
    let size = |group: &[f64]| group.len() as f64;
    let difference = second.iter().sum::<f64>() / size(second) - first.iter().sum::<f64>() / size(first);
    match (mean_and_variance(first), mean_and_variance(second)) {
        (None, None) => None,
        (Some((_, variance)), None) | (None, Some((_, variance))) => {
            let freedom = size(first).max(size(second)) - 1.0;
            Some(around(difference, variance * (1.0 / size(first) + 1.0 / size(second)), freedom))
        }
        (Some((_, of_first)), Some((_, of_second))) => {
            let parts = [of_first / size(first), of_second / size(second)];
            let variance: f64 = parts.iter().sum();
            let weights = parts[0].powi(2) / (size(first) - 1.0) + parts[1].powi(2) / (size(second) - 1.0);
            let freedom = if weights > 0.0 { variance * variance / weights } else { size(first) + size(second) - 2.0 };
            Some(around(difference, variance, freedom))
        }
    }
}

/// Returns mean and variance; `None` for fewer than two numbers, which do not vary.
pub fn mean_and_variance(numbers: &[f64]) -> Option<(f64, f64)> {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    (n >= 2.0).then(|| (mean, numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)))
}

/// Returns Student's interval around a value whose own variance was estimated with so many degrees of freedom.
fn around(value: f64, variance: f64, freedom: f64) -> Interval {
    // |t| < q where t^2 / (freedom + t^2) is below a quantile of the beta distribution.
    let x = beta_quantile(0.95, 0.5, 0.5 * freedom);
    let half = (freedom * x / (1.0 - x) * variance).sqrt();
    Interval { value, low: value - half, high: value + half }
}

/// Returns the quantile of a beta distribution.
fn beta_quantile(share: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // As many halvings as a float has digits, and those that a small one begins with.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if beta_share(middle, a, b) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// Returns the share of a beta distribution below `x`: the regularised incomplete beta function, by its continued fraction
/// (Abramowitz and Stegun 1964, 26.5.8), which is evaluated as Lentz (1976) does.
fn beta_share(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // It converges fast on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(1.0 - x, b, a);
    }
    let safe = |x: f64| if x.abs() < 1e-300 { 1e-300 } else { x };
    let (mut c, mut d) = (1.0, 1.0 / safe(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / safe(1.0 + term * d);
            c = safe(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-15 * fraction.abs() {
            break;
        }
    }
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    front.exp() / a * fraction
}

/// Returns the logarithm of the gamma function of a number above 0, by Stirling's series.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shifted = 0.0;
    while x < 10.0 {
        shifted += x.ln();
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-3, "{a} is not {b}");
    }

    /// Lists with so many positions in which only the first errs, only the second, and both.
    fn lists(fewer: usize, more: usize, both: usize) -> (Vec<bool>, Vec<bool>) {
        let list = |parts: [(bool, usize); 3]| parts.iter().flat_map(|&(x, n)| vec![x; n]).collect();
        (list([(true, fewer), (false, more), (true, both)]), list([(false, fewer), (true, more), (true, both)]))
    }

    /// Values from printed tables: Student's t, and exact binomial intervals.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, t) in [(1.0, 12.706), (2.0, 4.303), (5.0, 2.571), (30.0, 2.042)] {
            near(around(0.0, 1.0, freedom).high, t);
        }
        // 1 of 10: 0.0025 to 0.4450; 0 of 10: 0 to 0.3085.
        near(beta_quantile(0.025, 1.0, 10.0), 0.0025);
        near(beta_quantile(0.975, 2.0, 9.0), 0.4450);
        near(beta_quantile(0.975, 1.0, 10.0), 0.3085);
    }

    #[test]
    fn only_positions_in_which_players_differ_count() {
        let interval = |fewer, more, both| {
            let (first, second) = lists(fewer, more, both);
            more_mistakes(&first, &second)
        };
        assert_eq!(interval(0, 0, 7), Interval::default());
        // The exact test: 5 against 0 has 0.0625 on both sides, 6 against 0 has 0.031.
        assert!(!interval(5, 0, 3).is_certain() && interval(6, 0, 0).is_certain());
        let (one, other) = (interval(30, 7, 0), interval(7, 30, 100));
        assert_eq!((one.value, other.value), (-23.0, 23.0));
        near(one.low, -other.high);
        near(one.high, -other.low);
        assert!(other.low > 0.0 && other.high < 37.0);
    }

    #[test]
    fn groups_are_compared_with_what_they_vary() {
        assert_eq!((mean_of(&[3.0]), between(&[1.0], &[2.0])), (None, None));
        let paired = mean_of(&[1.0, 2.0, 3.0]).unwrap();
        near(paired.high - 2.0, 4.303 / 3f64.sqrt());
        // Welch's own degrees of freedom: with equal groups 2 n - 2.
        let both = between(&[1.0, 3.0, 5.0], &[11.0, 13.0, 15.0]).unwrap();
        near(both.value, 10.0);
        near(both.high - 10.0, 2.776 * (8.0f64 / 3.0).sqrt());
        let single = between(&[1.0, 2.0, 3.0], &[5.0]).unwrap();
        near(single.high - 3.0, 4.303 * (4.0f64 / 3.0).sqrt());
        assert_eq!(between(&[2.0, 2.0], &[2.0, 2.0]).unwrap(), Interval::default());
    }
}
