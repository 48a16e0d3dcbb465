//! The rows of lanes, trees and leaves as parallel columns: what every system of [`crate::Tick`] walks.

use crate::{Cohorts, Error, Failure};
use bevy_ecs::{
    change_detection::ContiguousMut, component::Mutable, prelude::*, query::ContiguousQueryData, system::SystemParam,
};
use rayon::prelude::*;
use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Only entities that set-up has spawned have this component, so other entities may have the other components
        /// too.
        #[derive(Component, Clone, Copy, Debug, PartialEq, Eq)]
        #[component(immutable)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// The place as a number, counted from 0.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl Numbered for $name {
            fn number(&self) -> u32 {
                self.0
            }
        }
    )*};
}

places! {
    /// The place of a lane among the lanes.
    Lane;
    /// The place of a tree among the trees. The trees of a lane follow one another, in the order of the lanes.
    TreeRow;
    /// The place of a leaf among the leaves. The leaves of a tree follow one another, in the order of the trees.
    LeafRow;
}

/// A place among entities of one kind.
trait Numbered: Component {
    fn number(&self) -> u32;
}

/// The number of lanes, of trees in each lane, and of leaves of each tree.
#[derive(Resource, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) lanes: usize,
    pub(crate) trees_per_lane: usize,
    pub(crate) leaves_per_tree: usize,
}

type IsLane = (Without<TreeRow>, Without<LeafRow>);
type IsTree = (With<TreeRow>, Without<LeafRow>);
type IsLeaf = With<LeafRow>;

