//! Weights outside of any tensor: by name for checkpoints, and folded for inference.

use super::modules::{Layer, Network, name_of};
use crate::Error;
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn::BatchNorm,
    optim::GradientsParams,
    tensor::{Tensor, TensorData, Transaction},
};
use lockstep_components::LaneRng;
use lockstep_fused::{Description, Frozen, Head, Op, Parameters, Step};
use rand_distr::{Distribution, StandardNormal};
use std::{collections::HashMap, sync::Arc};

/// One tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name of the step and that of the tensor, such as `blocks.0.first.conv.weight`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers in row-major order.
    pub data: Vec<f32>,
}

impl Network {
    /// All tensors by name, the running statistics of batch norm included.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        // `valid` also settles the running statistics, which lag one update behind while training.
        self.valid().export(None)
    }

    /// The gradients of all parameters by name.
    pub(crate) fn gradients(&self, of: &GradientsParams) -> Vec<NamedTensor> {
        self.export(Some(of))
    }

    fn export(&self, of: Option<&GradientsParams>) -> Vec<NamedTensor> {
        let mut export = Export { description: self.description(), of, path: vec![], tensors: vec![] };
        self.visit(&mut export);
        export.tensors
    }

    /// This network with other weights.
    ///
    /// # Errors
    /// When a tensor is missing, left over, or of another shape.
    pub fn with_tensors(&self, tensors: Vec<NamedTensor>) -> Result<Self, Error> {
        check_tensors(self.description(), &tensors)?;
        let source = Source::Stored(tensors.into_iter().map(|t| (t.name, t.data)).collect());
        let description = self.description().clone();
        Ok(self.snapshot().map(&mut Import { description, path: vec![], next_id: 0, source }))
    }

    pub(super) fn with_random_weights(self, seed: u64) -> Self {
        // A stream of its own, far from those of the lanes.
        let rng = LaneRng::new(seed, u64::MAX);
        let description = self.description().clone();
        self.map(&mut Import { description, path: vec![], next_id: 0, source: Source::Random(rng) })
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

    /// The frozen network: batch norm folded into the convolutions, and without what neither policy nor value reads.
    ///
    /// # Panics
    /// If a norm does not follow a convolution that nothing else reads.
    pub fn frozen(&self) -> Frozen {
        let network = self.valid();
        let net = network.description();
        let mut layers = network.layers().peekable();
        let (mut description, mut parameters) = (Description::new(net.input), vec![]);
        let heads = net.policy_and_value().map(|head| &net.heads[head]);
        let read = net.read_by(heads);
        // Where each value is in the frozen network.
        let mut values = vec![0];
        while values.len() <= net.steps.len() {
            let step = values.len() - 1;
            let Step { name, mut op, from } = net.steps[step].clone();
            let from: Vec<usize> = from.iter().map(|&value| values[value]).collect();
            let layer = layers.next_if(|(of, _)| *of == step);
            if !read[step + 1] {
                values.push(0);
                continue;
            }
            let mut numbers = layer.map(|(_, layer)| layer.parameters());
            let normed = net.steps.get(step + 1).is_some_and(|next| next.op == Op::Norm);
            if normed {
                let reads = net.steps.iter().flat_map(|step| &step.from).filter(|&&value| value == step + 1).count();
                assert!(
                    reads == 1 && net.steps[step + 1].from == [step + 1],
                    "{name}: a norm follows what it normalises"
                );
                let Some((_, Layer::Norm(norm))) = layers.next() else { panic!("{name}: a norm has a layer") };
                let numbers = numbers.as_mut().expect("a norm follows a convolution");
                fold(numbers, norm);
                if let Op::Conv { bias, .. } = &mut op {
                    *bias = true;
                }
            }
            assert!(op != Op::Norm, "{name}: a norm follows a convolution");
            let value = description.add(name, op, &from);
            parameters.push(numbers);
            values.push(value);
            if normed {
                values.push(value);
            }
        }
        description.heads = heads.map(|head| Head { value: values[head.value], ..*head }).into();
        Frozen { description, parameters }
    }
}

impl Layer {
    /// The numbers of a layer that is no norm.
    fn parameters(&self) -> Parameters {
        let (weight, outputs, bias) = match self {
            Self::Conv(conv) => (numbers(conv.weight.val()), conv.weight.dims()[0], &conv.bias),
            Self::Dense(dense) => (numbers(dense.weight.val()), dense.weight.dims()[1], &dense.bias),
            Self::Norm(_) => panic!("a norm follows a convolution"),
        };
        let bias = bias.as_ref().map_or_else(|| vec![0.0; outputs], |bias| numbers(bias.val()));
        Parameters { weight, bias }
    }
}

