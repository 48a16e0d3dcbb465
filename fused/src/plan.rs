//! Networks as the kernels compute them: one list of operations, which inference and training execute.

use std::fmt;

use super::description::{Description, Form, Frozen, Op, Parameters};

/// Why the kernels do not compute a network: the operation that they do not have, as a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(String);

impl Unsupported {
    /// A network of which the kernels have no products but those of `f32`.
    pub(super) fn precision() -> Self {
        Self(
            "bf16 is for the convolutions of a residual tower, of at least 8 channels on a board of at most 19x19"
                .into(),
        )
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A network as operations that the kernels have. Value 0 is the planes, and each node makes the next value.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Planes, rows and columns of the input.
    pub input: [usize; 3],
    pub nodes: Vec<Node>,
    /// The value of each head, and its numbers.
    pub heads: Vec<(usize, usize)>,
}

/// How one value is made.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub operation: Operation,
    /// The value that it reads.
    pub from: usize,
    pub form: Form,
}

/// What the kernels do in one go.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// `relu(stem)` of the planes, then the residual blocks. No other operation reads the planes as a board.
    Tower {
        stem: Conv,
        blocks: Vec<Block>,
    },
    /// A convolution of a board that is not the planes.
    Conv {
        conv: Conv,
        relu: bool,
    },
    /// The mean of each channel over the board.
    Pool,
    /// The numbers of a board at these indices, as [`Op::Select`] counts them.
    Select(Vec<u32>),
    Dense {
        dense: Dense,
        relu: bool,
    },
}

/// A residual block: `relu(x + gate(second(relu(first(x)))))`.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub convs: [Conv; 2],
    /// Dense layers with a ReLU between two of them, from the means of the channels to what the sigmoid makes the gates of;
    /// none where there is no gate.
    pub gate: Vec<Dense>,
}

/// The shape of a convolution with its norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    /// Its step in the description.
    pub step: usize,
    /// The step of its norm.
    pub norm: Option<usize>,
    pub bias: bool,
    pub inputs: usize,
    pub outputs: usize,
    /// Side of the kernel, an odd number.
    pub kernel: usize,
}

/// The shape of a dense layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dense {
    /// Its step in the description.
    pub step: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// The numbers of all layers, or none for a network that only tells what it would take.
pub(super) type Numbers<'a> = Option<&'a Frozen>;

/// The numbers of a layer.
pub(super) fn numbers_of(network: Numbers<'_>, step: usize) -> Option<&Parameters> {
    network.map(|network| network.parameters[step].as_ref().expect("a layer has parameters"))
}

impl Plan {
    /// The plan of all heads.
    pub(super) fn of(net: &Description) -> Result<Self, Unsupported> {
        Builder::new(net).plan()
    }

    /// The plan of a network that is trained.
    pub(super) fn of_training(net: &Description) -> Result<Self, Unsupported> {
        let mut builder = Builder::new(net);
        let plan = builder.plan()?;
        for node in &plan.nodes {
            match &node.operation {
                Operation::Tower { stem, blocks } => {
                    for conv in blocks.iter().flat_map(|block| &block.convs).chain([stem]) {
                        if conv.norm.is_none() || conv.bias {
                            return Err(builder.no("training of a tower without norms", conv.step));
                        }
                        if conv.outputs != stem.outputs || conv.kernel != stem.kernel {
                            return Err(builder.no("training of a tower of unequal convolutions", conv.step));
                        }
                    }
                }
                Operation::Conv { conv, .. } if conv.norm.is_some() && conv.bias => {
                    return Err(builder.no("training of a bias before a norm", conv.step));
                }
                _ => {}
            }
        }
        let idle = |&step: &usize| !builder.used[step] && !net.parameters(step, &builder.forms).is_empty();
        match (0..net.steps.len()).find(idle) {
            Some(step) => Err(builder.no("training of a layer that no head reads", step)),
            None => Ok(plan),
        }
    }

    pub(super) fn cells(&self) -> usize {
        self.input[1] * self.input[2]
    }

    /// The stem and the blocks of the residual tower, if there is one.
    pub(super) fn tower(&self) -> Option<(&Conv, &[Block])> {
        self.nodes.iter().find_map(|node| match &node.operation {
            Operation::Tower { stem, blocks } => Some((stem, &blocks[..])),
            _ => None,
        })
    }

    /// The form of a value.
    pub(super) fn form(&self, value: usize) -> Form {
        value.checked_sub(1).map_or(Form::Board(self.input[0]), |node| self.nodes[node].form)
    }

