//! What a network computes, as data: every evaluator, trainer and reference interprets the same description.

use serde::{Deserialize, Serialize};

/// A network as a list of steps. Value 0 is the input, and each step makes the next value from earlier ones.
///
/// Values are boards of channels, `[channels, height, width]`, or rows of features, `[features]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Planes, rows and columns of the input.
    pub input: [usize; 3],
    /// How each value is made.
    pub steps: Vec<Step>,
    /// What is read of it.
    pub heads: Vec<Head>,
}

/// How one value is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What its parameters are called by, in front of `.weight`; empty without parameters.
    pub name: String,
    /// What is done.
    pub op: Op,
    /// The values that it reads, as many as the operation takes.
    pub from: Vec<usize>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A convolution of a board with stride 1 and zero padding `kernel / 2`. It has a bias where no [`Op::Norm`] follows.
    Conv {
        /// Channels that it writes.
        outputs: usize,
        /// Side of the kernel, an odd number.
        kernel: usize,
        /// Whether it adds a bias.
        bias: bool,
    },
    /// Batch normalisation of each channel (Ioffe and Szegedy 2015): `gamma * (x - mean) / sqrt(variance + epsilon) + beta`.
    Norm,
    /// `max(x, 0)`.
    Relu,
    /// The sum of two values.
    Sum,
    /// The mean of each channel over the board.
    Pool,
    /// A board whose channels are multiplied by `sigmoid` of as many features: of two values, the board first.
    Gate,
    /// A dense layer with a bias, `y = x W + b`. A board is read as the row `[channels * height * width]`.
    Dense {
        /// Numbers that it writes.
        outputs: usize,
    },
    /// Some numbers of a board, as a row: a policy whose moves are cells of planes.
    Select {
        /// For each number of the row where it lies in the board, `channel * height * width + cell`.
        indices: Vec<u32>,
    },
}

/// An output of a network that a loss belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// What it says.
    pub kind: HeadKind,
    /// The value that is its output, without softmax or tanh.
    pub value: usize,
}

/// What a head says about a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// A logit for each action: cross-entropy with the search's visits over the legal ones.
    Policy,
    /// Logits of win, draw and loss for the player to move: cross-entropy.
    Outcome,
    /// One number, of which tanh is the value for the player to move: squared error.
    Value,
    /// One number, of which the sigmoid is the share of the longest game that is still to be played: cross-entropy. The search
    /// does not ask for it.
    Length,
}

