//! The operations of a plan, there and back.
//!
//! Only batch normalisation makes a row wait for others, so the operations fall into stages: those of stage `n` have `n` norms
//! before them, without those of the tower. A chunk of the batch goes through all operations of a stage on one thread.

use super::super::conv::Then;
use super::super::gate::Means;
use super::super::kernels::Level;
use super::super::panels::{Aligned, odd_lines};
use super::super::plan::{Node as Planned, Operation, selected};
use super::super::select;
use super::Places;
use super::batch::{Cut, Scratch, parallel, pieces};
use super::dense::{Backward, DenseLayer, bias_gradient, gradients as dense_gradients, mask};
use super::direct::DirectConv;
use super::norm::{Activate, Back, Layout, Mask, Norm, Statistics};
use super::tower::Tower;

/// Some work on the parameters before a pass.
pub(super) type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Operations, and all that one step of training keeps of them. Value 0 is the input, in rows of plain numbers.
#[derive(Debug)]
pub(super) struct Graph {
    level: Level,
    input_row: usize,
    nodes: Vec<Node>,
    /// The value of each head, and its numbers.
    heads: Vec<(usize, usize)>,
    tower: Option<Box<Tower>>,
    /// For each node its norm, its value, the gradient of its value, and what goes into its norm.
    norms: Vec<Option<Norm>>,
    values: Vec<Aligned>,
    gradients: Vec<Aligned>,
    z: Vec<Aligned>,
    /// The gradient of the input, where it is asked for.
    input_gradient: Option<Aligned>,
}

#[derive(Debug)]
struct Node {
    work: Work,
    from: usize,
    /// Norms before its value.
    stage: usize,
    /// How its value lies in memory; a row is a board of one cell.
    layout: Layout,
    /// Whether something stands already in the gradient of what it reads, once the way back has come to it.
    add: bool,
}

#[derive(Debug)]
enum Work {
    Tower,
    /// A convolution with the places of its weight, its bias and its gamma among the parameters.
    Conv {
        conv: DirectConv,
        relu: bool,
        weight: usize,
        bias: Option<usize>,
        norm: Option<usize>,
    },
    Pool,
    /// A board of so many channels as `[channel][cell]`.
    Flatten(usize),
    /// The places of the numbers in a row of the board.
    Select(Vec<u32>),
    /// A dense layer with the place of its weight, behind which its bias lies.
    Dense(DenseLayer, usize),
}

impl Graph {
    /// Operations on rows of `input_row` numbers, with a way back to these if `back`. Only boards know `places`.
    pub(super) fn new(
        level: Level,
        input_row: usize,
        back: bool,
        plan: &[Planned],
        heads: Vec<(usize, usize)>,
        tower: Option<Tower>,
        places: &Places,
    ) -> Self {
        let lanes = level.shape().0;
        let cells = places.board[0] * places.board[1];
        let row = |stride, padded| Layout { cells: 1, stride, padded };
        let input = row(input_row, input_row);
        let mut nodes: Vec<Node> = vec![];
        let mut norms = vec![];
        // What each value of the plan has become, and the rows that boards have been flattened to.
        let (mut values, mut flat) = (vec![0usize], vec![0; plan.len() + 1]);
        for planned in plan {
            let mut from = values[planned.from];
            let (layout, stage) = from.checked_sub(1).map_or((input, 0), |i| (nodes[i].layout, nodes[i].stage));
            let (mut stage, mut norm) = (stage, None);
            let (work, layout) = match &planned.operation {
                Operation::Tower { .. } => (Work::Tower, tower.as_ref().expect("it is made before").layout),
                Operation::Conv { conv, relu } => {
                    let padded = conv.outputs.next_multiple_of(lanes);
                    let to = Layout { cells, stride: padded, padded };
                    norm = conv.norm.map(|_| Norm::new(conv.outputs, lanes, places.epsilon));
                    stage += usize::from(norm.is_some());
                    let shape = [conv.inputs, conv.outputs, conv.kernel];
                    let direct = DirectConv::new(level, shape, places.board, [layout.stride, to.stride], true);
                    let weight = places.first[conv.step];
                    let bias = conv.bias.then_some(weight + 1);
                    let norm = conv.norm.map(|step| places.first[step]);
                    (Work::Conv { conv: direct, relu: *relu, weight, bias, norm }, to)
                }
                Operation::Pool => (Work::Pool, row(odd_lines(layout.padded), layout.padded)),
                Operation::Select(indices) => {
                    let stride = odd_lines(indices.len());
                    (Work::Select(selected(indices, cells, layout.stride)), row(stride, stride))
                }
                Operation::Dense { dense, relu } => {
                    if layout.cells > 1 && flat[planned.from] == 0 {
                        let stride = odd_lines(dense.inputs);
                        let work = Work::Flatten(dense.inputs / cells);
                        nodes.push(Node { work, from, stage, layout: row(stride, stride), add: false });
                        norms.push(None);
                        flat[planned.from] = nodes.len();
                    }
                    from = if layout.cells > 1 { flat[planned.from] } else { from };
                    let stride = from.checked_sub(1).map_or(input_row, |i| nodes[i].layout.stride);
                    let layer = DenseLayer::new(level, dense, stride, *relu, back || from > 0);
                    let to = row(layer.output_stride, layer.output_stride);
                    (Work::Dense(layer, places.first[dense.step]), to)
                }
            };
            nodes.push(Node { work, from, stage, layout, add: false });
            norms.push(norm);
            values.push(nodes.len());
        }
        let heads: Vec<_> = heads.into_iter().map(|(value, width)| (values[value], width)).collect();
        for node in 0..nodes.len() {
            let from = nodes[node].from;
            nodes[node].add =
                nodes[node + 1..].iter().any(|after| after.from == from) || heads.iter().any(|head| head.0 == from);
        }
        let lists = || nodes.iter().map(|_| Aligned::default()).collect();
        Self {
            level,
            input_row,
            heads,
            tower: tower.map(Box::new),
            norms,
            values: lists(),
            gradients: lists(),
            z: lists(),
            nodes,
            input_gradient: back.then(Aligned::default),
        }
    }

