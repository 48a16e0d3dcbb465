//! Weights outside of any tensor: by name for checkpoints, and folded for inference.

use super::modules::{Body, ConvNorm, Network};
use crate::Error;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn::Linear,
    tensor::{Tensor, TensorData},
};
use lockstep_components::{Game, LaneRng};
use lockstep_fused::{Conv, Dense, Weights};
use rand_distr::{Distribution, StandardNormal};
use std::collections::HashMap;

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its path in the module, such as `body.blocks.0.first.conv.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers in row-major order.
    pub data: Vec<f32>,
}

impl Network {
    /// All tensors by name, the running statistics of batch norm included.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let mut export = Export::default();
        // `valid` also settles the running statistics, which lag one update behind while training.
        self.valid().visit(&mut export);
        export.tensors
    }

    /// This network with other weights.
    ///
    /// # Errors
    /// When a tensor is missing, left over, or of another shape.
    pub fn with_tensors(self, tensors: Vec<NamedTensor>) -> Result<Self, Error> {
        let tensors = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        let mut import = Import { path: vec![], next_id: 0, source: Source::Stored { tensors, error: None } };
        let network = self.map(&mut import);
        let Source::Stored { tensors, error } = import.source else { unreachable!("the source does not change") };
        match (error, tensors.keys().next()) {
            (Some(error), _) => Err(error),
            (None, Some(name)) => Err(Error::Weights(format!("this network has no tensor '{name}'"))),
            (None, None) => Ok(network),
        }
    }

    pub(super) fn with_random_weights(self, seed: u64) -> Self {
        // A stream of its own, far from those of the lanes.
        let rng = LaneRng::new(seed, u64::MAX);
        self.map(&mut Import { path: vec![], next_id: 0, source: Source::Random(rng) })
    }

    /// This network for gradients that come from elsewhere than automatic differentiation: its parameters are not
    /// tracked, and its running statistics lie on the plain device. Burn registers each tracked parameter and each
    /// operation on an autodiff device in a graph that only `backward` sweeps, so that a run without it would take more
    /// memory with every step. The parameters stay on the autodiff device, because burn's optimiser asks for that.
    pub(crate) fn untracked(self) -> Self {
        #[derive(Default)]
        struct Untrack {
            in_statistics: bool,
        }
        impl ModuleMapper for Untrack {
            fn enter_module(&mut self, name: &str, _: &str) {
                self.in_statistics = is_statistics(name);
            }

            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let (id, tensor, mapper) = param.consume();
                let tensor = tensor.set_require_grad(false);
                let tensor = if self.in_statistics { tensor.without_autodiff() } else { tensor };
                Param::from_mapped_value(id, tensor, mapper)
            }
        }
        self.map(&mut Untrack::default())
    }

    /// The frozen network: batch norm folded into the convolutions.
    pub fn frozen<G: Game>(&self) -> Weights {
        let network = self.valid();
        let body = match &network.body {
            Body::Resnet(net) => lockstep_fused::Body::Resnet {
                stem: folded(&net.stem),
                blocks: net.blocks.iter().map(|b| (folded(&b.first), folded(&b.second))).collect(),
                policy_conv: folded(&net.policy_conv),
                value_conv: folded(&net.value_conv),
            },
            Body::Mlp(net) => lockstep_fused::Body::Mlp { layers: net.layers.iter().map(dense).collect() },
        };
        Weights {
            planes: G::PLANES,
            height: G::HEIGHT,
            width: G::WIDTH,
            body,
            policy: dense(&network.heads.policy),
            value_hidden: dense(&network.heads.value_hidden),
            value_out: dense(&network.heads.value_out),
        }
    }
}

/// `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta` as one convolution.
fn folded(layer: &ConvNorm) -> Conv {
    let weight = layer.conv.weight.val();
    let [outputs, inputs, kernel, _] = weight.dims();
    let mut weight = numbers(weight);
    let (gamma, beta) = (numbers(layer.norm.gamma.val()), numbers(layer.norm.beta.val()));
    let (mean, variance) = (numbers(layer.norm.running_mean.value()), numbers(layer.norm.running_var.value()));
    let mut bias = vec![0.0; outputs];
    for (o, row) in weight.chunks_mut(inputs * kernel * kernel).enumerate() {
        let scale = gamma[o] / (variance[o] + layer.norm.epsilon as f32).sqrt();
        row.iter_mut().for_each(|w| *w *= scale);
        bias[o] = beta[o] - mean[o] * scale;
    }
    Conv { inputs, outputs, kernel, weight, bias }
}

fn dense(layer: &Linear) -> Dense {
    let weight = layer.weight.val();
    let [inputs, outputs] = weight.dims();
    let bias = layer.bias.as_ref().expect("our layers have a bias");
    Dense { inputs, outputs, weight: numbers(weight), bias: numbers(bias.val()) }
}

/// Whether a field of burn's batch norm is a running statistic, which visitors and mappers see like a parameter.
pub(crate) fn is_statistics(field: &str) -> bool {
    field.starts_with("running_")
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32")
}

#[derive(Default)]
struct Export {
    path: Vec<String>,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Export {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        self.tensors.push(NamedTensor { name: self.path.join("."), shape, data: numbers(tensor) });
    }
}

enum Source {
    Random(LaneRng),
    Stored { tensors: HashMap<String, NamedTensor>, error: Option<Error> },
}

/// Gives every tensor its numbers, and every parameter an id by its place, so that the optimiser's state finds its
/// parameter again in another process.
struct Import {
    path: Vec<String>,
    next_id: u64,
    source: Source,
}

impl ModuleMapper for Import {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (_, tensor, mapper) = param.consume();
        let name = self.path.join(".");
        let shape = tensor.dims();
        let data = match &mut self.source {
            Source::Random(rng) => random(&name, &shape, rng),
            Source::Stored { tensors, error } => match tensors.remove(&name) {
                Some(stored) if stored.shape == shape && stored.data.len() == shape.iter().product::<usize>() => {
                    stored.data
                }
                other => {
                    let found = other.map_or("missing".into(), |t| format!("of shape {:?}", t.shape));
                    let message = format!("tensor '{name}' is {found}, and {shape:?} is needed");
                    error.get_or_insert(Error::Weights(message));
                    vec![0.0; shape.iter().product()]
                }
            },
        };
        let (device, tracked) = (tensor.device(), tensor.is_require_grad());
        let mut tensor = Tensor::from_data(TensorData::new(data, shape), &device);
        if tracked {
            tensor = tensor.require_grad();
        }
        self.next_id += 1;
        Param::from_mapped_value(ParamId::from(self.next_id), tensor, mapper)
    }
}

fn random(name: &str, shape: &[usize], rng: &mut LaneRng) -> Vec<f32> {
    let count = shape.iter().product();
    if shape.len() == 1 {
        // Scales and variances begin at 1, biases and means at 0.
        let one = name.ends_with("gamma") || name.ends_with("running_var");
        return vec![if one { 1.0 } else { 0.0 }; count];
    }
    let inputs: usize = if shape.len() == 4 { shape[1..].iter().product() } else { shape[0] };
    let last = name.ends_with("policy.weight") || name.ends_with("value_out.weight");
    let deviation = if last { 0.1 / (inputs as f32).sqrt() } else { (2.0 / inputs as f32).sqrt() };
    (0..count)
        .map(|_| {
            let normal: f32 = StandardNormal.sample(&mut rng.0);
            normal * deviation
        })
        .collect()
}