/// The lanes with their trees and leaves, side by side. `L`, `T` and `F` are the query data wanted of lanes, trees and
/// leaves.
///
/// Rows must lie where set-up has put them. A component that is inserted on some lanes and not on others, or in another
/// order, moves the lanes to other rows of another table, and every tree would search the position of another lane.
/// Then no lane is handed out, and [`Failure`] tells why.
///
/// ```
/// # use bevy_ecs::prelude::*;
/// # use lockstep_components::{LaneRng, Tree};
/// # use lockstep_systems::Rows;
/// use rayon::prelude::*;
///
/// #[derive(Component, Clone, Default)]
/// struct Deepest(u32);
///
/// fn deepest(mut rows: Rows<&mut Deepest, &Tree>) {
///     rows.answered().par_rows(16).for_each(|(deepest, trees)| {
///         trees.for_each(|(tree, ())| deepest.0 = deepest.0.max(tree.root_visits));
///     });
/// }
/// # bevy_ecs::system::assert_is_system(deepest);
/// ```
#[derive(SystemParam)]
pub struct Rows<'w, 's, L, T = (), F = ()>
where
    L: RowData + 'static,
    T: RowData + 'static,
    F: RowData + 'static,
{
    lanes: Query<'w, 's, (L, &'static Lane), IsLane>,
    trees: Query<'w, 's, (T, &'static TreeRow), IsTree>,
    leaves: Query<'w, 's, (F, &'static LeafRow), IsLeaf>,
    layout: Res<'w, Layout>,
    cohorts: Res<'w, Cohorts>,
    failure: Res<'w, Failure>,
}

/// Query data that may be asked of rows: references to components, and tuples of them.
pub trait RowData: ContiguousQueryData {
    /// The columns of a table, as slices.
    type Columns<'a, 's>: Columns;

    /// Converts what bevy gives for a table into columns. Changes through them are not seen by change detection.
    fn columns<'a, 's>(table: Self::Contiguous<'a, 's>) -> Self::Columns<'a, 's>;
}

impl<D> RowData for D
where
    D: ContiguousQueryData,
    for<'a, 's> D::Contiguous<'a, 's>: IntoColumns,
{
    type Columns<'a, 's> = <D::Contiguous<'a, 's> as IntoColumns>::Columns;

    fn columns<'a, 's>(table: D::Contiguous<'a, 's>) -> Self::Columns<'a, 's> {
        table.into_columns()
    }
}

/// The lanes that [`Rows`] hands out.
type ViewOf<'a, 's, L, T, F> =
    View<<L as RowData>::Columns<'a, 's>, <T as RowData>::Columns<'a, 's>, <F as RowData>::Columns<'a, 's>>;

impl<'s, L, T, F> Rows<'_, 's, L, T, F>
where
    L: RowData + 'static,
    T: RowData + 'static,
    F: RowData + 'static,
{
    /// The lanes whose leaves become the batch of this tick.
    pub fn collected(&mut self) -> ViewOf<'_, 's, L, T, F> {
        self.view(self.cohorts.collected())
    }

    /// The lanes whose batch is answered in this tick, so that they move on.
    pub fn answered(&mut self) -> ViewOf<'_, 's, L, T, F> {
        self.view(self.cohorts.answered())
    }

    /// All lanes.
    pub fn all(&mut self) -> ViewOf<'_, 's, L, T, F> {
        self.view(0..self.layout.lanes)
    }

    fn view(&mut self, lanes: Range<usize>) -> ViewOf<'_, 's, L, T, F> {
        let Layout { lanes: count, trees_per_lane, leaves_per_tree } = *self.layout;
        let place = |what, per_lane| Wanted { what, all: count * per_lane, wanted: times(&lanes, per_lane) };
        let (leaves_per_lane, failure) = (trees_per_lane * leaves_per_tree, &self.failure);
        let found = place("lanes", 1).find::<L, Lane, _, _>(self.lanes.contiguous_iter_mut()).and_then(|found| {
            let trees = place("trees", trees_per_lane).find::<T, TreeRow, _, _>(self.trees.contiguous_iter_mut())?;
            let leaves =
                place("leaves", leaves_per_lane).find::<F, LeafRow, _, _>(self.leaves.contiguous_iter_mut())?;
            Ok(View { lanes: found, trees, leaves, count: lanes.len(), trees_per_lane, leaves_per_tree })
        });
        found.unwrap_or_else(|error| {
            failure.set(error);
            View::default()
        })
    }
}

/// The rows of one kind that are to be found.
struct Wanted {
    what: &'static str,
    /// Number of all rows of this kind.
    all: usize,
    /// The rows that are handed out.
    wanted: Range<usize>,
}

impl Wanted {
    /// Takes the wanted rows from the tables that a query matches. There must be one such table, with all rows of this
    /// kind, in their order.
    fn find<'a, 's, D: RowData + 'static, R: Numbered, E, I: Iterator<Item = (D::Contiguous<'a, 's>, &'a [R])>>(
        self,
        tables: Result<I, E>,
    ) -> Result<D::Columns<'a, 's>, Error> {
        let Self { what, all, wanted } = self;
        let mut tables = tables.ok().into_iter().flatten();
        let none = || Error::NotOnRows { what, wanted: std::any::type_name::<D>() };
        let (columns, rows) = tables.next().ok_or_else(none)?;
        let first = wanted.start as u32;
        // Without a branch, so that the compiler makes vectors of it.
        let in_order =
            |rows: &[R]| rows.iter().zip(first..).fold(true, |order, (row, place)| order & (row.number() == place));
        if tables.next().is_none() && rows.len() == all && in_order(&rows[wanted.clone()]) {
            Ok(D::columns(columns).range(wanted))
        } else {
            Err(Error::RowsOutOfOrder { what })
        }
    }
}

fn times(lanes: &Range<usize>, n: usize) -> Range<usize> {
    lanes.start * n..lanes.end * n
}

/// Columns of the same length side by side: slices, or tuples of columns.
pub trait Columns: Send + Default {
    /// The items of one row.
    type Row: Send;

    /// Splits off and returns the first `rows` rows.
    ///
    /// # Panics
    /// If there are fewer rows.
    fn take(&mut self, rows: usize) -> Self;

    /// Splits off and returns the first row.
    ///
    /// # Panics
    /// If there is no row.
    fn take_one(&mut self) -> Self::Row;

    /// The rows of a range.
    ///
    /// # Panics
    /// If there are fewer rows.
    fn range(mut self, rows: Range<usize>) -> Self {
        self.take(rows.start);
        self.take(rows.len())
    }
}

/// A conversion from what bevy gives for a table into [`Columns`]. Changes through them are not seen by change
/// detection.
pub trait IntoColumns {
    /// The columns of the table.
    type Columns: Columns;

    /// Converts the table into its columns.
    fn into_columns(self) -> Self::Columns;
}

impl<'a, T: Sync> Columns for &'a [T] {
    type Row = &'a T;

    #[inline]
    fn take(&mut self, rows: usize) -> Self {
        self.split_off(..rows).expect("so many rows")
    }

    #[inline]
    fn take_one(&mut self) -> &'a T {
        self.split_off_first().expect("a row")
    }
}

impl<'a, T: Send> Columns for &'a mut [T] {
    type Row = &'a mut T;

    #[inline]
    fn take(&mut self, rows: usize) -> Self {
        self.split_off_mut(..rows).expect("so many rows")
    }

    #[inline]
    fn take_one(&mut self) -> &'a mut T {
        self.split_off_first_mut().expect("a row")
    }
}