    /// Numbers in a value of this form.
    pub(super) fn size(&self, form: Form) -> usize {
        match form {
            Form::Board(channels) => channels * self.cells(),
            Form::Row(features) => features,
        }
    }
}

/// Where the numbers at these indices of a board lie in `[cell][channel]`, with cells `stride` numbers apart.
pub(super) fn selected(indices: &[u32], cells: usize, stride: usize) -> Vec<u32> {
    let place = |&index: &u32| (index as usize % cells * stride + index as usize / cells) as u32;
    indices.iter().map(place).collect()
}

impl Description {
    /// Whether the kernels evaluate it, and as a residual tower, which they can do in 16-bit integers.
    #[must_use]
    pub fn is_fused_tower(&self) -> bool {
        Plan::of(&self.asked()).is_ok_and(|plan| plan.tower().is_some())
    }

    /// Whether the kernels evaluate it.
    #[must_use]
    pub fn is_fused(&self) -> bool {
        self.unfused().is_none()
    }

    /// Why the kernels do not evaluate it, if they don't.
    #[must_use]
    pub fn unfused(&self) -> Option<Unsupported> {
        Plan::of(&self.asked()).err()
    }

    /// Why the kernels do not train it, if they don't.
    #[must_use]
    pub fn unfused_training(&self) -> Option<Unsupported> {
        Plan::of_training(self).err()
    }

    /// This network with policy and value for its only heads: those that play asks for.
    pub(super) fn asked(&self) -> Self {
        Self { heads: self.policy_and_value().map(|head| self.heads[head].clone()).into(), ..self.clone() }
    }
}

/// A plan that is being made.
struct Builder<'a> {
    net: &'a Description,
    forms: Vec<Form>,
    nodes: Vec<Node>,
    /// The value of the plan that a value of the description has become.
    values: Vec<Option<usize>>,
    /// Steps that are part of a node.
    used: Vec<bool>,
}

impl<'a> Builder<'a> {
    fn new(net: &'a Description) -> Self {
        let count = net.steps.len();
        let mut values = vec![None; count + 1];
        values[0] = Some(0);
        Self { net, forms: net.forms(), nodes: vec![], values, used: vec![false; count] }
    }

    fn plan(&mut self) -> Result<Plan, Unsupported> {
        let size = |value: usize| self.net.size(self.forms[value]);
        let widths: Vec<usize> = self.net.heads.iter().map(|head| size(head.value)).collect();
        let values = self.net.heads.iter().map(|head| self.value(head.value)).collect::<Result<Vec<_>, _>>()?;
        let heads = values.into_iter().zip(widths).collect();
        Ok(Plan { input: self.net.input, nodes: std::mem::take(&mut self.nodes), heads })
    }

    fn no(&self, what: &str, step: usize) -> Unsupported {
        let name = &self.net.steps[step].name;
        let name = if name.is_empty() { String::new() } else { format!(", {name}") };
        Unsupported(format!("the kernels have no {what} (step {step}{name})"))
    }

    /// The operation that makes a value, which belongs to one node alone, with its step and the values that it reads.
    fn take(&mut self, value: usize) -> Result<(&'a Op, usize, &'a [usize]), Unsupported> {
        let Some(step) = value.checked_sub(1) else {
            return Err(Unsupported("the kernels have no such operation on the planes themselves".into()));
        };
        if std::mem::replace(&mut self.used[step], true) {
            return Err(self.no("second reader of what lies inside of one of their operations", step));
        }
        Ok((&self.net.steps[step].op, step, &self.net.steps[step].from))
    }

    fn is(&self, value: usize, op: &Op) -> bool {
        value > 0 && self.net.steps[value - 1].op == *op
    }

