//! Playing strength from match results: Elo differences with confidence intervals, a sequential test of a new
//! network against an old one, and a rating list of several players.
//!
//! Results are counted in pairs of games: the same opening played twice with the seats swapped. The two games of a
//! pair are correlated but the pairs are independent (if no opening is repeated), so uncertainty is estimated from the
//! scores of whole pairs.

use std::f64::consts::LN_10;

/// Elo points per unit of natural log-odds.
const ELO_PER_NAT: f64 = 400.0 / LN_10;
/// 97.5 % quantile of the standard normal distribution: the half-width of a 95 % interval in standard deviations.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;
/// Mean scores per game of the five results of a pair.
const SCORES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Weight of an outcome that has not been seen, so that it stays possible.
const PSEUDO_COUNT: f64 = 1e-3;
/// Limit of the tilts searched, where practically all probability is on a score of 0 or of 1.
const MAX_TILT: f64 = 40.0;

/// A strength in Elo points with a 95 % confidence interval: `low <= value <= high`, never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Elo {
    /// The point estimate.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// Results of pairs of games between A and B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// `counts[i]` is the number of pairs in which A got i/2 of the 2 points (pentanomial counts).
    pub counts: [u64; 5],
}

impl Pairs {
    /// Records one pair in which A got `half_points` half points, 0 to 4.
    ///
    /// # Panics
    /// If `half_points` is above 4.
    pub fn add(&mut self, half_points: usize) {
        self.counts[half_points] = self.counts[half_points].saturating_add(1);
    }

    /// The number of pairs.
    pub fn pairs(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &n| sum.saturating_add(n))
    }

    /// The number of games, two per pair.
    pub fn games(&self) -> u64 {
        self.pairs().saturating_mul(2)
    }

    /// A's mean score per game in 0..=1, a draw being 0.5; 0.5 without pairs.
    pub fn score(&self) -> f64 {
        if self.pairs() == 0 { 0.5 } else { mean(&self.counts.map(|n| n as f64)) }
    }

    /// A's Elo advantage over B, -400 log10(1/s - 1) with s the mean score.
    ///
    /// The interval holds every mean m that a likelihood ratio test on the pair scores does not reject (Wilks 1938;
    /// the empirical likelihood of Owen 1988, on a known support): 2 sum n_i ln(p_i/q_i) < z^2 (1 + 1.5/n), with n_i
    /// of the n pairs at outcome i, p_i = n_i/n, q the most likely distribution of mean m and z = 1.96. The factor
    /// 1 + 1.5/n corrects for few pairs; it was chosen by simulation. There is no variance to estimate, so pairs that
    /// all end alike are no special case. At a score of 1 `value` and `high` are +infinity and `low` is finite, at 0
    /// the reverse. Without pairs the value is 0 and the interval is the whole line.
    pub fn elo(&self) -> Elo {
        let n = self.pairs() as f64;
        if n == 0.0 {
            return Elo { value: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY };
        }
        let value = elo_of(&self.counts.map(|n| n as f64));
        let (observed, limit) = (self.tilted(0.0), Z95 * Z95 * (1.0 + 1.5 / n));
        let holds = |tilt| 2.0 * self.log_ratio(&observed, &self.tilted(tilt)) < limit;
        let end = |side: f64| elo_of(&self.tilted(side * bisect(0.0, MAX_TILT, |tilt| holds(side * tilt))));
        Elo { value, low: end(-1.0).min(value), high: end(1.0).max(value) }
    }

    /// Returns the distribution at a tilt. The most likely distributions with a given mean are
    /// `p_i ~ n_i / (x_i e^-tilt + (1 - x_i) e^tilt)`, `x_i = i/4`, one for each tilt, the observed one at tilt 0, the mean rising from 0 to 1 with
    /// the tilt.
    fn tilted(&self, tilt: f64) -> [f64; 5] {
        let count = |i: usize| (self.counts[i] as f64).max(PSEUDO_COUNT);
        let weights = [0, 1, 2, 3, 4].map(|i| count(i) / (SCORES[i] / tilt.exp() + SCORES[4 - i] * tilt.exp()));
        let total: f64 = weights.iter().sum();
        weights.map(|weight| weight / total)
    }

    /// The most likely distribution with the given mean.
    fn with_mean(&self, target: f64) -> [f64; 5] {
        self.tilted(bisect(-MAX_TILT, MAX_TILT, |t| mean(&self.tilted(t)) < target))
    }

    /// Log-likelihood ratio of the counts under p against q.
    fn log_ratio(&self, p: &[f64; 5], q: &[f64; 5]) -> f64 {
        (0..5).map(|i| self.counts[i] as f64 * (p[i] / q[i]).ln()).sum()
    }
}

