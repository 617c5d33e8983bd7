//! One refresh of a pod's volumes at a time: two at once would write the same files, and the older could end last.

/// Where the refreshing of a pod's volumes stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refreshing {
    /// The content is as new as it can be.
    #[default]
    Idle,
    /// A refresh is under way.
    Busy,
    /// A refresh is under way, and something has changed since it began.
    Outdated,
}

impl Refreshing {
    /// Something has changed: whether a refresh is to begin now.
    pub(crate) fn changed(&mut self) -> bool {
        let begins = *self == Self::Idle;
        *self = if begins { Self::Busy } else { Self::Outdated };
        begins
    }

    /// The refresh has ended: whether another one is wanted.
    pub(crate) fn ended(&mut self) -> bool {
        std::mem::take(self) == Self::Outdated
    }
}

#[cfg(test)]
mod tests {
    use super::Refreshing;

    #[test]
    fn changes_during_a_refresh_want_exactly_one_more() {
        let mut refreshing = Refreshing::default();
        assert!(refreshing.changed());
        assert!(!refreshing.changed() && !refreshing.changed(), "one at a time");
        assert!(refreshing.ended(), "what has changed meanwhile is not forgotten");
        assert!(refreshing.changed());
        assert!(!refreshing.ended());
    }
}