/// `gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta` as one convolution.
fn fold(conv: &mut Parameters, norm: &BatchNorm) {
    let (gamma, beta) = (numbers(norm.gamma.val()), numbers(norm.beta.val()));
    let (mean, variance) = (numbers(norm.running_mean.value()), numbers(norm.running_var.value()));
    let size = conv.weight.len() / gamma.len();
    for (o, row) in conv.weight.chunks_mut(size).enumerate() {
        let scale = gamma[o] / (variance[o] + norm.epsilon as f32).sqrt();
        row.iter_mut().for_each(|w| *w *= scale);
        conv.bias[o] = beta[o] + (conv.bias[o] - mean[o]) * scale;
    }
}

/// Whether a field of burn's batch norm is a running statistic, which visitors and mappers see like a parameter.
pub(crate) fn is_statistics(field: &str) -> bool {
    field.starts_with("running_")
}

/// The numbers of each of some tensors, for which their device is waited for once.
///
/// # Errors
/// When the device fails.
pub(crate) fn read(tensors: impl IntoIterator<Item = Tensor<2>>, doing: &'static str) -> Result<Vec<Vec<f32>>, Error> {
    let device = |message| Error::of_device(doing, message);
    let all = tensors.into_iter().fold(Transaction::default(), Transaction::register);
    let data = all.try_execute().map_err(|e| device(format!("{e:?}")))?;
    let numbers = |data: TensorData| data.convert::<f32>().try_into_vec().map_err(|e| device(format!("{e:?}")));
    data.into_iter().map(numbers).collect()
}

/// The numbers of a tensor in memory.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32")
}

/// The tensors of a network by name, with their shapes and in the order of its steps.
fn tensors_of(net: &Description) -> Vec<(String, Vec<usize>)> {
    let forms = net.forms();
    let of_step = |(step, of): (usize, &Step)| {
        let shapes = net.parameters(step, &forms);
        let fields: &[&str] = match of.op {
            Op::Norm => &["gamma", "beta", "running_mean", "running_var"],
            _ => &["weight", "bias"],
        };
        // The running statistics of a norm are as long as its scales.
        let shapes = if of.op == Op::Norm { [shapes.clone(), shapes].concat() } else { shapes };
        fields.iter().zip(shapes).map(|(field, shape)| (format!("{}.{field}", of.name), shape)).collect::<Vec<_>>()
    };
    net.steps.iter().enumerate().flat_map(of_step).collect()
}

/// Whether these are the tensors of a network, which is not made for it.
///
/// # Errors
/// When one is missing, left over, or of another shape.
pub fn check_tensors(net: &Description, tensors: &[NamedTensor]) -> Result<(), Error> {
    let mut left: HashMap<&str, &NamedTensor> = tensors.iter().map(|tensor| (&*tensor.name, tensor)).collect();
    for (name, shape) in tensors_of(net) {
        let found = match left.remove(&*name) {
            Some(stored) if stored.shape == shape && stored.data.len() == shape.iter().product::<usize>() => continue,
            Some(stored) => format!("of shape {:?}", stored.shape),
            None => "missing".into(),
        };
        return Err(Error::Weights(format!("tensor '{name}' is {found}, and {shape:?} is needed")));
    }
    match left.keys().next() {
        Some(name) => Err(Error::Weights(format!("this network has no tensor '{name}'"))),
        None => Ok(()),
    }
}

struct Export<'a> {
    description: &'a Description,
    /// Of which parameters' gradients the numbers are, if not of all tensors themselves.
    of: Option<&'a GradientsParams>,
    path: Vec<String>,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Export<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(tensor) = self.of.map_or_else(|| Some(param.val()), |grads| grads.get::<D>(param.id)) else { return };
        let shape = tensor.dims().to_vec();
        self.tensors.push(NamedTensor { name: name_of(self.description, &self.path), shape, data: numbers(tensor) });
    }
}

enum Source {
    Random(LaneRng),
    Stored(HashMap<String, Vec<f32>>),
}

/// Gives every tensor its numbers, and every parameter an id by its place, so that the optimiser's state finds its
/// parameter again in another process.
struct Import {
    description: Arc<Description>,
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
        let name = name_of(&self.description, &self.path);
        let shape = tensor.dims();
        let data = match &mut self.source {
            Source::Random(rng) => random(&self.description, &name, &shape, rng),
            Source::Stored(tensors) => tensors.remove(&name).expect("the tensors are those of the description"),
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

fn random(net: &Description, name: &str, shape: &[usize], rng: &mut LaneRng) -> Vec<f32> {
    let count = shape.iter().product();
    if shape.len() == 1 {
        // Scales and variances begin at 1, biases and means at 0.
        let one = name.ends_with("gamma") || name.ends_with("running_var");
        return vec![if one { 1.0 } else { 0.0 }; count];
    }
    let inputs: usize = if shape.len() == 4 { shape[1..].iter().product() } else { shape[0] };
    let last = net.heads.iter().any(|head| name.strip_suffix(".weight") == Some(&net.steps[head.value - 1].name));
    let deviation = if last { 0.1 / (inputs as f32).sqrt() } else { (2.0 / inputs as f32).sqrt() };
    (0..count)
        .map(|_| {
            let normal: f32 = StandardNormal.sample(&mut rng.0);
            normal * deviation
        })
        .collect()
}
