//! The environment of a container, and the expansion of `$(NAME)` in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, ResourceFieldSelector, Service};
use meta::Quantity;

use crate::lifecycle::roles;

/// The content of a config map or secret by key; `None` if there is no such object.
pub(crate) type Data = Option<BTreeMap<String, Vec<u8>>>;

/// What the environment is made from besides the pod.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// The config maps of [`references`].
    pub(crate) config_maps: BTreeMap<String, Data>,
    /// The secrets of [`references`].
    pub(crate) secrets: BTreeMap<String, Data>,
    /// The services of the pod's namespace, and `default/kubernetes`.
    pub(crate) services: Vec<Service>,
    pub(crate) pod_ips: Vec<IpAddr>,
    pub(crate) host_ips: Vec<IpAddr>,
    /// What the node has for pods: the default of limits.
    pub(crate) allocatable_cpu: Quantity,
    pub(crate) allocatable_memory: Quantity,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            config_maps: BTreeMap::new(),
            secrets: BTreeMap::new(),
            services: Vec::new(),
            pod_ips: Vec::new(),
            host_ips: Vec::new(),
            allocatable_cpu: Quantity::ZERO,
            allocatable_memory: Quantity::ZERO,
        }
    }
}

/// Names of the config maps and secrets that a container's environment needs.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        config_maps.extend(from.config_map_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// The environment, in the order of definition; an error is the message of `CreateContainerConfigError`.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut made = BTreeMap::new();
    from_whole_objects(container, sources, &mut made)?;
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let services: BTreeMap<String, String> = service_variables(&sources.services, links).into_iter().collect();
    let mut order: Vec<String> = made.keys().cloned().collect();
    for variable in container.env.iter().flatten() {
        let look_up = |name: &str| made.get(name).or_else(|| services.get(name)).cloned();
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => Some(expand(value, look_up)),
            (_, Some(source)) => from_source(pod, container, variable, source, sources)?,
            (_, None) => Some(String::new()),
        };
        if let Some(value) = value {
            order.retain(|name| *name != variable.name);
            order.push(variable.name.clone());
            made.insert(variable.name.clone(), value);
        }
    }
    let own: Vec<_> = order.into_iter().filter_map(|name| made.remove(&name).map(|value| (name, value))).collect();
    let known: BTreeSet<&String> = own.iter().map(|(name, _)| name).collect();
    let mut all: Vec<_> =
        services.iter().filter(|(name, _)| !known.contains(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    all.extend(own.iter().cloned());
    Ok(all)
}

fn from_whole_objects(
    container: &Container,
    sources: &Sources,
    made: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (data, optional, missing) = if let Some(reference) = &from.config_map_ref {
            let missing = format!("configmap \"{}\" not found", reference.name);
            (sources.config_maps.get(&reference.name), reference.optional, missing)
        } else if let Some(reference) = &from.secret_ref {
            let missing = format!("secret \"{}\" not found", reference.name);
            (sources.secrets.get(&reference.name), reference.optional, missing)
        } else {
            continue;
        };
        match data.and_then(Option::as_ref) {
            Some(data) => {
                made.extend(data.iter().map(|(key, value)| (format!("{prefix}{key}"), text(value))));
            }
            None if optional == Some(true) => {}
            None => return Err(missing),
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn from_source(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    source: &EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, sources).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        let named = reference.container_name.as_deref().filter(|name| !name.is_empty());
        let all = roles(pod);
        let of = match named {
            Some(name) => all.iter().map(|(_, other)| other).find(|other| other.name == name),
            None => Some(container),
        };
        let of = of.ok_or_else(|| format!("container {} not found", named.unwrap_or_default()))?;
        let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str());
        return resource(of, &reference.resource, divisor, sources).map(Some);
    }
    let (data, key, optional, kind, lower, name) = if let Some(reference) = &source.config_map_key_ref {
        let data = sources.config_maps.get(&reference.name);
        (data, &reference.key, reference.optional, "ConfigMap", "configmap", &reference.name)
    } else if let Some(reference) = &source.secret_key_ref {
        let data = sources.secrets.get(&reference.name);
        (data, &reference.key, reference.optional, "Secret", "secret", &reference.name)
    } else {
        return Err(format!("environment variable {} has no source", variable.name));
    };
    let optional = optional == Some(true);
    match data.and_then(Option::as_ref) {
        None if optional => Ok(None),
        None => Err(format!("{lower} \"{name}\" not found")),
        Some(data) => match data.get(key) {
            Some(value) => Ok(Some(text(value))),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        },
    }
}

