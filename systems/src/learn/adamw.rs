//! AdamW on the CPU in one pass over the numbers of a parameter, on all threads.
//!
//! It computes what [`burn::optim::AdamW`] computes, number for number in the same order, and keeps the same state, so that either
//! goes on where the other has stopped. Burn makes a pass for each of about fifteen operations, on one thread.

use burn::{
    optim::{AdamWState, AdaptiveMomentumState, Optimizer},
    tensor::{Device, Tensor, TensorData},
};
use rayon::prelude::*;

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// AdamW (Loshchilov and Hutter 2019) with the moments' usual rates, for tensors in memory.
#[derive(Clone, Debug)]
pub(super) struct AdamW {
    pub weight_decay: f32,
    pub epsilon: f32,
}

/// How much the first moment keeps at each step, and the second.
const BETAS: [f32; 2] = [0.9, 0.999];

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        rate: f64,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let device = tensor.device();
        let (shape, count) = (tensor.dims(), tensor.shape().num_elements());
        let zeros = || TensorData::new(vec![0.0f32; count], shape);
        let (time, [mut first, mut second]) = match state.map(|state| state.momentum) {
            Some(old) => (old.time + 1, [old.moment_1.into_data(), old.moment_2.into_data()]),
            None => (1, [zeros(), zeros()]),
        };
        let (mut weights, gradient) = (tensor.into_data(), gradient.into_data());
        let [left_1, left_2] = BETAS.map(|beta| 1.0 - beta.powi(time as i32));
        let keep = (1.0 - rate * f64::from(self.weight_decay)) as f32;
        let (rate, epsilon) = (rate as f32, self.epsilon);
        let change = |((weights, first), (second, gradient)): ((&mut [f32], &mut [f32]), (&mut [f32], &[f32]))| {
            for (((weight, first), second), gradient) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
                *first = *first * BETAS[0] + gradient * (1.0 - BETAS[0]);
                *second = *second * BETAS[1] + gradient * gradient * (1.0 - BETAS[1]);
                let delta = *first / left_1 / ((*second / left_2).sqrt() + epsilon);
                *weight = *weight * keep - delta * rate;
            }
        };
        let pieces = floats(&mut weights).par_chunks_mut(CHUNK).zip(floats(&mut first).par_chunks_mut(CHUNK));
        let others = floats(&mut second).par_chunks_mut(CHUNK);
        let others = others.zip(gradient.as_slice().expect("gradients are f32").par_chunks(CHUNK));
        pieces.zip(others).for_each(change);
        let [moment_1, moment_2] = [first, second].map(|moment| Tensor::from_data(moment, &device));
        let momentum = AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2: None };
        (Tensor::from_data(weights, &device), Some(AdamWState { momentum }))
    }

    fn to_device<const D: usize>(state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        <burn::optim::AdamW as Optimizer>::to_device(state, device)
    }
}

fn floats(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().expect("parameters and their moments are f32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::optim::AdamWConfig;
    use lockstep_components::LaneRng;

    /// Some steps are, to the last bit, those of burn, whoever has made the state.
    #[test]
    fn steps_are_those_of_burn() {
        let mut rng = LaneRng::new(3, 3);
        let mut tensor = |scale: f32| {
            let numbers = (0..3 * (CHUNK + 5)).map(|_| (rng.below(2001) as f32 / 1000.0 - 1.0) * scale);
            Tensor::<2>::from_data(TensorData::new(numbers.collect::<Vec<f32>>(), [3, CHUNK + 5]), &Device::flex())
        };
        for decay in [0.0, 0.3] {
            let own = AdamW { weight_decay: decay, epsilon: 1e-8 };
            let burns = AdamWConfig::new().with_weight_decay(decay).with_epsilon(1e-8).build();
            let (mut ours, mut theirs) = ((tensor(1.0), None), (tensor(1.0), None));
            theirs.0 = ours.0.clone();
            for step in 0..6 {
                let gradient = tensor(10f32.powi(step - 4));
                let rate = 0.01 * f64::from(step + 1);
                ours = own.step(rate, ours.0, gradient.clone(), ours.1);
                theirs = burns.step(rate, theirs.0, gradient, theirs.1);
                let numbers = |(weights, state): &(Tensor<2>, Option<AdamWState<2>>)| {
                    let state = state.clone().expect("a step leaves a state").momentum;
                    [weights.clone(), state.moment_1, state.moment_2].map(crate::network::numbers)
                };
                assert!(numbers(&ours) == numbers(&theirs), "step {step}, decay {decay}");
                // Each goes on from what the other has left.
                std::mem::swap(&mut ours, &mut theirs);
            }
        }
    }
}