/// Mean score per game, 0..=1, of pair results with these weights.
fn mean(weights: &[f64; 5]) -> f64 {
    (0..5).map(|i| weights[i] * SCORES[i]).sum::<f64>() / weights.iter().sum::<f64>()
}

/// Elo difference of pair results with these weights: -400 log10(1/s - 1) = 400 log10(s/(1 - s)) at their mean score s,
/// the ratio of A's points to B's.
fn elo_of(weights: &[f64; 5]) -> f64 {
    let points = |score: fn(usize) -> f64| (0..5).map(|i| weights[i] * score(i)).sum::<f64>();
    400.0 * (points(|i| SCORES[i]) / points(|i| SCORES[4 - i])).log10()
}

/// Where a condition that holds at `low` and fails at `high` changes.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..52 {
        let middle = 0.5 * (low + high);
        *(if holds(middle) { &mut low } else { &mut high }) = middle;
    }
    low
}

/// Expected score at a strength difference in natural log-odds.
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// One of the two statements between which [`Sprt`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypothesis {
    /// A's Elo advantage is `elo0`.
    H0,
    /// A's Elo advantage is `elo1`.
    H1,
}

/// A generalised sequential probability ratio test (Wald 1945; Li, Liu and Ying 2014) on pentanomial counts: ask for
/// the [`verdict`](Sprt::verdict) after each pair and stop once there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sprt {
    /// A's Elo advantage under H0.
    pub elo0: f64,
    /// A's Elo advantage under H1, above `elo0`.
    pub elo1: f64,
    /// Probability of deciding for H1 when H0 is true, between 0 and 1 (approximate).
    pub alpha: f64,
    /// Probability of deciding for H0 when H1 is true, between 0 and 1 (approximate).
    pub beta: f64,
}

impl Sprt {
    /// The generalised log-likelihood ratio of H1 to H0: each hypothesis fixes the mean score alone, and is
    /// represented by the distribution with that mean under which the results are most likely. 0 without pairs.
    pub fn llr(&self, pairs: &Pairs) -> f64 {
        let [p0, p1] = [self.elo0, self.elo1].map(|elo| pairs.with_mean(logistic(elo / ELO_PER_NAT)));
        pairs.log_ratio(&p1, &p0)
    }

    /// The log-likelihood ratios at which to decide for H0 and for H1: ln(beta/(1-alpha)) and ln((1-beta)/alpha).
    pub fn bounds(&self) -> (f64, f64) {
        ((self.beta / (1.0 - self.alpha)).ln(), ((1.0 - self.beta) / self.alpha).ln())
    }

    /// The hypothesis decided for, or none while more pairs are needed.
    pub fn verdict(&self, pairs: &Pairs) -> Option<Hypothesis> {
        let (llr, (low, high)) = (self.llr(pairs), self.bounds());
        if llr >= high { Some(Hypothesis::H1) } else { (llr <= low).then_some(Hypothesis::H0) }
    }
}

/// The results of one player against another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duel {
    /// Index of player A, whose points are counted.
    pub a: usize,
    /// Index of player B.
    pub b: usize,
    /// The results from A's point of view.
    pub pairs: Pairs,
}

/// Ratings of `players` players by maximum likelihood in the model of Bradley and Terry (1952), a draw counting as
/// half a win and half a loss. The mean of the ratings is 0.
///
/// A weak prior keeps everything finite: each player has also drawn one pair against the mean of all. The 95 %
/// intervals are value +- 1.96 standard errors, from the inverse of the observed information under the constraint of
/// mean 0. They take all games for independent and decisive: they are too wide where games are drawn or decided by
/// the opening, too narrow where the games of a pair tend to end alike. They are relative to the mean of all players,
/// so a player with few games widens the intervals of all. A duel counts as at most 10^9 games; one of a player with
/// itself says nothing.
///
/// # Panics
/// If a duel names a player that is not below `players`.
pub fn ladder(results: &[Duel], players: usize) -> Vec<Elo> {
    let mut ratings = vec![0.0; players];
    // Newton's method, each step shortened enough that the posterior rises (Sun and Tran-Dinh 2019). Ten steps are
    // common and a hundred rare; the limit is there for rounding errors.
    for _ in 0..200 {
        let (gradient, covariance) = derivatives(results, &ratings);
        let product = |row: &Vec<f64>| row.iter().zip(&gradient).map(|(c, g)| c * g).sum();
        let step: Vec<f64> = covariance.iter().map(product).collect();
        let size = 2.0 * step.iter().fold(0.0, |most: f64, s| most.max(s.abs()));
        if size < 1e-8 {
            break;
        }
        ratings.iter_mut().zip(&step).for_each(|(rating, s)| *rating += s * size.ln_1p() / size);
    }
    let (_, covariance) = derivatives(results, &ratings);
    let rated = |(i, rating): (usize, &f64)| {
        let (value, error) = (rating * ELO_PER_NAT, Z95 * ELO_PER_NAT * covariance[i][i].max(0.0).sqrt());
        Elo { value, low: value - error, high: value + error }
    };
    ratings.iter().enumerate().map(rated).collect()
}

