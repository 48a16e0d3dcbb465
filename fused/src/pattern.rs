//! Which networks the kernels know.

use super::{
    Frozen, Parameters,
    description::{Description, HeadKind, Op},
    training::{Shape, ShapeBody},
    weights::{Body, Conv, Dense, Weights},
};

/// Where the layers of a network lie in its description that the kernels can compute. Steps are counted from 0.
struct Pattern {
    body: PatternBody,
    policy: usize,
    value_hidden: usize,
    value_out: usize,
}

enum PatternBody {
    Resnet { stem: usize, blocks: Vec<[usize; 2]>, policy_conv: usize, value_conv: usize },
    Mlp(Vec<usize>),
}

impl Pattern {
    fn of(net: &Description) -> Option<Self> {
        // The step that makes a value, if it is such an operation, and what it reads.
        let step = |value: usize, is: fn(Op) -> bool| {
            let step = net.steps.get(value.checked_sub(1)?)?;
            is(step.op).then_some((value - 1, step.from[0]))
        };
        let relu = |value| step(value, |op| op == Op::Relu).map(|(_, from)| from);
        let dense = |value| step(value, |op| matches!(op, Op::Dense { .. }));
        let convolution = |value| {
            let before = step(value, |op| op == Op::Norm).map_or(value, |(_, from)| from);
            step(before, |op| matches!(op, Op::Conv { kernel: 1 | 3, .. }))
        };
        let pointwise =
            |value| convolution(value).filter(|&(conv, _)| matches!(net.steps[conv].op, Op::Conv { kernel: 1, .. }));

        if net.heads.len() != 2 {
            return None;
        }
        let (policy, policy_features) = dense(net.head(&[HeadKind::Policy])?.value)?;
        let (value_out, hidden) = dense(net.head(&[HeadKind::Outcome, HeadKind::Value])?.value)?;
        let (value_hidden, value_features) = dense(relu(hidden)?)?;
        let body = if policy_features == value_features {
            let (mut layers, mut value) = (vec![], policy_features);
            while value > 0 {
                let (layer, from) = dense(relu(value)?)?;
                layers.push(layer);
                value = from;
            }
            layers.reverse();
            PatternBody::Mlp(layers)
        } else {
            let (policy_conv, of_policy) = pointwise(relu(policy_features)?)?;
            let (value_conv, mut value) = pointwise(relu(value_features)?)?;
            if of_policy != value {
                return None;
            }
            let mut blocks = vec![];
            let stem = loop {
                let inner = relu(value)?;
                if let Some((stem, 0)) = convolution(inner) {
                    break stem;
                }
                let (sum, before) = step(inner, |op| op == Op::Sum)?;
                let (second, middle) = convolution(*net.steps[sum].from.get(1)?)?;
                let (first, from) = convolution(relu(middle)?)?;
                if from != before {
                    return None;
                }
                blocks.push([first, second]);
                value = before;
            };
            blocks.reverse();
            PatternBody::Resnet { stem, blocks, policy_conv, value_conv }
        };
        Some(Self { body, policy, value_hidden, value_out })
    }
}

impl Description {
    /// Whether the kernels evaluate it, and as a residual tower, which they can do in 16-bit integers.
    #[must_use]
    pub fn is_fused_tower(&self) -> bool {
        self.pattern_of_play().is_some_and(|pattern| matches!(pattern.body, PatternBody::Resnet { .. }))
    }

    /// Whether the kernels evaluate it.
    #[must_use]
    pub fn is_fused(&self) -> bool {
        self.pattern_of_play().is_some()
    }

    fn pattern_of_play(&self) -> Option<Pattern> {
        Pattern::of(&self.asked())
    }

    /// With policy and value for its only heads: those that play asks for.
    fn asked(&self) -> Self {
        Self { heads: self.policy_and_value().map(|head| self.heads[head].clone()).into(), ..self.clone() }
    }
}

impl Weights {
    /// The weights of a network that the kernels know; `None` for others.
    #[must_use]
    pub fn of(frozen: &Frozen) -> Option<Self> {
        let numbers = |step: usize| frozen.parameters[step].clone().expect("a layer has parameters");
        Self::with_numbers(&frozen.description, numbers)
    }

    /// The same without any numbers: the shapes of the layers alone.
    pub(super) fn shapes(net: &Description) -> Option<Self> {
        Self::with_numbers(&net.asked(), |_| Parameters { weight: vec![], bias: vec![] })
    }

    fn with_numbers(net: &Description, numbers: impl Fn(usize) -> Parameters) -> Option<Self> {
        let pattern = Pattern::of(net)?;
        let forms = net.forms();
        let numbers = |step: usize| {
            let Parameters { weight, bias } = numbers(step);
            (weight, bias, net.parameters(step, &forms).swap_remove(0))
        };
        let conv = |step| {
            let (weight, bias, shape) = numbers(step);
            Conv { inputs: shape[1], outputs: shape[0], kernel: shape[2], weight, bias }
        };
        let dense = |step| {
            let (weight, bias, shape) = numbers(step);
            Dense { inputs: shape[0], outputs: shape[1], weight, bias }
        };
        let [planes, height, width] = net.input;
        let body = match pattern.body {
            PatternBody::Resnet { stem, blocks, policy_conv, value_conv } => Body::Resnet {
                stem: conv(stem),
                blocks: blocks.into_iter().map(|[first, second]| (conv(first), conv(second))).collect(),
                policy_conv: conv(policy_conv),
                value_conv: conv(value_conv),
            },
            PatternBody::Mlp(layers) => Body::Mlp { layers: layers.into_iter().map(dense).collect() },
        };
        let (policy, value_hidden, value_out) =
            (dense(pattern.policy), dense(pattern.value_hidden), dense(pattern.value_out));
        Some(Self { planes, height, width, body, policy, value_hidden, value_out })
    }
}

impl Shape {
    /// The shape of a network that the kernels can train, with what its norms add to the variance; `None` for others.
    #[must_use]
    pub fn of(net: &Description, epsilon: f64) -> Option<Self> {
        let pattern = Pattern::of(net)?;
        let outputs = |step: usize| match net.steps[step].op {
            Op::Conv { outputs, .. } | Op::Dense { outputs } => outputs,
            _ => unreachable!("the pattern names layers"),
        };
        let kernel = |step: usize| match net.steps[step].op {
            Op::Conv { kernel, .. } => kernel,
            _ => unreachable!("the pattern names convolutions"),
        };
        let body = match &pattern.body {
            PatternBody::Resnet { stem, blocks, policy_conv, value_conv } => {
                let (channels, head_channels) = (outputs(*stem), outputs(*policy_conv));
                let layers = || blocks.iter().flatten().chain([stem]);
                let alike = layers().all(|&layer| outputs(layer) == channels && kernel(layer) == kernel(*stem));
                let convs = layers().chain([policy_conv, value_conv]);
                let normed =
                    convs.into_iter().all(|&conv| net.steps.get(conv + 1).is_some_and(|step| step.op == Op::Norm));
                if !alike || !normed || outputs(*value_conv) != head_channels {
                    return None;
                }
                ShapeBody::Resnet { channels, blocks: blocks.len(), kernel: kernel(*stem), head_channels }
            }
            PatternBody::Mlp(layers) => ShapeBody::Mlp { layers: layers.iter().map(|&layer| outputs(layer)).collect() },
        };
        let [planes, height, width] = net.input;
        Some(Self {
            planes,
            height,
            width,
            body,
            actions: outputs(pattern.policy),
            value_hidden: outputs(pattern.value_hidden),
            value_outputs: outputs(pattern.value_out),
            epsilon,
        })
    }
}