    pub(super) fn tower(&self) -> Option<&Tower> {
        self.tower.as_deref()
    }

    /// Numbers of a row that a chunk has in its hands between two barriers.
    pub(super) fn row(&self) -> usize {
        let widest = self.nodes.iter().map(|node| node.layout.row()).max().unwrap_or(0).max(self.input_row);
        self.tower().map_or(2 * widest, Tower::row)
    }

    /// All norms with the place of their gamma among the parameters.
    pub(super) fn norms(&self) -> impl Iterator<Item = (usize, &Norm)> {
        let of_node = |(node, norm): (&Node, _)| match node.work {
            Work::Conv { norm: Some(place), .. } => Some((place, Option::as_ref(norm)?)),
            _ => None,
        };
        let of_nodes = self.nodes.iter().zip(&self.norms).filter_map(of_node);
        of_nodes.chain(self.tower().into_iter().flat_map(Tower::norms))
    }

    pub(super) fn bytes(&self) -> usize {
        let of_node = |node: &Node| match &node.work {
            Work::Conv { conv, .. } => conv.bytes(),
            Work::Dense(layer, _) => layer.bytes(),
            _ => 0,
        };
        let lists = self.values.iter().chain(&self.gradients).chain(&self.z).chain(&self.input_gradient);
        self.nodes.iter().map(of_node).sum::<usize>()
            + lists.map(Aligned::bytes).sum::<usize>()
            + self.norms.iter().flatten().map(Norm::bytes).sum::<usize>()
            + self.tower().map_or(0, Tower::bytes)
    }

    /// Numbers in all buffers for such a batch, without those of the threads.
    pub(super) fn numbers(&self, cut: Cut) -> usize {
        let of_node = |node: &Node| {
            let (sums, lists) = match &node.work {
                Work::Conv { conv, norm, .. } => (conv.sums(), if norm.is_some() { 3 } else { 2 }),
                Work::Dense(layer, _) => (layer.sums(), 2),
                _ => (0, 2),
            };
            sums + lists * cut.rows * node.layout.row()
        };
        self.nodes.iter().map(of_node).sum::<usize>()
            + self.norms.iter().flatten().map(|norm| norm.numbers(cut)).sum::<usize>()
            + self.input_gradient.as_ref().map_or(0, |_| cut.rows * self.input_row)
            + self.tower().map_or(0, |tower| tower.numbers(cut))
    }

    /// The most numbers of the buffers of one thread.
    pub(super) fn scratch(&self, cut: Cut) -> usize {
        let rows = |node: &Node| if matches!(node.work, Work::Conv { .. }) { node.layout.row() } else { 0 };
        let back = cut.chunk * self.nodes.iter().map(rows).max().unwrap_or(0);
        // The lists of pixels may have grown by doubling.
        let cells = self.nodes.iter().map(|node| node.layout.cells).max().unwrap_or(1);
        self.tower().map_or(back, |tower| back.max(tower.scratch(cut))) + 2 * cut.rows * cells
    }