/// Returns, at ratings in natural log-odds, the gradient of the log-posterior, and the inverse of its negative second
/// derivatives on the plane of constant mean.
fn derivatives(results: &[Duel], ratings: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = ratings.len();
    let (mut gradient, mut inverse) = (vec![0.0; n], vec![vec![0.0; n]; n]);
    for (i, &rating) in ratings.iter().enumerate() {
        gradient[i] = logistic(-rating) - logistic(rating);
        inverse[i][i] = 2.0 * logistic(rating) * logistic(-rating);
    }
    for &Duel { a, b, pairs } in results {
        let (games, score) = ((pairs.games() as f64).min(1e9), pairs.score());
        let (win, loss) = (logistic(ratings[a] - ratings[b]), logistic(ratings[b] - ratings[a]));
        for (i, j, sign) in [(a, b, 1.0), (b, a, -1.0)] {
            gradient[i] += sign * games * (score * loss - (1.0 - score) * win);
            inverse[i][i] += games * win * loss;
            inverse[i][j] -= games * win * loss;
        }
    }
    // Gauss-Jordan inversion in place; a positive definite matrix needs no pivoting.
    for k in 0..n {
        let pivot = std::mem::replace(&mut inverse[k][k], 1.0);
        inverse[k].iter_mut().for_each(|x| *x /= pivot);
        let row = inverse[k].clone();
        for i in (0..n).filter(|&i| i != k) {
            let factor = std::mem::take(&mut inverse[i][k]);
            inverse[i].iter_mut().zip(&row).for_each(|(x, r)| *x -= factor * r);
        }
    }
    let sums: Vec<f64> = inverse.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = sums.iter().sum();
    for (row, si) in inverse.iter_mut().zip(&sums) {
        row.iter_mut().zip(&sums).for_each(|(x, sj)| *x -= si * sj / total);
    }
    (gradient, inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws a result from a distribution, by SplitMix64 (Steele, Lea and Flood 2014).
    fn draw(distribution: &[f64; 5], state: &mut u64) -> usize {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut rest = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        let passes = |p: &&f64| {
            rest -= *p;
            rest >= 0.0
        };
        distribution[..4].iter().take_while(passes).count()
    }

    fn sample(distribution: &[f64; 5], count: usize, state: &mut u64) -> Pairs {
        let mut pairs = Pairs::default();
        (0..count).for_each(|_| pairs.add(draw(distribution, state)));
        pairs
    }

    fn holds(elo: &Elo, truth: f64) -> bool {
        elo.low <= truth && truth <= elo.high
    }

    /// Whether two numbers are equal up to a relative error, which is absolute below 1.
    fn close(a: f64, b: f64, error: f64) -> bool {
        a == b || (a - b).abs() <= error * a.abs().max(1.0)
    }

    #[test]
    fn hand_computed() {
        assert_eq!(Pairs::default().elo(), Elo { value: 0.0, low: f64::NEG_INFINITY, high: f64::INFINITY });
        let mut some = Pairs { counts: [1, 2, 3, 4, 9] };
        some.add(4);
        assert_eq!((some.pairs(), some.games(), some.score()), (20, 40, 0.75));
        assert!(close(some.elo().value, 190.848_501_888, 1e-9)); // 400 log10 3
        // All 50 pairs equal: the others have a probability of at most 1 - exp(-1.92 (1 + 1.5/50) / 50) = 0.0388.
        let (even, won) = (Pairs { counts: [0, 0, 50, 0, 0] }.elo(), Pairs { counts: [0, 0, 0, 0, 50] }.elo());
        assert!(even.value == 0.0 && close(even.high, 13.486_6, 1e-3), "{even:?}"); // a mean of 0.5 + 0.0388/2
        assert!(won.value == f64::INFINITY && close(won.low, 557.621, 1e-3), "{won:?}"); // 1 - 0.0388

        let sprt = Sprt { elo0: 0.0, elo1: 190.848_501_888, alpha: 0.05, beta: 0.1 };
        assert!(close(sprt.bounds().0, -2.251_292, 1e-6) && close(sprt.bounds().1, 2.890_372, 1e-6));
        let decide = |counts| (sprt.llr(&Pairs { counts }), sprt.verdict(&Pairs { counts }));
        assert_eq!(decide([0; 5]), (0.0, None));
        // Where all scores are 0 or 1 the mean fixes the distribution: 7 ln(0.75/0.5) + 4 ln(0.25/0.5).
        assert!(close(decide([4, 0, 0, 0, 7]).0, 0.065_667, 1e-3), "{:?}", decide([4, 0, 0, 0, 7]));
        assert_eq!(decide([0, 0, 0, 0, 8]).1, Some(Hypothesis::H1)); // 8 ln 1.5 = 3.24
        assert_eq!(decide([4, 0, 0, 0, 0]).1, Some(Hypothesis::H0)); // 4 ln 0.5 = -2.77
        // By Lagrange's condition on the most likely distribution q, n_i / q_i is linear in i.
        let q = Pairs { counts: [3, 1, 4, 1, 5] }.with_mean(0.3);
        let ratio = [3.0 / q[0], 1.0 / q[1], 4.0 / q[2], 1.0 / q[3], 5.0 / q[4]];
        assert!(close(mean(&q), 0.3, 1e-9) && close(q.iter().sum(), 1.0, 1e-9));
        assert!((1..4).all(|i| close(ratio[i - 1] + ratio[i + 1], 2.0 * ratio[i], 1e-9)), "{ratio:?}");
    }

    #[test]
    fn intervals_cover_and_shrink() {
        let mut state = 1;
        // The opening decides many pairs; two games tend to end alike; A is stronger; A is much stronger.
        let table = [[0.03, 0.17, 0.6, 0.17, 0.03], [0.3, 0.1, 0.2, 0.1, 0.3], [0.05, 0.1, 0.3, 0.3, 0.25]];
        for distribution in table.into_iter().chain([[0.01, 0.04, 0.15, 0.3, 0.5]]) {
            let mut width = f64::INFINITY;
            for count in [20, 100, 1000] {
                let mut all: Vec<Elo> = (0..1000).map(|_| sample(&distribution, count, &mut state).elo()).collect();
                let covered = all.iter().filter(|elo| holds(elo, elo_of(&distribution))).count();
                assert!((920..=980).contains(&covered), "{covered} of 1000 with {count} pairs of {distribution:?}");
                all.sort_by(|a, b| (a.high - a.low).total_cmp(&(b.high - b.low)));
                let median = all[500].high - all[500].low;
                assert!(median < 0.7 * width, "{median} after {width}");
                width = median;
            }
        }
    }

    #[test]
    fn sprt_errs_as_often_and_lasts_as_long_as_designed() {
        let sprt = Sprt { elo0: -20.0, elo1: 60.0, alpha: 0.05, beta: 0.1 };
        let (mut state, (low, high)) = (2, sprt.bounds());
        for (elo, wrong, rate, end) in [
            (sprt.elo0, Hypothesis::H1, sprt.alpha, sprt.alpha * high + (1.0 - sprt.alpha) * low),
            (sprt.elo1, Hypothesis::H0, sprt.beta, sprt.beta * low + (1.0 - sprt.beta) * high),
        ] {
            let truth = Pairs { counts: [10, 20, 40, 20, 10] }.with_mean(logistic(elo / ELO_PER_NAT));
            let (mut errors, mut length) = (0.0, 0.0);
            for _ in 0..500 {
                let mut pairs = Pairs::default();
                while sprt.verdict(&pairs).is_none() {
                    pairs.add(draw(&truth, &mut state));
                }
                errors += f64::from(sprt.verdict(&pairs) == Some(wrong)) / 500.0;
                length += pairs.pairs() as f64 / 500.0;
            }
            // Three standard deviations of slack. Wald's mean length: the mean ratio at the end over that of a pair.
            assert!(0.0 < errors && errors < rate + 3.0 * (rate / 500.0).sqrt(), "{errors} wrong at {elo}");
            let wald = end / sprt.llr(&sample(&truth, 20_000, &mut state)) * 20_000.0;
            assert!(0.8 * wald < length && length < 1.3 * wald, "{length} pairs at {elo}, {wald} expected");
        }
    }

    #[test]
    fn ladder_recovers_ratings() {
        let truth = [-1.0, -0.4, 0.0, 0.3, 1.1];
        let (mut state, mut covered) = (3, 0);
        for _ in 0..300 {
            let duels = [(0, 1), (1, 2), (2, 3), (4, 3), (4, 0), (1, 3)].map(|(a, b)| {
                let p = logistic(truth[a] - truth[b]);
                let distribution = [(1.0 - p).powi(2), 0.0, 2.0 * p * (1.0 - p), 0.0, p * p];
                Duel { a, b, pairs: sample(&distribution, 100, &mut state) }
            });
            let rated = ladder(&duels, 5);
            assert!(close(rated.iter().map(|elo| elo.value).sum(), 0.0, 1e-6), "{rated:?}");
            covered += (0..5).filter(|&i| holds(&rated[i], truth[i] * ELO_PER_NAT)).count();
        }
        assert!((1380..=1470).contains(&covered), "{covered} of 1500");
    }

    #[test]
    fn hand_computed_and_extreme_ladders() {
        assert!(ladder(&[], 0).is_empty());
        let duel = |a, b, lost, won| Duel { a, b, pairs: Pairs { counts: [lost, 0, 0, 0, won] } };
        // Half of 400 log10 3, with a standard error of 0.5 / sqrt(2000 * 0.75 * 0.25) nats; then with an idle player.
        let duels = [duel(1, 0, 250, 750), duel(1, 1, 250, 750)];
        let (two, three) = (ladder(&duels, 2), ladder(&duels, 3));
        assert!(close(two[1].value, 95.42, 1e-3) && close(two[1].high - two[1].value, 8.79, 1e-2), "{two:?}");
        assert!(close(three[1].value, 95.42, 1e-3) && close(three[2].value, 0.0, 1e-6), "{three:?}");
        assert!((300.0..500.0).contains(&three[2].high), "{three:?}");
        // 200 games won: in nats, 200 / (1 + exp(2r)) = tanh(r/2) at r = 2.71339.
        let won = ladder(&[duel(1, 0, 0, 100)], 2);
        assert!(close(won[1].value, 471.361_5, 1e-6), "{won:?}");
        let most = ladder(&[duel(0, 1, 1 << 62, 1 << 62)], 3);
        assert!(most[0].value == 0.0 && (300.0..500.0).contains(&most[2].high), "{most:?}");
        // Full steps diverge here.
        let hard = [duel(2, 1, 0, 67_964_936), duel(3, 2, 0, 7687), duel(3, 0, 0, 3_146_280), duel(1, 0, 0, 7)];
        let hard = ladder(&hard, 4);
        assert!(hard.is_sorted_by(|a, b| a.value < b.value) && hard[3].value < 3000.0, "{hard:?}");
    }

    #[test]
    fn swapped_players_negate_and_nothing_is_nan() {
        let negates = |x: &Elo, y: &Elo| {
            let mirrored = [(x.value, y.value), (x.low, y.high), (x.high, y.low)];
            holds(x, x.value) && mirrored.iter().all(|&(p, q)| close(p, -q, 1e-6))
        };
        for code in 0..243 {
            let pairs = Pairs { counts: [1, 3, 9, 27, 81].map(|digit| [0, 7, u64::MAX][code / digit % 3]) };
            let mut swapped = pairs;
            swapped.counts.reverse();
            assert!(pairs.counts.iter().all(|&n| n <= pairs.pairs()), "{pairs:?}");
            assert!(negates(&pairs.elo(), &swapped.elo()), "{pairs:?} {:?} {:?}", pairs.elo(), swapped.elo());
            let llr = |elo0, elo1, pairs| Sprt { elo0, elo1, alpha: 0.05, beta: 0.05 }.llr(pairs);
            assert!(close(llr(-10.0, 30.0, &pairs), -llr(-30.0, 10.0, &swapped), 1e-6), "{pairs:?}");
            let [x, y] = [pairs, swapped].map(|pairs| ladder(&[Duel { a: 0, b: 2, pairs }], 4));
            assert!(x.iter().zip(&y).all(|(x, y)| x.high.is_finite() && negates(x, y)), "{pairs:?} {x:?} {y:?}");
        }
    }
}
