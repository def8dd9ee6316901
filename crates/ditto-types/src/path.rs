//! A field path inside a document.

use std::fmt;

use smol_str::SmolStr;

/// A path of field names from the document's root, as in `address.city`. The empty path is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<SmolStr>);

impl Path {
    /// The document's root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Builds a path from its names.
    pub fn new(names: impl IntoIterator<Item = impl Into<SmolStr>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// Names from the root down.
    pub fn names(&self) -> &[SmolStr] {
        &self.0
    }

    /// The path of field `name` below this one.
    pub fn child(&self, name: impl Into<SmolStr>) -> Self {
        let mut names = Vec::with_capacity(self.0.len() + 1);
        names.extend_from_slice(&self.0);
        names.push(name.into());
        Self(names)
    }

    /// Whether this path is `other` or an ancestor of it.
    pub fn is_prefix_of(&self, other: &Path) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the root.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<SmolStr>> for Path {
    fn from(names: Vec<SmolStr>) -> Self {
        Self(names)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            f.write_str(n)?;
        }
        Ok(())
    }
}
