//! Intervals of values, to be asked which of them hold a value: a treap over the lower ends in which every node knows
//! the highest upper end below it.

use std::cmp::Ordering;

use ditto_types::Value;

use crate::order::compare_values;

const NIL: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Intervals {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    /// State of the generator of priorities.
    seed: u64,
}

#[derive(Debug)]
struct Node {
    /// `None`: no lower end.
    low: Option<Value>,
    /// `None`: no upper end.
    high: Option<Value>,
    query: u64,
    priority: u64,
    left: u32,
    right: u32,
    /// The node with the highest upper end in this subtree.
    highest: u32,
}

impl Default for Intervals {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NIL, seed: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Intervals {
    pub(super) fn is_empty(&self) -> bool {
        self.root == NIL
    }

    /// Adds the values from `low` to `high`, both included, for a query.
    pub(super) fn insert(&mut self, low: Option<Value>, high: Option<Value>, query: u64) {
        // A query has one interval for each lower end: of several the longest says all.
        if let Some(old) = self.take(low.as_ref(), query) {
            let longer = match (&old, &high) {
                (Some(a), Some(b)) if compare_values(a, b).is_lt() => high,
                (None, _) | (Some(_), Some(_)) => old,
                (_, None) => None,
            };
            return self.add(low, longer, query);
        }
        self.add(low, high, query);
    }

    fn add(&mut self, low: Option<Value>, high: Option<Value>, query: u64) {
        let priority = self.next_priority();
        let node = Node { low, high, query, priority, left: NIL, right: NIL, highest: NIL };
        let at = match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.nodes[at as usize].highest = at;
        self.root = self.insert_below(self.root, at);
    }

    /// Takes the interval of a query that begins at `low` out.
    pub(super) fn remove(&mut self, low: Option<&Value>, query: u64) {
        self.take(low, query);
    }

    /// As `remove`; gives its upper end.
    fn take(&mut self, low: Option<&Value>, query: u64) -> Option<Option<Value>> {
        let mut removed = NIL;
        self.root = self.remove_below(self.root, low, query, &mut removed);
        if removed == NIL {
            return None;
        }
        self.free.push(removed);
        let node = &mut self.nodes[removed as usize];
        node.low = None;
        Some(node.high.take())
    }

    /// Adds the queries of all intervals that hold `v`.
    pub(super) fn holding(&self, v: &Value, out: &mut Vec<u64>) {
        self.holding_below(self.root, v, out);
    }

    fn holding_below(&self, at: u32, v: &Value, out: &mut Vec<u64>) {
        if at == NIL {
            return;
        }
        let node = &self.nodes[at as usize];
        if !reaches(&self.nodes[node.highest as usize].high, v) {
            return;
        }
        self.holding_below(node.left, v, out);
        if node.low.as_ref().is_none_or(|low| compare_values(low, v).is_le()) {
            if reaches(&node.high, v) {
                out.push(node.query);
            }
            self.holding_below(node.right, v, out);
        }
    }

    fn insert_below(&mut self, root: u32, new: u32) -> u32 {
        if root == NIL {
            return new;
        }
        if self.nodes[new as usize].priority > self.nodes[root as usize].priority {
            let (left, right) = self.split(root, new);
            let node = &mut self.nodes[new as usize];
            (node.left, node.right) = (left, right);
            return self.refreshed(new);
        }
        if self.key(new, root).is_lt() {
            let left = self.insert_below(self.nodes[root as usize].left, new);
            self.nodes[root as usize].left = left;
        } else {
            let right = self.insert_below(self.nodes[root as usize].right, new);
            self.nodes[root as usize].right = right;
        }
        self.refreshed(root)
    }

    /// Parts a subtree into what is before the node `by` and what is after it.
    fn split(&mut self, root: u32, by: u32) -> (u32, u32) {
        if root == NIL {
            return (NIL, NIL);
        }
        if self.key(root, by).is_lt() {
            let (middle, right) = self.split(self.nodes[root as usize].right, by);
            self.nodes[root as usize].right = middle;
            (self.refreshed(root), right)
        } else {
            let (left, middle) = self.split(self.nodes[root as usize].left, by);
            self.nodes[root as usize].left = middle;
            (left, self.refreshed(root))
        }
    }

    fn remove_below(&mut self, root: u32, low: Option<&Value>, query: u64, removed: &mut u32) -> u32 {
        if root == NIL {
            return NIL;
        }
        let node = &self.nodes[root as usize];
        let (left, right) = (node.left, node.right);
        match order(low, query, node) {
            Ordering::Equal => {
                *removed = root;
                return self.merge(left, right);
            }
            Ordering::Less => {
                self.nodes[root as usize].left = self.remove_below(left, low, query, removed);
            }
            Ordering::Greater => {
                self.nodes[root as usize].right = self.remove_below(right, low, query, removed);
            }
        }
        self.refreshed(root)
    }

    /// Joins two subtrees, of which the first is before the second.
    fn merge(&mut self, a: u32, b: u32) -> u32 {
        if a == NIL || b == NIL {
            return if a == NIL { b } else { a };
        }
        if self.nodes[a as usize].priority > self.nodes[b as usize].priority {
            let right = self.merge(self.nodes[a as usize].right, b);
            self.nodes[a as usize].right = right;
            self.refreshed(a)
        } else {
            let left = self.merge(a, self.nodes[b as usize].left);
            self.nodes[b as usize].left = left;
            self.refreshed(b)
        }
    }

    /// Finds the highest upper end below a node again.
    fn refreshed(&mut self, at: u32) -> u32 {
        let node = &self.nodes[at as usize];
        let mut highest = at;
        for child in [node.left, node.right] {
            if child != NIL {
                let candidate = self.nodes[child as usize].highest;
                if is_higher(&self.nodes[candidate as usize].high, &self.nodes[highest as usize].high) {
                    highest = candidate;
                }
            }
        }
        self.nodes[at as usize].highest = highest;
        at
    }

    fn key(&self, a: u32, b: u32) -> Ordering {
        let a = &self.nodes[a as usize];
        order(a.low.as_ref(), a.query, &self.nodes[b as usize])
    }

    /// Xorshift: the shape of the tree must not depend on the order of the queries, but may be known.
    fn next_priority(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }
}

/// Order by lower end, then by query.
fn order(low: Option<&Value>, query: u64, node: &Node) -> Ordering {
    let ends = match (low, &node.low) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => compare_values(a, b),
    };
    ends.then(query.cmp(&node.query))
}

fn reaches(high: &Option<Value>, v: &Value) -> bool {
    high.as_ref().is_none_or(|high| compare_values(high, v).is_ge())
}

fn is_higher(a: &Option<Value>, b: &Option<Value>) -> bool {
    match (a, b) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => compare_values(a, b).is_gt(),
    }
}