    /// A value of the description as one of the plan, with the nodes that it takes.
    fn value(&mut self, value: usize) -> Result<usize, Unsupported> {
        if let Some(known) = self.values[value] {
            return Ok(known);
        }
        let form = self.forms[value];
        let relu = self.is(value, &Op::Relu);
        let inner = if relu { self.take(value)?.2[0] } else { value };
        let step = inner.wrapping_sub(1);
        let (operation, from) = match self.net.steps.get(step).map(|step| &step.op) {
            Some(Op::Conv { .. } | Op::Norm) => {
                let (conv, from) = self.conv(inner)?;
                match (from, relu) {
                    (0, true) => (Operation::Tower { stem: conv, blocks: vec![] }, from),
                    (0, false) => return Err(self.no("convolution of the planes without a ReLU", conv.step)),
                    _ => (Operation::Conv { conv, relu }, from),
                }
            }
            Some(Op::Sum) if relu => (self.tower(inner)?, 0),
            Some(Op::Dense { .. }) => {
                let (dense, from) = self.dense(inner)?;
                (Operation::Dense { dense, relu }, from)
            }
            Some(Op::Pool) if !relu => (Operation::Pool, self.take(inner)?.2[0]),
            Some(Op::Select { indices }) if !relu => (Operation::Select(indices.clone()), self.take(inner)?.2[0]),
            Some(Op::Sum) => return Err(self.no("sum but that in front of the ReLU of a residual block", step)),
            Some(Op::Gate) => return Err(self.no("gate but that at the end of a residual block", step)),
            _ => return Err(self.no("ReLU but that of a convolution, a dense layer or a residual block", value - 1)),
        };
        if from == 0 && matches!(operation, Operation::Pool | Operation::Select(_)) {
            return Err(self.no("pooling or selection of the planes", step));
        }
        let is_tower = |operation: &Operation| matches!(operation, Operation::Tower { .. });
        if is_tower(&operation) && self.nodes.iter().any(|node| is_tower(&node.operation)) {
            return Err(self.no("second tower", step));
        }
        let from = self.value(from)?;
        self.nodes.push(Node { operation, from, form });
        self.values[value] = Some(self.nodes.len());
        Ok(self.nodes.len())
    }

    /// A convolution with its norm, and what it reads.
    fn conv(&mut self, value: usize) -> Result<(Conv, usize), Unsupported> {
        let norm = self.is(value, &Op::Norm).then(|| value - 1);
        let value = if norm.is_some() { self.take(value)?.2[0] } else { value };
        match self.take(value)? {
            (&Op::Conv { outputs, kernel, bias }, step, from) if kernel % 2 == 1 => {
                let Form::Board(inputs) = self.forms[from[0]] else { unreachable!("the description fits together") };
                Ok((Conv { step, norm, bias, inputs, outputs, kernel }, from[0]))
            }
            (_, step, _) => Err(self.no("norm or block but that of a convolution with an odd kernel", step)),
        }
    }

    fn dense(&mut self, value: usize) -> Result<(Dense, usize), Unsupported> {
        match self.take(value)? {
            (&Op::Dense { outputs }, step, from) => {
                Ok((Dense { step, inputs: self.net.size(self.forms[from[0]]), outputs }, from[0]))
            }
            (_, step, _) => Err(self.no("gate but one of dense layers over the means of what it gates", step)),
        }
    }

    fn relu(&mut self, value: usize) -> Result<usize, Unsupported> {
        match self.take(value)? {
            (Op::Relu, _, from) => Ok(from[0]),
            (_, step, _) => Err(self.no("residual block without a ReLU behind each part", step)),
        }
    }

    /// A tower that ends with this sum, whose ReLU is taken already.
    fn tower(&mut self, mut sum: usize) -> Result<Operation, Unsupported> {
        let mut blocks = vec![];
        let stem = loop {
            if !self.is(sum, &Op::Sum) {
                let (stem, from) = self.conv(sum)?;
                if from != 0 {
                    return Err(self.no("residual tower that begins elsewhere than at the planes", stem.step));
                }
                break stem;
            }
            let from = self.take(sum)?.2;
            let (x, y) = if self.is(from[1], &Op::Relu) { (from[1], from[0]) } else { (from[0], from[1]) };
            let (y, gate) = self.gate(y)?;
            let (second, middle) = self.conv(y)?;
            let middle = self.relu(middle)?;
            let (first, before) = self.conv(middle)?;
            if before != x {
                return Err(self.no("residual block that adds what it does not read", first.step));
            }
            blocks.push(Block { convs: [first, second], gate });
            sum = self.relu(x)?;
        };
        blocks.reverse();
        Ok(Operation::Tower { stem, blocks })
    }

    /// What a gate is for, and its layers; no layers if there is none.
    fn gate(&mut self, value: usize) -> Result<(usize, Vec<Dense>), Unsupported> {
        let mut layers = vec![];
        if !self.is(value, &Op::Gate) {
            return Ok((value, layers));
        }
        let &[board, mut row] = self.take(value)?.2 else { unreachable!("a gate reads two values") };
        loop {
            let (dense, from) = self.dense(row)?;
            layers.push(dense);
            if self.is(from, &Op::Relu) {
                row = self.relu(from)?;
                continue;
            }
            return match self.take(from)? {
                (Op::Pool, _, of) if of[0] == board => {
                    layers.reverse();
                    Ok((board, layers))
                }
                (_, step, _) => Err(self.no("gate but one of dense layers over the means of what it gates", step)),
            };
        }
    }
}
