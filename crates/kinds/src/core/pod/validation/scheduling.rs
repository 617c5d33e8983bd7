//! Where a pod may and would like to run.

use std::collections::BTreeSet;

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, has};
use crate::field::{items, number, text};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

impl Check<'_> {
    pub(super) fn affinity(&mut self, affinity: &Value, path: &Path) {
        let (node, at) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
        if has(node, REQUIRED) {
            self.node_selector(&node[REQUIRED], &at.child(REQUIRED));
        }
        for (index, term) in items(node, &format!("/{PREFERRED}")).iter().enumerate() {
            let at = at.child(PREFERRED).index(index);
            self.weight(term, &at);
            self.node_term(&term["preference"], &at.child("preference"));
        }
        for kind in ["podAffinity", "podAntiAffinity"] {
            let (own, at) = (&affinity[kind], path.child(kind));
            for (index, term) in items(own, &format!("/{REQUIRED}")).iter().enumerate() {
                self.pod_term(term, &at.child(REQUIRED).index(index));
            }
            for (index, term) in items(own, &format!("/{PREFERRED}")).iter().enumerate() {
                let at = at.child(PREFERRED).index(index);
                self.weight(term, &at);
                self.pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"));
            }
        }
    }

    fn weight(&mut self, term: &Value, path: &Path) {
        let weight = number(term, "/weight").unwrap_or(0);
        if !(1..=100).contains(&weight) {
            self.say(Error::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
        }
    }

    pub(super) fn node_selector(&mut self, selector: &Value, path: &Path) {
        let (terms, at) = (items(selector, "/nodeSelectorTerms"), path.child("nodeSelectorTerms"));
        if terms.is_empty() {
            self.say(Error::required(&at, "must have at least one node selector term"));
        }
        for (index, term) in terms.iter().enumerate() {
            self.node_term(term, &at.index(index));
        }
    }

    fn node_term(&mut self, term: &Value, path: &Path) {
        for (index, requirement) in items(term, "/matchExpressions").iter().enumerate() {
            self.node_requirement(requirement, &path.child("matchExpressions").index(index));
        }
        for (index, requirement) in items(term, "/matchFields").iter().enumerate() {
            self.node_field(requirement, &path.child("matchFields").index(index));
        }
    }

    fn node_requirement(&mut self, requirement: &Value, path: &Path) {
        let (operator, count) = (text(requirement, "/operator"), items(requirement, "/values").len());
        let at = path.child("values");
        match operator {
            "In" | "NotIn" if count == 0 => {
                self.say(Error::required(&at, "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                self.say(Error::forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "Gt" | "Lt" if count != 1 => {
                self.say(Error::required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => self.say(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = text(requirement, "/key");
        self.rules(&path.child("key"), key, names::qualified(key));
    }

    fn node_field(&mut self, requirement: &Value, path: &Path) {
        let values = items(requirement, "/values");
        match text(requirement, "/operator") {
            "In" | "NotIn" if values.len() != 1 => {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                self.say(Error::required(&path.child("values"), why));
            }
            "In" | "NotIn" => {}
            other => self.say(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        let key = text(requirement, "/key");
        if key != "metadata.name" {
            return self.say(Error::invalid(&path.child("key"), key, "not a valid field selector key"));
        }
        for (index, value) in values.iter().enumerate() {
            let name = value.as_str().unwrap_or_default();
            self.rules(&path.child("values").index(index), name, names::subdomain(name));
        }
    }

    fn pod_term(&mut self, term: &Value, path: &Path) {
        for selector in ["labelSelector", "namespaceSelector"] {
            self.selector(&term[selector], &path.child(selector));
        }
        for namespace in items(term, "/namespaces") {
            let name = namespace.as_str().unwrap_or_default();
            self.rules(&path.child("namespace"), name, names::label(name));
        }
        self.label_keys(term, path);
        let (key, at) = (text(term, "/topologyKey"), path.child("topologyKey"));
        if key.is_empty() {
            self.say(Error::required(&at, "can not be empty"));
        }
        self.rules(&at, key, names::qualified(key));
    }

    /// Keys of labels whose values come from the pod itself.
    fn label_keys(&mut self, term: &Value, path: &Path) {
        for list in ["matchLabelKeys", "mismatchLabelKeys"] {
            let (keys, at) = (items(term, &format!("/{list}")), path.child(list));
            if !keys.is_empty() && !has(term, "labelSelector") {
                self.say(Error::forbidden(&at, "must not be specified when labelSelector is not set"));
                continue;
            }
            for (index, key) in keys.iter().enumerate() {
                let key = key.as_str().unwrap_or_default();
                self.rules(&at.index(index), key, names::qualified(key));
            }
        }
        let matched = items(term, "/matchLabelKeys");
        for (index, key) in matched.iter().enumerate() {
            let name = key.as_str().unwrap_or_default();
            let expressions = items(term, "/labelSelector/matchExpressions");
            let selected = has(&term["labelSelector"]["matchLabels"], name)
                || expressions.iter().any(|expression| text(expression, "/key") == name);
            let at = path.child("matchLabelKeys").index(index);
            if selected {
                self.say(Error::invalid(&at, name, "exists in both matchLabelKeys and labelSelector"));
            }
            if items(term, "/mismatchLabelKeys").contains(key) {
                self.say(Error::invalid(&at, name, "exists in both matchLabelKeys and mismatchLabelKeys"));
            }
        }
    }

    pub(super) fn spread(&mut self, spec: &Value, path: &Path) {
        let constraints = items(spec, "/topologySpreadConstraints");
        let kind = |constraint: &Value| {
            (text(constraint, "/topologyKey").to_owned(), text(constraint, "/whenUnsatisfiable").to_owned())
        };
        for (index, constraint) in constraints.iter().enumerate() {
            let at = path.index(index);
            let skew = number(constraint, "/maxSkew").unwrap_or(0);
            if skew <= 0 {
                self.say(Error::invalid(&at.child("maxSkew"), skew, "must be greater than zero"));
            }
            let (key, action) = kind(constraint);
            if key.is_empty() {
                self.say(Error::required(&at.child("topologyKey"), "can not be empty"));
            }
            let actions = ["DoNotSchedule", "ScheduleAnyway"];
            if !actions.contains(&action.as_str()) {
                self.say(Error::not_supported(&at.child("whenUnsatisfiable"), action.as_str(), &actions));
            }
            if constraints[index + 1..].iter().any(|other| kind(other) == (key.clone(), action.clone())) {
                let at = at.child("{topologyKey, whenUnsatisfiable}");
                self.say(Error::duplicate(&at, format!("{{{key}, {action}}}")));
            }
            self.min_domains(constraint, &action, &at.child("minDomains"));
            for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
                self.optional(text(constraint, &format!("/{field}")), &at.child(field), &["Honor", "Ignore"]);
            }
            self.label_keys(constraint, &at);
            self.selector(&constraint["labelSelector"], &at.child("labelSelector"));
        }
    }

    fn min_domains(&mut self, constraint: &Value, action: &str, path: &Path) {
        let Some(domains) = number(constraint, "/minDomains") else { return };
        if domains <= 0 {
            self.say(Error::invalid(path, domains, "must be greater than zero"));
        }
        if action != "DoNotSchedule" {
            let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            self.say(Error::invalid(path, domains, &why));
        }
    }

    pub(super) fn gates(&mut self, spec: &Value, path: &Path) {
        for (index, gate) in items(spec, "/readinessGates").iter().enumerate() {
            let name = text(gate, "/conditionType");
            let at = path.child("readinessGates").index(index).child("conditionType");
            self.rules(&at, name, names::qualified(name));
        }
        let mut seen = BTreeSet::new();
        for (index, gate) in items(spec, "/schedulingGates").iter().enumerate() {
            let name = text(gate, "/name");
            let at = path.child("schedulingGates").index(index);
            self.rules(&at, name, names::qualified(name));
            if !seen.insert(name) {
                self.say(Error::duplicate(&at, name));
            }
        }
    }

    pub(super) fn tolerations(&mut self, spec: &Value, path: &Path) {
        for (index, toleration) in items(spec, "/tolerations").iter().enumerate() {
            let at = path.index(index);
            let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
            if !key.is_empty() {
                self.rules(&at.child("key"), key, names::qualified(key));
            }
            if key.is_empty() && operator != "Exists" {
                let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                self.say(Error::invalid(&at.child("operator"), operator, why));
            }
            let effect = text(toleration, "/effect");
            if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
                let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
                self.say(Error::invalid(&at.child("effect"), effect, why));
            }
            self.toleration_value(operator, text(toleration, "/value"), &at.child("operator"));
            if !effect.is_empty() {
                let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
                self.one_as_listed(effect, &at.child("effect"), &effects);
            }
        }
    }

    fn toleration_value(&mut self, operator: &str, value: &str, path: &Path) {
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    self.say(Error::invalid(path, value, &wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => {
                self.say(Error::invalid(path, value, "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            "Gt" | "Lt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                self.say(Error::not_supported_as_listed(path, operator, &known));
            }
            other => self.say(Error::not_supported(path, other, &["Equal", "Exists"])),
        }
    }
}
