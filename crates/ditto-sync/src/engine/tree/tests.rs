//! The tree alone: what neighbours tell arrives in rounds.

use super::*;

/// Peers by number, and the links between them.
struct Mesh {
    trees: Vec<Tree>,
    links: Vec<(usize, usize)>,
    now: u64,
    told: usize,
}

fn id(n: usize) -> PeerId {
    let mut bytes = [0; 34];
    bytes[33] = n as u8;
    PeerId(bytes)
}

impl Mesh {
    fn new(n: usize, links: &[(usize, usize)]) -> Self {
        let trees = (0..n).map(|n| Tree::new(n as u64 + 100)).collect();
        let mut mesh = Self { trees, links: Vec::new(), now: 1, told: 0 };
        links.iter().for_each(|(a, b)| mesh.up(*a, *b));
        mesh.settle();
        mesh
    }

    fn up(&mut self, a: usize, b: usize) {
        self.links.push((a, b));
        self.trees[a].up(id(b));
        self.trees[b].up(id(a));
    }

    fn down(&mut self, a: usize, b: usize) {
        self.links.retain(|l| *l != (a, b) && *l != (b, a));
        self.trees[a].down(id(b), self.now);
        self.trees[b].down(id(a), self.now);
    }

    /// One round: everybody says what is new, then all of it arrives.
    fn round(&mut self) -> bool {
        let mut said = Vec::new();
        for (a, b) in self.links.clone() {
            for (from, to) in [(a, b), (b, a)] {
                if let Some(news) = self.trees[from].news(id(to)) {
                    self.trees[from].neighbours.get_mut(&id(to)).unwrap().told = Some(news);
                    said.push((from, to, news));
                }
            }
        }
        self.told += said.len();
        for (from, to, (place, child)) in &said {
            self.trees[*to].hear(id(*from), *place, *child, self.now);
        }
        !said.is_empty()
    }

    /// Rounds, and the time that barred roots wait for, until nobody has anything to say.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.round() {
                continue;
            }
            let Some(at) = self.trees.iter().filter_map(Tree::deadline).min() else { return };
            self.now = self.now.max(at);
            self.trees.iter_mut().for_each(|t| t.tick(self.now));
        }
        panic!("no end");
    }

    /// Links that both ends, or one alone with more links than this one, hold for part of the tree.
    fn tree(&self) -> Vec<(usize, usize)> {
        let is = |a: usize, b: usize| self.trees[a].is_link(id(b));
        let tree: Vec<_> = self.links.iter().copied().filter(|(a, b)| is(*a, *b) || is(*b, *a)).collect();
        for (a, b) in &tree {
            let both = is(*a, *b) && is(*b, *a);
            assert!(both || [a, b].iter().any(|n| self.trees[**n].neighbours.len() == 1));
        }
        tree
    }

    /// Distances from a peer over the given links.
    fn reach(&self, from: usize, links: &[(usize, usize)]) -> Vec<Option<usize>> {
        let mut at = vec![None; self.trees.len()];
        at[from] = Some(0);
        for step in 0..self.trees.len() {
            for (a, b) in links.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
                if at[a] == Some(step) && at[b].is_none() {
                    at[b] = Some(step + 1);
                }
            }
        }
        at
    }

    /// Each part of the mesh has a tree of shortest ways from its root.
    fn check(&self) {
        let tree = self.tree();
        for from in 0..self.trees.len() {
            let (all, kept) = (self.reach(from, &self.links), self.reach(from, &tree));
            let leaf = |n: usize| self.trees[n].neighbours.len() == 1;
            let reached = |r: &[Option<usize>]| r.iter().map(Option::is_some).collect::<Vec<_>>();
            if !leaf(from) && !(0..all.len()).any(|n| all[n].is_some() && leaf(n)) {
                assert_eq!(reached(&all), reached(&kept), "from {from}");
            }
            if self.trees[from].place == (Place { root: from as u64 + 100, distance: 0 }) {
                let nearest = all.iter().zip(&kept).all(|(a, k)| k.is_none() || a == k);
                assert!(nearest, "from the root {from}: {all:?} {kept:?}");
            }
        }
        let parts = (0..self.trees.len()).filter(|n| {
            let reach = self.reach(*n, &self.links);
            (0..*n).all(|m| reach[m].is_none())
        });
        assert_eq!(tree.len() + parts.count(), self.trees.len(), "{tree:?}");
    }
}

fn full(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect()
}

#[test]
fn a_full_mesh_has_a_star() {
    let mesh = Mesh::new(20, &full(20));
    mesh.check();
    assert!(mesh.tree().iter().all(|(a, _)| *a == 0));
}

#[test]
fn two_peers_say_nothing() {
    let mesh = Mesh::new(2, &[(0, 1)]);
    assert_eq!(mesh.told, 0);
}

#[test]
fn a_lost_root_is_forgotten_without_counting_up() {
    let n = 20;
    let mut mesh = Mesh::new(n, &full(n));
    let before = mesh.told;
    (1..n).for_each(|b| mesh.down(0, b));
    mesh.settle();
    mesh.check();
    let rounds = (mesh.told - before) as f64 / ((n - 1) * (n - 2)) as f64;
    assert!(rounds <= 4.0, "{rounds} rounds");
}

#[test]
fn meshes_that_change_have_trees_again() {
    let mut rng = crate::sim::rng::Rng::new(3);
    for case in 0..300 {
        let n = 3 + rng.below(12);
        let ring: Vec<_> = (0..n).map(|a| (a, (a + 1) % n)).filter(|(a, b)| a != b && n > 2).collect();
        let mut mesh = Mesh::new(n, &ring);
        mesh.check();
        for _ in 0..20 {
            let (a, b) = (rng.below(n), rng.below(n));
            let linked = mesh.links.contains(&(a, b)) || mesh.links.contains(&(b, a));
            let spare = |n: usize| mesh.trees[n].neighbours.len() > 2;
            if a == b {
                continue;
            } else if !linked {
                mesh.up(a, b);
            } else if spare(a) && spare(b) {
                mesh.down(a, b);
            }
            if rng.chance(50) {
                mesh.round();
                mesh.now += 10;
            } else {
                mesh.settle();
                mesh.check();
            }
        }
        mesh.settle();
        mesh.check();
        assert!(mesh.told < 40_000, "case {case}");
    }
}