/// A field of the pod, by the downward API's paths.
pub(crate) fn field(pod: &Pod, path: &str, sources: &Sources) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let join = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
    let first = |ips: &[IpAddr]| ips.first().map(IpAddr::to_string).unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let values = match map {
            "metadata.labels" => pod.metadata.labels.as_ref(),
            "metadata.annotations" => pod.metadata.annotations.as_ref(),
            _ => return Err(format!("fieldPath {map:?} does not support subscript")),
        };
        return Ok(values.and_then(|values| values.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => pod.metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => pod.metadata.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => first(&sources.host_ips),
        "status.hostIPs" => join(&sources.host_ips),
        "status.podIP" => first(&sources.pod_ips),
        "status.podIPs" => join(&sources.pod_ips),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A field as a file of a downward API volume shows it: the maps of labels and annotations too, a line each.
pub(crate) fn field_value(pod: &Pod, path: &str) -> Result<String, String> {
    let lines = |map: &Option<BTreeMap<String, String>>| {
        let lines: Vec<_> = map.iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
        lines.join("\n")
    };
    match path {
        "metadata.labels" => Ok(lines(&pod.metadata.labels)),
        "metadata.annotations" => Ok(lines(&pod.metadata.annotations)),
        _ => field(pod, path, &Sources::default()),
    }
}

/// A resource as a file of a downward API volume shows it.
pub(crate) fn resource_value(
    pod: &Pod,
    selector: &ResourceFieldSelector,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let named = selector.container_name.as_deref().unwrap_or_default();
    let all = roles(pod);
    let container = all.iter().map(|(_, container)| container).find(|container| container.name == named);
    let container = container.ok_or_else(|| format!("container {named} not found"))?;
    let of_node = |name: &str| allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
    let sources =
        Sources { allocatable_cpu: of_node("cpu"), allocatable_memory: of_node("memory"), ..Sources::default() };
    let divisor = selector.divisor.as_ref().map(|divisor| divisor.0.as_str());
    resource(container, &selector.resource, divisor, &sources)
}

/// The user that all containers of a pod run as, if they agree on one.
pub(crate) fn shared_user(pod: &Pod) -> Option<u32> {
    let of_pod = pod.spec.as_ref()?.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = roles(pod).into_iter().map(|(_, container)| {
        container.security_context.and_then(|own| own.run_as_user).or(of_pod).and_then(|user| u32::try_from(user).ok())
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

/// A request or limit in units of the divisor.
pub(crate) fn resource(
    container: &Container,
    name: &str,
    divisor: Option<&str>,
    sources: &Sources,
) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource : {name}");
    let (kind, resource) = name.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.clone().unwrap_or_default();
    let read = |amounts: &Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        amounts.as_ref().and_then(|amounts| amounts.get(resource)).and_then(|amount| amount.0.parse().ok())
    };
    let default = match resource {
        "cpu" => sources.allocatable_cpu,
        "memory" => sources.allocatable_memory,
        "ephemeral-storage" => Quantity::ZERO,
        other if other.starts_with("hugepages-") => Quantity::ZERO,
        _ => return Err(unsupported()),
    };
    let amount: Quantity = match kind {
        "limits" => read(&resources.limits).unwrap_or(default),
        "requests" => read(&resources.requests).or_else(|| read(&resources.limits)).unwrap_or(Quantity::ZERO),
        _ => return Err(unsupported()),
    };
    let divisor = divisor.and_then(|text| text.parse().ok()).filter(|divisor: &Quantity| !divisor.is_zero());
    let divisor = divisor.unwrap_or_else(|| Quantity::units(1));
    Ok(amount.divided_by(divisor).to_string())
}

/// The variables that tell of services: those of `kubernetes` always, those of the namespace with `links`.
fn service_variables(services: &[Service], links: bool) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for service in services {
        let metadata = &service.metadata;
        let (Some(name), Some(spec)) = (&metadata.name, &service.spec) else { continue };
        let master = name == "kubernetes" && metadata.namespace.as_deref() == Some("default");
        let ip = spec.cluster_ip.as_deref().unwrap_or_default();
        if ip.is_empty() || ip == "None" || !(links || master) {
            continue;
        }
        let prefix = name.to_uppercase().replace('-', "_");
        let address = |port: i32| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        variables.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            let number = port.port;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let lower = protocol.to_lowercase();
            if index == 0 {
                variables.push((format!("{prefix}_SERVICE_PORT"), number.to_string()));
                variables.push((format!("{prefix}_PORT"), format!("{lower}://{}", address(number))));
            }
            if let Some(name) = port.name.as_ref().filter(|name| !name.is_empty()) {
                let name = name.to_uppercase().replace('-', "_");
                variables.push((format!("{prefix}_SERVICE_PORT_{name}"), number.to_string()));
            }
            let link = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
            variables.push((link.clone(), format!("{lower}://{}", address(number))));
            variables.push((format!("{link}_PROTO"), lower));
            variables.push((format!("{link}_PORT"), number.to_string()));
            variables.push((format!("{link}_ADDR"), ip.to_owned()));
        }
    }
    variables
}

/// Replaces `$(NAME)` by its value. What is unknown stays as it is, and `$$` is a dollar sign.
pub(crate) fn expand(text: &str, look_up: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(rest.get(..at).unwrap_or_default());
        let after = rest.get(at + 1..).unwrap_or_default();
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match look_up(name) {
                Some(value) => expanded.push_str(&value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn expansion() {
        let look_up = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, expected) in
            [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(B)-$(A)", "$(B)-1"), ("$", "$"), ("$(A", "$(A"), ("a$b", "a$b")]
        {
            assert_eq!(expand(text, look_up), expected);
        }
    }

    #[track_caller]
    fn check(container: Value, expected: Result<&[(&str, &str)], &str>) {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"app": "x"}},
            "spec": {"containers": [container], "enableServiceLinks": false}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let data = BTreeMap::from([("k".to_owned(), b"v".to_vec())]);
        let sources = Sources {
            config_maps: [("m".to_owned(), Some(data.clone())), ("none".to_owned(), None)].into(),
            allocatable_cpu: Quantity::units(2),
            ..Sources::default()
        };
        let made = environment(&pod, &pod.spec.as_ref().unwrap().containers[0], &sources);
        let expected = expected.map_err(str::to_owned).map(|pairs| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn sources() {
        let variable = |name: &str, from: Value| json!({"name": name, "valueFrom": from});
        let env = |list: Vec<Value>| json!({"name": "c", "env": list});
        check(
            env(vec![json!({"name": "A", "value": "1"}), json!({"name": "B", "value": "$(A)2"})]),
            Ok(&[("A", "1"), ("B", "12")]),
        );
        check(
            env(vec![variable("N", json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}}))]),
            Ok(&[("N", "x")]),
        );
        check(
            env(vec![variable("C", json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}))]),
            Ok(&[("C", "2000")]),
        );
        check(env(vec![variable("M", json!({"configMapKeyRef": {"name": "m", "key": "k"}}))]), Ok(&[("M", "v")]));
        check(
            env(vec![variable("M", json!({"configMapKeyRef": {"name": "m", "key": "z"}}))]),
            Err("couldn't find key z in ConfigMap n/m"),
        );
        check(
            env(vec![variable("M", json!({"configMapKeyRef": {"name": "none", "key": "z", "optional": true}}))]),
            Ok(&[]),
        );
        check(
            json!({"name": "c", "envFrom": [{"configMapRef": {"name": "none"}}]}),
            Err("configmap \"none\" not found"),
        );
        check(json!({"name": "c", "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}]}), Ok(&[("P_k", "v")]));
    }
}