impl<'a, T: Sync> IntoColumns for &'a [T] {
    type Columns = &'a [T];

    fn into_columns(self) -> &'a [T] {
        self
    }
}

impl<'a, T: Send> IntoColumns for ContiguousMut<'a, T> {
    type Columns = &'a mut [T];

    fn into_columns(self) -> &'a mut [T] {
        Self::bypass_change_detection_split(self).0
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        #[allow(non_snake_case, clippy::unused_unit)]
        impl<$($name: Columns),*> Columns for ($($name,)*) {
            type Row = ($($name::Row,)*);

            #[inline]
            fn take(&mut self, _rows: usize) -> Self {
                let ($($name,)*) = self;
                ($($name.take(_rows),)*)
            }

            #[inline(always)]
            fn take_one(&mut self) -> Self::Row {
                let ($($name,)*) = self;
                ($($name.take_one(),)*)
            }
        }

        #[allow(non_snake_case, clippy::unused_unit)]
        impl<$($name: IntoColumns),*> IntoColumns for ($($name,)*) {
            type Columns = ($($name::Columns,)*);

            fn into_columns(self) -> Self::Columns {
                let ($($name,)*) = self;
                ($($name.into_columns(),)*)
            }
        }
    };
}

tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);

/// Some lanes with their trees and leaves: an iterator over the lanes, in their order.
#[derive(Default)]
pub struct View<L, T, F> {
    lanes: L,
    trees: T,
    leaves: F,
    count: usize,
    trees_per_lane: usize,
    leaves_per_tree: usize,
}

impl<L: Columns, T: Columns, F: Columns> View<L, T, F> {
    /// A parallel iterator over the lanes, in tasks of at least `least` lanes on the current rayon pool. Collected
    /// results are in the order of the lanes.
    pub fn par_rows(self, least: usize) -> impl ParallelIterator<Item = (L::Row, TreesOf<T, F>)> {
        self.par_tasks(least).flat_map_iter(|(_, lanes)| lanes)
    }

    /// A parallel iterator over tasks of at least `least` lanes, each with the number of its first lane among the lanes
    /// of this view. A few tasks for each thread balance the load, and more cost more than they bring: a task is handed
    /// over in about a microsecond, so `least` lanes should take longer than that.
    pub fn par_tasks(self, least: usize) -> impl IndexedParallelIterator<Item = (usize, Self)> {
        self.split(least).into_par_iter().with_max_len(1)
    }

    /// Parts the lanes into tasks of at least this many, each with the number of its first lane among these.
    fn split(mut self, least: usize) -> Vec<(usize, Self)> {
        let (all, size) = (self.count, rows_per_task(self.count, least));
        (0..all).step_by(size).map(|first| (first, self.cut(size.min(all - first)))).collect()
    }

    /// Does this for tasks of at least so many lanes, each with the number of its first lane among these, on rayon's threads.
    /// Returns what comes of the tasks, in their order.
    pub(crate) fn tasks<R: Send>(self, least: usize, work: impl Fn(usize, Self) -> R + Sync) -> Vec<R> {
        each(self.split(least), |(first, lanes)| work(first, lanes))
    }

    /// Splits off and returns the first lanes.
    fn cut(&mut self, count: usize) -> Self {
        let Self { trees_per_lane, leaves_per_tree, .. } = *self;
        self.count -= count;
        Self {
            lanes: self.lanes.take(count),
            trees: self.trees.take(count * trees_per_lane),
            leaves: self.leaves.take(count * trees_per_lane * leaves_per_tree),
            count,
            trees_per_lane,
            leaves_per_tree,
        }
    }
}

