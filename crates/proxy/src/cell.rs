//! The place of the one present table.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use cutover_core::routing::{RouteTable, TableCell};

/// One `ArcSwap`: a load costs no shared write, a store is one atomic swap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell(Arc<ArcSwap<RouteTable>>);

/// A loaded table.
pub(crate) struct Held(Guard<Arc<RouteTable>>);

impl Deref for Held {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.0
    }
}

impl TableCell for Cell {
    type Held = Held;

    fn load(&self) -> Held {
        Held(self.0.load())
    }

    fn store(&self, table: RouteTable) {
        self.0.store(Arc::new(table));
    }
}
