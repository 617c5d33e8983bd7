//! Who has to go so that a more important pod fits.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use meta::LabelSelector;

use crate::cluster::Cluster;
use crate::cycle::{Failure, refusal, text};
use crate::plugins::Refusal;
use crate::pod::PodInfo;
use crate::selectors::selector;

/// So many nodes are looked at closely.
const CANDIDATES: usize = 100;

/// How many pods of a kind may be missing.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    namespace: String,
    selector: Option<LabelSelector>,
    allowed: i64,
    /// Pods that are going already and are counted.
    disrupted: BTreeSet<String>,
}

impl Budget {
    pub(crate) fn read(budget: &PodDisruptionBudget) -> Self {
        let status = budget.status.as_ref();
        let disrupted = status.and_then(|status| status.disrupted_pods.as_ref()).into_iter().flatten();
        let own = selector(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
        Self {
            namespace: budget.metadata.namespace.clone().unwrap_or_default(),
            // Compat: here, unlike elsewhere, an empty selector selects nothing.
            selector: own.filter(|selector| !selector.is_everything()),
            allowed: status.and_then(|status| status.disruptions_allowed).map_or(0, i64::from),
            disrupted: disrupted.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn protects(&self, pod: &PodInfo) -> bool {
        let here = self.namespace == pod.namespace() && !self.disrupted.contains(&pod.object.metadata.name);
        here && self.selector.as_ref().is_some_and(|selector| selector.matches(pod.labels()))
    }
}

/// What preemption comes to.
#[derive(Debug)]
pub(crate) enum Preemption {
    /// It can't help, or mustn't; the text tells why.
    No(String),
    /// These pods go from this node.
    Yes(Candidate),
}

/// A node with those who would have to go, the most important first.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) node: String,
    pub(crate) victims: Vec<Arc<PodInfo>>,
    violations: usize,
}

/// Finds the node where room costs least.
pub(crate) fn preempt(pod: &PodInfo, cluster: &Cluster, failure: &Failure, budgets: &[Budget]) -> Preemption {
    if !pod.may_preempt {
        return Preemption::No("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if waits_already(pod, cluster, failure) {
        return Preemption::No("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for (node, _) in failure.refused.iter().filter(|(_, refusal)| refusal.resolvable) {
        match victims(pod, cluster, node, budgets) {
            Ok(candidate) => candidates.push(candidate),
            Err(refusal) => refused.push(refusal),
        }
        if candidates.len() >= CANDIDATES.max(failure.nodes / 10) {
            break;
        }
    }
    if let Some(best) = candidates.into_iter().min_by(compare) {
        return Preemption::Yes(best);
    }
    let why = Refusal { reasons: vec!["Preemption is not helpful for scheduling".to_owned()], resolvable: false };
    let hopeless = failure.nodes - refused.len();
    refused.extend(std::iter::repeat_n(why, hopeless));
    Preemption::No(text(failure.nodes, refused.iter()))
}

/// Whether room is being made for it where it was promised.
fn waits_already(pod: &PodInfo, cluster: &Cluster, failure: &Failure) -> bool {
    let resolvable = failure.refused.get(&pod.nominated).is_some_and(|refusal| refusal.resolvable);
    let going =
        |node: &Arc<crate::node::NodeInfo>| node.pods().any(|other| other.priority < pod.priority && other.preempted);
    resolvable && cluster.nodes.get(&pod.nominated).is_some_and(going)
}

/// Who has to go from a node: as few and as unimportant ones as possible.
fn victims(pod: &PodInfo, cluster: &Cluster, name: &str, budgets: &[Budget]) -> Result<Candidate, Refusal> {
    let refuse = |reason: &str| Refusal { reasons: vec![reason.to_owned()], resolvable: false };
    let Some(node) = cluster.nodes.get(name) else {
        return Err(refuse("No preemption victims found for incoming pod"));
    };
    let mut possible: Vec<Arc<PodInfo>> = node.pods().filter(|other| other.priority < pod.priority).cloned().collect();
    if possible.is_empty() {
        return Err(refuse("No preemption victims found for incoming pod"));
    }
    let mut without = cluster.clone();
    possible.iter().for_each(|other| without.remove(other.uid(), name));
    if let Some(refusal) = refusal(pod, &without, name) {
        return Err(refusal);
    }
    possible.sort_by(|a, b| importance(a, b).reverse());
    let (violating, others) = split(possible, budgets);
    let (mut victims, mut violations) = (Vec::new(), 0);
    let marked = violating.into_iter().map(|pod| (pod, 1)).chain(others.into_iter().map(|pod| (pod, 0)));
    for (other, violates) in marked {
        // Who can stay stays, the most important first.
        without.add(Arc::clone(&other), name);
        if refusal(pod, &without, name).is_some() {
            without.remove(other.uid(), name);
            violations += violates;
            victims.push(other);
        }
    }
    victims.sort_by(|a, b| importance(a, b).reverse());
    Ok(Candidate { node: name.to_owned(), victims, violations })
}

/// More is more important: priority first, then who runs longer.
fn importance(a: &PodInfo, b: &PodInfo) -> Ordering {
    a.priority.cmp(&b.priority).then_with(|| b.start.cmp(&a.start))
}

/// Those whose end breaks a budget, and the others.
fn split(pods: Vec<Arc<PodInfo>>, budgets: &[Budget]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i64> = budgets.iter().map(|budget| budget.allowed).collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for (budget, left) in budgets.iter().zip(&mut left).filter(|(budget, _)| budget.protects(pod)) {
            *left -= 1;
            violates |= *left < 0 && budget.allowed >= 0;
        }
        violates
    })
}

/// The better candidate is the lesser one.
fn compare(a: &Candidate, b: &Candidate) -> Ordering {
    let highest = |candidate: &Candidate| candidate.victims.first().map_or(i32::MIN, |pod| pod.priority);
    // Compat: priorities are moved above zero, so that fewer victims are less also when they are negative.
    let sum = |candidate: &Candidate| -> i64 {
        candidate.victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum()
    };
    let earliest = |candidate: &Candidate| {
        let top = highest(candidate);
        candidate.victims.iter().filter(|pod| pod.priority == top).map(|pod| pod.start.clone()).min()
    };
    (a.violations, highest(a), sum(a), a.victims.len(), Reverse(earliest(a))).cmp(&(
        b.violations,
        highest(b),
        sum(b),
        b.victims.len(),
        Reverse(earliest(b)),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cycle::{Choice, choose};
    use crate::testing::{cluster, node, pod};

    fn asks(cpu: &str, priority: i64) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}], "priority": priority})
    }

    fn check(spec: Value, placed: &[(Value, &str)], budgets: &[Budget], expected: Result<(&str, usize), &str>) {
        let cluster = cluster([node("a", "2", json!({})), node("b", "2", json!({}))], placed);
        let pod = pod("p", spec.clone());
        let Choice::None(failure) = choose(&pod, &cluster) else { panic!("it fits: {spec}") };
        match (preempt(&pod, &cluster, &failure, budgets), expected) {
            (Preemption::Yes(found), Ok((node, victims))) => {
                assert_eq!((found.node.as_str(), found.victims.len()), (node, victims), "{spec}");
            }
            (Preemption::No(why), Err(expected)) => assert_eq!(why, expected, "{spec}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_least_important_go() {
        let full = [(asks("2", 5), "a"), (asks("1", 3), "b"), (asks("1", 3), "b")];
        check(asks("1", 10), &full, &[], Ok(("b", 1)));
        check(asks("2", 10), &full, &[], Ok(("b", 2)));
        let none = "0/2 nodes are available: 2 No preemption victims found for incoming pod.";
        check(asks("2", 3), &full, &[], Err(none));
        let hopeless = "0/2 nodes are available: 2 Preemption is not helpful for scheduling.";
        check(asks("3", 10), &full, &[], Err(hopeless));
        let mut never = asks("1", 10);
        never["preemptionPolicy"] = json!("Never");
        check(never, &full, &[], Err("not eligible due to preemptionPolicy=Never."));
    }

    #[test]
    fn budgets_are_kept_where_possible() {
        let budget = Budget {
            namespace: "n".to_owned(),
            selector: LabelSelector::parse("where=b").ok(),
            allowed: 0,
            disrupted: BTreeSet::new(),
        };
        let full = [(asks("2", 5), "a"), (asks("2", 3), "b")];
        check(asks("1", 10), &full, &[], Ok(("b", 1)));
        check(asks("1", 10), &full, &[budget], Ok(("a", 1)));
    }
}