impl HeadKind {
    /// What its loss is reported as.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Outcome | Self::Value => "value",
            Self::Length => "length",
        }
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[channels, height, width]`
    Board(usize),
    /// `[features]`
    Row(usize),
}

impl Description {
    /// A network that hands its input through, to be built on.
    #[must_use]
    pub fn new(input: [usize; 3]) -> Self {
        Self { input, steps: vec![], heads: vec![] }
    }

    /// Cells of the board.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.input[1] * self.input[2]
    }

    /// Adds a step, and returns the number of its value.
    pub fn add(&mut self, name: impl Into<String>, op: Op, from: &[usize]) -> usize {
        self.steps.push(Step { name: name.into(), op, from: from.to_vec() });
        self.steps.len()
    }

    /// Of every value, the input's first, whether one of these heads reads it, or what they read does.
    #[must_use]
    pub fn read_by<'a>(&self, heads: impl IntoIterator<Item = &'a Head>) -> Vec<bool> {
        let mut read = vec![false; self.steps.len() + 1];
        heads.into_iter().for_each(|head| read[head.value] = true);
        for (i, step) in self.steps.iter().enumerate().rev() {
            if read[i + 1] {
                step.from.iter().for_each(|&value| read[value] = true);
            }
        }
        read
    }

    /// The form of every value, the input's first.
    ///
    /// # Panics
    /// If a step reads what it cannot, or a head is not there: a description that does not fit together.
    #[must_use]
    pub fn forms(&self) -> Vec<Form> {
        let mut forms = vec![Form::Board(self.input[0])];
        for Step { name, op, from } in &self.steps {
            let of: Vec<Form> = from.iter().map(|&value| forms[value]).collect();
            let form = match (op, &of[..]) {
                (Op::Conv { outputs, .. }, [Form::Board(_)]) => Form::Board(*outputs),
                (Op::Norm, [Form::Board(channels)]) => Form::Board(*channels),
                (Op::Relu, [form]) => *form,
                (Op::Sum, [a, b]) if a == b => *a,
                (Op::Pool, [Form::Board(channels)]) => Form::Row(*channels),
                (Op::Gate, [Form::Board(channels), Form::Row(features)]) if channels == features => of[0],
                (Op::Dense { outputs }, [_]) => Form::Row(*outputs),
                (Op::Select { indices }, [form @ Form::Board(_)])
                    if indices.iter().all(|&index| (index as usize) < self.size(*form)) =>
                {
                    Form::Row(indices.len())
                }
                _ => panic!("step {} ({name}): {op:?} of {of:?}", forms.len()),
            };
            forms.push(form);
        }
        for head in &self.heads {
            assert!(matches!(forms[head.value], Form::Row(_)), "{head:?} is no row");
        }
        forms
    }

    /// Numbers in a value of this form.
    #[must_use]
    pub fn size(&self, form: Form) -> usize {
        match form {
            Form::Board(channels) => channels * self.cells(),
            Form::Row(features) => features,
        }
    }

    /// The head of one of these kinds.
    #[must_use]
    pub fn head(&self, kinds: &[HeadKind]) -> Option<&Head> {
        self.heads.iter().find(|head| kinds.contains(&head.kind))
    }

    /// Where policy and value are among the heads.
    ///
    /// # Panics
    /// If there is none of either.
    #[must_use]
    pub fn policy_and_value(&self) -> [usize; 2] {
        let place = |kinds: &[HeadKind]| self.heads.iter().position(|head| kinds.contains(&head.kind));
        let heads = [place(&[HeadKind::Policy]), place(&[HeadKind::Outcome, HeadKind::Value])];
        heads.map(|head| head.expect("a network has a policy and says who wins"))
    }

    /// Shapes of the parameters of a step: of its weight, and of its bias, which norms have as gamma and beta.
    ///
    /// Convolutions are `[outputs, inputs, kernel, kernel]`, dense layers `[inputs, outputs]`, all row-major.
    #[must_use]
    pub fn parameters(&self, step: usize, forms: &[Form]) -> Vec<Vec<usize>> {
        let Step { op, from, .. } = &self.steps[step];
        match (op, forms[from[0]]) {
            (&Op::Conv { outputs, kernel, bias }, Form::Board(inputs)) => {
                let weight = vec![outputs, inputs, kernel, kernel];
                if bias { vec![weight, vec![outputs]] } else { vec![weight] }
            }
            (Op::Norm, Form::Board(channels)) => vec![vec![channels]; 2],
            (&Op::Dense { outputs }, form) => vec![vec![self.size(form), outputs], vec![outputs]],
            _ => vec![],
        }
    }

    /// Multiplications of one evaluation.
    #[must_use]
    pub fn operations(&self) -> usize {
        let forms = self.forms();
        let of_step = |(step, of): (usize, &Step)| {
            let weights: usize = self.parameters(step, &forms).first().map_or(0, |shape| shape.iter().product());
            match of.op {
                Op::Conv { .. } => weights * self.cells(),
                Op::Dense { .. } => weights,
                Op::Norm | Op::Gate => self.size(forms[step + 1]),
                Op::Relu | Op::Sum | Op::Pool | Op::Select { .. } => 0,
            }
        };
        self.steps.iter().enumerate().map(of_step).sum()
    }

    /// Numbers in all parameters.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        let forms = self.forms();
        let of_step =
            |step| self.parameters(step, &forms).iter().map(|shape| shape.iter().product::<usize>()).sum::<usize>();
        (0..self.steps.len()).map(of_step).sum()
    }
}

/// A trained network, its norms folded into the convolutions before them: what evaluators are made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// Without [`Op::Norm`].
    pub description: Description,
    /// Weight and bias of each step that has them, as [`Description::parameters`] shapes them.
    pub parameters: Vec<Option<Parameters>>,
}

/// The numbers of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Row-major.
    pub weight: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
}

impl Frozen {
    /// Panics, with the step named, unless every shape fits.
    pub(crate) fn check(&self) {
        let forms = self.description.forms();
        for (step, numbers) in self.parameters.iter().enumerate() {
            let found = numbers.as_ref().map_or(vec![], |p| vec![p.weight.len(), p.bias.len()]);
            let shapes = self.description.parameters(step, &forms);
            let needed: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
            assert_eq!(found, needed, "parameters of step {step}, {:?}", self.description.steps[step]);
        }
        assert_eq!(self.parameters.len(), self.description.steps.len(), "parameters of each step");
    }
}
