//! The order of groups and versions in discovery.

use meta::GroupVersion;

/// Where a group and version stand; larger ones come first. Compat: the numbers are those that upstream registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority {
    /// Of the group.
    pub(crate) group: i64,
    /// Of the version within the group.
    pub(crate) version: i64,
}

/// Of built-in groups, without `apiregistration.k8s.io`, which has no APIService and comes first.
const GROUPS: &[(&str, i64)] = &[
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("admissionregistration.k8s.io", 16_700),
    ("apiextensions.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];

impl Priority {
    /// Of what definitions of custom resources make.
    pub(crate) const CUSTOM: Self = Self { group: 1000, version: 100 };
    /// Of what comes in a place of its own, before all others.
    const FIRST: Self = Self { group: 20_000, version: 15 };
    /// Of `metrics.k8s.io`, as the usual server for it registers itself.
    const METRICS: Self = Self { group: 100, version: 100 };

    /// Of what is served here.
    pub(crate) fn local(gv: &GroupVersion) -> Self {
        let known = GROUPS.iter().find(|(group, _)| *group == gv.group);
        let version = match (gv.group.as_str(), gv.version.as_str()) {
            ("", _) => 1,
            ("autoscaling", "v2") => 30,
            ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
            (_, "v1") => 15,
            _ => 9,
        };
        match (gv.group.as_str(), known) {
            ("apiregistration.k8s.io", _) => Self::FIRST,
            (crate::metrics::GROUP, _) => Self::METRICS,
            (_, Some((_, group))) => Self { group: *group, version },
            (_, None) => Self::CUSTOM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_group_has_its_place() {
        for row in kinds::all() {
            let priority = Priority::local(&GroupVersion::new(row.group, row.version));
            assert!(priority.group > Priority::CUSTOM.group, "{}", row.group);
        }
        assert_eq!(Priority::local(&GroupVersion::new("example.com", "v1")), Priority::CUSTOM);
    }
}
