//! Percentiles of measured times.

use std::time::Duration;

/// The value below which `percent` of the values are (nearest rank).
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value.
pub(crate) fn median(values: &[Duration]) -> Option<Duration> {
    percentile(values, 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[u64], percent: usize, expected: Option<u64>) {
        let values: Vec<Duration> = values.iter().map(|value| Duration::from_millis(*value)).collect();
        assert_eq!(percentile(&values, percent), expected.map(Duration::from_millis));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        check(&[], 50, None);
        check(&[7], 99, Some(7));
        check(&[3, 1, 2], 50, Some(2));
        check(&[4, 3, 1, 2], 50, Some(2));
        check(&(1..=200).collect::<Vec<_>>(), 99, Some(198));
        check(&[5, 9], 0, Some(5));
    }
}