    /// What is to be done with new parameters before a pass.
    pub(super) fn pack<'a>(&'a mut self, parameters: &'a [&'a [f32]], jobs: &mut Vec<Job<'a>>) {
        if let Some(tower) = &mut self.tower {
            tower.pack(parameters, jobs);
        }
        for node in &mut self.nodes {
            match &mut node.work {
                Work::Conv { conv, weight, bias, .. } => {
                    let bias = bias.map_or(&[][..], |bias| parameters[bias]);
                    jobs.push(Box::new(|| conv.pack(parameters[*weight], bias)));
                }
                Work::Dense(layer, at) => jobs.push(Box::new(|| layer.pack(parameters[*at], parameters[*at + 1]))),
                _ => {}
            }
        }
    }

    /// The value of a head for the last batch, and the numbers from one row to the next.
    pub(super) fn output(&self, head: usize) -> (&[f32], usize) {
        let value = self.heads[head].0 - 1;
        (self.values[value].get(), self.nodes[value].layout.row())
    }

    /// The gradient of the input of the last batch.
    pub(super) fn input_gradient(&self) -> &[f32] {
        self.input_gradient.as_ref().map_or(&[], Aligned::get)
    }

    /// The forward pass with parameters that are packed.
    pub(super) fn forward(&mut self, cut: Cut, input: &[f32], parameters: &[&[f32]], scratch: &mut Vec<Scratch>) {
        if let Some(tower) = &mut self.tower {
            tower.forward(cut, input, parameters, scratch);
        }
        for stage in 0..=self.last_stage() {
            self.forward_stage(cut, stage, input, scratch);
            for (node, norm) in self.nodes.iter().zip(&mut self.norms) {
                if let (Work::Conv { norm: Some(at), .. }, Some(norm), true) =
                    (&node.work, norm, node.stage == stage + 1)
                {
                    norm.finish_forward(cut, node.layout.cells, [parameters[*at], parameters[at + 1]]);
                }
            }
        }
    }

    fn last_stage(&self) -> usize {
        self.nodes.iter().map(|node| node.stage).max().unwrap_or(0)
    }

    fn forward_stage(&mut self, cut: Cut, stage: usize, input: &[f32], scratch: &mut Vec<Scratch>) {
        let Self { level, input_row, nodes, tower, norms, values, z, .. } = self;
        let (level, nodes, tower) = (*level, &*nodes, tower.as_deref());
        let values = pieces(cut, values.iter_mut().zip(nodes.iter().map(|node| node.layout.row())));
        let z = pieces(cut, z.iter_mut().zip(nodes.iter().map(Node::z_row)));
        let (mut sums, at): (Vec<_>, Vec<_>) =
            norms.iter_mut().map(|norm| norm.as_mut().map(|norm| norm.sums_and_at(cut.chunks)).unzip()).unzip();
        let jobs = values.into_iter().zip(z).enumerate().map(|(chunk, (values, z))| {
            let sums: Vec<_> = sums.iter_mut().map(|sums| sums.as_mut().and_then(Iterator::next)).collect();
            (chunk, values, z, sums)
        });
        parallel(scratch, jobs, |scratch, (chunk, mut values, mut z, sums)| {
            for ((index, node), sums) in nodes.iter().enumerate().zip(sums) {
                let (before, after) = values.split_at_mut(index);
                let (layout, value) = (node.layout, &mut *after[0]);
                let (from, board) = match node.from.checked_sub(1) {
                    None => (cut.piece(input, *input_row, chunk), layout),
                    Some(from) => (&*before[from], nodes[from].layout),
                };
                match &node.work {
                    Work::Conv { conv, relu, norm: Some(_), .. } => {
                        let (z, at) = (&mut *z[index], at[index].expect("it has a norm"));
                        if node.stage == stage + 1 {
                            conv.forward(cut.rows_of(chunk), from, z, Then::Store, &mut scratch.pixels);
                            let sums = sums.expect("it has a norm");
                            level.run(Statistics { layout, z, sums, means: None });
                        } else if node.stage == stage {
                            let (gate, residual, relu) = (None, None, *relu);
                            level.run(Activate { layout, z, norm: at, gate, residual, relu, output: value });
                        }
                    }
                    _ if node.stage != stage => {}
                    Work::Tower => tower.expect("there is one").activate(cut, chunk, value),
                    Work::Conv { conv, relu, .. } => {
                        let then = if *relu { Then::Relu } else { Then::Store };
                        conv.forward(cut.rows_of(chunk), from, value, then, &mut scratch.pixels);
                    }
                    Work::Pool => {
                        let Layout { cells, stride, padded } = board;
                        level.run(Means { cells, stride, padded, board: from, means: value, row: layout.row() });
                    }
                    Work::Flatten(channels) => {
                        for (from, to) in from.chunks_exact(board.row()).zip(value.chunks_exact_mut(layout.row())) {
                            for (cell, from) in from.chunks_exact(board.stride).enumerate() {
                                for (channel, &number) in from[..*channels].iter().enumerate() {
                                    to[channel * board.cells + cell] = number;
                                }
                            }
                        }
                    }
                    Work::Select(places) => select(places, from, board.row(), value, layout.row()),
                    Work::Dense(layer, _) => layer.run(from, value, &mut scratch.pixels),
                }
            }
        });
    }

    /// The backward pass of the last batch, from the gradients of the heads, `[row][width]` each.
    pub(super) fn backward(
        &mut self,
        cut: Cut,
        input: &[f32],
        heads: &[&[f32]],
        gradients: &mut [Vec<f32>],
        scratch: &mut Vec<Scratch>,
    ) {
        for stage in (0..=self.last_stage()).rev() {
            self.backward_stage(cut, stage, heads, scratch);
            for (node, norm) in self.nodes.iter().zip(&mut self.norms) {
                if let (&Work::Conv { norm: Some(at), .. }, Some(norm), true) = (&node.work, norm, node.stage == stage)
                {
                    norm.finish_backward(cut, node.layout.cells, &mut gradients[at..]);
                }
            }
        }
        let Self { nodes, values, gradients: of_values, tower, .. } = self;
        let mut free: Vec<Option<&mut Vec<f32>>> = gradients.iter_mut().map(Some).collect();
        let mut take = |place: usize| free[place].take().expect("a tensor belongs to one layer");
        let mut dense = vec![];
        for (index, Node { work, from, layout, .. }) in nodes.iter_mut().enumerate() {
            let input = from.checked_sub(1).map_or(input, |from| values[from].get());
            let output = &of_values[index].get()[..cut.rows * layout.row()];
            match work {
                Work::Conv { conv, weight, bias, .. } => {
                    conv.gradient(cut.rows, input, output, take(*weight), scratch);
                    if let Some(bias) = bias {
                        bias_gradient(output, layout.stride, take(*bias));
                    }
                }
                Work::Dense(layer, at) => {
                    let gradients = [take(*at), take(*at + 1)];
                    dense.push(Backward { layer, input, output, gradients });
                }
                _ => {}
            }
        }
        dense_gradients(cut.rows, dense.into_iter(), scratch);
        if let (Some(tower), Some(node)) = (tower, nodes.iter().position(|node| matches!(node.work, Work::Tower))) {
            tower.backward(cut, &mut of_values[node], gradients, scratch);
        }
    }

    /// Takes the gradients of all values of a stage to those that they are made of. Leaves in the gradient of a value that of
    /// the product behind it.
    fn backward_stage(&mut self, cut: Cut, stage: usize, outputs: &[&[f32]], scratch: &mut Vec<Scratch>) {
        let Self { level, input_row, nodes, heads, tower, norms, values, gradients, z, input_gradient } = self;
        let (level, nodes, heads, values, z) = (*level, &*nodes, &*heads, &*values, &*z);
        let input_gradient = input_gradient.iter_mut().map(|list| (list, *input_row));
        let lists = gradients.iter_mut().zip(nodes.iter().map(|node| node.layout.row())).chain(input_gradient);
        let gradients = pieces(cut, lists);
        let (mut sums, at): (Vec<_>, Vec<_>) =
            norms.iter_mut().map(|norm| norm.as_mut().map(|norm| norm.sums_and_at(cut.chunks)).unzip()).unzip();
        let mut end = tower.as_mut().map(|tower| tower.end(cut));
        let jobs = gradients.into_iter().enumerate().map(|(chunk, gradients)| {
            let sums: Vec<_> = sums.iter_mut().map(|sums| sums.as_mut().and_then(Iterator::next)).collect();
            (chunk, gradients, sums, end.as_mut().and_then(Iterator::next))
        });
        parallel(scratch, jobs, |scratch, (chunk, mut gradients, mut sums, mut end)| {
            let (rows, pixels) = (cut.rows_of(chunk), &mut scratch.pixels);
            for (head, (&(value, width), output)) in heads.iter().zip(outputs).enumerate() {
                if nodes[value - 1].stage != stage {
                    continue;
                }
                let add = heads[..head].iter().any(|other| other.0 == value);
                let to = gradients[value - 1].chunks_exact_mut(nodes[value - 1].layout.row());
                for (from, to) in cut.piece(output, width, chunk).chunks_exact(width).zip(to) {
                    match add {
                        true => to.iter_mut().zip(from).for_each(|(to, from)| *to += from),
                        false => to[..width].copy_from_slice(from),
                    }
                }
            }
            for (index, node) in nodes.iter().enumerate().rev() {
                let (layout, add) = (node.layout, node.add);
                // The gradient of the input lies behind all others.
                let (before, after) = gradients.split_at_mut(index);
                let (gradient, behind) = after.split_first_mut().expect("one for each node");
                let gradient = &mut **gradient;
                let mut nothing: [f32; 0] = [];
                let (to, board) = match node.from.checked_sub(1) {
                    None => (behind.last_mut().map_or(&mut nothing[..], |last| &mut **last), layout),
                    Some(from) => (&mut *before[from], nodes[from].layout),
                };
                let value = cut.piece(values[index].get(), layout.row(), chunk);
                match &node.work {
                    Work::Conv { conv, relu, norm: Some(_), .. } => {
                        let (z, norm) = (cut.piece(z[index].get(), layout.row(), chunk), at[index].expect("a norm"));
                        if node.stage == stage {
                            let sums = sums[index].take().expect("a norm");
                            let (from, result, relu) = (None, None, *relu);
                            level.run(Mask {
                                layout,
                                from,
                                add: false,
                                relu,
                                result,
                                z,
                                norm,
                                gradient,
                                sums,
                                row_sums: None,
                            });
                        } else if node.stage == stage + 1 {
                            let output = scratch.first.at_least(z.len());
                            level.run(Back { layout, gradient, gate: None, z, norm, output: &mut *output });
                            gradient.copy_from_slice(output);
                            conv.back(rows, gradient, to, add, pixels);
                        }
                    }
                    _ if node.stage != stage => {}
                    Work::Tower => end.take().expect("there is one").mask(value, gradient),
                    Work::Conv { conv, relu, .. } => {
                        if *relu {
                            mask(gradient, value);
                        }
                        conv.back(rows, gradient, to, add, pixels);
                    }
                    Work::Dense(layer, _) => {
                        if layer.relu {
                            mask(gradient, value);
                        }
                        layer.run_back(gradient, to, add, pixels);
                    }
                    work => {
                        if !add {
                            to.fill(0.0);
                        }
                        for (from, to) in gradient.chunks_exact(layout.row()).zip(to.chunks_exact_mut(board.row())) {
                            work.spread(from, to, board, add);
                        }
                    }
                }
            }
        });
    }
}

impl Node {
    /// Numbers of a row of what goes into its norm.
    fn z_row(&self) -> usize {
        if matches!(self.work, Work::Conv { norm: Some(_), .. }) { self.layout.row() } else { 0 }
    }
}

impl Work {
    /// Adds the gradient of a row to that of the board that its numbers come from, which is zero if there is nothing to add to.
    fn spread(&self, from: &[f32], to: &mut [f32], board: Layout, add: bool) {
        match self {
            Self::Pool => {
                let share = 1.0 / board.cells as f32;
                for to in to.chunks_exact_mut(board.stride) {
                    to[..board.padded].iter_mut().zip(from).for_each(|(to, from)| *to += from * share);
                }
            }
            Self::Flatten(channels) => {
                for (cell, to) in to.chunks_exact_mut(board.stride).enumerate() {
                    for (channel, number) in to[..*channels].iter_mut().enumerate() {
                        let from = from[channel * board.cells + cell];
                        // Not a sum with zero, which has no sign.
                        *number = if add { *number + from } else { from };
                    }
                }
            }
            Self::Select(places) => {
                for (&place, from) in places.iter().zip(from) {
                    to[place as usize] += from;
                }
            }
            _ => unreachable!("a layer"),
        }
    }
}
