//! Sets of completion indexes, in the short form that statuses carry: `1,3-5,7`.

use std::collections::BTreeSet;

/// Indexes, as whole intervals in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(usize, usize)>);

impl Indexes {
    /// Reads the short form; what is beyond `completions`, or can't be read, is left out.
    pub(super) fn parse(text: &str, completions: usize) -> Self {
        let mut intervals = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else { continue };
            if first < completions {
                intervals.push((first, last.min(completions - 1)));
            }
        }
        Self::default().with_intervals(intervals)
    }

    /// With these indexes as well.
    #[must_use]
    pub(super) fn with(&self, more: &BTreeSet<usize>) -> Self {
        self.with_intervals(more.iter().map(|index| (*index, *index)).collect())
    }

    /// With those of another set as well.
    #[must_use]
    pub(super) fn and(&self, other: &Self) -> Self {
        self.with_intervals(other.0.clone())
    }

    fn with_intervals(&self, mut more: Vec<(usize, usize)>) -> Self {
        more.extend(&self.0);
        more.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (first, last) in more {
            match merged.last_mut() {
                Some(end) if first <= end.1 + 1 => end.1 = end.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// How many there are.
    pub(super) fn total(&self) -> usize {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> usize {
        let overlap = |a: &(usize, usize), b: &(usize, usize)| (a.1.min(b.1) + 1).saturating_sub(a.0.max(b.0));
        self.0.iter().flat_map(|a| other.0.iter().map(move |b| overlap(a, b))).sum()
    }

    /// The first `count` below `completions` that are not in it.
    pub(super) fn missing(&self, count: usize, completions: usize) -> Vec<usize> {
        (0..completions).filter(|index| !self.has(*index)).take(count).collect()
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_short() {
        let check = |text: &str, more: &[usize], expected: &str, total: usize| {
            let set = Indexes::parse(text, 10).with(&more.iter().copied().collect());
            assert_eq!((set.to_string().as_str(), set.total()), (expected, total), "{text} {more:?}");
        };
        check("", &[], "", 0);
        check("", &[3], "3", 1);
        check("1,3", &[2], "1-3", 3);
        check("1-3,7", &[0, 8], "0-3,7,8", 6);
        check("8-20,x", &[], "8,9", 2);
        let set = Indexes::parse("0,2-4", 10);
        assert_eq!(set.missing(3, 10), [1, 5, 6]);
        assert_eq!(set.common(&Indexes::parse("1-3", 10)), 2);
        assert!(set.has(3) && !set.has(1));
    }
}
