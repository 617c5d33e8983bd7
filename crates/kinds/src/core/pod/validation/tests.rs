//! Pods that are wrong, and what is said of them.

use serde_json::json;

use super::*;
use crate::Rules;

fn check(spec: Value, expected: &[&str]) {
    let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
    super::super::Pod.default(&mut object);
    let found: Vec<String> =
        pod(&object, &Settings { allow_privileged: false }).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

/// The same for a pod with one container that has these fields.
fn check_container(fields: Value, expected: &[&str]) {
    let mut whole = json!({"name": "a", "image": "x"});
    whole.as_object_mut().expect("an object").extend(fields.as_object().cloned().expect("an object"));
    let expected: Vec<String> = expected.iter().map(|text| format!("spec.containers[0].{text}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(json!({"containers": [whole]}), &expected);
}

/// The same for a pod with one volume of this source.
fn check_volume(source: Value, expected: &[&str]) {
    let mut volume = json!({"name": "v"});
    volume.as_object_mut().expect("an object").extend(source.as_object().cloned().expect("an object"));
    let expected: Vec<String> = expected.iter().map(|text| format!("spec.volumes[0]{text}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(json!({"containers": [{"name": "a", "image": "x"}], "volumes": [volume]}), &expected);
}

#[test]
fn containers_are_checked() {
    check_container(json!({}), &[]);
    check(json!({}), &["spec.containers: Required value"]);
    check_container(json!({"image": ""}), &["image: Required value"]);
    check_container(
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
        &["volumeMounts[0].name: Not found: \"v\""],
    );
    check_container(
        json!({"securityContext": {"privileged": true}}),
        &["securityContext.privileged: Forbidden: disallowed by cluster policy"],
    );
    check_container(
        json!({"ports": [{"containerPort": 70000}]}),
        &["ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"],
    );
    check_container(
        json!({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]}),
        &["ports[1].hostPort: Duplicate value: \"TCP//80\""],
    );
    check_container(
        json!({"lifecycle": {"preStop": {"sleep": {"seconds": 100}}}}),
        &[
            "lifecycle.preStop.sleep: Invalid value: 100: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
    check_container(
        json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
        &[
            "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ],
    );
    let one = json!({"name": "a", "image": "x"});
    check(json!({"containers": [one, one]}), &["spec.containers[1].name: Duplicate value: \"a\""]);
    check(
        json!({"containers": [one], "initContainers": [{"name": "i", "image": "x", "readinessProbe": {"tcpSocket": {"port": 1}}}]}),
        &[
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn variables_are_checked() {
    let from = |source: Value| json!({"env": [{"name": "a", "valueFrom": source}]});
    check_container(
        from(json!({"fieldRef": {"fieldPath": "foo.bar"}})),
        &[
            "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"foo.bar\": error converting fieldPath: field label not supported: foo.bar",
        ],
    );
    check_container(from(json!({"fieldRef": {"fieldPath": "metadata.labels['a']"}})), &[]);
    check_container(
        from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "3"}})),
        &[
            "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are \
           supported with the cpu resource",
        ],
    );
    check_container(
        json!({"envFrom": [{}]}),
        &["envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
    );
}

#[test]
fn resources_are_checked() {
    let resources = |resources: Value| json!({"resources": resources});
    check_container(
        resources(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
        &["resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
    );
    check_container(
        resources(json!({"requests": {"example.com/x": "1"}})),
        &["resources.limits: Required value: Limit must be set for non overcommitable resources"],
    );
    check_container(
        resources(json!({"limits": {"hugepages-2Mi": "2Mi"}})),
        &["resources: Forbidden: HugePages require cpu or memory"],
    );
}

#[test]
fn volumes_are_checked() {
    check_volume(json!({"emptyDir": {}}), &[]);
    check_volume(json!({}), &[]);
    check_volume(
        json!({"emptyDir": {}, "hostPath": {"path": "/x"}}),
        &[".hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    check_volume(
        json!({"configMap": {"name": "a", "items": [{"key": "k", "path": "..x"}]}}),
        &[".configMap.items[0].path: Invalid value: \"..x\": must not start with '..'"],
    );
    check_volume(
        json!({"projected": {"sources": [
            {"configMap": {"name": "a", "items": [{"key": "k", "path": "x"}]}},
            {"secret": {"name": "b", "items": [{"key": "k", "path": "x"}]}}]}}),
        &[".projected: Invalid value: \"b\": conflicting duplicate paths"],
    );
    check_volume(
        json!({"nfs": {"server": "a", "path": "x"}}),
        &[".nfs.path: Invalid value: \"x\": must be an absolute path"],
    );
    check_volume(json!({"gcePersistentDisk": {}}), &[".persistentDisk.pdName: Required value"]);
}

#[test]
fn placement_is_checked() {
    let with = |field: &str, value: Value| json!({"containers": [{"name": "a", "image": "x"}], field: value});
    check(
        with("tolerations", json!([{"key": "a", "operator": "Exists", "value": "x"}])),
        &["spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'"],
    );
    check(
        with(
            "topologySpreadConstraints",
            json!([{"maxSkew": 0, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}]),
        ),
        &["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
    );
    check(
        with(
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
        ),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must \
           have at least one node selector term",
        ],
    );
    check(
        with("restartPolicy", json!("Sometimes")),
        &[
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ],
    );
    check(
        with("dnsPolicy", json!("None")),
        &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    );
}