impl<L: Columns, T: Columns, F: Columns> Iterator for View<L, T, F> {
    type Item = (L::Row, TreesOf<T, F>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let trees = TreesOf {
            rows: self.trees.take(self.trees_per_lane),
            leaves: self.leaves.take(self.trees_per_lane * self.leaves_per_tree),
            count: self.trees_per_lane,
            leaves_per_tree: self.leaves_per_tree,
        };
        Some((self.lanes.take_one(), trees))
    }

    fn nth(&mut self, lanes: usize) -> Option<Self::Item> {
        self.cut(lanes.min(self.count));
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl<L: Columns, T: Columns, F: Columns> ExactSizeIterator for View<L, T, F> {}

/// The trees of one lane: an iterator over the trees, each with its leaves.
pub struct TreesOf<T, F> {
    /// The rows of the trees that were not iterated over yet.
    pub rows: T,
    /// The rows of the leaves of these trees.
    pub leaves: F,
    pub(crate) leaves_per_tree: usize,
    count: usize,
}

impl<T: Columns, F: Columns> Iterator for TreesOf<T, F> {
    type Item = (T::Row, F);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        Some((self.rows.take_one(), self.leaves.take(self.leaves_per_tree)))
    }
}

/// The values of a component of lanes, trees or leaves, in the order of the rows.
pub fn column<C: Component>(world: &mut World) -> Vec<&C> {
    in_order(world.query::<(AnyPlace, &C)>().iter(world))
}

/// The lanes, trees or leaves that have a component, in the order of the rows.
pub fn entities<C: Component>(world: &mut World) -> Vec<Entity> {
    in_order(world.query_filtered::<(AnyPlace, Entity), With<C>>().iter(world))
}

/// Sets the values of a component of lanes, trees or leaves, in the order of the rows. Rows without a value keep
/// theirs, and values without a row are dropped.
pub fn set_column<C: Component<Mutability = Mutable>>(world: &mut World, values: Vec<C>) {
    let rows = in_order(world.query::<(AnyPlace, &mut C)>().iter_mut(world));
    rows.into_iter().zip(values).for_each(|(mut component, value)| *component = value);
}

/// The place of an entity, whatever its kind.
type AnyPlace = AnyOf<(&'static Lane, &'static TreeRow, &'static LeafRow)>;

type Places<'a> = (Option<&'a Lane>, Option<&'a TreeRow>, Option<&'a LeafRow>);

fn in_order<'a, T>(rows: impl Iterator<Item = (Places<'a>, T)>) -> Vec<T> {
    let place =
        |(lane, tree, leaf): Places| lane.map(|lane| lane.0).or(tree.map(|tree| tree.0)).or(leaf.map(|leaf| leaf.0));
    let mut rows: Vec<_> = rows.map(|(of, value)| (place(of), value)).collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, value)| value).collect()
}

/// The fewest lanes of a task that descends or expands a tree for each lane.
pub(crate) const HEAVY: usize = 16;

/// The number of rows of a parallel task: two tasks for each thread, but at least `least` rows.
pub(crate) fn rows_per_task(rows: usize, least: usize) -> usize {
    (rows / (2 * rayon::current_num_threads())).max(least)
}

/// Does this with each task on rayon's threads, and returns what comes of them in their order. What rayon is asked for has no
/// type of the caller's, so that its machinery is compiled once, and not once more for each game.
pub(crate) fn each<T: Send, R: Send>(tasks: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> =
        tasks.into_iter().map(|task| Mutex::new((Some(task), None))).collect();
    in_parallel(slots.len(), &|number| {
        let mut slot = slots[number].lock().unwrap_or_else(PoisonError::into_inner);
        slot.1 = slot.0.take().map(&work);
    });
    let done = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    done.map(|done| done.expect("each task was done")).collect()
}

fn in_parallel(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
    match tasks {
        0 => {}
        1 => work(0),
        _ => (0..tasks).into_par_iter().with_max_len(1).for_each(work),
    }
}
